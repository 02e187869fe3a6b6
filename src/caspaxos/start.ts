/**
 * How a node begins: from nothing, or from what its disk holds, which is not trusted to fit.
 *
 * S1: what is durable is the fold of all persists in order, and a start from it forgets no promise,
 *     no acceptance, no epoch and no closed bucket.
 * S2: another node's disk, or one of another cluster, is refused.
 */

import { assert } from '../base/assert.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { err, ok, type Result } from '../base/result.ts';
import { compareBallots, ZERO_BALLOT } from './ballot.ts';
import { NO_BUGS, type Bugs } from './bugs.ts';
import { acceptorOf, isClosed, isWellFormedControl } from './control.ts';
import { ABSENT } from './register.ts';
import { SlotTable } from './slotTable.ts';
import { emptyOutbox, type Core } from './state.ts';
import type { CasOptions, Persist, Stored } from './types.ts';

export type StartError =
  | 'wrong-cluster'
  | 'wrong-node'
  /** The log names this id with another disk. */
  | 'wrong-incarnation'
  | 'bad-control'
  /** A slot that no acceptor writes, or one of a closed bucket. */
  | 'bad-slot';

/** The defaults of CASPAXOS_LIMITS with what a node must say itself. */
export function casOptions(
  own: Pick<CasOptions, 'id' | 'cluster' | 'incarnation' | 'prng'> & Partial<CasOptions>,
): CasOptions {
  const limits = CASPAXOS_LIMITS;
  const options: CasOptions = {
    roundMs: limits.roundMs,
    backoffMsBase: limits.backoffMsBase,
    backoffMsMax: limits.backoffMsMax,
    requestMs: limits.requestMs,
    roundsMax: limits.roundsMax,
    requestsMax: limits.requestsMax,
    cacheMax: limits.cacheMax,
    permanentKeysMax: limits.permanentKeysMax,
    keysMax: limits.keysMax,
    keyBytesMax: limits.keyBytesMax,
    valueBytesMax: limits.valueBytesMax,
    scanKeysMax: limits.scanKeysMax,
    ...own,
  };
  assert(Number.isSafeInteger(options.id) && options.id >= 1, 'ids begin with 1');
  assert(options.valueBytesMax <= limits.valueBytesMax, 'a value fits into a message');
  assert(
    options.scanKeysMax >= 1 && options.scanKeysMax <= limits.scanKeysMax,
    'a page holds something and fits into a message',
  );
  return options;
}

/** A disk with nothing on it. */
export function emptyStored(own: Pick<CasOptions, 'id' | 'cluster' | 'incarnation'>): Stored {
  const { id, cluster, incarnation } = own;
  return { cluster, id, incarnation, epoch: 0, control: null, buckets: new Map() };
}

/** S1. Adds the next persist to what is durable. */
export function foldPersist(stored: Stored, persist: Persist): void {
  const { control } = persist;
  stored.epoch = Math.max(stored.epoch, persist.epoch);
  if (control !== null) {
    stored.control = control;
    for (const bucket of stored.buckets.keys()) {
      if (isClosed(control, bucket)) stored.buckets.delete(bucket);
    }
  }
  for (const { key, promised, accepted } of persist.slots) {
    let bucket = stored.buckets.get(key.bucket);
    if (bucket === undefined) stored.buckets.set(key.bucket, (bucket = new SlotTable()));
    const before = bucket.get(key.name);
    bucket.set(key.name, {
      promised,
      accepted: accepted?.ballot ?? before?.accepted ?? ZERO_BALLOT,
      register: accepted?.register ?? before?.register ?? ABSENT,
    });
  }
}

/** What is stored, apart from what becomes of the original. */
export function copyStored(stored: Stored): Stored {
  const buckets = new Map([...stored.buckets].map(([id, slots]) => [id, slots.copy()]));
  return { ...stored, buckets };
}

/**
 * Builds the state of a node, or says why its disk may not take part. The tables of `stored` are the
 * node's from now on.
 */
export function startCore(
  options: CasOptions,
  stored: Stored,
  nowMs: number,
  bugs: Bugs = NO_BUGS,
): Result<Core, StartError> {
  const problem = checkStored(options, stored, bugs);
  if (problem !== null) return err(problem);
  const { epoch, control, buckets } = stored;
  return ok({
    options,
    bugs,
    nowMs,
    disk: 'ok',
    epoch,
    control,
    buckets,
    proposer: 0,
    counter: 0,
    rounds: new Map(),
    queues: new Map(),
    ready: [],
    laneKeysDone: [],
    cache: new Map(),
    requestCount: 0,
    rescan: null,
    wakeMs: Number.POSITIVE_INFINITY,
    seq: 0,
    durableSeq: 0,
    savedEpoch: epoch,
    isControlNew: false,
    dirty: new Map(),
    selfInbox: [],
    selfHeld: [],
    alarmsRaised: new Set(),
    out: emptyOutbox(),
    roundCount: 0,
    conflictCount: 0,
  });
}

/** S2. */
function checkStored(options: CasOptions, stored: Stored, bugs: Bugs): StartError | null {
  const { control, epoch, buckets } = stored;
  if (stored.cluster !== options.cluster) return 'wrong-cluster';
  if (stored.id !== options.id) return 'wrong-node';
  if (stored.incarnation !== options.incarnation) return 'wrong-incarnation';
  if (control !== null) {
    if (!isWellFormedControl(control) || control.epoch > epoch) return 'bad-control';
    const own = acceptorOf(control, options.id);
    if (own !== null && own.incarnation !== options.incarnation) return 'wrong-incarnation';
  }
  for (const [bucket, slots] of buckets) {
    const isGone = control === null || isClosed(control, bucket);
    if (isGone && !bugs.has('reopened-bucket')) return 'bad-slot';
    for (const [promised, accepted] of slots.ballots()) {
      if (compareBallots(accepted, promised) > 0 && bugs.size === 0) return 'bad-slot';
    }
  }
  return null;
}
