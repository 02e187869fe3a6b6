/**
 * One transaction against the state: decided whole before anything is changed, so that a refusal
 * leaves no trace and nothing can stop half way.
 *
 * T1: all operations of one branch take effect, with one revision, or none does.
 * T2: an entry that changes nothing has no revision, no event and no audit record.
 * T3: a key keeps its type from its first put to its deletion.
 */

import { assert, unreachable } from '../../base/assert.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { sizeOf, type ControlState } from './state.ts';
import {
  keyOf,
  type AuditRecord,
  type Change,
  type Compare,
  type ControlError,
  type ControlEvent,
  type ControlReply,
  type KeyValue,
  type Operation,
  type OperationResult,
  type Transaction,
} from './types.ts';

/** What a transaction comes to in a state. `change` and `record` are null where it changes nothing. */
export interface Plan {
  readonly reply: ControlReply;
  readonly change: Change | null;
  readonly record: AuditRecord | null;
}

/** Runs it; `checkCommand` has found nothing wrong with it. `timeMs` is log time. */
export function runTransaction(
  state: ControlState,
  transaction: Transaction,
  timeMs: number,
): ControlReply {
  const { change, record, reply } = carryOut(state, transaction, timeMs, []);
  if (change !== null && record !== null) state.commit(change, record);
  return reply;
}

/** What it would come to; the state is afterwards what it was before. */
export function planTransaction(
  state: ControlState,
  transaction: Transaction,
  timeMs: number,
): Plan {
  const hash = state.hash();
  const undo: (() => void)[] = [];
  const plan = carryOut(state, transaction, timeMs, undo);
  for (const step of undo.toReversed()) step();
  assert(state.hash() === hash, 'a plan leaves no trace');
  return plan;
}

/** Changes the keys, and says what is to be committed. `undo` gets the way back. */
function carryOut(
  state: ControlState,
  transaction: Transaction,
  timeMs: number,
  undo: (() => void)[],
): Plan {
  const isSuccess = transaction.compares.every((compare) => holds(state, compare));
  const operations = isSuccess ? transaction.success : transaction.failure;
  const error = refusalOf(state, operations);
  if (error !== null) {
    return { reply: { kind: 'refused', error }, change: null, record: null };
  }
  const revision = state.revision + 1;
  const events: ControlEvent[] = [];
  const results: OperationResult[] = [];
  let roomBytes: number = CONTROL_LIMITS.rangeBytesMax;
  for (const operation of operations) {
    if (operation.kind !== 'range') undo.push(wayBack(state, operation.key));
    const result = runOperation(state, operation, revision, events, roomBytes);
    if (result.kind === 'range') {
      for (const item of result.items) roomBytes -= sizeOf(item);
    }
    results.push(result);
  }
  if (events.length === 0) {
    const reply: ControlReply = { kind: 'done', isSuccess, revision: state.revision, results };
    return { reply, change: null, record: null };
  }
  const changes = events.map((event) => ({ kind: event.kind, key: keyOf(event) }));
  return {
    reply: { kind: 'done', isSuccess, revision, results },
    change: { revision, events },
    record: { ...transaction.audit, revision, timeMs, changes },
  };
}

function wayBack(state: ControlState, key: string): () => void {
  const before = state.get(key);
  return () => {
    if (before !== null) state.put(before);
    else if (state.get(key) !== null) state.delete(key);
  };
}

function holds(state: ControlState, compare: Compare): boolean {
  const item = state.get(compare.key);
  switch (compare.kind) {
    case 'absent':
      return item === null;
    case 'value':
      return item !== null && areEqual(item.value, compare.value);
    case 'number': {
      const number = item?.[compare.field] ?? 0;
      if (compare.relation === 'equal') return number === compare.number;
      if (compare.relation === 'notEqual') return number !== compare.number;
      return compare.relation === 'less' ? number < compare.number : number > compare.number;
    }
    default:
      return unreachable(compare);
  }
}

function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

/** Each key is changed at most once, so that every operation can be judged by the state before. */
function refusalOf(state: ControlState, operations: readonly Operation[]): ControlError | null {
  let keysCount = state.keysCount;
  let { bytes } = state;
  for (const operation of operations) {
    if (operation.kind === 'range') continue;
    const before = state.get(operation.key);
    if (before !== null) bytes -= sizeOf(before);
    if (operation.kind === 'delete') {
      if (before !== null) keysCount -= 1;
      continue;
    }
    if (before === null) keysCount += 1;
    else if (before.type !== operation.type) return 'type-changed';
    bytes += sizeOf(operation);
  }
  if (keysCount > CONTROL_LIMITS.keysMax) return 'too-many-keys';
  return bytes > CONTROL_LIMITS.stateBytesMax ? 'state-too-large' : null;
}

function runOperation(
  state: ControlState,
  operation: Operation,
  revision: number,
  events: ControlEvent[],
  roomBytes: number,
): OperationResult {
  if (operation.kind === 'range') {
    // Without room for one more item there is a page without any, and where to go on.
    if (roomBytes <= 0) return { kind: 'range', items: [], next: operation.after };
    const { items, next } = state.range(operation, roomBytes);
    return { kind: 'range', items, next };
  }
  const { key } = operation;
  const before = state.get(key);
  if (operation.kind === 'delete') {
    if (before === null) return { kind: 'delete', isFound: false };
    state.delete(key);
    events.push({ kind: 'delete', key });
    return { kind: 'delete', isFound: true };
  }
  const item: KeyValue = {
    key,
    type: operation.type,
    value: operation.value,
    createRevision: before?.createRevision ?? revision,
    modRevision: revision,
    version: (before?.version ?? 0) + 1,
  };
  state.put(item);
  assert(state.get(key) === item, 'what was put is there');
  events.push({ kind: 'put', item });
  return { kind: 'put', version: item.version };
}
