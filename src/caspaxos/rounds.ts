/** The rounds of a proposer: asking, promising, accepting, giving way. Rules: requests.ts. */

import { assert } from '../base/assert.ts';
import { compareBallots, isSameBallot } from './ballot.ts';
import {
  acceptorOf,
  acceptorsOf,
  isClosed,
  isJoint,
  isMajority,
  isOpen,
  isQuorum,
} from './control.ts';
import type { CasErrorCode } from './errors.ts';
import { endRequest, failRequest } from './requests.ts';
import { judge, type Verdict } from './register.ts';
import {
  ask,
  fastForward,
  highest,
  keyText,
  scheduleAt,
  takeBallot,
  tell,
  type Answer,
  type Core,
  type Outcome,
  type Request,
  type Round,
} from './state.ts';
import type { Ballot, Control, Key, MessageOf, NodeId, Register } from './types.ts';

/** Begins the next round of a request: by a promise at hand, a query or a prepare. */
export function beginRound(self: Core, request: Request): void {
  const { control, options } = self;
  assert(control !== null, 'no request is taken without a control state');
  const { key, change } = request;
  const text = keyText(key);
  // It may have been failed since it was ready.
  if (self.queues.get(text)?.[0] !== request || self.rounds.has(text)) return;
  if (isClosed(control, key.bucket)) return failRequest(self, request, 'bucket-closed');
  if (!isOpen(control, key.bucket)) return failRequest(self, request, 'bucket-not-open');
  if (request.rounds >= options.roundsMax) return failRequest(self, request, errorOf(request));
  if (self.nowMs >= request.deadlineMs) return failRequest(self, request, errorOf(request));
  request.rounds += 1;
  self.roundCount += 1;
  const cached = self.cache.get(text);
  const isReading = change === null && !request.isFullNeeded;
  if (cached !== undefined && !isReading) {
    // R2. The ballot is used up, whatever comes of it.
    self.cache.delete(text);
    fastForward(self, cached.ballot);
    const round = openRound(self, request, control, 'accept', cached.ballot);
    decide(self, round, cached, false);
    return;
  }
  const phase = isReading ? 'query' : 'prepare';
  const round = openRound(self, request, control, phase, takeBallot(self, control.epoch));
  const body = { kind: phase, key, ballot: round.ballot } as const;
  for (const { id } of acceptorsOf(control)) {
    ask(self, id, control.epoch, { ...body, ...carried(round, id) });
  }
}

/** Gives up the round of a request and begins the next. */
function again(self: Core, request: Request): void {
  self.rounds.delete(keyText(request.key));
  beginRound(self, request);
}

function openRound(
  self: Core,
  request: Request,
  control: Control,
  phase: Round['phase'],
  ballot: Ballot,
): Round {
  const round: Round = {
    request,
    control,
    phase,
    ballot,
    answers: new Map(),
    acks: new Set(),
    refusals: new Set(),
    proposed: null,
    next: null,
    outcome: 'value',
    carriedTo: request.carriedTo,
    dueMs: self.nowMs + self.options.roundMs,
  };
  scheduleAt(self, round.dueMs);
  self.rounds.set(keyText(request.key), round);
  return round;
}

/** The round that an acceptor's answer belongs to, or null: late, forged or of another disk. */
function roundOf(
  self: Core,
  message: MessageOf<'promise' | 'accepted' | 'state' | 'refused'>,
): Round | null {
  const round = self.rounds.get(keyText(message.key));
  if (round === undefined || !isSameBallot(round.ballot, message.ballot)) return null;
  const acceptor = acceptorOf(round.control, message.from);
  return acceptor?.incarnation === message.incarnation ? round : null;
}

function isQuorumIn(self: Core, round: Round, has: (id: NodeId) => boolean): boolean {
  const { control } = round;
  if (self.bugs.has('quorum-of-one')) return acceptorsOf(control).some(({ id }) => has(id));
  if (self.bugs.has('half-joint') && isJoint(control))
    return isMajority(control.acceptorsNext, has);
  return isQuorum(control, has);
}

export function onState(self: Core, message: MessageOf<'state'>): void {
  const round = roundOf(self, message);
  if (round === null || round.phase !== 'query') return;
  round.answers.set(message.from, message);
  if (!isQuorumIn(self, round, (id) => round.answers.has(id))) return;
  const best = bestOf(self, round);
  fastForward(self, best.accepted);
  if (isAgreed(round) || self.bugs.has('phantom-read')) {
    return conclude(self, round.request, 'value', best.register);
  }
  // R3.
  round.request.isFullNeeded = true;
  again(self, round.request);
}

export function onPromise(self: Core, message: MessageOf<'promise'>): void {
  const round = roundOf(self, message);
  if (round === null || round.phase !== 'prepare') return;
  round.answers.set(message.from, message);
  if (!isQuorumIn(self, round, (id) => round.answers.has(id))) return;
  decide(self, round, bestOf(self, round), isAgreed(round));
}

/** R1. */
function bestOf(self: Core, round: Round): Answer {
  let answers = [...round.answers.values()];
  if (self.bugs.has('first-promise')) answers = answers.slice(0, 1);
  if (self.bugs.has('epoch-blind')) {
    answers = answers.toSorted((a, b) => b.accepted.counter - a.accepted.counter).slice(0, 1);
  }
  const best = highest(answers);
  assert(best !== null, 'a quorum has answered');
  return best;
}

/** The answers form a quorum and all name one accepted ballot: its register is chosen. */
function isAgreed(round: Round): boolean {
  const [first] = round.answers.values();
  if (first === undefined) return false;
  for (const one of round.answers.values()) {
    if (!isSameBallot(one.accepted, first.accepted)) return false;
  }
  return true;
}

/** What to propose with a promise at hand, or what to tell at once where that is certain. */
function decide(
  self: Core,
  round: Round,
  { register }: { readonly register: Register },
  isChosen: boolean,
): void {
  const { request } = round;
  const { change } = request;
  const wasTried = request.wasProposed || change?.isRetry === true;
  const verdict: Verdict | null = change === null ? null : judge(register, change, wasTried);
  if (verdict?.kind === 'unknown') return failRequest(self, request, 'outcome-unknown');
  if (verdict?.kind === 'apply') {
    request.wasProposed = true;
    return propose(self, round, verdict.register, 'changed');
  }
  const outcome: Outcome =
    verdict === null ? 'value' : verdict.kind === 'applied' ? 'changed' : 'conflict';
  // R5. Below `expect` a change that was tried elsewhere could still win.
  const isSettled = !wasTried || register.version > (change?.expect ?? -1);
  const isEarly = outcome === 'conflict' && self.bugs.has('early-conflict');
  if (!(isChosen && isSettled) && !isEarly) return propose(self, round, register, outcome);
  remember(self, request.key, round.ballot, register, round.control.epoch);
  conclude(self, request, outcome, register);
}

function propose(self: Core, round: Round, register: Register, outcome: Outcome): void {
  const { ballot, control, request } = round;
  const next = takeBallot(self, control.epoch);
  round.phase = 'accept';
  round.refusals.clear();
  round.proposed = register;
  round.next = next;
  round.outcome = outcome;
  round.dueMs = self.nowMs + self.options.roundMs;
  scheduleAt(self, round.dueMs);
  const { key } = request;
  const body = { kind: 'accept', key, ballot, register, next } as const;
  for (const { id } of acceptorsOf(control)) {
    ask(self, id, control.epoch, { ...body, ...carried(round, id) });
  }
}

export function onAccepted(self: Core, message: MessageOf<'accepted'>): void {
  const round = roundOf(self, message);
  if (round === null || round.phase !== 'accept') return;
  const { acks, proposed, next, request, control } = round;
  acks.add(message.from);
  if (!isQuorumIn(self, round, (id) => acks.has(id))) return;
  assert(proposed !== null && next !== null, 'what was accepted was proposed');
  remember(self, request.key, next, proposed, control.epoch);
  conclude(self, request, round.outcome, proposed);
}

/** Tells the outcome. A change that took effect is a version of the register's history. */
function conclude(self: Core, request: Request, outcome: Outcome, register: Register): void {
  const { id, change } = request;
  if (request.lane === 0) {
    if (outcome === 'changed') {
      const version = (change?.expect ?? 0) + 1;
      tell(self, { kind: 'changed', id, version, isStanding: register.version === version });
    } else {
      tell(self, { kind: outcome, id, register });
    }
  }
  endRequest(self, request, true);
}

/** R2, R6: the key that was used longest ago goes where there are too many. */
function remember(self: Core, key: Key, ballot: Ballot, register: Register, epoch: number): void {
  if (self.options.cacheMax === 0 || (self.control?.epoch ?? 0) > epoch) return;
  const text = keyText(key);
  self.cache.delete(text);
  const [oldest] = self.cache.keys();
  if (self.cache.size >= self.options.cacheMax && oldest !== undefined) self.cache.delete(oldest);
  self.cache.set(text, { key, ballot, register, epoch });
}

export function onRefused(self: Core, message: MessageOf<'refused'>): void {
  const round = roundOf(self, message);
  if (round === null || round.phase === 'backoff') return;
  const { request, refusals, ballot } = round;
  fastForward(self, message.promised);
  // A copy of our own prepare, or of one phase in the next: it says nothing new.
  const isOwn = message.reason === 'ballot' && compareBallots(message.promised, ballot) <= 0;
  if (isOwn || round.acks.has(message.from)) return;
  if (message.reason === 'closed') return failRequest(self, request, 'bucket-closed');
  request.hindrance = message.reason;
  // Who is full takes what others keep all the same, once that is said: from the next round on.
  if (message.reason === 'bucket-full' && !isNewKey(request)) {
    request.carriedTo = new Set([...request.carriedTo, message.from]);
  }
  refusals.add(message.from);
  if (isQuorum(round.control, (id) => !refusals.has(id))) return;
  if (message.reason === 'bucket-full' && request.carriedTo.size > round.carriedTo.size) {
    return again(self, request);
  }
  // Room comes with the end of a bucket, not in a moment.
  if (message.reason === 'bucket-full') return failRequest(self, request, 'bucket-full');
  giveWay(self, round);
}

/** Older programs do not know the word: it is said only where it was found to be needed. */
function carried({ carriedTo }: Round, to: NodeId): { readonly isCarried?: true } {
  return carriedTo.has(to) ? { isCarried: true } : {};
}

/** Of a key that nobody has it would be the first version. */
function isNewKey({ change }: Request): boolean {
  return change?.expect === 0;
}

/** The round cannot win: begin again above what was heard, after a while where others compete. */
export function giveWay(self: Core, round: Round): void {
  const { request } = round;
  self.conflictCount += 1;
  if (self.bugs.has('stale-cache') && round.phase === 'accept' && round.answers.size === 0) {
    const register = round.proposed;
    const ballot = takeBallot(self, round.control.epoch);
    const before = register === null ? null : withoutLast(register, request);
    if (before !== null) remember(self, request.key, ballot, before, round.control.epoch);
    return again(self, request);
  }
  // The first to meet a ballot left behind by another goes on at once: most of them are not duels.
  if (request.rounds === 1 && request.hindrance === 'ballot') return again(self, request);
  const { backoffMsBase, backoffMsMax, prng } = self.options;
  const spanMs = Math.min(backoffMsMax, backoffMsBase * 2 ** Math.min(request.rounds, 20));
  round.phase = 'backoff';
  round.dueMs = self.nowMs + Math.ceil(spanMs * (0.1 + 0.9 * prng.nextFloat()));
  scheduleAt(self, round.dueMs);
}

/** For the planted bug: what was remembered before the change was applied to it. */
function withoutLast(register: Register, { change }: Request): Register | null {
  if (change === null || register.version !== change.expect + 1) return register;
  const { version, value, recent } = register;
  return { version: version - 1, value, recent: recent.slice(0, -1) };
}

/** What time has done to a round. */
export function onRoundTime(self: Core, round: Round): void {
  const { request } = round;
  if (self.nowMs >= request.deadlineMs) return failRequest(self, request, errorOf(request));
  if (self.nowMs < round.dueMs) return;
  if (round.phase === 'backoff') return again(self, request);
  request.hindrance = 'silence';
  giveWay(self, round);
}

const ERRORS: Readonly<Record<Request['hindrance'], CasErrorCode>> = {
  ballot: 'contended',
  epoch: 'behind-control',
  closed: 'bucket-closed',
  'not-open': 'bucket-not-open',
  'bucket-full': 'bucket-full',
  disk: 'no-quorum',
  silence: 'no-quorum',
};

function errorOf(request: Request): CasErrorCode {
  return ERRORS[request.hindrance];
}
