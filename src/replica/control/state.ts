/**
 * The applied state: keys in order, the changes kept for watchers, the audit records. Mutable, owned
 * by `machine.ts`; everything that comes out of it is frozen by its type.
 *
 * K1: keys are in order, each once; sizes and the hash are those of what is there.
 * K2: changes are kept without a gap: the one of every revision above `compactedTo`.
 * K3: what is kept has limits; what goes is the oldest, and the log alone decides when.
 */

import { assert } from '../../base/assert.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { crc32c } from '../../base/crc32c.ts';
import { ByteWriter } from '../../base/byteCodec.ts';
import { hashBytes, Kept } from './kept.ts';
import { writeEvent, writeItem, writeRecord } from './parts.ts';
import type { AuditRecord, Change, KeyValue, RangePage, RangeRequest, Revision } from './types.ts';

export class ControlState {
  /** Of the log: the last entry that was applied. */
  appliedIndex = 0;
  revision: Revision = 0;
  /** Changes up to here are gone. */
  compactedTo: Revision = 0;
  bytes = 0;
  readonly #items = new Map<string, KeyValue>();
  /** All keys, sorted. */
  readonly #keys: string[] = [];
  /** Sum of the hashes of all items, modulo 2^32. */
  #itemsHash = 0;
  /** The first is of revision `compactedTo + 1`. */
  readonly #changes = new Kept<Change>(changeBytes, (change) => {
    const writer = new ByteWriter().u64(change.revision);
    return writer.list(change.events, (event) => writeEvent(writer, event)).finish();
  });
  readonly #audit = new Kept<AuditRecord>(
    () => 0,
    (record) => {
      const writer = new ByteWriter();
      writeRecord(writer, record);
      return writer.finish();
    },
  );

  get keysCount(): number {
    return this.#keys.length;
  }

  get(key: string): KeyValue | null {
    return this.#items.get(key) ?? null;
  }

  /** At least one key where there is one; then up to `keysMax` and `bytesMax`. */
  range(request: RangeRequest, bytesMax: number): RangePage {
    const { prefix, after, keysMax } = request;
    const items: KeyValue[] = [];
    let bytes = 0;
    let at = after >= prefix ? this.#firstBehind(after) : this.#firstFrom(prefix);
    for (; at < this.#keys.length; at += 1) {
      const key = this.#keys[at] ?? '';
      if (!key.startsWith(prefix)) break;
      const item = this.#items.get(key);
      assert(item !== undefined, 'every key has an item');
      bytes += sizeOf(item);
      if (items.length === keysMax || (items.length > 0 && bytes > bytesMax)) {
        return { items, next: items.at(-1)?.key ?? null, revision: this.revision };
      }
      items.push(item);
    }
    return { items, next: null, revision: this.revision };
  }

  put(item: KeyValue): void {
    const before = this.#items.get(item.key);
    if (before === undefined) this.#keys.splice(this.#firstFrom(item.key), 0, item.key);
    else this.#count(before, -1);
    this.#items.set(item.key, item);
    this.#count(item, 1);
  }

  delete(key: string): void {
    const item = this.#items.get(key);
    assert(item !== undefined, 'only what is there is deleted');
    this.#count(item, -1);
    this.#items.delete(key);
    this.#keys.splice(this.#firstFrom(key), 1);
  }

  /** Keeps the change of the next revision with its audit record. The oldest go past the limits. */
  commit(change: Change, record: AuditRecord): void {
    assert(change.revision === this.revision + 1, 'revisions have no gap');
    assert(record.revision === change.revision, 'a change and its record are one');
    this.revision = change.revision;
    this.keep(change);
    this.keepRecord(record);
    // By halves, so that moving the rest costs little a change.
    if (this.#audit.count > CONTROL_LIMITS.auditRecordsMax) this.#audit.drop(this.#audit.count / 2);
    const { historyRevisionsMax, historyBytesMax } = CONTROL_LIMITS;
    if (this.#changes.count > historyRevisionsMax || this.#changes.bytes > historyBytesMax) {
      this.compactTo(this.compactedTo + Math.ceil(this.#changes.count / 2));
    }
  }

  /** Adds to the end of the changes, without more. */
  keep(change: Change): void {
    this.#changes.push(change);
  }

  keepRecord(record: AuditRecord): void {
    this.#audit.push(record);
  }

  compactTo(revision: Revision): void {
    assert(revision <= this.revision, 'what has not happened is not compacted');
    if (revision <= this.compactedTo) return;
    this.#changes.drop(revision - this.compactedTo);
    this.compactedTo = revision;
  }

  /** The change of a revision that is kept. */
  changeAt(revision: Revision): Change {
    const change = this.#changes.values[revision - this.compactedTo - 1];
    assert(change !== undefined, 'the revision is kept');
    return change;
  }

  get changes(): readonly Change[] {
    return this.#changes.values;
  }

  get audit(): readonly AuditRecord[] {
    return this.#audit.values;
  }

  *items(): IterableIterator<KeyValue> {
    for (const key of this.#keys) {
      const item = this.#items.get(key);
      assert(item !== undefined, 'every key has an item');
      yield item;
    }
  }

  /** Of all that is agreed on; costs the same whatever the size. */
  hash(): number {
    const writer = new ByteWriter().u64(this.appliedIndex).u64(this.revision);
    writer.u64(this.compactedTo).u32(this.#keys.length).u32(this.#itemsHash);
    writer.u32(this.#changes.count).u32(this.#changes.hash);
    writer.u32(this.#audit.count).u32(this.#audit.hash);
    return crc32c(writer.finish());
  }

  #count(item: KeyValue, sign: 1 | -1): void {
    this.bytes += sign * sizeOf(item);
    const writer = new ByteWriter();
    writeItem(writer, item);
    this.#itemsHash = (this.#itemsHash + sign * hashBytes(writer.finish())) >>> 0;
  }

  /** Place of the first key that is not before `key`. */
  #firstFrom(key: string): number {
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#keys[middle] ?? '') < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #firstBehind(key: string): number {
    const at = this.#firstFrom(key);
    return this.#keys[at] === key ? at + 1 : at;
  }
}

/** What an item counts for. */
export function sizeOf(item: {
  readonly key: string;
  readonly type: string;
  readonly value: Uint8Array;
}): number {
  const { key, type, value } = item;
  return key.length + type.length + value.length + CONTROL_LIMITS.keyOverheadBytes;
}

/** What the events of a change count for. */
export function changeBytes(change: Change): number {
  let bytes = 0;
  for (const event of change.events) {
    const { keyOverheadBytes } = CONTROL_LIMITS;
    bytes += event.kind === 'put' ? sizeOf(event.item) : event.key.length + keyOverheadBytes;
  }
  return bytes;
}
