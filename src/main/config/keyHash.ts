/** The hash of a key that a file gives, by its hash or by a reference. */

import { createHash } from 'node:crypto';

export interface KeyOrHash {
  readonly sha256?: string | undefined;
  readonly key?: string | undefined;
}

/** Lower-case hex. */
export function keyHash({ sha256, key = '' }: KeyOrHash): string {
  return sha256 ?? createHash('sha256').update(key).digest('hex');
}
