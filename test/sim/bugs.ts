/**
 * Bugs of known systems, planted one at a time: the suite of the simulator must find each. Numbers
 * R-nn are those of the project's research list; the systems that had them are named there.
 */

import type { Profile } from '../../src/sim/plan.ts';
import {
  CRASHES,
  CUTS,
  READS,
  JOINT,
  LATE_ANSWERS,
  LATE_SNAPSHOTS,
  MEMBERS,
  DISKS,
} from './profiles.ts';

export interface PlantedBug {
  readonly name: string;
  /** Of the research list, and what it is. */
  readonly about: string;
  readonly edits: readonly {
    readonly file: string;
    readonly find: string;
    readonly replace: string;
  }[];
  /** What provokes it. */
  readonly profile: Profile;
  /** Seeds, from 1 on, within which it must be found. */
  readonly seedsMax: number;
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'old-term-commit',
    about: 'R-01 a leader commits an entry of an older term by counting (figure 8)',
    edits: [
      {
        file: 'raft/replication.ts',
        find: 'if (index <= self.commit || self.log.termAt(index) !== self.term) return false;',
        replace: 'if (index <= self.commit) return false;',
      },
    ],
    profile: CRASHES,
    seedsMax: 80,
  },
  {
    name: 'second-vote',
    about: 'R-02 a second vote in one term',
    edits: [
      {
        file: 'raft/election.ts',
        find: 'self.votedFor === message.from || (self.votedFor === 0 && self.leader === 0);',
        replace: 'self.leader === 0;',
      },
    ],
    profile: CUTS,
    seedsMax: 120,
  },
  {
    name: 'vote-forgotten',
    about: 'R-02 stepping down forgets the vote of the same term',
    edits: [
      {
        file: 'raft/roles.ts',
        find: 'if (term > self.term) {',
        replace: 'if (term >= self.term) {',
      },
    ],
    profile: CUTS,
    seedsMax: 250,
  },
  {
    name: 'vote-not-stored',
    about: 'R-03, R-20 the vote is not in what is made durable',
    edits: [
      {
        file: 'raft/node.ts',
        find: 'hardState: { term, votedFor, commit },',
        replace: 'hardState: { term, votedFor: 0, commit },',
      },
    ],
    profile: CRASHES,
    seedsMax: 20,
  },
  {
    name: 'term-not-stored',
    about: 'R-03 a new term alone is not worth a write',
    edits: [
      {
        file: 'raft/node.ts',
        find: 'if (!hasEntries && !isHardNew && snapshot === null) return null;',
        replace: 'if (!hasEntries && snapshot === null) return null;',
      },
    ],
    profile: CRASHES,
    seedsMax: 20,
  },
  {
    name: 'vote-before-sync',
    about: 'E2 a vote leaves before it is durable',
    edits: [
      {
        file: 'raft/election.ts',
        find: "sendDurable(self, message.from, { kind: 'voteReply', isGranted });",
        replace: "sendNow(self, message.from, { kind: 'voteReply', isGranted });",
      },
    ],
    profile: CRASHES,
    seedsMax: 10,
  },
  {
    name: 'acknowledge-before-sync',
    about: 'R-08 an entry is acknowledged before it is durable',
    edits: [
      {
        file: 'raft/follower.ts',
        find: "sendDurable(self, message.from, {\n    kind: 'appendOk',",
        replace: "sendNow(self, message.from, {\n    kind: 'appendOk',",
      },
    ],
    profile: CRASHES,
    seedsMax: 10,
  },
  {
    name: 'host-does-not-hold',
    about: 'R-08 the host sends what should wait for the disk at once',
    edits: [
      {
        file: 'replica/group/member.ts',
        find: 'if (afterSeq > this.#durableFed) this.#held.push',
        replace: 'if (afterSeq < 0) this.#held.push',
      },
    ],
    profile: CRASHES,
    seedsMax: 10,
  },
  {
    name: 'leader-counts-itself',
    about: 'R-13 a leader counts itself before its own disk has the entry',
    edits: [
      {
        file: 'raft/replication.ts',
        find: 'id === self.options.id ? self.durableIndex : self.progress.get(id)?.match;',
        replace: 'id === self.options.id ? self.log.lastIndex : self.progress.get(id)?.match;',
      },
    ],
    profile: { ...CRASHES, plan: { voters: 3, hasWitness: false } },
    seedsMax: 200,
  },
  {
    name: 'apply-before-sync',
    about: 'R-08, R-26 entries are applied before they are on this disk',
    edits: [
      {
        file: 'raft/apply.ts',
        find: 'const to = Math.min(self.commit, self.durableIndex);',
        replace: 'const to = self.commit;',
      },
    ],
    profile: CRASHES,
    seedsMax: 20,
  },
  {
    name: 'shorter-log-elected',
    about: 'E5 a vote for a log that holds less',
    edits: [
      {
        file: 'raft/log.ts',
        find: 'return term > this.lastTerm || (term === this.lastTerm && index >= this.lastIndex);',
        replace: 'return term >= 0 && index >= 0;',
      },
    ],
    profile: CRASHES,
    seedsMax: 40,
  },
  {
    name: 'no-log-matching',
    about: 'W1 entries are taken wherever the one before is there, whatever its term',
    edits: [
      {
        file: 'raft/follower.ts',
        find: 'self.log.termAt(prevIndex) !== prevTerm) {',
        replace: 'self.log.termAt(prevIndex) === null) {',
      },
    ],
    profile: CRASHES,
    seedsMax: 100,
  },
  {
    name: 'learner-counted',
    about: 'R-05, R-06 whoever is a member counts for commits',
    edits: [
      {
        file: 'raft/replication.ts',
        find: 'const { voters, votersOutgoing } = self.log.conf.conf;\n  const acked',
        replace:
          'const votersOutgoing: readonly number[] = [];\n' +
          '  const voters = self.log.conf.conf.members.map(({ id }) => id);\n  const acked',
      },
    ],
    profile: MEMBERS,
    seedsMax: 100,
  },
  {
    name: 'joint-commit-by-half',
    about: 'R-05 in a joint configuration the new half commits alone',
    edits: [
      {
        file: 'raft/quorum.ts',
        find: 'return Math.min(majorityCommit(voters, acked), majorityCommit(outgoing, acked));',
        replace: 'return outgoing.length < 0 ? 0 : majorityCommit(voters, acked);',
      },
    ],
    profile: JOINT,
    seedsMax: 200,
  },
  {
    name: 'joint-vote-by-half',
    about: 'R-05 in a joint configuration the new half elects alone',
    edits: [
      {
        file: 'raft/quorum.ts',
        find: 'const second = majorityVote(outgoing, votes);',
        replace: "const second: VoteResult = outgoing.length < 0 ? 'lost' : 'won';",
      },
    ],
    profile: JOINT,
    seedsMax: 200,
  },
  {
    name: 'change-too-early',
    about: 'R-04 members change before an entry of the own term is committed (Ongaro, 2015)',
    edits: [
      {
        file: 'raft/proposals.ts',
        find: "return hasCommittedInTerm(self) ? null : 'term-not-committed';",
        replace: 'return null;',
      },
    ],
    profile: MEMBERS,
    seedsMax: 100,
  },
  {
    name: 'two-changes-at-once',
    about: 'R-04 a second change of members while the first is not committed',
    edits: [
      {
        file: 'raft/proposals.ts',
        find: 'if (index > self.commit || isJoint(conf)) {',
        replace: 'if (index < 0 || isJoint(conf)) {',
      },
    ],
    profile: MEMBERS,
    seedsMax: 100,
  },
  {
    name: 'snapshot-of-uncommitted-members',
    about: 'R-07 a snapshot holds a configuration that is not committed',
    edits: [
      {
        file: 'raft/snapshots.ts',
        find: 'conf: self.log.confAt(index).conf,',
        replace: 'conf: self.log.conf.conf,',
      },
    ],
    profile: { ...MEMBERS, plan: { snapshotEntries: 4, thinkMs: 10 } },
    seedsMax: 40,
  },
  {
    name: 'read-without-round',
    about: 'R-09 a read is confirmed without asking anybody',
    edits: [
      {
        file: 'raft/reads.ts',
        find: 'read.round !== 0 && read.round <= confirmed;',
        replace: 'read.round !== 0 && confirmed >= 0;',
      },
    ],
    profile: READS,
    seedsMax: 40,
  },
  {
    name: 'id-reused',
    about: 'R-16 another disk speaks under a known id and is heard',
    edits: [
      {
        file: 'raft/node.ts',
        find: 'if (member !== null && member.incarnation !== incarnation) {',
        replace: 'if (member !== null && member.incarnation < 0 && incarnation < 0) {',
      },
      {
        file: 'raft/follower.ts',
        find: 'if (message.commit > self.log.lastIndex) {',
        replace:
          'if (message.commit > self.log.lastIndex) {\n    return;\n  }\n  if (message.commit < 0) {',
      },
    ],
    profile: { kinds: ['reuse-id', 'cut-leader', 'kill-leader', 'isolate'], everyMs: 300 },
    seedsMax: 200,
  },
  {
    name: 'tail-cut-silently',
    about: 'R-19 damage in the middle of the log is taken for a torn tail',
    edits: [
      {
        file: 'storage/scan.ts',
        find: 'if (chain.end === null || durable >= chain.sequence) {',
        replace: 'if (chain.end === null) {',
      },
    ],
    profile: DISKS,
    seedsMax: 40,
  },
  {
    name: 'lost-disk-accepted',
    about: 'R-17 a node that finds no log makes a new one under its number',
    edits: [
      {
        file: 'storage/open.ts',
        find: "if (options.mode.kind === 'create') {\n    const made = yield* createFolder(disk, options);",
        replace:
          'const names = yield* wait<readonly string[]>((done) => disk.list(options.folder, done));\n' +
          "  if (names.ok && !names.value.includes('identity')) {\n" +
          '    const incarnation = options.mode.incarnation ?? 1;\n' +
          "    const mode = { kind: 'create', incarnation } as const;\n" +
          '    const made = yield* createFolder(disk, { ...options, mode });',
      },
    ],
    profile: DISKS,
    seedsMax: 40,
  },
  {
    name: 'sync-error-ignored',
    about: 'R-20 a failed sync is taken for a good one',
    edits: [
      {
        file: 'storage/log.ts',
        find: 'if (!synced.ok) return synced.error;\n    this.#writer.flushed();',
        replace: 'this.#writer.flushed();',
      },
    ],
    profile: { kinds: ['fail-sync', 'power'], everyMs: 200 },
    seedsMax: 40,
  },
  {
    name: 'failed-disk-goes-on',
    about: 'R-21 after a failed write a node goes on as if nothing had been',
    edits: [
      {
        file: 'storage/log.ts',
        find: "this.#queue.length = 0;\n    this.#enter('failed', error.detail);",
        replace: "if (error.kind === 'closed') this.#enter('failed', error.detail);",
      },
      {
        file: 'storage/log.ts',
        find: 'if (!synced.ok) return synced.error;\n    this.#writer.flushed();',
        replace: 'this.#writer.flushed();\n    if (!synced.ok) this.#fail(synced.error);',
      },
    ],
    profile: { kinds: ['fail-sync', 'fail-write', 'power'], everyMs: 200 },
    seedsMax: 40,
  },
  {
    name: 'session-forgets',
    about: 'R-22 a call that comes twice runs twice',
    edits: [
      {
        file: 'raft/sessions.ts',
        find: 'if (kept !== undefined) return kept',
        replace: 'if (kept !== undefined && command.seq < 0) return kept',
      },
    ],
    profile: CUTS,
    seedsMax: 20,
  },
  {
    name: 'old-forward-runs',
    about: 'R-22 a proposal for an older leader is taken by a newer one (NATS #8370)',
    edits: [
      {
        file: 'raft/node.ts',
        find: "else if (kind === 'forward') refuseOldForward(self, message);",
        replace:
          "else if (kind === 'forward') dispatch(self, { ...message, term: self.term } as Message);",
      },
    ],
    profile: LATE_ANSWERS,
    seedsMax: 100,
  },
  {
    name: 'refusal-not-definite',
    about: 'R-22, P-15 an outcome that is not known is reported as a failure',
    edits: [
      {
        file: 'raft/errors.ts',
        find: "'outcome-unknown': indefinite(",
        replace: "'outcome-unknown': definite(",
      },
    ],
    profile: CUTS,
    seedsMax: 100,
  },
  {
    name: 'snapshot-off-by-one',
    about: 'R-14 entries behind an installed snapshot begin one too late',
    edits: [
      {
        file: 'raft/snapshots.ts',
        find: 'advanceCommit(self, meta.index);\n    acknowledgeCommit(self, message.from);\n    return;',
        replace:
          'advanceCommit(self, meta.index + 1);\n    acknowledgeCommit(self, message.from);\n    return;',
      },
    ],
    profile: { ...CUTS, plan: { snapshotEntries: 5, trailingEntries: 0, thinkMs: 10 } },
    seedsMax: 100,
  },
  {
    name: 'older-snapshot-installed',
    about: 'R-14 a snapshot that is older than what is committed takes its place',
    edits: [
      {
        file: 'raft/snapshots.ts',
        find: 'if (meta.index <= self.commit) {',
        replace: 'if (meta.index < self.commit - 100_000) {',
      },
    ],
    profile: LATE_SNAPSHOTS,
    seedsMax: 60,
  },
  {
    name: 'session-order-lost',
    about: 'R-22 a snapshot forgets which session was used last, so that replicas expire others',
    edits: [
      {
        file: 'raft/sessions.ts',
        find: 'return writer.list([...sessions.values()], (session)',
        replace: 'return writer.list([...sessions.values()].toReversed(), (session)',
      },
    ],
    profile: { ...CUTS, plan: { sessionsMax: 2, clients: 4, snapshotEntries: 5 } },
    seedsMax: 100,
  },
];
