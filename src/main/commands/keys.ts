/** `banyan keys`: hashes for configuration files, and the keys of the control state. */

import { createHash } from 'node:crypto';

import type { Command } from 'commander';

import { CONFIG_LIMITS } from '../../base/limits.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import type { OutputFormat } from '../output.ts';
import { note, print, say, withOutput } from '../verb.ts';
import { registerControlKeys } from './controlKeys.ts';

/** Adds the verbs. */
export function registerKeys(program: Command): void {
  const keys = program.command('keys').description(say('keys.about'));
  withOutput(keys.command('hash').description(say('keys.hash'))).action(
    async (options: { output: OutputFormat }) => {
      // From standard input and not from the command line, which other users of the machine can see.
      if (process.stdin.isTTY) note(say('keys.type'));
      const sha256 = hashKey(await readLine());
      print(options.output, { sha256 }, () => `${sha256}\n`);
    },
  );
  registerControlKeys(keys);
}

/** Lower-case hex SHA-256 of a key; throws `CliError` for what no HTTP client could send. */
export function hashKey(key: string): string {
  if (!/^[\x21-\x7e]+$/.test(key)) throw new CliError(EXIT.usage, say('keys.malformed'));
  return createHash('sha256').update(key).digest('hex');
}

/** The first line of standard input, without its end. */
async function readLine(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.includes('\n') || text.length > CONFIG_LIMITS.textCharsMax) break;
  }
  return text.split('\n', 1)[0]?.trim() ?? '';
}
