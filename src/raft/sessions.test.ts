import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createSessionMachine,
  decodeSessionCommand,
  decodeSessionReply,
  encodeSessionCommand,
  type SessionCommand,
  type SessionReply,
  type StateMachine,
} from './sessions.ts';
import { createListMachine } from './testkit.ts';

const LIMITS = {
  sessionsMax: 2,
  sessionIdleMs: 1_000,
  sessionCallsMax: 4,
  sessionReplyBytesMax: 8,
};

function begin(machine: StateMachine): (command: SessionCommand, timeMs?: number) => SessionReply {
  let index = 0;
  return (command, timeMs = 0) => {
    index += 1;
    const reply = decodeSessionReply(machine.apply(index, timeMs, encodeSessionCommand(command)));
    assert.ok(reply !== null);
    return reply;
  };
}

function call(session: number, seq: number, firstUnacked = 1, byte = seq): SessionCommand {
  return { kind: 'call', session, seq, firstUnacked, payload: Uint8Array.of(byte) };
}

test('U1: a call that comes again is answered and not run', () => {
  const inner = createListMachine();
  const apply = begin(createSessionMachine(inner, LIMITS));
  assert.deepEqual(apply({ kind: 'open' }), { kind: 'opened', session: 1 });
  const first = apply(call(1, 1));
  const second = apply(call(1, 2));
  assert.deepEqual(apply(call(1, 1)), first);
  assert.deepEqual(apply(call(1, 2)), second);
  assert.deepEqual([...inner.snapshot()], [1, 2]);
});

test('U1: calls may overtake one another, each still runs once', () => {
  const inner = createListMachine();
  const apply = begin(createSessionMachine(inner, LIMITS));
  apply({ kind: 'open' });
  for (const seq of [3, 1, 3, 2, 1]) apply(call(1, seq));
  assert.deepEqual([...inner.snapshot()], [3, 1, 2]);
});

test('an acknowledged call is forgotten, never run again', () => {
  const inner = createListMachine();
  const apply = begin(createSessionMachine(inner, LIMITS));
  apply({ kind: 'open' });
  apply(call(1, 1));
  apply(call(1, 2, 2));
  assert.deepEqual(apply(call(1, 1)), { kind: 'forgotten' });
  assert.deepEqual([...inner.snapshot()], [1, 2]);
});

test('U3: calls past the window do not run; a long reply is not kept', () => {
  const inner: StateMachine = { ...createListMachine(), apply: () => new Uint8Array(9) };
  const apply = begin(createSessionMachine(inner, LIMITS));
  apply({ kind: 'open' });
  assert.deepEqual(apply(call(1, 5)), { kind: 'window' });
  assert.equal(apply(call(1, 4)).kind, 'done');
  assert.deepEqual(apply(call(1, 4)), { kind: 'tooLong' });
});

test('U2: a session ends by log time, and the longest unused goes where there are too many', () => {
  const apply = begin(createSessionMachine(createListMachine(), LIMITS));
  apply({ kind: 'open' }, 0);
  apply({ kind: 'open' }, 10);
  apply(call(1, 1), 20);
  apply({ kind: 'open' }, 30);
  assert.deepEqual(apply(call(2, 1), 40), { kind: 'expired' });
  assert.equal(apply(call(1, 2), 1_020).kind, 'done');
  assert.deepEqual(apply(call(4, 1), 1_031), { kind: 'expired' });
  assert.deepEqual(apply({ kind: 'close', session: 1 }, 1_032), { kind: 'closed' });
  assert.deepEqual(apply({ kind: 'close', session: 1 }, 1_033), { kind: 'expired' });
});

test('U2: a machine restored from a snapshot answers, forgets and expires like the first', () => {
  const first = createSessionMachine(createListMachine(), LIMITS);
  const apply = begin(first);
  apply({ kind: 'open' }, 0);
  apply({ kind: 'open' }, 10);
  apply(call(1, 1), 20);
  apply(call(2, 3), 30);
  apply(call(1, 2), 40);
  const second = createSessionMachine(createListMachine(), LIMITS);
  assert.ok(second.restore(first.snapshot()));
  assert.deepEqual(second.snapshot(), first.snapshot());
  const commands = [call(1, 1), call(2, 3), call(2, 1), { kind: 'open' } as const, call(1, 1)];
  for (const [at, command] of commands.entries()) {
    const data = encodeSessionCommand(command);
    assert.deepEqual(second.apply(90 + at, 50, data), first.apply(90 + at, 50, data));
  }
  assert.deepEqual(second.snapshot(), first.snapshot());
});

test('malformed bytes are answered as such and change nothing', () => {
  const machine = createSessionMachine(createListMachine(), LIMITS);
  const before = machine.snapshot();
  const good = encodeSessionCommand(call(1, 1));
  for (let length = 0; length < good.length; length += 1) {
    assert.equal(decodeSessionCommand(good.subarray(0, length)), null);
    const reply = decodeSessionReply(machine.apply(1, 0, good.subarray(0, length)));
    assert.deepEqual(reply, { kind: 'malformed' });
  }
  assert.equal(machine.restore(before.subarray(0, before.length - 1)), false);
  assert.equal(decodeSessionReply(Uint8Array.of(99)), null);
});
