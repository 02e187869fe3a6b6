/** The pairs of the key-value machine in memory: rebuilt from snapshot and log at each start. */

import { encodeUtf8 } from '../../base/bytes.ts';
import type { KvPair, KvStore } from './machine.ts';

export function createMemoryStore(): KvStore {
  const map = new Map<string, KvPair>();
  return {
    sums: { bytes: 0, hash: 0 },
    get: (key) => map.get(key) ?? null,
    set(key, pair) {
      map.set(key, pair);
    },
    delete(key) {
      map.delete(key);
    },
    clear() {
      map.clear();
    },
    pairs: () => Array.from(map).toSorted(([a], [b]) => compareUtf8(a, b)),
  };
}

/** The order of UTF-8 bytes; that of UTF-16 differs where a surrogate meets U+E000 and above. */
function compareUtf8(a: string, b: string): number {
  const left = encodeUtf8(a);
  const right = encodeUtf8(b);
  const length = Math.min(left.length, right.length);
  for (let at = 0; at < length; at += 1) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
