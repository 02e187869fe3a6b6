/** The version of this Banyan, from `package.json`. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

function readVersion(): string {
  const file = join(import.meta.dirname, '../../package.json');
  const manifest: unknown = JSON.parse(readFileSync(file, 'utf8'));
  const hasVersion =
    typeof manifest === 'object' &&
    manifest !== null &&
    'version' in manifest &&
    typeof manifest.version === 'string';
  return hasVersion ? String(manifest.version) : '0.0.0';
}

/** Semantic version, without a leading `v`. */
export const VERSION: string = readVersion();
