import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPrng } from '../base/prng.ts';
import {
  decodeMessage,
  decodeSnapshotMeta,
  encodeMessage,
  encodeSnapshotMeta,
} from './messageCodec.ts';
import { TestCluster, testMember } from './testkit.ts';
import { entryAt, snapshotAt } from './testSolo.ts';
import type { Body, Message, MessageKind } from './types.ts';

const entries = [entryAt(6, 3), entryAt(7, 4)];
const meta = { ...snapshotAt(9, 4).meta, dataBytes: 2, checksum: 0xffff_ffff };
const data = Uint8Array.of(1, 2);

/** One of each: a new kind does not compile until it stands here. */
const BODIES: { readonly [Kind in MessageKind]: Extract<Body, { readonly kind: Kind }> } = {
  preVote: { kind: 'preVote', lastIndex: 2 ** 52, lastTerm: 3, isTransfer: false },
  vote: { kind: 'vote', lastIndex: 7, lastTerm: 3, isTransfer: true },
  preVoteReply: { kind: 'preVoteReply', isGranted: true },
  voteReply: { kind: 'voteReply', isGranted: false },
  append: { kind: 'append', prevIndex: 5, prevTerm: 3, commit: 5, entries },
  appendOk: { kind: 'appendOk', match: 7, level: 65_535 },
  appendNo: { kind: 'appendNo', prevIndex: 9, hintIndex: 7, hintTerm: 2 },
  heartbeat: { kind: 'heartbeat', commit: 5, round: 12 },
  heartbeatOk: {
    kind: 'heartbeatOk',
    round: 12,
    level: 1,
    checkpoint: { index: 5, hash: 0xdead_beef },
  },
  snapshotChunk: { kind: 'snapshotChunk', meta, offset: 0, data, checksum: 7 },
  snapshotOk: { kind: 'snapshotOk', index: 9, checksum: 0xffff_ffff, offset: 2 },
  timeoutNow: { kind: 'timeoutNow' },
  forward: { kind: 'forward', nonce: 0xffff_ffff, attempt: 1, proposals: [{ id: 4, data }] },
  forwardReply: { kind: 'forwardReply', nonce: 1, attempt: 1, firstIndex: 0, error: 'overloaded' },
  readAsk: { kind: 'readAsk', nonce: 1, attempt: 2 },
  readReply: { kind: 'readReply', nonce: 1, attempt: 2, index: 8, error: null },
  removed: { kind: 'removed', index: 8 },
};

const MESSAGES: readonly Message[] = Object.values(BODIES).map((body): Message => ({
  cluster: 'eu',
  from: 1,
  to: 2,
  incarnation: 9,
  term: 4,
  ...body,
}));

test('every kind of message keeps its value through bytes', () => {
  for (const message of MESSAGES) {
    assert.deepEqual(decodeMessage(encodeMessage(message)), message);
  }
});

test('cut, lengthened and foreign bytes are refused', () => {
  for (const message of MESSAGES) {
    const bytes = encodeMessage(message);
    for (let length = 0; length < bytes.length; length += 1) {
      assert.equal(decodeMessage(bytes.subarray(0, length)), null);
    }
    assert.equal(decodeMessage(Uint8Array.of(...bytes, 0)), null);
    const later = bytes.slice();
    later[0] = 2;
    assert.equal(decodeMessage(later), null, 'a version from the future');
  }
});

test('broken bytes are refused or read as a message of good form, and never thrown at', () => {
  const prng = createPrng(1);
  const originals = MESSAGES.map((message) => encodeMessage(message));
  for (let run = 0; run < 5_000; run += 1) {
    const bytes = (originals[run % originals.length] ?? new Uint8Array(0)).slice();
    for (let flip = 0; flip <= prng.nextBelow(3); flip += 1) {
      bytes[prng.nextBelow(bytes.length)] = prng.nextBelow(256);
    }
    const message = decodeMessage(bytes);
    if (message !== null) assert.deepEqual(encodeMessage(message), bytes, 'canonical');
  }
});

test('entries that do not follow one another are refused', () => {
  const send = (more: object): unknown =>
    decodeMessage(encodeMessage({ ...MESSAGES[0], ...BODIES.append, ...more } as Message));
  assert.notEqual(send({}), null);
  assert.equal(send({ entries: [entryAt(7, 3)] }), null, 'a gap');
  assert.equal(send({ entries: [entryAt(6, 2)] }), null, 'a term that falls');
  assert.equal(send({ entries: [entryAt(6, 5)] }), null, 'a term after the leader’s');
  const bad = { ...entryAt(6, 3), kind: 'config' as const };
  assert.equal(send({ entries: [bad] }), null, 'a configuration that is none');
});

test('a stored snapshot’s description keeps its value through bytes', () => {
  const bytes = encodeSnapshotMeta(meta);
  assert.deepEqual(decodeSnapshotMeta(bytes), meta);
  assert.equal(decodeSnapshotMeta(bytes.subarray(1)), null);
  assert.equal(decodeSnapshotMeta(bytes.subarray(0, bytes.length - 1)), null);
});

test('what a running cluster says all goes through bytes', () => {
  const members = [1, 2, 3].map((id) => testMember(id));
  const cluster = new TestCluster({ seed: 1, members, raft: { trailingEntries: 0 } });
  let count = 0;
  cluster.filter = (message) => {
    count += 1;
    assert.deepEqual(decodeMessage(encodeMessage(message)), message);
    return true;
  };
  const leader = cluster.elect();
  cluster.propose(leader.id, Uint8Array.of(1));
  cluster.read(leader.id);
  cluster.run(1_000);
  assert.ok(count > 50);
});
