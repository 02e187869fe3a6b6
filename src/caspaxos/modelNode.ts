/**
 * Nodes and messages as the model checker keeps them: each distinct state and message exists once
 * and has a number, so that a world is a handful of numbers and a step that was taken once is looked
 * up. The steps are those of the core itself (`stepCore`), on a copy of its state.
 *
 * A state's text leaves out times (a tick means that all that can be due is) and, for the symmetry
 * between acceptors, who an acceptor is: what a proposer knows of each acceptor is a text apart.
 */

import { assert } from '../base/assert.ts';
import type { Bugs } from './bugs.ts';
import { describeBallot, describeRegister } from './describe.ts';
import { stepCore } from './node.ts';
import { casOptions, copyStored, emptyStored, foldPersist, startCore } from './start.ts';
import { keyText, type Core, type Request, type Round } from './state.ts';
import type { Control, Input, Message, NodeId, Output, Persist, Reply, Stored } from './types.ts';

/** Gives equal texts equal numbers. */
export class Interner {
  readonly #numbers = new Map<string, number>();

  numberOf(text: string): number {
    let number = this.#numbers.get(text);
    if (number === undefined) this.#numbers.set(text, (number = this.#numbers.size));
    return number;
  }
}

export interface ModelMessage {
  readonly number: number;
  readonly message: Message;
  /** The acceptor of the two that it goes between. */
  readonly acceptor: NodeId;
  /** Its text without the acceptor. */
  readonly kin: number;
}

export interface ModelNode {
  readonly number: number;
  readonly core: Core;
  readonly stored: Stored;
  /** Written, not durable; what waits for it. */
  readonly unsynced: readonly Persist[];
  readonly held: readonly Message[];
  /** Its text without who it is. */
  readonly kin: number;
  /** A proposer's: what it knows of each acceptor, in the order of the instance. */
  readonly parts: readonly number[];
  /** A proposer's: all but the answers of the round under way. */
  readonly progress: number;
}

/** What a step has given out. */
export interface Stepped {
  readonly node: ModelNode;
  readonly sent: readonly ModelMessage[];
  readonly replies: readonly Reply[];
  /** What left before a sync; the rest of what an acceptor says is lost with a crash. */
  readonly early: readonly ModelMessage[];
  readonly isDirty: boolean;
}

const CLUSTER = 'model';
/** Far beyond every wait, far below the deadline of a request. */
const TICK_MS = 1_000_000;

export interface NodeModelOptions {
  readonly acceptors: readonly NodeId[];
  readonly roundsMax: number;
  readonly cacheMax: number;
  readonly bugs: Bugs;
  /** Durable at once, or whenever it happens. */
  readonly isSyncSplit: boolean;
}

/** All nodes and messages of one search. */
export class NodeModel {
  readonly messages: ModelMessage[] = [];
  readonly nodes: ModelNode[] = [];
  readonly #options: NodeModelOptions;
  readonly #texts = new Interner();
  readonly #messageNumbers = new Map<string, number>();
  readonly #nodeNumbers = new Map<string, number>();
  readonly #steps = new Map<string, Stepped>();

  constructor(options: NodeModelOptions) {
    this.#options = options;
  }

  isAcceptor(id: NodeId): boolean {
    return this.#options.acceptors.includes(id);
  }

  /** A node with `control` on its disk. */
  createNode(id: NodeId, control: Control): ModelNode {
    const stored = emptyStored({ id, cluster: CLUSTER, incarnation: id * 1_000 });
    stored.control = control;
    stored.epoch = control.epoch;
    return this.#restart(id, stored);
  }

  #restart(id: NodeId, stored: Stored): ModelNode {
    const { roundsMax, cacheMax, bugs } = this.#options;
    const prng = { nextUint32: () => 0, nextFloat: () => 0, nextBelow: () => 0 };
    const options = casOptions({
      id,
      cluster: CLUSTER,
      incarnation: id * 1_000,
      prng,
      roundsMax,
      cacheMax,
      requestMs: TICK_MS * 1_000_000,
      scanKeysMax: 1,
    });
    const core = startCore(options, copyStored(stored), 0, bugs);
    assert(core.ok, 'what was durable starts again');
    return this.#intern(core.value, stored, [], []);
  }

  /** Feeds `input`, whose text is `name`; the result is remembered. */
  step(node: ModelNode, name: string, input: Input): Stepped {
    const text = `${node.number} ${name}`;
    const known = this.#steps.get(text);
    if (known !== undefined) return known;
    const core = copyCore(node.core);
    const output = stepCore(core, input, input.kind === 'tick' ? core.nowMs + TICK_MS : 0);
    const all = { send: [...output.send], replies: [...output.reply] };
    // Nobody gains by waiting longer: what is sent may still take any time to arrive.
    while ([...core.rounds.values()].some(({ phase }) => phase === 'backoff')) {
      const next = stepCore(core, { kind: 'tick' }, core.nowMs + 1_000);
      all.send.push(...next.send);
      all.replies.push(...next.reply);
    }
    const stepped = this.#finish(node, core, { ...output, send: all.send, reply: all.replies });
    this.#steps.set(text, stepped);
    return stepped;
  }

  #finish(node: ModelNode, core: Core, output: Output): Stepped {
    const unsynced = [...node.unsynced];
    const held = [...node.held];
    const sent = [...output.send];
    const { persist } = output;
    if (persist !== null) unsynced.push(persist);
    for (const message of output.afterFsync) {
      // What is said twice is said once: it may arrive twice all the same.
      const text = detailOf(message);
      const isKnown = held.some((one) => one.kind === message.kind && detailOf(one) === text);
      if (output.afterSeq <= core.durableSeq) sent.push(message);
      else if (!isKnown) held.push(message);
    }
    const isAcceptor = this.isAcceptor(core.options.id);
    const isSplit = this.#options.isSyncSplit && isAcceptor;
    const made = isSplit ? null : this.#sync(core, node.stored, unsynced, held, sent);
    return {
      node: made ?? this.#intern(core, node.stored, unsynced, held),
      sent: sent.map((message) => this.message(message)),
      replies: output.reply,
      early: output.send.map((message) => this.message(message)),
      isDirty: persist !== null,
    };
  }

  /** Makes durable what was written. */
  sync(node: ModelNode): Stepped {
    const core = copyCore(node.core);
    const sent: Message[] = [];
    const synced = this.#sync(core, node.stored, node.unsynced, node.held, sent);
    assert(synced !== null, 'only what was written is synced');
    const messages = sent.map((message) => this.message(message));
    return { node: synced, sent: messages, replies: [], early: [], isDirty: false };
  }

  #sync(
    core: Core,
    before: Stored,
    unsynced: readonly Persist[],
    held: readonly Message[],
    sent: Message[],
  ): ModelNode | null {
    const last = unsynced.at(-1);
    if (last === undefined) return null;
    const stored = copyStored(before);
    for (const persist of unsynced) foldPersist(stored, persist);
    sent.push(...held);
    const { send, afterFsync } = stepCore(core, { kind: 'persisted', seq: last.seq }, 0);
    assert(send.length + afterFsync.length === 0, 'an acceptor says nothing new after a sync');
    return this.#intern(core, stored, [], []);
  }

  /** The node after a crash: what was not durable is gone. */
  crash(node: ModelNode): ModelNode {
    return this.#restart(node.core.options.id, node.stored);
  }

  message(message: Message): ModelMessage {
    const { from, to, kind, epoch } = message;
    const acceptor = this.isAcceptor(to) ? to : from;
    const other = acceptor === to ? from : to;
    const text = `${kind} ${other} ${epoch} ${detailOf(message)}`;
    const name = `${acceptor} ${text}`;
    let number = this.#messageNumbers.get(name);
    if (number === undefined) {
      number = this.messages.length;
      this.#messageNumbers.set(name, number);
      this.messages.push({ number, message, acceptor, kin: this.#texts.numberOf(text) });
    }
    const made = this.messages[number];
    assert(made !== undefined, 'a numbered message exists');
    return made;
  }

  #intern(
    core: Core,
    stored: Stored,
    unsynced: readonly Persist[],
    held: readonly Message[],
  ): ModelNode {
    // Sequence numbers say nothing once everything is durable.
    if (unsynced.length === 0) Object.assign(core, { seq: 0, durableSeq: 0 });
    const { id } = core.options;
    const isAcceptor = this.isAcceptor(id);
    const waiting = held.map((message) => {
      return `${message.kind} ${message.to} ${detailOf(message)}`;
    });
    const kinText = isAcceptor
      ? `${acceptorText(core)}|${storedText(stored)}|${waiting.toSorted().join(';')}`
      : proposerText(core);
    const parts = isAcceptor ? [] : this.#options.acceptors.map((one) => partText(core, one));
    const name = `${id} ${kinText} ${parts.join('|')}`;
    const known = this.nodes[this.#nodeNumbers.get(name) ?? -1];
    if (known !== undefined) return known;
    const lanes = isAcceptor ? '' : this.#options.acceptors.map((one) => laneText(core, one));
    const node: ModelNode = {
      number: this.nodes.length,
      core,
      stored,
      unsynced,
      held,
      kin: this.#texts.numberOf(kinText),
      parts: parts.map((part) => this.#texts.numberOf(part)),
      progress: this.#texts.numberOf(`${kinText}#${String(lanes)}`),
    };
    this.#nodeNumbers.set(name, node.number);
    this.nodes.push(node);
    return node;
  }
}

function detailOf(message: Message): string {
  const parts = [describeBallot(message.ballot)];
  if ('key' in message) parts.push(keyText(message.key));
  if ('accepted' in message) parts.push(describeBallot(message.accepted));
  if ('register' in message) parts.push(describeRegister(message.register));
  if ('next' in message) parts.push(describeBallot(message.next));
  if ('reason' in message) parts.push(message.reason, describeBallot(message.promised));
  if ('after' in message) parts.push(message.after === null ? '' : keyText(message.after));
  if ('keys' in message) parts.push(message.keys.map(keyText).join(','), `${message.isLast}`);
  return parts.join(' ');
}

function bucketsText({ buckets }: Core | Stored): string {
  const parts: string[] = [];
  for (const [bucket, slots] of buckets) {
    for (const [name, { promised, accepted, register }] of slots) {
      const ballots = `${describeBallot(promised)} ${describeBallot(accepted)}`;
      parts.push(`${bucket}/${name} ${ballots} ${describeRegister(register)}`);
    }
  }
  return parts.toSorted().join(';');
}

function acceptorText(core: Core): string {
  return `${core.control?.index} ${core.epoch} ${bucketsText(core)} ${core.seq - core.durableSeq}`;
}

function storedText(stored: Stored): string {
  return `${stored.control?.index} ${stored.epoch} ${bucketsText(stored)}`;
}

function proposerText(core: Core): string {
  const rounds = [...core.rounds].map(([text, round]) => `${text} ${roundText(round)}`);
  const queues = [...core.queues].map(
    ([text, queue]) => `${text} ${queue.map(requestText).join(';')}`,
  );
  const cache = [...core.cache].map(([text, { ballot, register, epoch }]) => {
    return `${text} ${describeBallot(ballot)} ${describeRegister(register)} ${epoch}`;
  });
  const rescan = core.rescan === null ? '' : `${core.rescan.id} ${core.rescan.control.epoch}`;
  const head = `${core.proposer} ${core.counter} ${core.control?.index} ${core.epoch} ${rescan}`;
  return [head, rounds.toSorted(), queues.toSorted(), cache].join('|');
}

function roundText(round: Round): string {
  const { phase, ballot, proposed, next, outcome, control } = round;
  const register = proposed === null ? '' : describeRegister(proposed);
  const ballots = `${describeBallot(ballot)} ${next === null ? '' : describeBallot(next)}`;
  return `${phase} ${ballots} ${register} ${outcome} ${control.index}`;
}

function requestText(request: Request): string {
  const { id, lane, rounds, wasProposed, isFullNeeded, carriedTo, hindrance, change } = request;
  const what = change === null ? '' : `${change.requestId}@${change.expect}${change.isRetry}`;
  const full = [...carriedTo].join(',');
  return `${id} ${lane} ${rounds} ${wasProposed} ${isFullNeeded} ${full} ${hindrance} ${what}`;
}

/** What a proposer knows of one acceptor. */
function partText(core: Core, acceptor: NodeId): string {
  const parts: string[] = [];
  for (const [text, round] of core.rounds) {
    const known = round.answers.get(acceptor);
    const answer =
      known === undefined
        ? ''
        : `${describeBallot(known.accepted)} ${describeRegister(known.register)}`;
    const marks = `${round.acks.has(acceptor)} ${round.refusals.has(acceptor)}`;
    parts.push(`${text} ${answer} ${marks}`);
  }
  return `${parts.toSorted().join(';')}#${laneText(core, acceptor)}`;
}

/** How far the rescan of one acceptor's keys is. */
function laneText(core: Core, acceptor: NodeId): string {
  const parts: string[] = [];
  for (const [number, lane] of core.rescan?.lanes ?? []) {
    if (lane.node !== acceptor) continue;
    const { after, ballot, isLast, pending, isDone } = lane;
    const last = after === null ? '' : keyText(after);
    parts.push(`${number} ${last} ${describeBallot(ballot)} ${isLast} ${pending} ${isDone}`);
  }
  return parts.join(';');
}

/** A copy that shares nothing that a step changes. */
function copyCore(core: Core): Core {
  const requests = new Map<Request, Request>();
  const copyOf = (request: Request): Request => {
    let copy = requests.get(request);
    if (copy === undefined) requests.set(request, (copy = { ...request }));
    return copy;
  };
  const rescan = core.rescan;
  return {
    ...core,
    buckets: new Map([...core.buckets].map(([id, slots]) => [id, slots.copy()])),
    queues: new Map([...core.queues].map(([text, queue]) => [text, queue.map(copyOf)])),
    rounds: new Map(
      [...core.rounds].map(([text, round]) => [
        text,
        {
          ...round,
          request: copyOf(round.request),
          answers: new Map(round.answers),
          acks: new Set(round.acks),
          refusals: new Set(round.refusals),
        },
      ]),
    ),
    cache: new Map(core.cache),
    rescan:
      rescan === null
        ? null
        : {
            ...rescan,
            lanes: new Map([...rescan.lanes].map(([number, lane]) => [number, { ...lane }])),
          },
    ready: [...core.ready],
    laneKeysDone: [...core.laneKeysDone],
    dirty: new Map([...core.dirty].map(([text, entry]) => [text, { ...entry }])),
    selfInbox: [...core.selfInbox],
    selfHeld: [...core.selfHeld],
    alarmsRaised: new Set(core.alarmsRaised),
    out: { send: [], afterFsync: [], reply: [] },
  };
}
