/**
 * What every key-value machine does, wherever it keeps its pairs: one suite for all of them. Replies
 * are compared with a model that is a plain map.
 */

import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { KV_LIMITS } from '../../base/groupLimits.ts';
import { createPrng, type Prng } from '../../base/prng.ts';
import { decodeSessionReply, encodeSessionCommand } from '../../raft/sessions.ts';
import type { GroupMachine } from '../group/types.ts';
import { decodeKvReply, encodeKvCommand, type KvCommand, type KvReply } from './codec.ts';
import type { KvMachine } from './machine.ts';

export interface MachineUnderTest {
  readonly machine: GroupMachine;
  readonly kv: KvMachine;
}

/** One claim of the suite; `run` returns what is wrong, or null. */
export interface MachineClaim {
  readonly name: string;
  readonly run: (make: () => MachineUnderTest) => string | null;
}

const SEEDS = 20;
const COMMANDS = 200;
/** Order by UTF-16 differs from that by bytes for the last two. */
const KEYS = ['a', 'b', 'a\u0000b', 'ä', '', '\uff5e', '\u{1f332}'];

/** Applies one command in no session, and settles it. */
export function applyCommand(
  { machine }: MachineUnderTest,
  index: number,
  command: KvCommand,
): KvReply | null {
  const payload = encodeKvCommand(command);
  const said = machine.apply(index, 0, encodeSessionCommand({ kind: 'plain', payload }));
  machine.settle(index);
  const reply = decodeSessionReply(said);
  return reply?.kind === 'done' ? decodeKvReply(reply.payload) : null;
}

export function randomCommand(prng: Prng, index: number): KvCommand {
  const key = KEYS[prng.nextBelow(KEYS.length)] ?? 'a';
  const value = encodeUtf8('x'.repeat(prng.nextBelow(4)) + (index % 3 === 0 ? '' : `${index}`));
  switch (prng.nextBelow(6)) {
    case 0:
      return { kind: 'get', key };
    case 1:
      return { kind: 'delete', key };
    case 2:
      return { kind: 'append', key, value };
    case 3:
      return { kind: 'cas', key, version: prng.nextBelow(index), value };
    case 4:
      return { kind: 'cas', key, version: 0, value };
    default:
      return { kind: 'put', key, value };
  }
}

/** What a plain map says. */
class Model {
  readonly pairs = new Map<string, { readonly version: number; readonly text: string }>();

  apply(index: number, command: KvCommand): string {
    const { key } = command;
    if (key === '') return 'tooLarge';
    const before = this.pairs.get(key);
    const write = (text: string): string => {
      this.pairs.set(key, { version: index, text });
      return `stored ${index}`;
    };
    switch (command.kind) {
      case 'get':
        return before === undefined ? 'missing' : `value ${before.version} ${before.text}`;
      case 'put':
        return write(decodeUtf8(command.value));
      case 'append':
        return write((before?.text ?? '') + decodeUtf8(command.value));
      case 'cas': {
        const version = before?.version ?? 0;
        if (version !== command.version) return `conflict ${version}`;
        return write(decodeUtf8(command.value));
      }
      case 'delete':
        return this.pairs.delete(key) ? 'deleted' : 'missing';
      default:
        return command satisfies never;
    }
  }
}

function shown(reply: KvReply | null): string {
  if (reply === null) return 'none';
  const version = 'version' in reply ? ` ${reply.version}` : '';
  return reply.kind + version + (reply.kind === 'value' ? ` ${decodeUtf8(reply.value)}` : '');
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

function compare(one: MachineUnderTest, other: MachineUnderTest): string | null {
  if (one.machine.hash() !== other.machine.hash()) return 'hashes differ';
  return isSame(one.machine.snapshot(), other.machine.snapshot()) ? null : 'snapshots differ';
}

export const MACHINE_CLAIMS: readonly MachineClaim[] = [
  {
    name: 'says what a plain map says, and holds what it holds',
    run(make) {
      for (let seed = 1; seed <= SEEDS; seed += 1) {
        const prng = createPrng(seed);
        const own = make();
        const model = new Model();
        for (let index = 1; index <= COMMANDS; index += 1) {
          const command = randomCommand(prng, index);
          const said = shown(applyCommand(own, index, command));
          const expected = model.apply(index, command);
          if (said !== expected) return `seed ${seed}, ${index}: ${said}, not ${expected}`;
        }
        for (const key of KEYS) {
          const pair = own.kv.get(key);
          const held = pair === null ? null : `${pair.version} ${decodeUtf8(pair.value)}`;
          const kept = model.pairs.get(key);
          if (held !== (kept === undefined ? null : `${kept.version} ${kept.text}`)) return key;
        }
      }
      return null;
    },
  },
  {
    name: 'equal commands give equal hashes and snapshots, and a snapshot gives the state back',
    run(make) {
      const [one, other, restored] = [make(), make(), make()];
      for (const own of [one, other]) {
        const prng = createPrng(7);
        for (let index = 1; index <= COMMANDS; index += 1) {
          applyCommand(own, index, randomCommand(prng, index));
        }
      }
      applyCommand(restored, 1, { kind: 'put', key: 'other', value: new Uint8Array(3) });
      if (!restored.machine.restore(one.machine.snapshot())) return 'the snapshot is not taken';
      restored.machine.settle(COMMANDS);
      return compare(one, other) ?? compare(one, restored);
    },
  },
  {
    name: 'two keys that swap their values have another hash',
    run(make) {
      const [one, other] = [make(), make()];
      const [x, y] = [encodeUtf8('value x'), encodeUtf8('value y')];
      const put = (own: MachineUnderTest, index: number, key: string, value: Uint8Array) =>
        applyCommand(own, index, { kind: 'put', key, value });
      put(one, 1, 'a', x);
      put(one, 2, 'b', y);
      put(other, 1, 'a', y);
      put(other, 2, 'b', x);
      return one.machine.hash() === other.machine.hash() ? 'the same hash' : null;
    },
  },
  {
    name: 'keys and values over their limits change nothing',
    run(make) {
      const own = make();
      const before = own.machine.hash();
      const big = new Uint8Array(KV_LIMITS.valueBytesMax + 1);
      const long = 'k'.repeat(KV_LIMITS.keyBytesMax + 1);
      const wide = 'ä'.repeat(KV_LIMITS.keyBytesMax / 2 + 1);
      const refused = [
        applyCommand(own, 1, { kind: 'put', key: 'a', value: big }),
        applyCommand(own, 2, { kind: 'put', key: long, value: new Uint8Array(1) }),
        applyCommand(own, 3, { kind: 'put', key: wide, value: new Uint8Array(1) }),
      ];
      if (refused.some((reply) => reply?.kind !== 'tooLarge')) return 'one was taken';
      if (own.machine.hash() !== before) return 'the state changed';
      const most = big.subarray(1);
      if (applyCommand(own, 4, { kind: 'put', key: 'a', value: most })?.kind !== 'stored') {
        return 'the longest value is refused';
      }
      const more = { kind: 'append', key: 'a', value: new Uint8Array(1) } as const;
      return applyCommand(own, 5, more)?.kind === 'tooLarge' ? null : 'it grew over its limit';
    },
  },
  {
    name: 'bytes that are no command, or no snapshot, are refused',
    run(make) {
      const own = make();
      const said = own.machine.apply(1, 0, Uint8Array.of(200, 1, 2));
      own.machine.settle(1);
      if (decodeSessionReply(said)?.kind !== 'malformed') return 'a wild command ran';
      const payload = Uint8Array.of(9, 9);
      const inner = own.machine.apply(2, 0, encodeSessionCommand({ kind: 'plain', payload }));
      const reply = decodeSessionReply(inner);
      const kv = reply?.kind === 'done' ? decodeKvReply(reply.payload) : null;
      if (kv?.kind !== 'malformed') return 'a wild payload ran';
      own.machine.settle(2);
      return own.machine.restore(Uint8Array.of(1, 2, 3)) ? 'a wild snapshot was taken' : null;
    },
  },
  {
    name: 'a call of a session runs once, also behind a snapshot',
    run(make) {
      const [one, other] = [make(), make()];
      one.machine.apply(1, 0, encodeSessionCommand({ kind: 'open' }));
      const payload = encodeKvCommand({ kind: 'append', key: 'a', value: encodeUtf8('x') });
      const call = encodeSessionCommand({
        kind: 'call',
        session: 1,
        seq: 1,
        firstUnacked: 1,
        payload,
      });
      one.machine.apply(2, 5, call);
      one.machine.apply(3, 6, call);
      one.machine.settle(3);
      other.machine.restore(one.machine.snapshot());
      other.machine.settle(3);
      one.machine.apply(4, 7, call);
      other.machine.apply(4, 7, call);
      one.machine.settle(4);
      other.machine.settle(4);
      const held = one.kv.get('a')?.value ?? new Uint8Array(0);
      return decodeUtf8(held) === 'x' ? compare(one, other) : `it holds ${decodeUtf8(held)}`;
    },
  },
];
