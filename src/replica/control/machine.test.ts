import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssertionError } from '../../base/assert.ts';
import { decodeUtf8 } from '../../base/bytes.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ByteWriter } from '../../base/byteCodec.ts';
import {
  createSessionMachine,
  decodeSessionReply,
  encodeSessionCommand,
} from '../../raft/sessions.ts';
import { checkCommand } from './check.ts';
import { decodeReply, encodeCommand, encodeReply } from './codec.ts';
import { AUDIT, driverOf, put, transaction } from './controlTestkit.ts';
import { ControlMachine } from './machine.ts';
import { writeItem, writeRecord } from './parts.ts';
import type { ControlCommand, ControlError, Operation } from './types.ts';

const LONG = 'x'.repeat(CONTROL_LIMITS.valueBytesMax);

test('R-26: a transaction that is refused for its last operation leaves no trace of its first', () => {
  const machine = new ControlMachine();
  const drive = driverOf(machine);
  drive(transaction([put('/a', '1', 'number')]));
  const twin = new ControlMachine();
  assert.equal(twin.restore(machine.snapshot()), true);
  const reply = drive(transaction([put('/b', '1'), put('/a', '2', 'text')]));
  assert.deepEqual(reply, { kind: 'refused', error: 'type-changed' });
  // The twin sees an entry of the same place that cannot even be read.
  twin.apply(2, 20, new Uint8Array(0));
  assert.equal(machine.hash(), twin.hash());
  assert.deepEqual(machine.snapshot(), twin.snapshot());
});

test('R-26: place and data are one: an entry that a snapshot holds is not applied again', () => {
  const machine = new ControlMachine();
  const bytes = encodeCommand(transaction([put('/a', '1')]));
  machine.apply(7, 0, bytes);
  const restarted = new ControlMachine();
  assert.equal(restarted.restore(machine.snapshot()), true);
  assert.throws(() => restarted.apply(7, 0, bytes), AssertionError);
  assert.equal(restarted.get('/a')?.version, 1);
});

test('a command is refused for the same reason before it is proposed and when it is applied', () => {
  const many = Array.from({ length: CONTROL_LIMITS.operationsMax + 1 }, (_, at): Operation => {
    return { kind: 'delete', key: `/${at}` };
  });
  const compares = Array.from({ length: CONTROL_LIMITS.comparesMax + 1 }, () => {
    return { kind: 'absent' as const, key: '/a' };
  });
  const range = (keysMax: number, prefix = '/', after = ''): Operation => {
    return { kind: 'range', prefix, after, keysMax };
  };
  const audit = (change: Partial<typeof AUDIT | Record<string, string>>): ControlCommand => {
    return { ...transaction([put('/a', '1')]), audit: { ...AUDIT, ...change } } as ControlCommand;
  };
  const cases: readonly (readonly [ControlError, ControlCommand])[] = [
    ['malformed-key', transaction([put('', '1')])],
    ['malformed-key', transaction([put('/a b', '1')])],
    ['malformed-key', transaction([put('/\u{e9}', '1')])],
    ['malformed-key', transaction([put('/'.repeat(CONTROL_LIMITS.keyCharsMax + 1), '1')])],
    ['malformed-key', transaction([range(1, ' ')])],
    ['malformed-key', transaction([range(1, '', '\n')])],
    ['malformed-key', transaction([], [{ kind: 'absent', key: '' }])],
    ['malformed-type', transaction([put('/a', '1', '')])],
    ['malformed-type', transaction([put('/a', '1', 'x'.repeat(CONTROL_LIMITS.typeCharsMax + 1))])],
    ['value-too-long', transaction([put('/a', `${LONG}x`)])],
    ['too-many-operations', transaction(many)],
    ['too-many-operations', transaction([], [], many)],
    ['too-many-operations', transaction([], compares)],
    ['too-many-operations', transaction([range(0)])],
    ['too-many-operations', transaction([range(CONTROL_LIMITS.rangeKeysMax + 1)])],
    ['duplicate-key', transaction([put('/a', '1'), { kind: 'delete', key: '/a' }])],
    ['duplicate-key', transaction([], [], [put('/a', '1'), put('/a', '2')])],
    ['malformed-audit', audit({ who: '' })],
    ['malformed-audit', audit({ from: '' })],
    ['malformed-audit', audit({ what: '' })],
    ['malformed-audit', audit({ why: 'x'.repeat(CONTROL_LIMITS.auditCharsMax + 1) })],
  ];
  for (const [error, command] of cases) {
    assert.equal(checkCommand(command), error);
    assert.deepEqual(driverOf(new ControlMachine())(command), { kind: 'refused', error });
  }
  assert.equal(checkCommand(audit({ why: '' })), null, 'a change needs no reason');
});

test('a state at its limit of bytes takes no more, and still takes less', () => {
  const machine = new ControlMachine();
  const drive = driverOf(machine);
  const room = Math.floor(CONTROL_LIMITS.stateBytesMax / (LONG.length + 100));
  for (let at = 0; at < room; at += 1) drive(transaction([put(`/${at}`, LONG)]));
  const full = { kind: 'refused', error: 'state-too-large' };
  let refused = 0;
  for (let at = 0; at < 3; at += 1) {
    if (drive(transaction([put(`/more-${at}`, LONG)])).kind === 'refused') refused += 1;
  }
  assert.ok(refused >= 1);
  assert.deepEqual(drive(transaction([put('/more', LONG)])), full);
  assert.equal(drive(transaction([put('/0', 'short')])).kind, 'done');
  assert.equal(drive(transaction([{ kind: 'delete', key: '/1' }])).kind, 'done');
  assert.equal(drive(transaction([put('/more', LONG)])).kind, 'done');
  // Its watchers' history is limited too: it has long lost the first revisions.
  assert.ok(machine.compactedTo > 0 && machine.compactedTo < machine.revision);
  assert.equal(new ControlMachine().restore(machine.snapshot()), true);
});

test('history and audit records go by count, the oldest first, and what is left is whole', () => {
  const machine = new ControlMachine();
  const drive = driverOf(machine);
  const count = CONTROL_LIMITS.historyRevisionsMax + 1;
  for (let at = 0; at < count; at += 1) drive(transaction([put('/a', '1')]));
  assert.equal(machine.revision, count);
  assert.equal(machine.compactedTo, Math.ceil(count / 2));
  assert.equal(machine.changeAt(machine.compactedTo + 1).revision, machine.compactedTo + 1);
  const [first] = machine.audit(1, 1);
  assert.equal(first?.revision, machine.compactedTo + 1);
  assert.equal(machine.audit(count, 5).length, 1);
  const twin = new ControlMachine();
  assert.equal(twin.restore(machine.snapshot()), true);
  assert.equal(twin.hash(), machine.hash());
});

test('ranges of one transaction stop at their limit of bytes and say where to go on', () => {
  const drive = driverOf(new ControlMachine());
  const value = 'x'.repeat(20_000);
  drive(transaction([put('/a', value), put('/b', value), put('/c', value)]));
  const range: Operation = { kind: 'range', prefix: '/', after: '', keysMax: 10 };
  const reply = drive(transaction([range, { ...range, after: '/a' }, range]));
  assert.ok(reply.kind === 'done');
  const pages = reply.results.map((result) => {
    return result.kind === 'range' ? [result.items.map(({ key }) => key), result.next] : [];
  });
  assert.deepEqual(pages, [
    [['/a', '/b'], '/b'],
    [['/b'], '/b'],
    [[], ''],
  ]);
  assert.ok(encodeReply(reply).length < 64 * 1024);
});

test('a value does not change with the bytes that brought it', () => {
  const machine = new ControlMachine();
  const bytes = encodeCommand(transaction([put('/a', 'abc')]));
  machine.apply(1, 0, bytes);
  bytes.fill(0);
  assert.equal(decodeUtf8(machine.get('/a')?.value ?? bytes), 'abc');
});

test('a snapshot whose parts are all there but not in order is refused', () => {
  const machine = new ControlMachine();
  const drive = driverOf(machine);
  drive(transaction([put('/a', '1')]));
  drive(transaction([put('/b', '1')]));
  const snapshot = machine.snapshot();
  const parts = [
    ['/a', '/b'].map((key) => {
      const item = machine.get(key);
      assert.ok(item !== null);
      return written((writer) => writeItem(writer, item));
    }),
    machine.audit(1, 2).map((record) => written((writer) => writeRecord(writer, record))),
  ];
  for (const [first, second] of parts) {
    assert.ok(first !== undefined && second !== undefined);
    const at = Buffer.from(snapshot).indexOf(Buffer.concat([first, second]));
    assert.ok(at > 0);
    const swapped = snapshot.slice();
    swapped.set(second, at);
    swapped.set(first, at + second.length);
    assert.equal(new ControlMachine().restore(swapped), false);
  }
  assert.equal(new ControlMachine().restore(snapshot), true);
});

function written(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  write(writer);
  return writer.finish();
}

test('behind client sessions a call that comes twice changes the state once', () => {
  const machine = new ControlMachine();
  const sessions = createSessionMachine(machine);
  const opened = decodeSessionReply(sessions.apply(1, 0, encodeSessionCommand({ kind: 'open' })));
  assert.ok(opened?.kind === 'opened');
  const call = encodeSessionCommand({
    kind: 'call',
    session: opened.session,
    seq: 1,
    firstUnacked: 1,
    payload: encodeCommand(transaction([put('/a', '1')])),
  });
  const replies = [sessions.apply(2, 10, call), sessions.apply(3, 20, call)].map((bytes) => {
    const reply = decodeSessionReply(bytes);
    return reply?.kind === 'done' ? decodeReply(reply.payload) : null;
  });
  assert.deepEqual(replies[0], replies[1]);
  assert.equal(machine.get('/a')?.version, 1);
  assert.equal(machine.revision, 1);
});
