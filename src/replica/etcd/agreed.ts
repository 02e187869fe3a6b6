/** From what an etcd cluster holds or tells to the control state, and back. Pure. */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ControlState } from '../control/state.ts';
import type { Plan } from '../control/transaction.ts';
import type { ControlEvent, KeyValue, Revision } from '../control/types.ts';
import {
  decodeHead,
  decodeItem,
  decodeRecord,
  encodeHead,
  encodeItem,
  encodeRecord,
  type Head,
  type Layout,
} from './layout.ts';
import type { AgreedChange, WholeState } from './replica.ts';
import type { EtcdEvent, EtcdItem, EtcdOperation, EtcdRevision } from './store.ts';

/** The operations of one change; null: it changes nothing. */
export function operationsOf(
  layout: Layout,
  lineage: string,
  { change, record }: Plan,
  mark: string,
): readonly EtcdOperation[] | null {
  if (change === null || record === null) return null;
  const { revision } = change;
  const put = (key: string, value: Uint8Array): EtcdOperation => {
    return { kind: 'put', key, value, lease: null };
  };
  const operations = change.events.map((event): EtcdOperation => {
    if (event.kind === 'put') return put(layout.key(event.item.key), encodeItem(event.item));
    return { kind: 'delete', key: layout.key(event.key), end: null };
  });
  operations.push(put(layout.head, encodeHead({ lineage, revision })));
  operations.push(put(layout.record(revision), encodeRecord({ mark, record })));
  // One comes, one goes.
  const oldest = revision - CONTROL_LIMITS.auditRecordsMax;
  if (oldest >= 1) operations.push({ kind: 'delete', key: layout.record(oldest), end: null });
  return operations;
}

/** What the values and keys of operations come to on the wire, about. */
export function bytesOf(operations: readonly EtcdOperation[]): number {
  let bytes = 0;
  for (const operation of operations) {
    bytes += operation.key.length + 32;
    if (operation.kind === 'put') bytes += operation.value.length;
  }
  return bytes;
}

/** The changes that events below the root come to, one for each revision of the cluster. */
export interface ReadEvents {
  readonly changes: readonly { readonly head: Head; readonly agreed: AgreedChange }[];
  /** Somebody else wrote here: these revisions do not touch the head. */
  readonly foreign: readonly EtcdRevision[];
  /** A change that cannot be understood, at this revision; none after it are read. */
  readonly unreadable: EtcdRevision | null;
}

export function readEvents(layout: Layout, events: readonly EtcdEvent[]): ReadEvents {
  const groups = Map.groupBy(events, revisionOf);
  const changes: { head: Head; agreed: AgreedChange }[] = [];
  const foreign: EtcdRevision[] = [];
  for (const [at, group] of groups) {
    const read = readGroup(layout, at, group);
    if (read === null) return { changes, foreign, unreadable: at };
    if (read === 'foreign') foreign.push(at);
    else changes.push(read);
  }
  return { changes, foreign, unreadable: null };
}

function revisionOf(event: EtcdEvent): EtcdRevision {
  return event.kind === 'put' ? event.item.modRevision : event.modRevision;
}

function readGroup(layout: Layout, at: EtcdRevision, group: readonly EtcdEvent[]) {
  const values = new Map<string, Uint8Array | null>();
  for (const event of group) {
    if (event.kind === 'put') values.set(event.item.key, event.item.value);
    else values.set(event.key, null);
  }
  const headBytes = values.get(layout.head);
  if (headBytes === undefined) return 'foreign';
  const head = headBytes === null ? null : decodeHead(headBytes);
  if (head === null) return null;
  const recordBytes = values.get(layout.record(head.revision)) ?? null;
  const marked = recordBytes === null ? null : decodeRecord(recordBytes);
  if (marked === null || marked.record.revision !== head.revision) return null;
  const events: ControlEvent[] = [];
  for (const { kind, key } of marked.record.changes) {
    const value = values.get(layout.key(key));
    const item = value === undefined || value === null ? null : decodeItem(value);
    if (kind === 'delete') events.push({ kind, key });
    else if (item !== null && item.key === key) events.push({ kind, item });
    else return null;
  }
  const { revision } = head;
  const { record, mark } = marked;
  return { head, agreed: { at, change: { revision, events }, record, mark } };
}

/** A whole state as it is listed; text: it is none, and why. */
export function readList(layout: Layout, items: readonly EtcdItem[]): WholeState | string {
  const state = new ControlState();
  const headItem = items.find(({ key }) => key === layout.head);
  const head = headItem === undefined ? null : decodeHead(headItem.value);
  if (headItem === undefined || head === null) return 'its head cannot be read';
  state.revision = head.revision;
  state.compactedTo = head.revision;
  state.appliedIndex = headItem.modRevision;
  let last: Revision | null = null;
  let mark = '';
  for (const { key, value } of items) {
    if (key.startsWith(layout.keys)) {
      const item = decodeItem(value);
      if (item === null || layout.key(item.key) !== key || !isSound(item, head)) {
        return `the value of ${key} cannot be read`;
      }
      state.put(item);
    } else if (key.startsWith(layout.audit)) {
      const marked = decodeRecord(value);
      const record = marked?.record ?? null;
      if (marked === null || record === null || (last !== null && record.revision !== last + 1)) {
        return `the record ${key} cannot be read`;
      }
      last = record.revision;
      mark = marked.mark;
      state.keepRecord(record);
    }
  }
  if (head.revision > 0 && last !== head.revision)
    return 'the record of the last change is missing';
  return { lineage: head.lineage, mark, state };
}

function isSound(item: KeyValue, head: Head): boolean {
  return item.modRevision <= head.revision && item.version >= 1;
}
