import assert from 'node:assert/strict';
import { test } from 'node:test';

import { outlookOf, type MemberReport, type OutlookConf } from './outlook.ts';

const REGIONS = ['ap', 'eu', 'us', 'sa', 'af'] as const;

function confOf(count: number, more: Partial<OutlookConf> = {}): OutlookConf {
  const members = REGIONS.slice(0, count).map((region, at) => ({
    id: at + 1,
    region,
    isWitness: false,
  }));
  return { voters: members.map(({ id }) => id), votersOutgoing: [], members, ...more };
}

function report(id: number, more: Partial<MemberReport> = {}): MemberReport {
  const base = { lastIndex: 5_000, applied: 5_000, term: 3, isLeader: false, heard: [] };
  return { id, ...base, isDiskWell: true, ...more };
}

function told(conf: OutlookConf, reports: readonly MemberReport[]) {
  const { verdict, quorum, regions, findings } = outlookOf(conf, reports);
  const needed = regions.filter(({ canBeLost }) => !canBeLost).map(({ region }) => region);
  return { verdict, present: quorum.present, needed, codes: findings.map(({ code }) => code) };
}

const LEADS = { isLeader: true } as const;

test('three of three: any region may be lost', () => {
  assert.deepEqual(told(confOf(3), [report(1, LEADS), report(2), report(3)]), {
    verdict: 'safe',
    present: 3,
    needed: [],
    codes: [],
  });
});

test('two of three: changes go on, and neither of the two may be lost', () => {
  assert.deepEqual(told(confOf(3), [report(1, LEADS), report(2)]), {
    verdict: 'at-risk',
    present: 2,
    needed: ['ap', 'eu'],
    codes: ['region-needed', 'region-needed', 'absent'],
  });
});

test('one of three: nothing can be changed, whoever it takes itself for', () => {
  const alone = told(confOf(3), [report(1, LEADS)]);
  assert.equal(alone.verdict, 'no-quorum');
  assert.deepEqual(alone.codes, ['no-quorum', 'absent', 'absent']);
});

test('O2: whoever the leader hears is there, though the one that is asked does not reach it', () => {
  const seen = told(confOf(3), [report(1, { ...LEADS, heard: [2, 3] }), report(2)]);
  assert.equal(seen.verdict, 'safe');
  assert.equal(told(confOf(3), [report(1), report(2)]).verdict, 'no-quorum', 'nobody leads');
});

test('a member that is far behind, or whose disk failed, counts for nothing', () => {
  const behind = told(confOf(3), [report(1, LEADS), report(2), report(3, { applied: 10 })]);
  assert.deepEqual(behind.needed, ['ap', 'eu']);
  assert.ok(behind.codes.includes('behind'));
  const broken = told(confOf(3), [report(1, LEADS), report(2), report(3, { isDiskWell: false })]);
  assert.deepEqual(broken.needed, ['ap', 'eu']);
  assert.ok(broken.codes.includes('disk'));
});

test('one and two voters have nothing to lose; four lose one, as three do', () => {
  assert.deepEqual(told(confOf(1), [report(1, LEADS)]).codes, ['region-needed', 'few-voters']);
  assert.equal(told(confOf(2), [report(1, LEADS), report(2)]).verdict, 'at-risk');
  const four = told(confOf(4), [report(1, LEADS), report(2), report(3), report(4)]);
  assert.deepEqual([four.verdict, four.codes], ['safe', ['even-voters']]);
  const five = [report(1, LEADS), report(2), report(3), report(4)];
  assert.equal(told(confOf(5), five).verdict, 'safe', 'five with one away may lose another');
});

test('O1: while members are changed both majorities count', () => {
  const conf = confOf(5, { voters: [1, 2, 3], votersOutgoing: [1, 4, 5] });
  const all = [1, 2, 3, 4, 5].map((id) => report(id, id === 1 ? LEADS : {}));
  assert.deepEqual(told(conf, all).codes, ['changing']);
  const without5 = all.filter(({ id }) => id !== 5);
  assert.deepEqual(told(conf, without5).needed, ['ap', 'sa']);
});

test('a learner is no voter: its loss stops nothing, its presence saves nothing', () => {
  const conf = confOf(4, { voters: [1, 2, 3] });
  const some = told(conf, [report(1, LEADS), report(2), report(4)]);
  assert.deepEqual([some.verdict, some.needed], ['at-risk', ['ap', 'eu']]);
  assert.ok(some.codes.includes('learner'));
});

/** Three regions, and a further node in the second. */
function withFurther(): OutlookConf {
  const { voters, members } = confOf(3);
  const further = { id: 4, region: 'eu', node: 'eu-2', isWitness: false };
  return { voters, votersOutgoing: [], members: [...members, further] };
}

test('a further node counts for no vote, and beside the voter of its region for no finding', () => {
  const all = [report(1, LEADS), report(2), report(3), report(4)];
  const expected = { verdict: 'safe', present: 3, needed: [], codes: [] };
  assert.deepEqual(told(withFurther(), all), expected);
  const { members, regions } = outlookOf(withFurther(), all);
  assert.deepEqual(
    members.map(({ peer, region, role }) => [peer, region, role]),
    [
      ['ap', 'ap', 'leader'],
      ['eu', 'eu', 'voter'],
      ['us', 'us', 'voter'],
      ['eu/eu-2', 'eu', 'learner'],
    ],
  );
  assert.equal(regions.length, 3);
});

test('where the voter of a region is gone, a further node of it is no vote, but could be one', () => {
  const conf = withFurther();
  const { findings, quorum, verdict } = outlookOf(conf, [report(1, LEADS), report(3), report(4)]);
  assert.equal(verdict, 'at-risk');
  assert.equal(quorum.present, 2);
  assert.deepEqual(findings.slice(-2), [
    { code: 'absent', region: 'eu', id: 2 },
    { code: 'stand-in', region: 'eu', absent: 2, peer: 'eu/eu-2', id: 4 },
  ]);
  const behind = report(4, { applied: 100 });
  const { codes } = told(conf, [report(1, LEADS), report(3), behind]);
  assert.ok(!codes.includes('stand-in'), 'one that is behind is none yet');
});
