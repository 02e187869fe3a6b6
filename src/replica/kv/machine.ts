/**
 * A small key-value store as a state machine: what the replicated log drives where no product state
 * does, in tests, in the simulator and behind `banyan kv`.
 *
 * Deterministic: state, replies, snapshot and hash depend on the commands and their indices alone.
 */

import { copyBytes, encodeUtf8 } from '../../base/bytes.ts';
import { crc32c } from '../../base/crc32c.ts';
import { KV_LIMITS } from '../../base/groupLimits.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import type { StateMachine } from '../../raft/sessions.ts';
import type { Index } from '../../raft/types.ts';
import { decodeKvCommand, encodeKvReply, type KvCommand, type KvReply } from './codec.ts';

/** One key's value. `version` is the log index of the write. */
export interface KvPair {
  readonly version: Index;
  readonly value: Uint8Array;
}

/** Where pairs are kept: memory, or a database. */
export interface KvStore {
  get(key: string): KvPair | null;
  set(key: string, pair: KvPair): void;
  delete(key: string): void;
  /** All pairs, keys in the order of their UTF-8 bytes. */
  pairs(): Iterable<readonly [key: string, pair: KvPair]>;
  clear(): void;
  /** Sums of all pairs, kept with them. */
  sums: KvSums;
}

/** `bytes` are those that KV_LIMITS.totalBytesMax counts; `hash` does not depend on any order. */
export interface KvSums {
  readonly bytes: number;
  readonly hash: number;
}

const NO_SUMS: KvSums = { bytes: 0, hash: 0 };
const SNAPSHOT_VERSION = 1;
const PAIRS_MAX = KV_LIMITS.totalBytesMax / KV_LIMITS.pairOverheadBytes;

export class KvMachine implements StateMachine {
  readonly #store: KvStore;

  constructor(store: KvStore) {
    this.#store = store;
  }

  /** What is applied here. */
  get(key: string): KvPair | null {
    return this.#store.get(key);
  }

  apply(index: Index, _timeMs: number, data: Uint8Array): Uint8Array {
    const command = decodeKvCommand(data);
    return encodeKvReply(command === null ? { kind: 'malformed' } : this.#run(command, index));
  }

  snapshot(): Uint8Array {
    const writer = new ByteWriter().u8(SNAPSHOT_VERSION);
    writer.list([...this.#store.pairs()], ([key, { version, value }]) => {
      writer.text(key).u64(version).blob(value);
    });
    return writer.finish();
  }

  restore(data: Uint8Array): boolean {
    const store = this.#store;
    store.clear();
    store.sums = NO_SUMS;
    const reader = new ByteReader(data);
    if (reader.u8() !== SNAPSHOT_VERSION) return false;
    let sums: KvSums = NO_SUMS;
    reader.list(PAIRS_MAX, () => {
      const key = reader.text(KV_LIMITS.keyBytesMax);
      const version = reader.u64();
      const value = new Uint8Array(reader.blob(KV_LIMITS.valueBytesMax));
      if (reader.isBad) return;
      store.set(key, { version, value });
      sums = withPair(sums, encodeUtf8(key), { version, value });
    });
    store.sums = sums;
    return reader.isDone();
  }

  hash(): number {
    return this.#store.sums.hash;
  }

  #run(command: KvCommand, index: Index): KvReply {
    const { key } = command;
    if (!isKey(key)) return { kind: 'tooLarge' };
    const before = this.#store.get(key);
    switch (command.kind) {
      case 'get':
        return before === null ? { kind: 'missing' } : { kind: 'value', ...before };
      case 'put':
        return this.#write(index, key, before, command.value);
      case 'cas': {
        const version = before?.version ?? 0;
        if (version !== command.version) return { kind: 'conflict', version };
        return this.#write(index, key, before, command.value);
      }
      case 'delete':
        if (before === null) return { kind: 'missing' };
        this.#replace(key, before, null);
        return { kind: 'deleted' };
      case 'append':
        return this.#write(index, key, before, joined(before, command.value));
      default:
        return command satisfies never;
    }
  }

  /** `value` may be a view of the log's bytes: what stays is a copy. */
  #write(index: Index, key: string, before: KvPair | null, value: Uint8Array): KvReply {
    if (value.length > KV_LIMITS.valueBytesMax) return { kind: 'tooLarge' };
    const taken = before === null ? pairBytes(encodeUtf8(key).length) : 0;
    const grown = value.length - (before?.value.length ?? 0) + taken;
    const { bytes } = this.#store.sums;
    if (grown > 0 && bytes + grown > KV_LIMITS.totalBytesMax) return { kind: 'full' };
    this.#replace(key, before, { version: index, value: copyBytes(value) });
    return { kind: 'stored', version: index };
  }

  #replace(key: string, before: KvPair | null, pair: KvPair | null): void {
    const store = this.#store;
    const keyBytes = encodeUtf8(key);
    let { sums } = store;
    if (before !== null) sums = without(sums, keyBytes, before);
    if (pair !== null) {
      store.set(key, pair);
      sums = withPair(sums, keyBytes, pair);
    } else store.delete(key);
    store.sums = sums;
  }
}

function isKey(key: string): boolean {
  if (key === '' || key.length > KV_LIMITS.keyBytesMax) return false;
  // A character is at most three bytes: short keys need no look at them.
  return key.length * 3 <= KV_LIMITS.keyBytesMax || encodeUtf8(key).length <= KV_LIMITS.keyBytesMax;
}

function joined(before: KvPair | null, more: Uint8Array): Uint8Array {
  if (before === null) return more;
  const value = new Uint8Array(before.value.length + more.length);
  value.set(before.value);
  value.set(more, before.value.length);
  return value;
}

function pairBytes(keyBytes: number): number {
  return keyBytes + KV_LIMITS.pairOverheadBytes;
}

function withPair(sums: KvSums, key: Uint8Array, pair: KvPair): KvSums {
  const bytes = sums.bytes + pairBytes(key.length) + pair.value.length;
  return { bytes, hash: (sums.hash + pairHash(key, pair)) >>> 0 };
}

function without(sums: KvSums, key: Uint8Array, pair: KvPair): KvSums {
  const bytes = sums.bytes - pairBytes(key.length) - pair.value.length;
  return { bytes, hash: (sums.hash - pairHash(key, pair)) >>> 0 };
}

/**
 * Mixed, because checksums are linear: without it two keys that swap their values would sum up to
 * the same. The mix is that of MurmurHash3 (Appleby).
 */
function pairHash(key: Uint8Array, { version, value }: KvPair): number {
  let hash = crc32c(value, crc32c(key)) ^ Math.imul(version, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
