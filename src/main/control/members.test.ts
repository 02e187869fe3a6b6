import { deepEqual, equal, fail, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { nodeOfPeer, regionOfPeer } from '../../base/peerName.ts';
import { createPrng } from '../../base/prng.ts';
import { bootstrapConf } from '../../raft/membership.ts';
import { RaftNode } from '../../raft/node.ts';
import { emptyStored, raftOptions } from '../../raft/start.ts';
import type { ConfState, Member, RaftStatus } from '../../raft/types.ts';
import {
  admit,
  isVoteWanted,
  silencesOf,
  supersededMember,
  surplusVoter,
  takeOver,
  unsafe,
} from './members.ts';

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

test('M3, M4: a further node never votes by itself, but for the vote that it had', () => {
  const conf = confOf(['ap', 'eu', 'us']);
  equal(isVoteWanted(confOf(['ap']), 'ap/ap-2'), false);
  equal(isVoteWanted(confOf(['ap', 'eu']), 'us/us-2'), false);
  const eu2 = { id: 4, region: 'eu', node: 'eu-2', incarnation: 4, priority: 1 };
  const swapped: ConfState = {
    ...conf,
    voters: [1, 3, 4],
    learners: [2],
    members: [
      ...conf.members.map((one) => ({ ...one, isPromotable: one.id !== 2 })),
      { ...eu2, isWitness: false, isPromotable: false },
    ],
    idMax: 4,
  };
  equal(isVoteWanted(swapped, 'eu/eu-2'), true);
  // The place back later is a learner.
  equal(isVoteWanted(swapped, 'eu'), false);
});

const MINUTE = 60_000;

/** Members as `ID:NAME`, a voter with `*`; `heard` are those that the leader, member 1, hears. */
function statusOf(
  members: readonly string[],
  heard: readonly number[],
  behind: readonly number[] = [],
): RaftStatus {
  const parsed = members.map((text) => {
    const [, digits = '', name = '', star] = /^(\d+):([^*]+)(\*)?$/.exec(text) ?? [];
    const node = nodeOfPeer(name);
    const member: Member = {
      id: Number(digits),
      region: regionOfPeer(name),
      ...(node === null ? {} : { node }),
      incarnation: Number(digits),
      priority: 1,
      isWitness: false,
      isPromotable: star !== undefined,
    };
    return { member, isVoter: star !== undefined };
  });
  const idsOf = (isVoter: boolean): readonly number[] =>
    parsed.filter((one) => one.isVoter === isVoter).map(({ member }) => member.id);
  const conf: ConfState = {
    voters: idsOf(true),
    votersOutgoing: [],
    learners: idsOf(false),
    learnersNext: [],
    autoLeave: false,
    members: parsed.map(({ member }) => member),
    idMax: 9,
  };
  const peers = conf.members
    .filter(({ id }) => id !== 1)
    .map(({ id }) => ({
      id,
      state: 'replicate' as const,
      match: behind.includes(id) ? 10 : 1_000,
      next: 1_001,
      inFlightCount: 0,
      inFlightBytes: 0,
      isActive: heard.includes(id),
      level: -1,
    }));
  const node = RaftNode.start(
    raftOptions({ id: 1, cluster: 'c', incarnation: 1, prng: createPrng(1) }),
    emptyStored(),
    0,
  );
  ok(node.ok);
  return { ...node.value.status(), role: 'leader', commit: 1_000, conf, peers };
}

const FOUR = ['1:ap*', '2:eu*', '3:us*', '4:eu/eu-2'];

test('M4: a region has one vote: a second node gets it only in the place of the first', () => {
  const status = statusOf(FOUR, [2, 3, 4]);
  equal(unsafe(status, { kind: 'promote', id: 4 })?.error?.code, 'region-votes');
  equal(unsafe(status, { kind: 'promote', id: 4, replace: true }), null);
  // A region without a vote, and the newer number of a node that has one.
  equal(unsafe(statusOf([...FOUR, '5:sa/sa-2'], [2, 3]), { kind: 'promote', id: 5 }), null);
  equal(unsafe(statusOf([...FOUR, '5:eu'], [2, 3]), { kind: 'promote', id: 5 }), null);
});

test('M4: of two voters of a region one loses the vote: who is silent, else the further one', () => {
  const both = ['1:ap*', '2:eu*', '3:us*', '4:eu/eu-2*'];
  equal(surplusVoter(statusOf(both, [2, 3, 4])), 4);
  equal(surplusVoter(statusOf(both, [3, 4])), 2);
  equal(surplusVoter(statusOf(both, [3])), null);
  equal(surplusVoter(statusOf(FOUR, [2, 3, 4])), null);
  // An older number of the same node goes by M2.
  equal(surplusVoter(statusOf(['1:ap*', '2:eu*', '3:us*', '5:eu*'], [3, 5])), null);
});

test('M2: an older number goes once the newer votes, or has caught up where neither does', () => {
  equal(supersededMember(statusOf(['1:ap*', '2:eu*', '3:us*', '4:eu'], [3, 4])), null);
  equal(supersededMember(statusOf(['1:ap*', '2:eu*', '3:us*', '4:eu*'], [3, 4])), 2);
  const lost = [...FOUR, '5:eu/eu-2'];
  equal(supersededMember(statusOf(lost, [2, 3, 5], [5])), null, 'it is still behind');
  equal(supersededMember(statusOf(lost, [2, 3])), null, 'it is not there');
  equal(supersededMember(statusOf(lost, [2, 3, 5])), 4);
  equal(supersededMember(statusOf(FOUR, [2, 3, 4])), null, 'another node is no older number');
});

test('M5: the vote of a silent voter goes to a node of its region that is there and caught up', () => {
  const silent = statusOf(FOUR, [3, 4]);
  const silences = silencesOf(new Map(), silent, 5);
  deepEqual([...silences], [[2, 5]]);
  const after = 10 * MINUTE;
  equal(takeOver(silent, silences, after, after), null, 'not yet');
  deepEqual(numbersOf(takeOver(silent, silences, after + 5, after)), [2, 4]);
  equal(takeOver(statusOf(FOUR, [3], []), silences, after + 5, after), null, 'nobody is there');
  equal(takeOver(statusOf(FOUR, [3, 4], [4]), silences, after + 5, after), null, 'it is behind');
  const elsewhere = ['1:ap*', '2:eu*', '3:us*', '4:us/us-2'];
  equal(takeOver(statusOf(elsewhere, [3, 4]), silences, after + 5, after), null);
  const renewed = [...FOUR, '5:eu'];
  equal(takeOver(statusOf(renewed, [3, 4, 5]), silences, after + 5, after), null, 'its own number');
});

test('M5: a voter that was heard in between, or a new leader, begins to count anew', () => {
  const before = silencesOf(new Map(), statusOf(FOUR, [3, 4]), 5);
  equal(silencesOf(before, statusOf(FOUR, [2, 3, 4]), 9).size, 0);
  deepEqual([...silencesOf(before, statusOf(FOUR, [3, 4]), 9)], [[2, 5]]);
  equal(silencesOf(before, { ...statusOf(FOUR, [3, 4]), role: 'follower' }, 9).size, 0);
});

function numbersOf(taken: ReturnType<typeof takeOver>): readonly number[] {
  return taken === null ? [] : [taken.from.id, taken.to.id];
}

test("F3: a number that is not committed yet is nobody's: the same disk waits for it", async () => {
  const status = statusOf([...FOUR, '5:sa'], [2, 3]);
  const disk = { incarnation: 5, priority: 1, isWitness: false };
  const asked = async (commit: number): Promise<number | null> => {
    const group = {
      status: () => ({ ...status, confIndex: 1_000, commit }),
      changeMembers: () => fail('it is in the log already'),
    };
    return admit(group, 'sa', disk);
  };
  equal(await asked(999), null);
  equal(await asked(1_000), 5);
});
