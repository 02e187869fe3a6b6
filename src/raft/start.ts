/**
 * How a node begins: from nothing, or from what its disk holds, which is not trusted to fit.
 *
 * B1: a disk that lacks what it once acknowledged, or that belongs to another node or cluster, does
 *     not take part: it is refused here and repaired or replaced by an operator.
 */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';
import { decodeConf, decodeLevel, encodeConf } from './codec.ts';
import { resetElectionTimer } from './roles.ts';
import { RaftLog } from './log.ts';
import { bootstrapConf, isRemovedFrom, memberOf } from './membership.ts';
import { emptyOutbox, type Core } from './state.ts';
import type { Entry, Index, Member, RaftOptions, Stored } from './types.ts';

export type StartError =
  /** Entries do not follow one another, or not the snapshot. */
  | 'log-gap'
  /** Less is there than was known to be committed or applied. */
  | 'log-lost'
  | 'bad-entry'
  | 'wrong-cluster'
  /** The configuration knows this id with another disk. */
  | 'wrong-incarnation'
  | 'level-unsupported';

/** The defaults of RAFT_LIMITS with what a node must say itself. */
export function raftOptions(
  own: Pick<RaftOptions, 'id' | 'cluster' | 'incarnation' | 'prng'> & Partial<RaftOptions>,
): RaftOptions {
  const limits = RAFT_LIMITS;
  const options: RaftOptions = {
    heartbeatMs: limits.heartbeatMs,
    electionMs: limits.electionMs,
    levelMax: 1,
    commitRegionsMin: 1,
    appendBytesMax: limits.appendBytesMax,
    inFlightCountMax: limits.inFlightCountMax,
    inFlightBytesMax: limits.inFlightBytesMax,
    uncommittedBytesMax: limits.uncommittedBytesMax,
    applyBytesMax: limits.applyBytesMax,
    snapshotChunkBytes: limits.snapshotChunkBytes,
    snapshotWindowBytes: limits.snapshotWindowBytes,
    trailingEntries: limits.trailingEntries,
    logBytesMax: limits.logBytesMax,
    promoteLagEntries: limits.promoteLagEntries,
    diskStallMs: limits.diskStallMs,
    requestMs: limits.requestMs,
    handOverMs: limits.handOverMs,
    ...own,
  };
  assert(Number.isSafeInteger(options.id) && options.id >= 1, 'ids begin with 1');
  assert(options.heartbeatMs * 2 <= options.electionMs, 'a lost heartbeat is no election');
  assert(options.electionMs <= RAFT_LIMITS.electionMsMax, 'a time-out is within its limit');
  assert(options.snapshotChunkBytes >= 1, 'a chunk holds something');
  return options;
}

/** A disk with nothing on it: a node that waits to be added. */
export function emptyStored(): Stored {
  const hardState = { term: 0, votedFor: 0, commit: 0 };
  return { hardState, snapshot: null, entries: [], applied: 0 };
}

/** The disk of each first member of a new cluster, the same for all. */
export function bootstrapStored(members: readonly Member[]): Stored {
  const data = encodeConf(bootstrapConf(members));
  const entry: Entry = { term: 1, index: 1, kind: 'config', timeMs: 0, data };
  return {
    hardState: { term: 1, votedFor: 0, commit: 1 },
    snapshot: null,
    entries: [entry],
    applied: 0,
  };
}

/** Builds the state of a node, or says why its disk may not take part. */
export function startCore(
  options: RaftOptions,
  stored: Stored,
  nowMs: number,
): Result<Core, StartError> {
  const problem = checkStored(options, stored);
  if (problem !== null) return err(problem);
  const { hardState, snapshot } = stored;
  const log = new RaftLog(stored);
  const covered = snapshot?.meta.index ?? 0;
  const commit = Math.max(hardState.commit, covered, stored.applied);
  const isRestoring = snapshot !== null && stored.applied < covered;
  const core: Core = {
    ...emptyVolatile(options, nowMs),
    options,
    log,
    nonce: options.prng.nextUint32(),
    term: hardState.term,
    startTerm: hardState.term,
    votedFor: hardState.votedFor,
    commit,
    durableIndex: log.lastIndex,
    handedIndex: stored.applied,
    appliedIndex: stored.applied,
    committedConf: log.confAt(commit),
    restoring: isRestoring ? snapshot : null,
    unsavedFrom: log.lastIndex + 1,
    saved: { ...hardState },
    isHintDue: false,
    compactTo: log.floorIndex,
    logClock: { logMs: log.lastTimeMs, atMs: nowMs },
  };
  restoreLevels(core, covered, snapshot?.meta.level ?? 0);
  if (core.level > options.levelMax) return err('level-unsupported');
  core.isRemoved = isRemovedFrom(core.committedConf.conf, options.id);
  resetElectionTimer(core);
  return ok(core);
}

function restoreLevels(self: Core, from: Index, level: number): void {
  self.level = level;
  self.levels = [{ index: from, level }];
  for (let index = from + 1; index <= self.commit; index += 1) {
    const entry = self.log.entryAt(index);
    if (entry?.kind !== 'level') continue;
    self.level = decodeLevel(entry.data) ?? self.level;
    self.levels.push({ index, level: self.level });
  }
}

/** B1. */
function checkStored(options: RaftOptions, stored: Stored): StartError | null {
  const { snapshot, entries, hardState } = stored;
  const covered = snapshot?.meta.index ?? 0;
  if (snapshot !== null && snapshot.meta.cluster !== options.cluster) return 'wrong-cluster';
  const first = entries[0];
  if (first !== undefined && first.index > covered + 1) return 'log-gap';
  for (const [at, entry] of entries.entries()) {
    const before = entries[at - 1];
    if (before !== undefined && entry.index !== before.index + 1) return 'log-gap';
    if (before !== undefined && entry.term < before.term) return 'bad-entry';
    if (entry.kind === 'config' && decodeConf(entry.data) === null) return 'bad-entry';
    if (entry.kind === 'level' && decodeLevel(entry.data) === null) return 'bad-entry';
  }
  const last = entries.at(-1);
  const lastIndex = last?.index ?? covered;
  if (lastIndex < covered || lastIndex < hardState.commit || lastIndex < stored.applied) {
    return 'log-lost';
  }
  const aligned = entries.find((entry) => entry.index === covered);
  if (aligned !== undefined && aligned.term !== snapshot?.meta.term) return 'log-gap';
  if ((last?.term ?? snapshot?.meta.term ?? 0) > hardState.term) return 'log-lost';
  const { conf } = new RaftLog(stored).conf;
  const own = memberOf(conf, options.id);
  return own !== null && own.incarnation !== options.incarnation ? 'wrong-incarnation' : null;
}

type Volatile = Omit<
  Core,
  | 'options'
  | 'log'
  | 'nonce'
  | 'term'
  | 'startTerm'
  | 'votedFor'
  | 'commit'
  | 'durableIndex'
  | 'handedIndex'
  | 'appliedIndex'
  | 'committedConf'
  | 'restoring'
  | 'unsavedFrom'
  | 'saved'
  | 'isHintDue'
  | 'compactTo'
  | 'logClock'
>;

/** What no disk remembers. */
function emptyVolatile(options: RaftOptions, nowMs: number): Volatile {
  return {
    nowMs,
    role: 'follower',
    leader: 0,
    handedBytes: 0,
    level: 0,
    levels: [],
    disk: 'ok',
    isRemoved: false,
    seq: 0,
    durableSeq: 0,
    marks: [],
    electionDueMs: nowMs,
    leaderHeardMs: Number.NEGATIVE_INFINITY,
    heartbeatDueMs: nowMs,
    sweepDueMs: nowMs + options.heartbeatMs,
    votes: new Map(),
    electionsLost: 0,
    progress: new Map(),
    termStart: 0,
    leaderFromMs: nowMs,
    uncommittedBytes: 0,
    round: 0,
    leaderReads: [],
    transfer: null,
    forwardsSettled: new Map(),
    isCommitDue: false,
    proposals: new Map(),
    proposalCount: 0,
    forwards: new Map(),
    forwardedCount: 0,
    readAttempt: null,
    readQueue: [],
    readable: [],
    attempts: 0,
    incoming: null,
    checkpoints: [],
    alarmsRaised: new Set(),
    out: emptyOutbox(),
  };
}
