/** The command line, as a process that is waited for. */

import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';

const ROOT = dirname(dirname(import.meta.dirname));

/** How one command ended. */
export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Beside the caller's own environment, or instead of it. */
  readonly env?: NodeJS.ProcessEnv;
  readonly isEnvAlone?: boolean;
  /** Its standard input; absent: none. */
  readonly input?: string;
  /** Whose program; absent: this one's. */
  readonly root?: string;
}

/** Runs a `banyan` verb in English. */
export function runBanyan(
  args: readonly string[],
  { env = {}, isEnvAlone = false, input, root = ROOT }: RunOptions = {},
): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'src/main/cli.ts'), ...args], {
      cwd: root,
      stdio: 'pipe',
      env: { ...(isEnvAlone ? {} : process.env), LC_ALL: 'C', ...env },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    child.stdin.on('error', () => {}); // It may end without having read.
    child.stdin.end(input);
  });
}
