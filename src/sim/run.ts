/**
 * One run from its plan to its verdict: a safety phase full of faults, then a liveness phase in which
 * everything is healed, first perhaps only a quorum of it, and has to go on and to agree.
 */

import { assert } from '../base/assert.ts';
import { KV_MODEL } from './checkers/kvModel.ts';
import { checkLinearizability, describeRefusal } from './checkers/linearizability.ts';
import type { Violation } from './checkers/all.ts';
import { SimClient } from './client.ts';
import type { Mark } from './marks.ts';
import { scheduleFaults } from './nemesis.ts';
import { CALM_NETWORK } from './network.ts';
import type { NodeId } from '../raft/types.ts';
import type { SimNode } from './node.ts';
import { NO_DISK_FAULTS } from './disk.ts';
import { Operator } from './operator.ts';
import type { Plan } from './plan.ts';
import { World } from './world.ts';

export interface RunResult {
  readonly plan: Plan;
  readonly violation: Violation | null;
  /** Equal for two runs of one plan. */
  readonly traceHash: number;
  readonly marks: ReadonlyMap<Mark, number>;
  readonly story: readonly string[];
  readonly figures: RunFigures;
}

export interface RunFigures {
  readonly events: number;
  readonly messages: number;
  readonly simulatedMs: number;
  readonly calls: number;
  readonly commits: number;
  /** From the healing to the last client's answer. */
  readonly recoveryMs: number;
}

/** A healed group serves every client within this, and agrees within as much again. */
const LIVENESS_MS = 40_000;
/** How long the group may take to settle before a quorum is left alone. */
const QUIET_MS = 4_000;
/** A history that takes more is left undecided: many calls without an answer. */
const SEARCH_LIMITS = { steps: 150_000, configurations: 40_000 };
/** Answers that each client must get then. */
const LIVENESS_ANSWERS = 3;

export function runPlan(plan: Plan, isTold = false): RunResult {
  const world = new World(plan, isTold);
  const clients = Array.from({ length: plan.clients }, (_, at) => new SimClient(world, at + 1));
  const operator = new Operator(world);
  scheduleFaults(world, operator);
  let recoveryMs = 0;
  try {
    world.runUntil(plan.faultsMs, () => false);
    recoveryMs = recover(world, clients, operator);
  } catch (cause) {
    // What the code under test asserts ends a replica in production: here it ends the run.
    const text = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
    world.refute({ checker: 'assertions', text });
    if (cause instanceof Error) world.story.tell(cause.stack ?? text);
  }
  if (world.violation === null) checkHistory(world, clients);
  return {
    plan,
    violation: world.violation,
    traceHash: world.trace.value,
    marks: world.marks.counts,
    story: world.story.lines,
    figures: {
      events: world.queue.fired,
      messages: world.network.counts.sent,
      simulatedMs: world.queue.nowMs,
      calls: clients.reduce((sum, client) => sum + client.answered, 0),
      commits: world.checkers.committed.commitMax,
      recoveryMs,
    },
  };
}

/** The liveness phase. Returns how long it took until every client was served. */
function recover(world: World, clients: readonly SimClient[], operator: Operator): number {
  if (world.violation !== null) return 0;
  const fromMs = world.queue.nowMs;
  world.isHealed = true;
  world.story.tell('everything is healed');
  heal(world);
  if (world.plan.isCoreAlone) leaveCoreAlone(world, clients, operator);
  serve(world, clients);
  const tookMs = world.queue.nowMs - fromMs;
  for (const client of clients) client.stop();
  if (world.violation === null) converge(world);
  return tookMs;
}

/** For a while only a quorum is there: it has to do. */
function leaveCoreAlone(world: World, clients: readonly SimClient[], operator: Operator): void {
  const isQuiet = (): boolean => !operator.isBusy && coreOf(world).length > 0;
  if (!world.runUntil(world.queue.nowMs + QUIET_MS, isQuiet)) return;
  const core = coreOf(world);
  operator.isResting = true;
  world.story.tell(`only nodes ${core.map(({ id }) => id).join(' ')} stay on`);
  for (const node of world.nodes.values()) {
    if (core.includes(node)) continue;
    node.isHeld = true;
    node.kill(false);
  }
  if (serve(world, clients)) world.marks.reach('core alone made progress');
  operator.isResting = false;
  for (const node of world.nodes.values()) node.isHeld = false;
  world.story.tell('everybody is switched on again');
  heal(world);
}

/** Waits until every client has some more answers; refutes liveness where it takes too long. */
function serve(world: World, clients: readonly SimClient[]): boolean {
  const wanted = clients.map((client) => client.answered + LIVENESS_ANSWERS);
  const isServed = world.runUntil(world.queue.nowMs + LIVENESS_MS, () =>
    clients.every((client, at) => client.answered >= (wanted[at] ?? 0)),
  );
  if (!isServed && world.violation === null) {
    const text = `not every client was served within ${LIVENESS_MS} ms of healing`;
    world.refute({ checker: 'liveness', text: `${text}; ${statesOf(world)}` });
  }
  return isServed;
}

/** Everybody who is a member holds the same, and nothing acknowledged is missing. */
function converge(world: World): void {
  const isAgreed = world.runUntil(world.queue.nowMs + LIVENESS_MS, () => isConverged(world));
  if (isAgreed || world.violation !== null) return;
  const text = `members did not agree within ${LIVENESS_MS} ms; ${statesOf(world)}`;
  world.refute({ checker: 'convergence', text });
}

function isConverged(world: World): boolean {
  const leader = world.leader();
  const status = leader?.status;
  if (leader === null || status === undefined || status === null) return false;
  const { conf, commit, lastIndex } = status;
  if (commit !== lastIndex || conf.votersOutgoing.length > 0) return false;
  if (commit < world.checkers.calls.acknowledgedMax) return false;
  const members = conf.members.map(({ id }) => world.nodes.get(id));
  if (!members.every((node) => !node?.isDamaged && node?.machine?.appliedTo === commit)) {
    return false;
  }
  const hash = leader.machine?.hash();
  const other = members.find((node) => node?.machine?.hash() !== hash);
  if (other !== undefined) {
    const text = `nodes ${leader.id} and ${other.id} have applied ${commit} and differ`;
    world.refute({ checker: 'convergence', text });
  }
  return true;
}

/**
 * A quorum of sound voters; none where the group is on its way to another configuration, also one that
 * only a later leader knows of: whoever believes to lead may have been overtaken.
 */
function coreOf(world: World): readonly SimNode[] {
  const status = world.leader()?.status;
  if (status === undefined || status === null || status.commit < status.lastIndex) return [];
  const isAtOne = [...world.nodes.values()].every(({ isRetired, status: other }) => {
    const { term, lastIndex } = other ?? status;
    return isRetired || (term <= status.term && lastIndex <= status.lastIndex);
  });
  if (!isAtOne) return [];
  const { conf } = status;
  const isComing = conf.members.some(({ id, isPromotable }) => {
    return isPromotable && conf.learners.includes(id);
  });
  if (conf.votersOutgoing.length > 0 || isComing) return [];
  const sound = conf.voters.filter((id) => world.nodes.get(id)?.isDamaged === false);
  const core: NodeId[] = [];
  for (const id of sound) if (!world.atlas.isQuorum(conf.voters, core)) core.push(id);
  return world.atlas.isQuorum(conf.voters, core)
    ? core.flatMap((id) => world.nodes.get(id) ?? [])
    : [];
}

/** Ends all faults; everybody who may run does. */
function heal(world: World): void {
  world.network.heal();
  world.network.rates = CALM_NETWORK;
  for (const node of world.nodes.values()) {
    Object.assign(node.disk.faults, NO_DISK_FAULTS, { latencyMs: 0.1, latencySpreadMs: 0.5 });
    node.disk.forgetFailures();
    node.clock.setRate(1);
    node.resume();
    if (!node.isRetired) node.start();
  }
}

function statesOf(world: World): string {
  return [...world.nodes.values()]
    .filter((node) => !node.isRetired)
    .map(({ id, state, isDamaged, status }) => {
      const { role, term, leader, lastIndex, commit, applied, conf } = status ?? {};
      const disk = isDamaged ? ' damaged' : '';
      const log = `log ${lastIndex}, commit ${commit}, applied ${applied}`;
      const voters = [conf?.voters.join(' '), conf?.votersOutgoing.join(' ')].join('/');
      return `node ${id} ${state}${disk}: ${role} of term ${term} under ${leader}, ${log}, ${voters}`;
    })
    .join('; ');
}

function checkHistory(world: World, clients: readonly SimClient[]): void {
  const history = clients.flatMap((client) => client.history);
  const verdict = checkLinearizability(KV_MODEL, history, SEARCH_LIMITS);
  assert(history.length > 0 || world.plan.clients === 0, 'clients were served');
  if (verdict.kind === 'unknown') world.marks.reach('history left undecided');
  if (verdict.kind !== 'refused') return;
  const text = describeRefusal(KV_MODEL, verdict.refusal);
  world.refute({ checker: 'linearizability', text });
}
