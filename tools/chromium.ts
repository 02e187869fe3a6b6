/**
 * A Chromium for tests of pages: Debian's. Installed by `npm test` where it is missing, the machine
 * is a Debian and we are root; elsewhere those tests are skipped and say so.
 */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The program, or null where this machine has none. */
export function findChromium(): string | null {
  return PATHS.find((path) => existsSync(path)) ?? null;
}

/** Installs Debian's Chromium if it is missing and can be installed. Says what it does. */
export function ensureChromium(): void {
  if (findChromium() !== null) return;
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return;
  console.error("test: installing Debian's chromium for tests of pages, once ...");
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args: string[]): number | null =>
    spawnSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'ignore', 2] }).status;
  const isGood =
    apt('update') === 0 && apt('install', '-y', '--no-install-recommends', 'chromium') === 0;
  if (!isGood) console.error('test: chromium could not be installed; tests of pages are skipped.');
}
