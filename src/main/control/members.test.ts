import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { bootstrapConf } from '../../raft/membership.ts';
import type { ConfState } from '../../raft/types.ts';
import { isVoteWanted } from './members.ts';

function confOf(regions: readonly string[]): ConfState {
  return bootstrapConf(
    regions.map((region, at) => ({
      id: at + 1,
      region,
      incarnation: at + 1,
      priority: 1,
      isWitness: false,
      isPromotable: true,
    })),
  );
}

test('M3: a group grows to three voters by itself; a fourth region learns, a fifth makes five', () => {
  const all = ['ap', 'eu', 'us', 'sa'];
  const wanted = [1, 2, 3, 4].map((count) => isVoteWanted(confOf(all.slice(0, count)), 'af'));
  deepEqual(wanted, [true, true, false, true]);
});

test('M3: a region whose disk is new gets the vote of the old one back, however many vote', () => {
  equal(isVoteWanted(confOf(['ap', 'eu', 'us']), 'us'), true);
});

test('M3: a learner that will vote by itself counts; one that was demoted does not', () => {
  const conf = confOf(['ap', 'eu', 'us']);
  const isWaiting = { ...conf, voters: [1, 2], learners: [3] };
  equal(isVoteWanted(isWaiting, 'sa'), false);
  const members = conf.members.map((member) => ({ ...member, isPromotable: member.id !== 3 }));
  equal(isVoteWanted({ ...isWaiting, members }, 'sa'), true);
});
