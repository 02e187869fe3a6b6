/**
 * The state machine of simulated groups: a small key-value store behind client sessions, in the form
 * that the host drives. It tells the world what it applied, and chains a checksum over all of it, so
 * that two replicas can be compared at any index.
 */

import { crc32c } from '../base/crc32c.ts';
import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import {
  createSessionMachine,
  decodeSessionCommand,
  type SessionLimits,
  type StateMachine,
} from '../raft/sessions.ts';
import type { GroupMachine } from '../replica/group/types.ts';
import type { KvInput, KvOutput } from './checkers/kvModel.ts';

/** What a replica's machine tells the world. */
export interface MachineEvents {
  /** A command entry was applied; `chain` stands for everything up to it. */
  applied(index: number, chain: number): void;
  /** The store itself ran the call: not a copy, not refused by its session. */
  executed(index: number, call: number): void;
  restored(index: number, chain: number): void;
}

/** What a machine has on its own disk. */
export interface MachineStore {
  index: number;
  bytes: Uint8Array;
}

/** Calls remembered in the state, so that snapshots have some size. */
const RECENT_CALLS = 48;
/** A machine that has a disk writes to it when so many entries are new. */
const SETTLE_ENTRIES = 7;
const KINDS = [
  'get',
  'put',
  'append',
  'delete',
  'cas',
] as const satisfies readonly KvInput['kind'][];
const OUTPUTS = ['value', 'done', 'swapped'] as const satisfies readonly KvOutput['kind'][];
const BYTES_MAX = 32_768;

export class SimMachine implements GroupMachine {
  private readonly events: MachineEvents;
  /** Null: it keeps nothing of its own. */
  private readonly store: MachineStore | null;
  private readonly sessions: StateMachine;
  private readonly values: Store;
  /** The last entry that it applied, of whatever kind. */
  appliedTo = 0;
  private chain = 0;
  private wasRestored = false;

  constructor(events: MachineEvents, limits: SessionLimits, store: MachineStore | null) {
    this.events = events;
    this.store = store;
    this.values = new Store(events);
    this.sessions = createSessionMachine(this.values, limits);
    if (store === null || store.index === 0) return;
    this.load(store.bytes);
    this.appliedTo = store.index;
  }

  apply(index: number, timeMs: number, data: Uint8Array): Uint8Array {
    const reply = this.sessions.apply(index, timeMs, data);
    this.chain = crc32c(reply, crc32c(data, this.chain ^ index));
    this.events.applied(index, this.chain);
    return reply;
  }

  snapshot(): Uint8Array {
    return new ByteWriter().u32(this.chain).blob(this.sessions.snapshot()).finish();
  }

  restore(data: Uint8Array): boolean {
    this.wasRestored = true;
    return this.load(data);
  }

  hash(): number {
    return crc32c(this.snapshot());
  }

  durableIndex(): number {
    return this.store?.index ?? 0;
  }

  settle(index: number): void {
    this.appliedTo = index;
    if (this.wasRestored) this.events.restored(index, this.chain);
    this.wasRestored = false;
    if (this.store === null || index < this.store.index + SETTLE_ENTRIES) return;
    this.store.index = index;
    this.store.bytes = this.snapshot();
  }

  /** What a key holds now. */
  get(key: string): string | null {
    return this.values.get(key);
  }

  private load(data: Uint8Array): boolean {
    const reader = new ByteReader(data);
    this.chain = reader.u32();
    const rest = reader.blob(1 << 20);
    return reader.isDone() && this.sessions.restore(rest);
  }
}

/** The store behind the sessions. */
class Store implements StateMachine {
  private readonly events: MachineEvents;
  private values = new Map<string, string>();
  private recent: number[] = [];

  constructor(events: MachineEvents) {
    this.events = events;
  }

  get(key: string): string | null {
    return this.values.get(key) ?? null;
  }

  apply(index: number, _timeMs: number, payload: Uint8Array): Uint8Array {
    const call = decodeCall(payload);
    if (call === null) return new Uint8Array(0);
    this.recent.push(call.number);
    if (this.recent.length > RECENT_CALLS) this.recent.shift();
    this.events.executed(index, call.number);
    return encodeOutput(this.run(call.input));
  }

  snapshot(): Uint8Array {
    const writer = new ByteWriter();
    const keys = [...this.values.keys()].toSorted();
    writer.list(keys, (key) => writer.text(key).text(this.values.get(key) ?? ''));
    return writer.list(this.recent, (call) => writer.u32(call)).finish();
  }

  restore(data: Uint8Array): boolean {
    const reader = new ByteReader(data);
    const pairs = reader.list(BYTES_MAX, (): [string, string] => [
      reader.text(BYTES_MAX),
      reader.text(BYTES_MAX),
    ]);
    this.values = new Map(pairs);
    this.recent = [...reader.list(RECENT_CALLS, () => reader.u32())];
    return reader.isDone();
  }

  private run(input: KvInput): KvOutput {
    const { values } = this;
    const value = values.get(input.key) ?? null;
    switch (input.kind) {
      case 'get':
        return { kind: 'value', value };
      case 'put':
        values.set(input.key, input.value);
        return { kind: 'done' };
      case 'append':
        values.set(input.key, (value ?? '') + input.value);
        return { kind: 'done' };
      case 'delete':
        values.delete(input.key);
        return { kind: 'done' };
      case 'cas': {
        const isSwapped = value === input.expected;
        if (isSwapped) values.set(input.key, input.value);
        return { kind: 'swapped', isSwapped };
      }
    }
  }
}

export function encodeCall(number: number, attempt: number, input: KvInput): Uint8Array {
  const writer = new ByteWriter()
    .u32(attempt)
    .u32(number)
    .u8(KINDS.indexOf(input.kind))
    .text(input.key);
  if ('value' in input) writer.text(input.value);
  if (input.kind === 'cas') {
    writer.bool(input.expected !== null).text(input.expected ?? '');
  }
  return writer.finish();
}

function decodeCall(
  bytes: Uint8Array,
): { readonly number: number; readonly input: KvInput } | null {
  const reader = new ByteReader(bytes);
  reader.u32();
  const number = reader.u32();
  const kind = KINDS[reader.u8()];
  const key = reader.text(BYTES_MAX);
  if (kind === undefined) return null;
  const input = readInput(reader, kind, key);
  return reader.isDone() ? { number, input } : null;
}

function readInput(reader: ByteReader, kind: KvInput['kind'], key: string): KvInput {
  if (kind === 'get' || kind === 'delete') return { kind, key };
  const value = reader.text(BYTES_MAX);
  if (kind !== 'cas') return { kind, key, value };
  const hasExpected = reader.bool();
  const expected = reader.text(BYTES_MAX);
  return { kind, key, value, expected: hasExpected ? expected : null };
}

/** The number of the attempt in a session command; null where it is no call. */
export function attemptOf(data: Uint8Array): number | null {
  const command = decodeSessionCommand(data);
  return command?.kind === 'call' ? new ByteReader(command.payload).u32() : null;
}

function encodeOutput(output: KvOutput): Uint8Array {
  const writer = new ByteWriter().u8(OUTPUTS.indexOf(output.kind));
  if (output.kind === 'value') writer.bool(output.value !== null).text(output.value ?? '');
  if (output.kind === 'swapped') writer.bool(output.isSwapped);
  return writer.finish();
}

/** What the store answered, or null where the bytes are no answer. */
export function decodeOutput(bytes: Uint8Array): KvOutput | null {
  const reader = new ByteReader(bytes);
  const kind = OUTPUTS[reader.u8()];
  if (kind === 'done') return { kind };
  if (kind === 'swapped') return { kind, isSwapped: reader.bool() };
  if (kind !== 'value') return null;
  const hasValue = reader.bool();
  const value = reader.text(BYTES_MAX);
  return { kind, value: hasValue ? value : null };
}
