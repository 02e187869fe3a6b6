import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { RAFT_LIMITS } from '../base/limits.ts';
import { decodeConf, encodeConf } from './codec.ts';
import { bootstrapConf, planChange } from './membership.ts';
import type { ConfState, Member } from './types.ts';

/** What a program wrote that knew one node a region. */
const BEFORE =
  '0103000000010000000000000002000000000000000300000000000000000000000000000000000000000300000001' +
  '000000000000000c00000065752d63656e7472616c2d31070000000000000001000102000000000000000200000075' +
  '730800000000000000020000030000000000000002000000617009000000000000000301010300000000000000';

function member(id: number, region: string, node?: string): Member {
  return {
    id,
    region,
    ...(node === undefined ? {} : { node }),
    incarnation: id + 6,
    priority: id,
    isWitness: id === 3,
    isPromotable: id !== 2,
  };
}

const THREE = [member(1, 'eu-central-1'), member(2, 'us'), member(3, 'ap')];

function added(conf: ConfState, one: Member) {
  return planChange(conf, [{ kind: 'add', member: one }], () => false);
}

test('entries of the log from before nodes had names are read and written as they were', () => {
  const bytes = Uint8Array.from(Buffer.from(BEFORE, 'hex'));
  deepEqual(decodeConf(bytes), bootstrapConf(THREE));
  deepEqual(encodeConf(bootstrapConf(THREE)), bytes);
});

test('a further node keeps its name through bytes, with the longest names too', () => {
  const { regionCharsMax } = RAFT_LIMITS;
  const longest = member(4, 'r'.repeat(regionCharsMax), 'n'.repeat(regionCharsMax));
  for (const one of [member(4, 'us', 'us-2'), longest]) {
    const conf = bootstrapConf([...THREE, one]);
    deepEqual(decodeConf(encodeConf(conf)), conf);
  }
});

test('a name that could not be told from its region is refused, in bytes and as a change', () => {
  const conf = bootstrapConf(THREE);
  for (const node of ['', 'a/b', 'n'.repeat(RAFT_LIMITS.regionCharsMax + 1)]) {
    equal(decodeConf(encodeConf(bootstrapConf([...THREE, member(4, 'us', node)]))), null, node);
    const refused = added(conf, member(4, 'us', node));
    ok(!refused.ok && refused.error === 'unknown-member', node);
  }
  const refused = added(conf, member(4, 'us/2'));
  ok(!refused.ok && refused.error === 'unknown-member');
  ok(added(conf, member(4, 'us', 'us-2')).ok);
});

test('the vote of a region goes from one of its nodes to another in one change', () => {
  const before = added(bootstrapConf(THREE), member(4, 'eu-central-1', 'eu-2'));
  ok(before.ok);
  const swapped = planChange(
    before.value,
    [
      { kind: 'demote', id: 1 },
      { kind: 'promote', id: 4 },
    ],
    () => true,
  );
  ok(swapped.ok);
  const { voters, votersOutgoing, learnersNext, members, autoLeave } = swapped.value;
  deepEqual([voters, votersOutgoing, learnersNext], [[2, 3, 4], [1, 2, 3], [1]]);
  ok(autoLeave);
  equal(members.find(({ id }) => id === 1)?.isPromotable, false);
});
