/**
 * What this node has of the control state that an etcd cluster keeps: the same state, history and
 * records as a member of our own group has, moved by what the cluster says has been done.
 */

import { assert } from '../../base/assert.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import type { ControlView } from '../control/engine.ts';
import { readEvent, readRecord, writeEvent, writeRecord } from '../control/parts.ts';
import { decodeState, encodeState } from '../control/snapshot.ts';
import { ControlState } from '../control/state.ts';
import { planTransaction, type Plan } from '../control/transaction.ts';
import type {
  AuditRecord,
  Change,
  KeyValue,
  RangePage,
  RangeRequest,
  Revision,
  Transaction,
} from '../control/types.ts';
import type { Kept } from './keep.ts';
import type { EtcdRevision } from './store.ts';

const VERSION = 1;
const NAME_CHARS_MAX = 64;

/** One revision of the state, as the cluster told it. */
export interface AgreedChange {
  /** The cluster's own revision of it. */
  readonly at: EtcdRevision;
  readonly change: Change;
  readonly record: AuditRecord;
  /** Of the attempt that made it: no other history has the same one. */
  readonly mark: string;
}

/** A whole state, and where it comes from. */
export interface WholeState {
  readonly lineage: string;
  /** Of its last change; empty: there was none. */
  readonly mark: string;
  readonly state: ControlState;
}

export class EtcdReplica implements ControlView {
  #state = new ControlState();
  #lineage: string | null = null;
  #mark = '';

  get revision(): Revision {
    return this.#state.revision;
  }

  get compactedTo(): Revision {
    return this.#state.compactedTo;
  }

  /** Null: nothing is known yet. */
  get lineage(): string | null {
    return this.#lineage;
  }

  /** The cluster's revision at which this state came to be; 0 for the founded, empty one. */
  get at(): EtcdRevision {
    return this.#state.appliedIndex;
  }

  /** Of the last change; empty: there was none. */
  get mark(): string {
    return this.#mark;
  }

  get(key: string): KeyValue | null {
    return this.#state.get(key);
  }

  range(request: RangeRequest): RangePage {
    return this.#state.range(request, CONTROL_LIMITS.watchBytesMax);
  }

  changeAt(revision: Revision): Change {
    return this.#state.changeAt(revision);
  }

  audit(from: Revision, countMax: number): readonly AuditRecord[] {
    const records = this.#state.audit;
    const at = Math.max(0, from - (records[0]?.revision ?? 0));
    return records.slice(at, at + countMax);
  }

  plan(transaction: Transaction, wallMs: number): Plan {
    const last = this.#state.audit.at(-1)?.timeMs ?? 0;
    return planTransaction(this.#state, transaction, Math.max(wallMs, last));
  }

  apply({ at, change, record, mark }: AgreedChange): void {
    assert(at > this.#state.appliedIndex, 'the cluster moves forward');
    for (const event of change.events) {
      if (event.kind === 'put') this.#state.put(event.item);
      else if (this.#state.get(event.key) !== null) this.#state.delete(event.key);
    }
    this.#state.commit(change, record);
    this.#state.appliedIndex = at;
    this.#mark = mark;
  }

  /** Takes a whole state; what watchers had not taken is gone for them. */
  take({ lineage, mark, state }: WholeState): void {
    assert(state.revision >= this.#state.revision, 'the state moves forward');
    this.#lineage = lineage;
    this.#mark = mark;
    this.#state = state;
  }

  snapshot(): Uint8Array {
    return snapshotOf({ lineage: this.#lineage ?? '', mark: this.#mark, state: this.#state });
  }

  /** Takes what the disk has; false: there is nothing, or nothing of this version. */
  restore(kept: Kept): boolean {
    if (kept.snapshot === null) return false;
    const reader = new ByteReader(kept.snapshot);
    if (reader.u8() !== VERSION) return false;
    const lineage = reader.text(NAME_CHARS_MAX);
    const mark = reader.text(NAME_CHARS_MAX);
    const state = decodeState(reader.blob(reader.left));
    if (state === null || !reader.isDone() || lineage === '') return false;
    this.#lineage = lineage;
    this.#mark = mark;
    this.#state = state;
    for (const frame of kept.frames) {
      const agreed = decodeChange(frame);
      if (agreed === null || agreed.change.revision > this.revision + 1) break;
      // A crash between the snapshot and the new journal leaves older ones.
      if (agreed.change.revision === this.revision + 1) this.apply(agreed);
    }
    return true;
  }
}

export function snapshotOf({ lineage, mark, state }: WholeState): Uint8Array {
  const writer = new ByteWriter().u8(VERSION).text(lineage).text(mark);
  return writer.blob(encodeState(state)).finish();
}

export function encodeChange({ at, change, record, mark }: AgreedChange): Uint8Array {
  const writer = new ByteWriter().u64(at).text(mark).u64(change.revision);
  writer.list(change.events, (event) => writeEvent(writer, event));
  writeRecord(writer, record);
  return writer.finish();
}

function decodeChange(bytes: Uint8Array): AgreedChange | null {
  const reader = new ByteReader(bytes);
  const at = reader.u64();
  const mark = reader.text(NAME_CHARS_MAX);
  const revision = reader.u64();
  const events = reader.list(CONTROL_LIMITS.operationsMax, () => readEvent(reader));
  const record = readRecord(reader);
  if (!reader.isDone() || record.revision !== revision || events.length === 0) return null;
  return { at, change: { revision, events }, record, mark };
}
