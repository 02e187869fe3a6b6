/**
 * A world of the model checker: what all nodes hold, every message that was ever sent, what clients
 * have asked and been told, how far the Raft log is. Messages stay for ever and may arrive any
 * number of times or never: that is loss, duplication, delay and reordering all at once.
 */

import { assert } from '../base/assert.ts';
import { encodeUtf8 } from '../base/bytes.ts';
import { compareBallots, isSameBallot } from './ballot.ts';
import { NO_BUGS } from './bugs.ts';
import { isClosed, isJoint, isQuorum } from './control.ts';
import { describeBallot, describeMessage } from './describe.ts';
import { CAS_ERRORS } from './errors.ts';
import { controlsOf, kinshipOf, MODEL_KEY, type Instance } from './modelInstance.ts';
import {
  Interner,
  NodeModel,
  type ModelMessage,
  type ModelNode,
  type Stepped,
} from './modelNode.ts';
import { RegisterChecker, type Watched } from './testChecker.ts';
import type { Ballot, Control, Input, MessageKind, MessageOf, NodeId, Reply } from './types.ts';

interface Client {
  /** The next step of its script. */
  readonly at: number;
  readonly watched: Watched | null;
  readonly unknown: Watched | null;
  /** The last version that it was told. */
  readonly version: number;
}

export interface World {
  /** Numbers of nodes: acceptors in the instance's order, then proposers. */
  readonly nodes: readonly number[];
  /** Numbers of messages. */
  readonly messages: readonly number[];
  /** Ballots that are known to be chosen: their acceptances need not be counted again. */
  readonly chosen: ReadonlySet<string>;
  readonly clients: readonly Client[];
  readonly checker: RegisterChecker;
  /** Entries of the log that are committed, the first control state not counted. */
  readonly committed: number;
  /** The epoch that was rescanned; 0: none. */
  readonly rescanned: number;
  readonly hasRescan: boolean;
  readonly acceptorCrashes: number;
  readonly proposerCrashes: number;
  readonly ticks: number;
  readonly parent: World | null;
  readonly label: string;
}

type Next = Partial<Omit<World, 'parent' | 'label' | 'nodes' | 'messages'>>;

/** What a proposer collects until it has a quorum. */
const ANSWERS: ReadonlySet<MessageKind> = new Set(['promise', 'accepted', 'state', 'page']);
const RESCAN_ID = 99;
const PROPOSER_FIRST = 101;

export class WorldModel {
  readonly #instance: Instance;
  readonly #model: NodeModel;
  readonly #controls: readonly Control[];
  /** By acceptor's place: a number that acceptors share whom no configuration tells apart. */
  readonly #kinship: readonly number[];
  readonly #texts = new Interner();
  /** A correct core never goes back; a broken one might. */
  readonly #isPruning: boolean;

  constructor(instance: Instance) {
    this.#instance = instance;
    const { acceptors, roundsMax, cacheMax, isSyncSplit, bugs = NO_BUGS } = instance;
    this.#model = new NodeModel({ acceptors, roundsMax, cacheMax, isSyncSplit, bugs });
    this.#controls = controlsOf(instance);
    this.#kinship = kinshipOf(instance);
    this.#isPruning = bugs.size === 0 && instance.isProposerReused !== true;
  }

  first(): World {
    const { acceptors, scripts, acceptorCrashes, proposerCrashes, ticks } = this.#instance;
    const control = this.#control(0);
    const nodes = acceptors.map((id) => this.#model.createNode(id, control).number);
    for (const at of scripts.keys()) {
      const node = this.#model.createNode(PROPOSER_FIRST + at, control);
      nodes.push(this.#granted(node, 1_000 + at).number);
    }
    return {
      nodes,
      messages: [],
      chosen: new Set(),
      clients: scripts.map(() => ({ at: 0, watched: null, unknown: null, version: 0 })),
      checker: new RegisterChecker(),
      committed: 0,
      rescanned: 0,
      hasRescan: false,
      acceptorCrashes,
      proposerCrashes,
      ticks,
      parent: null,
      label: 'start',
    };
  }

  #granted(node: ModelNode, proposer: number): ModelNode {
    return this.#model.step(node, `grant ${proposer}`, { kind: 'proposer', proposer }).node;
  }

  #control(at: number): Control {
    const control = this.#controls[at];
    assert(control !== undefined, 'the log has the entry');
    return control;
  }

  #node(world: World, place: number): ModelNode {
    const node = this.#model.nodes[world.nodes[place] ?? -1];
    assert(node !== undefined, 'a world names its nodes');
    return node;
  }

  #message(number: number): ModelMessage {
    const message = this.#model.messages[number];
    assert(message !== undefined, 'a world names its messages');
    return message;
  }

  #placeOf(id: NodeId): number {
    const at = this.#instance.acceptors.indexOf(id);
    return at >= 0 ? at : this.#instance.acceptors.length + id - PROPOSER_FIRST;
  }

  /** The steps that led to a world, in words. */
  trace(world: World): readonly string[] {
    const labels: string[] = [];
    for (let at: World | null = world; at !== null; at = at.parent) {
      const number = /^deliver (\d+)/.exec(at.label)?.[1];
      if (number === undefined) labels.unshift(at.label);
      else labels.unshift(at.label.replace(number, this.#describe(Number(number))));
    }
    return labels;
  }

  #describe(number: number): string {
    const { message } = this.#message(number);
    return `${message.from} ${describeMessage(message)}`;
  }

  /** Every world that one step leads to. Throws where what must hold does not. */
  successors(world: World, add: (next: World) => void): void {
    for (const number of world.messages) this.#deliver(world, number, add);
    const acceptorCount = this.#instance.acceptors.length;
    for (const place of world.nodes.keys()) {
      if (place < acceptorCount) this.#disk(world, place, add);
      else this.#proposer(world, place, place - acceptorCount, add);
      this.#hear(world, place, add);
    }
    this.#commit(world, add);
  }

  #deliver(world: World, number: number, add: (next: World) => void): void {
    const { message } = this.#message(number);
    const place = this.#placeOf(message.to);
    const node = this.#node(world, place);
    if (ANSWERS.has(message.kind)) return;
    const stepped = this.#model.step(node, `m${number}`, { kind: 'message', message });
    // What changes nothing may as well arrive after the sync; a query must wait for what it tells.
    if (node.unsynced.length > 0 && !stepped.isDirty && message.kind !== 'query') return;
    this.#take(world, place, stepped, `deliver ${number}`, {}, add);
    if (!stepped.isDirty || world.acceptorCrashes === 0 || this.#instance.isSyncSplit) return;
    // The crash comes before the sync.
    const crashed = { ...stepped, node: this.#model.crash(node), sent: stepped.early };
    const acceptorCrashes = world.acceptorCrashes - 1;
    this.#take(world, place, crashed, `deliver ${number} and crash`, { acceptorCrashes }, add);
  }

  /** Every set of answers with which a round moves on, at once. */
  #answers(world: World, place: number, add: (next: World) => void): void {
    const first = this.#node(world, place);
    const { id } = first.core.options;
    const mine = world.messages.filter((number) => {
      const { message } = this.#message(number);
      return message.to === id && ANSWERS.has(message.kind);
    });
    const seen = new Set<number>([first.number]);
    const stack = [first];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      for (const number of mine) {
        const { message } = this.#message(number);
        const stepped = this.#model.step(node, `m${number}`, { kind: 'message', message });
        const { node: after, sent, replies } = stepped;
        if (after.number === node.number && sent.length + replies.length === 0) continue;
        if (after.progress !== first.progress || sent.length + replies.length > 0) {
          this.#take(world, place, stepped, `answers to ${place}`, {}, add);
        } else if (!seen.has(after.number)) {
          seen.add(after.number);
          stack.push(after);
        }
      }
    }
  }

  #disk(world: World, place: number, add: (next: World) => void): void {
    const node = this.#node(world, place);
    if (node.unsynced.length === 0) return;
    this.#take(world, place, this.#model.sync(node), `sync ${place}`, {}, add);
    if (world.acceptorCrashes === 0) return;
    const crashed = this.#still(this.#model.crash(node));
    const acceptorCrashes = world.acceptorCrashes - 1;
    this.#take(world, place, crashed, `crash ${place}`, { acceptorCrashes }, add);
  }

  #still(node: ModelNode): Stepped {
    return { node, sent: [], replies: [], early: [], isDirty: false };
  }

  #proposer(world: World, place: number, at: number, add: (next: World) => void): void {
    const node = this.#node(world, place);
    const { core } = node;
    this.#begin(world, place, at, add);
    this.#answers(world, place, add);
    const isWaiting = core.rounds.size > 0 || core.rescan !== null;
    if (isWaiting && world.ticks > 0) {
      const stepped = this.#model.step(node, 'tick', { kind: 'tick' });
      this.#take(world, place, stepped, `tick ${at}`, { ticks: world.ticks - 1 }, add);
    }
    if (core.control !== null && isJoint(core.control) && !world.hasRescan) {
      const stepped = this.#model.step(node, 'rescan', { kind: 'rescan', id: RESCAN_ID });
      this.#take(world, place, stepped, `rescan ${at}`, { hasRescan: true }, add);
    }
    if (world.proposerCrashes > 0) this.#restart(world, place, at, add);
  }

  #restart(world: World, place: number, at: number, add: (next: World) => void): void {
    const { proposerCrashes, isProposerReused = false } = this.#instance;
    const node = this.#node(world, place);
    const used = proposerCrashes - world.proposerCrashes;
    const proposer = isProposerReused ? node.core.proposer : 2_000 + used;
    const started = this.#still(this.#granted(this.#model.crash(node), proposer));
    const clients = world.clients.map((client, other) =>
      other === at && client.watched !== null
        ? { ...client, watched: null, unknown: client.watched }
        : client,
    );
    const change = { clients, proposerCrashes: world.proposerCrashes - 1 };
    this.#take(world, place, started, `restart ${at}`, change, add);
  }

  #begin(world: World, place: number, at: number, add: (next: World) => void): void {
    const client = world.clients[at];
    const step = this.#instance.scripts[at]?.[client?.at ?? 0];
    if (client === undefined || step === undefined || client.watched !== null) return;
    const requestId = step === 'read' ? null : `${String.fromCharCode(97 + at)}${client.at}`;
    const fresh = world.checker.begin(requestId, client.version);
    // What asks again began when it was first asked.
    const watched = step === 'retry' ? client.unknown : fresh;
    const id = client.at + 1;
    const next = { ...client, at: client.at + 1, unknown: null, watched };
    const clients = world.clients.map((one, other) => (other === at ? next : one));
    const node = this.#node(world, place);
    if (watched === null) {
      this.#take(world, place, this.#still(node), `pass ${at}`, { clients }, add, true);
      return;
    }
    const input = inputOf(watched, id, step === 'retry');
    const stepped = this.#model.step(node, `${step} ${id} ${watched.expect}`, input);
    this.#take(world, place, stepped, `${step} ${at}`, { clients }, add);
  }

  #hear(world: World, place: number, add: (next: World) => void): void {
    const node = this.#node(world, place);
    const at = this.#controls.findIndex(({ index }) => index > (node.core.control?.index ?? 0));
    if (at < 0 || at > world.committed) return;
    const acceptorCount = this.#instance.acceptors.length;
    if (this.#instance.deaf.includes(place - acceptorCount)) return;
    // Acceptors learn of epochs from messages; closings they must hear of.
    if (place < acceptorCount && this.#instance.log[at - 1]?.kind !== 'close') return;
    const control = this.#control(at);
    const stepped = this.#model.step(node, `log ${at}`, { kind: 'control', control });
    this.#take(world, place, stepped, `log ${at} at ${place}`, {}, add);
  }

  #commit(world: World, add: (next: World) => void): void {
    const step = this.#instance.log[world.committed];
    if (step === undefined) return;
    const { epoch } = this.#control(world.committed);
    if (step.kind === 'finish' && world.rescanned !== epoch) return;
    const label = `commit ${step.kind}`;
    add({ ...world, committed: world.committed + 1, parent: world, label });
  }

  /** The world after a step of one node; none where nothing has changed. */
  #take(
    world: World,
    place: number,
    stepped: Stepped,
    label: string,
    change: Next,
    add: (next: World) => void,
    isForced = false,
  ): void {
    const { node, sent, replies } = stepped;
    const isNew = sent.filter(({ number }) => !world.messages.includes(number));
    const isSame = node.number === world.nodes[place] && isNew.length === 0;
    if (isSame && replies.length === 0 && !isForced) return;
    const nodes = world.nodes.with(place, node.number);
    this.#close(world, nodes, place, isNew);
    const messages = [...world.messages, ...isNew.map(({ number }) => number)];
    let next: World = { ...world, ...change, nodes, messages, parent: world, label };
    for (const message of isNew) next = this.#chosen(next, message);
    next = { ...next, messages: this.#alive(next, messages) };
    for (const reply of replies)
      next = answered(next, place - this.#instance.acceptors.length, reply);
    add(next);
  }

  /** Adds what acceptors say without changing: it may be said at once, and again later. */
  #close(world: World, nodes: readonly number[], place: number, isNew: ModelMessage[]): void {
    const isAcceptor = place < this.#instance.acceptors.length;
    const fresh = isAcceptor ? [] : [...isNew];
    for (const number of isAcceptor ? world.messages : []) {
      const known = this.#message(number);
      if (this.#placeOf(known.message.to) === place) fresh.push(known);
    }
    for (const { number, message } of fresh) {
      const at = this.#placeOf(message.to);
      const node = this.#model.nodes[nodes[at] ?? -1];
      if (at >= this.#instance.acceptors.length || node === undefined) continue;
      const stepped = this.#model.step(node, `m${number}`, { kind: 'message', message });
      if (stepped.node.number !== node.number) continue;
      for (const sent of stepped.sent) {
        const isKnown = world.messages.includes(sent.number) || isNew.includes(sent);
        if (!isKnown) isNew.push(sent);
      }
    }
  }

  /** A register that a quorum has accepted is a part of the history, whoever knows. */
  #chosen(world: World, { message }: ModelMessage): World {
    if (message.kind !== 'accepted') return world;
    const { ballot } = message;
    const acceptors = new Set<NodeId>();
    let accept: MessageOf<'accept'> | null = null;
    for (const number of world.messages) {
      const { message: other } = this.#message(number);
      if (!isSameBallot(other.ballot, ballot)) continue;
      if (other.kind === 'accepted') acceptors.add(other.from);
      if (other.kind === 'accept') accept = other;
    }
    // The one that was just delivered is there.
    assert(accept !== null, 'what is accepted was proposed');
    const { epoch, register } = accept;
    const control = this.#controls.find((one) => one.epoch === epoch);
    if (control === undefined || !isQuorum(control, (id) => acceptors.has(id))) return world;
    const checker = world.checker.copy();
    checker.observe(register);
    return { ...world, checker, chosen: new Set([...world.chosen, describeBallot(ballot)]) };
  }

  /** The messages that may still do something. */
  #alive(world: World, messages: readonly number[]): readonly number[] {
    if (!this.#isPruning) return messages;
    return messages.filter((number) => this.#isAlive(world, this.#message(number)));
  }

  #isAlive(world: World, { message, acceptor: id }: ModelMessage): boolean {
    const { ballot, kind } = message;
    const other = message.to === id ? message.from : message.to;
    const proposer = this.#node(world, this.#placeOf(other));
    if (isInUse(proposer, ballot)) return true;
    if (kind === 'accepted') return !world.chosen.has(describeBallot(ballot));
    if (message.to !== id) return false;
    // Nobody waits for an answer: what is left is what it does to the acceptor.
    const { stored } = this.#node(world, this.#placeOf(id));
    if (message.epoch > stored.epoch) return true;
    if (kind !== 'prepare' && kind !== 'accept') return false;
    if (stored.control !== null && isClosed(stored.control, MODEL_KEY.bucket)) return false;
    const slot = stored.buckets.get(MODEL_KEY.bucket)?.get(MODEL_KEY.name);
    return (
      slot === undefined || compareBallots(ballot, slot.promised) >= (kind === 'prepare' ? 1 : 0)
    );
  }

  /**
   * 53 bits that are equal for worlds with equal futures: acceptors of one kind may change places,
   * and the order of messages is no part of a world. Sums of mixed numbers stand for sets.
   */
  hash(world: World): number {
    const { nodes, messages, clients, checker } = world;
    const acceptorCount = this.#instance.acceptors.length;
    const low = Array.from({ length: acceptorCount }, () => 0);
    const high = Array.from({ length: acceptorCount }, () => 0);
    for (const number of messages) {
      const { acceptor, kin } = this.#message(number);
      const at = this.#placeOf(acceptor);
      low[at] = ((low[at] ?? 0) + mix(kin, 1)) | 0;
      high[at] = ((high[at] ?? 0) + mix(kin, 2)) | 0;
    }
    let first = 0;
    let second = 0;
    for (let at = 0; at < acceptorCount; at += 1) {
      let a = mix((low[at] ?? 0) ^ this.#node(world, at).kin, 3);
      let b = mix((high[at] ?? 0) ^ this.#node(world, at).kin, 4);
      for (let place = acceptorCount; place < nodes.length; place += 1) {
        const part = this.#node(world, place).parts[at] ?? 0;
        a = mix(a ^ part, 5);
        b = mix(b ^ part, 6);
      }
      const kin = this.#kinship[at] ?? 0;
      first = (first + mix(a ^ kin, 7)) | 0;
      second = (second + mix(b ^ kin, 8)) | 0;
    }
    const add = (part: number): void => {
      first = mix(first ^ part, 9);
      second = mix(second ^ part, 10);
    };
    for (let place = acceptorCount; place < nodes.length; place += 1) {
      add(this.#node(world, place).kin);
    }
    for (const client of clients) add(this.#texts.numberOf(clientText(client)));
    add(this.#texts.numberOf(checker.text()));
    add(world.committed * 64 + world.rescanned * 2 + (world.hasRescan ? 1 : 0));
    add(world.acceptorCrashes * 10_000 + world.proposerCrashes * 100 + world.ticks);
    return (first >>> 0) * 2 ** 21 + (second >>> 11);
  }
}

/** Spreads a number over 32 bits (the finaliser of murmur3). */
function mix(value: number, seed: number): number {
  let mixed = (value ^ Math.imul(seed, 0x9e37_79b9)) | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}

/** Whether a round with this ballot is under way or yet to come. */
function isInUse({ core }: ModelNode, ballot: Ballot): boolean {
  if (ballot.proposer !== core.proposer) return false;
  if (ballot.counter > core.counter) return true;
  const isIt = (one: Ballot | null): boolean => one !== null && isSameBallot(one, ballot);
  for (const round of core.rounds.values()) if (isIt(round.ballot) || isIt(round.next)) return true;
  for (const cached of core.cache.values()) if (isIt(cached.ballot)) return true;
  for (const lane of core.rescan?.lanes.values() ?? []) if (isIt(lane.ballot)) return true;
  return false;
}

function inputOf(watched: Watched, id: number, isRetry: boolean): Input {
  const { requestId, expect } = watched;
  if (requestId === null) return { kind: 'read', id, key: MODEL_KEY };
  const change = { expect, value: encodeUtf8(requestId), requestId, isRetry };
  return { kind: 'change', id, key: MODEL_KEY, change };
}

/** What a client learns. */
function answered(world: World, at: number, reply: Reply): World {
  if (reply.kind === 'alarm') return world;
  if (reply.id === RESCAN_ID) {
    return reply.kind === 'rescanned' ? { ...world, rescanned: reply.epoch } : world;
  }
  const client = world.clients[at];
  const watched = client?.watched;
  assert(client !== undefined && watched !== null && watched !== undefined, 'answered once');
  const checker = world.checker.copy();
  checker.reply(watched, reply);
  const isOver = reply.kind !== 'failed' || CAS_ERRORS[reply.error].definite;
  let { version } = client;
  if (reply.kind === 'changed') ({ version } = reply);
  if (reply.kind === 'value' || reply.kind === 'conflict') ({ version } = reply.register);
  const next = { ...client, version, watched: null, unknown: isOver ? null : watched };
  const clients = world.clients.map((one, other) => (other === at ? next : one));
  return { ...world, checker, clients };
}

function clientText({ at, watched, unknown, version }: Client): string {
  const text = (one: Watched | null): string =>
    one === null ? '' : `${one.requestId}@${one.expect}>${one.floor}`;
  return `${at} ${text(watched)} ${text(unknown)} ${version}`;
}
