/** Builds the native parts and installs the systems to compare with, all outside the repository. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Something that is there, or why it is not. */
export type Found =
  | { readonly ok: true; readonly path: string; readonly version: string }
  | { readonly ok: false; readonly reason: string };

export type Say = (line: string) => void;

const PORTKEY_VERSION = '1.15.2';
/** With 1.19.19, which its range allows, every stream is answered with 500 ("immutable"). */
const HONO_SERVER_VERSION = '1.13.8';
const LITELLM_PACKAGE = 'litellm[proxy]';

/** Compiles `bench/AREA/native/NAME.c` unless that is done; returns the program. */
export function buildNative(root: string, cache: string, area: string, name: string): string {
  const source = join(root, 'bench', area, 'native', `${name}.c`);
  const program = join(cache, 'native', `${area}-${name}`);
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return program;
  mkdirSync(join(cache, 'native'), { recursive: true });
  const args = ['-O2', '-Wall', '-Wextra', '-std=gnu11', '-o', program, source];
  const built = spawnSync('gcc', args, { encoding: 'utf8' });
  if (built.status !== 0) {
    throw new Error(
      `gcc could not build ${name}.c (apt-get install gcc libc6-dev)\n${built.stderr}`,
    );
  }
  return program;
}

/** A Debian package's program, installed through apt where it is missing and we may. */
export function findDebian(
  name: string,
  versionArg: string,
  say: Say,
  debianPackage: string = name,
): Found {
  const version = versionOf(name, [versionArg]);
  if (version !== null) return { ok: true, path: name, version };
  if (process.getuid?.() !== 0) {
    return { ok: false, reason: `not installed (apt-get install ${debianPackage})` };
  }
  say(`installing ${debianPackage} with apt-get`);
  const args = ['install', '-y', '--no-install-recommends', debianPackage];
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const run = spawnSync('apt-get', args, { encoding: 'utf8', env });
  const installed = versionOf(name, [versionArg]);
  if (installed !== null) return { ok: true, path: name, version: installed };
  return { ok: false, reason: `apt-get could not install it: ${lastLine(run.stderr)}` };
}

/** The Portkey gateway, from npm into the cache. */
export function findPortkey(cache: string, say: Say): Found {
  const folder = join(cache, 'portkey');
  const path = join(folder, 'node_modules/@portkey-ai/gateway/build/start-server.js');
  const found = { ok: true, path, version: PORTKEY_VERSION } as const;
  if (existsSync(path)) return found;
  say(`installing @portkey-ai/gateway@${PORTKEY_VERSION} with npm into ${folder}`);
  mkdirSync(folder, { recursive: true });
  const manifest = {
    private: true,
    dependencies: { '@portkey-ai/gateway': PORTKEY_VERSION },
    overrides: { '@hono/node-server': HONO_SERVER_VERSION },
  };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  const args = ['install', '--prefix', folder, '--ignore-scripts', '--no-audit', '--no-fund'];
  const run = spawnSync('npm', [...args, '--loglevel=error'], { encoding: 'utf8' });
  if (existsSync(path)) return found;
  return { ok: false, reason: `npm could not install it: ${lastLine(run.stderr)}` };
}

/** LiteLLM's proxy, from PyPI into a virtual environment in the cache. */
export function findLitellm(cache: string, say: Say): Found {
  const folder = join(cache, 'litellm');
  const path = join(folder, 'bin', 'litellm');
  const pip = join(folder, 'bin', 'pip');
  if (!existsSync(path)) {
    say(`installing ${LITELLM_PACKAGE} with pip into ${folder} (minutes, 500 MB)`);
    const venv = spawnSync('python3', ['-m', 'venv', folder], { encoding: 'utf8' });
    if (venv.status !== 0) {
      return { ok: false, reason: 'no Python environment (apt-get install python3-venv)' };
    }
    const run = spawnSync(pip, ['install', '-q', LITELLM_PACKAGE], { encoding: 'utf8' });
    if (run.status !== 0) {
      return { ok: false, reason: `pip could not install it: ${lastLine(run.stderr)}` };
    }
  }
  const shown = spawnSync(pip, ['show', 'litellm'], { encoding: 'utf8' }).stdout;
  const version = /^Version: (.+)$/m.exec(shown)?.[1];
  if (version === undefined) return { ok: false, reason: `${folder} is broken; remove it` };
  return { ok: true, path, version };
}

function versionOf(program: string, args: readonly string[]): string | null {
  const run = spawnSync(program, [...args], { encoding: 'utf8' });
  if (run.error !== undefined) return null;
  return /\d+\.\d+\.\d+/.exec(run.stdout + run.stderr)?.[0] ?? null;
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.slice(0, 300) ?? '';
}
