/** Bytes: what is written is read back, and nothing else is taken. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { decodeControl, encodeControl } from './codec.ts';
import { decodeMessage, encodeMessage } from './messageCodec.ts';
import { decodePersist, encodePersist } from './persistCodec.ts';
import { compareKeys } from './state.ts';
import { REFUSALS, type Body, type Control, type Message, type Persist } from './types.ts';

const number = fc.integer({ min: 1, max: 2 ** 40 });
const EPOCH = 3;
const ballot = fc.record({ epoch: fc.constant(EPOCH), counter: number, proposer: number });
const key = fc.record({ bucket: number, name: fc.string({ minLength: 1, maxLength: 20 }) });
const absent = fc.constant({ version: 0, value: new Uint8Array(0), recent: [] });
const made = fc
  .record({
    version: fc.integer({ min: 1, max: 30 }),
    value: fc.uint8Array({ maxLength: 40 }),
    ids: fc.array(fc.stringMatching(/^[a-z]{1,8}$/), { minLength: 8, maxLength: 8 }),
  })
  .map(({ version, value, ids }) => {
    const recent = ids.slice(0, Math.min(version, CASPAXOS_LIMITS.recentMax));
    return { version, value, recent };
  });
const register = fc.oneof(absent, made);
const next = ballot.map((one) => ({ ...one, counter: one.counter + 2 ** 41 }));

const body: fc.Arbitrary<Body> = fc
  .oneof(
    fc.record({ kind: fc.constantFrom('prepare', 'accepted', 'query'), key, ballot }),
    fc.record({
      kind: fc.constantFrom('promise', 'state'),
      key,
      ballot,
      accepted: ballot,
      register,
    }),
    fc.record({ kind: fc.constant('accept' as const), key, ballot, register, next }),
    fc.record({
      kind: fc.constant('prepare' as const),
      key,
      ballot,
      isCarried: fc.constant(true as const),
    }),
    fc.record({
      kind: fc.constant('accept' as const),
      key,
      ballot,
      register,
      next,
      isCarried: fc.constant(true as const),
    }),
    fc.record({
      kind: fc.constant('refused' as const),
      key,
      ballot,
      reason: fc.constantFrom(...REFUSALS),
      promised: fc.oneof(ballot, fc.constant({ epoch: 0, counter: 0, proposer: 0 })),
    }),
    fc.record({ kind: fc.constant('scan' as const), ballot, after: fc.option(key) }),
    fc.record({
      kind: fc.constant('page' as const),
      ballot,
      keys: fc.uniqueArray(key, {
        maxLength: 10,
        selector: (one) => `${one.bucket}/${one.name}`,
      }),
      isLast: fc.boolean(),
    }),
  )
  .map((one) =>
    one.kind === 'page' ? { ...one, keys: [...one.keys].sort(compareKeys) } : one,
  ) as fc.Arbitrary<Body>;

const message: fc.Arbitrary<Message> = fc
  .tuple(
    fc.record({ from: number, to: number, incarnation: number, epoch: fc.constant(EPOCH) }),
    body,
  )
  .map(([head, one]) => ({ cluster: 'c', ...head, ...one }));

const control: Control = {
  index: 7,
  epoch: 2,
  acceptors: [
    { id: 1, incarnation: 10 },
    { id: 2, incarnation: 20 },
    { id: 3, incarnation: 30 },
  ],
  acceptorsNext: [
    { id: 2, incarnation: 20 },
    { id: 4, incarnation: 40 },
  ],
  floor: 3,
  closed: [5, 8],
  openTo: 9,
};

const slot = fc.record({
  key,
  promised: next,
  accepted: fc.option(fc.record({ ballot, register })),
});
const persist: fc.Arbitrary<Persist> = fc.record({
  seq: number,
  epoch: fc.integer({ min: 2, max: 100 }),
  control: fc.option(fc.constant(control)),
  slots: fc.array(slot, { maxLength: 5 }),
});

test('messages are read back as they were written', () => {
  fc.assert(
    fc.property(message, (one) => {
      assert.deepEqual(decodeMessage(encodeMessage(one)), structuredClone(one));
    }),
  );
});

test('persists are read back as they were written', () => {
  fc.assert(
    fc.property(persist, (one) => {
      assert.deepEqual(decodePersist(encodePersist(one)), structuredClone(one));
    }),
  );
});

test('a control state is read back; a malformed one is refused', () => {
  assert.deepEqual(decodeControl(encodeControl(control)), control);
  const bad: readonly Partial<Control>[] = [
    { epoch: 0 },
    { acceptors: [] },
    { acceptors: [...control.acceptors].reverse() },
    { closed: [8, 5] },
    { closed: [4] },
    { openTo: 7 },
  ];
  for (const change of bad) {
    assert.equal(decodeControl(encodeControl({ ...control, ...change })), null);
  }
});

test('cut, longer or changed bytes are refused or read as another whole value, never thrown at', () => {
  fc.assert(
    fc.property(message, fc.nat(), fc.integer({ min: 1, max: 255 }), (one, place, flip) => {
      const bytes = encodeMessage(one);
      assert.equal(decodeMessage(bytes.subarray(0, place % bytes.length)), null);
      assert.equal(decodeMessage(Uint8Array.of(...bytes, 0)), null);
      const at = place % bytes.length;
      bytes[at] = (bytes[at] ?? 0) ^ flip;
      const other = decodeMessage(bytes);
      if (other !== null) assert.deepEqual(encodeMessage(other), bytes);
    }),
  );
});

test('a changed persist is refused or read as another whole value', () => {
  fc.assert(
    fc.property(persist, fc.nat(), fc.integer({ min: 1, max: 255 }), (one, place, flip) => {
      const bytes = encodePersist(one);
      assert.equal(decodePersist(bytes.subarray(0, place % bytes.length)), null);
      const at = place % bytes.length;
      bytes[at] = (bytes[at] ?? 0) ^ flip;
      const other = decodePersist(bytes);
      if (other !== null) assert.deepEqual(encodePersist(other), bytes);
    }),
  );
});

test('what the core asserts of a message is checked before it comes in', () => {
  const head = { cluster: 'c', from: 1, to: 2, incarnation: 3, epoch: 1 };
  const one = { epoch: 1, counter: 1, proposer: 1 };
  const zero = { epoch: 0, counter: 0, proposer: 0 };
  const at = { bucket: 1, name: 'k' };
  const absentRegister = { version: 0, value: new Uint8Array(0), recent: [] };
  const bad: readonly Body[] = [
    { kind: 'prepare', key: at, ballot: zero },
    { kind: 'prepare', key: at, ballot: { ...one, epoch: 2 } },
    { kind: 'prepare', key: { bucket: 1, name: '' }, ballot: one },
    { kind: 'accept', key: at, ballot: one, register: absentRegister, next: one },
    {
      kind: 'promise',
      key: at,
      ballot: one,
      accepted: zero,
      register: { version: 1, value: new Uint8Array(0), recent: ['a'] },
    },
    {
      kind: 'state',
      key: at,
      ballot: one,
      accepted: one,
      register: { version: 2, value: new Uint8Array(0), recent: ['a'] },
    },
    { kind: 'page', ballot: one, keys: [at, at], isLast: true },
  ];
  for (const each of bad) assert.equal(decodeMessage(encodeMessage({ ...head, ...each })), null);
});
