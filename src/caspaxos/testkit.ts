/**
 * A small deterministic cluster for tests of the core: virtual time, a network that loses, doubles,
 * delays and reorders, disks that lose what was not made durable, a Raft log that reaches each node
 * in its own time, and checkers that look after every step. One seed gives one run.
 */

import { assert } from '../base/assert.ts';
import { createPrng } from '../base/prng.ts';
import { TestNetwork, type MessageFaults } from '../base/networkTestkit.ts';
import { NO_BUGS, type Bugs } from './bugs.ts';
import { firstControl } from './control.ts';
import { CasNode } from './node.ts';
import { casOptions, copyStored, emptyStored, foldPersist } from './start.ts';
import { keyText } from './state.ts';
import { ChosenWatch, RegisterChecker } from './testChecker.ts';
import type {
  Acceptor,
  CasOptions,
  Control,
  Input,
  Key,
  Message,
  NodeId,
  Persist,
  Reply,
  Stored,
} from './types.ts';

export interface NetworkFaults extends MessageFaults {
  readonly fsyncMsMax: number;
  /** How late a node may hear of an entry of the log. */
  readonly logMsMax: number;
}

export interface TestNode {
  readonly id: NodeId;
  readonly options: CasOptions;
  cas: CasNode | null;
  readonly stored: Stored;
  /** Written and not yet durable: a crash keeps any number of the first. */
  unsynced: Persist[];
  held: { readonly seq: number; readonly messages: readonly Message[] }[];
  durableSeq: number;
  isPaused: boolean;
  /** Counts starts: events of an earlier life are dropped. */
  life: number;
}

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly acceptors: readonly NodeId[];
  readonly openTo: number;
  readonly faults: NetworkFaults;
  readonly bugs?: Bugs;
  /** A planted bug of the host: each start gets the proposer id of the first. */
  readonly isProposerReused?: boolean;
  readonly cas?: Partial<CasOptions>;
}

export function testAcceptor(id: NodeId): Acceptor {
  return { id, incarnation: id * 1_000 };
}

type Answered = (reply: Reply) => void;

export class TestCluster extends TestNetwork<Message, NetworkFaults> {
  readonly nodes = new Map<NodeId, TestNode>();
  readonly checkers = new Map<string, RegisterChecker>();
  /** Every control state of the log, by index. */
  readonly controls: Control[] = [];
  readonly options: ClusterOptions;
  readonly #chosen = new ChosenWatch();
  readonly #answers = new Map<number, { readonly life: string; readonly done: Answered }>();
  #requests = 0;
  #logIndex = 1;

  constructor(options: ClusterOptions) {
    super(options.seed, options.faults);
    this.options = options;
    this.controls.push(firstControl(options.acceptors.map(testAcceptor), options.openTo, 1));
    for (let id = 1; id <= options.nodes; id += 1) {
      const own = casOptions({
        roundMs: 200,
        backoffMsBase: 10,
        backoffMsMax: 300,
        requestMs: 3_000,
        roundsMax: 8,
        cacheMax: 2,
        scanKeysMax: 2,
        ...options.cas,
        id,
        cluster: 'test',
        incarnation: testAcceptor(id).incarnation,
        prng: createPrng(options.seed * 31 + id),
      });
      this.nodes.set(id, {
        id,
        options: own,
        cas: null,
        stored: emptyStored(own),
        unsynced: [],
        held: [],
        durableSeq: 0,
        isPaused: false,
        life: 0,
      });
      this.start(id);
    }
  }

  node(id: NodeId): TestNode {
    const node = this.nodes.get(id);
    assert(node !== undefined, 'the node exists');
    return node;
  }

  get control(): Control {
    const control = this.controls.at(-1);
    assert(control !== undefined, 'the log begins with a control state');
    return control;
  }

  checker(key: Key): RegisterChecker {
    const text = keyText(key);
    let checker = this.checkers.get(text);
    if (checker === undefined) this.checkers.set(text, (checker = new RegisterChecker()));
    return checker;
  }

  start(id: NodeId): void {
    const node = this.node(id);
    assert(node.cas === null, 'the node is not running');
    const { bugs = NO_BUGS, isProposerReused = false } = this.options;
    const started = CasNode.startBroken(node.options, copyStored(node.stored), this.nowMs, bugs);
    assert(started.ok, 'what was durable starts again');
    node.cas = started.value;
    node.life += 1;
    node.durableSeq = 0;
    const control = this.control;
    this.later(node, this.#logMs(), () => this.input(id, { kind: 'control', control }));
    const proposer = isProposerReused ? id : this.logIndex();
    this.later(node, this.#logMs(), () => this.input(id, { kind: 'proposer', proposer }));
    this.#wake(node);
  }

  /** Ends the process. Of what was written and not synced the first `keepCount` survive. */
  crash(id: NodeId, keepCount: number): void {
    const node = this.node(id);
    for (const persist of node.unsynced.slice(0, keepCount)) this.#store(node, persist);
    node.unsynced = [];
    node.held = [];
    node.cas = null;
    node.isPaused = false;
    // Whoever asked it is told by a broken connection.
    for (const [request, { life, done }] of this.#answers) {
      if (life !== `${id} ${node.life}`) continue;
      this.#answers.delete(request);
      done({ kind: 'failed', id: request, error: 'outcome-unknown' });
    }
  }

  /** The next index of the Raft log. */
  logIndex(): number {
    this.#logIndex += 1;
    return this.#logIndex;
  }

  /** Commits a control state: each node hears of it in its own time. */
  commit(control: Control): void {
    this.controls.push(control);
    for (const node of this.nodes.values()) {
      this.later(node, this.#logMs(), () => this.input(node.id, { kind: 'control', control }));
    }
  }

  #logMs(): number {
    return this.prng.nextBelow(this.faults.logMsMax + 1);
  }

  #controlOf(epoch: number): Control {
    const control = this.controls.findLast((one) => one.epoch === epoch);
    assert(control !== undefined, 'epochs come from the log');
    return control;
  }

  /** Asks a node; `done` gets the answer, also that of a crash. */
  request(id: NodeId, make: (request: number) => Input, done: Answered): void {
    this.#requests += 1;
    const request = this.#requests;
    const node = this.node(id);
    this.#answers.set(request, { life: `${id} ${node.life}`, done });
    this.input(id, make(request));
  }

  /** Feeds one input now. */
  input(id: NodeId, input: Input): void {
    const node = this.node(id);
    assert(node.cas !== null, 'the node is running');
    const output = node.cas.step(input, this.nowMs);
    for (const message of output.send) this.post(message);
    if (output.persist !== null) node.unsynced.push(output.persist);
    if (output.afterFsync.length > 0) {
      if (output.afterSeq <= node.durableSeq) output.afterFsync.forEach((one) => this.post(one));
      else node.held.push({ seq: output.afterSeq, messages: output.afterFsync });
    }
    if (output.persist !== null) this.later(node, this.#fsyncMs(), () => this.sync(id));
    for (const reply of output.reply) {
      if (reply.kind === 'alarm') continue;
      const answer = this.#answers.get(reply.id);
      assert(answer !== undefined, 'a request is answered once');
      this.#answers.delete(reply.id);
      answer.done(reply);
    }
  }

  #fsyncMs(): number {
    return 1 + this.prng.nextBelow(this.faults.fsyncMsMax);
  }

  /** Makes durable what was written so far. */
  sync(id: NodeId): void {
    const node = this.node(id);
    const last = node.unsynced.at(-1);
    if (last === undefined || node.cas === null) return;
    for (const persist of node.unsynced) this.#store(node, persist);
    node.unsynced = [];
    node.durableSeq = last.seq;
    const ready = node.held.filter((held) => held.seq <= last.seq);
    node.held = node.held.filter((held) => held.seq > last.seq);
    for (const held of ready) held.messages.forEach((message) => this.post(message));
    this.input(id, { kind: 'persisted', seq: last.seq });
  }

  #store(node: TestNode, persist: Persist): void {
    foldPersist(node.stored, persist);
    for (const slot of persist.slots) {
      const chosen = this.#chosen.durable(node.id, slot, (epoch) => this.#controlOf(epoch));
      if (chosen !== null) this.checker(slot.key).observe(chosen);
    }
  }

  protected override post(message: Message): void {
    this.#chosen.leaves(message);
    super.post(message);
  }

  protected override delayMs(): number {
    const { delayMsMin, delayMsMax } = this.faults;
    // A few are very late.
    const spanMs = (delayMsMax - delayMsMin + 1) * (this.prng.nextBelow(20) === 0 ? 20 : 1);
    return delayMsMin + this.prng.nextBelow(spanMs);
  }

  override deliver(message: Message): void {
    const node = this.nodes.get(message.to);
    if (node === undefined || node.cas === null) return;
    if (this.isCut(message)) return;
    if (node.isPaused) {
      // What a stopped process was sent waits in its sockets.
      this.at(this.nowMs + 10, () => this.deliver(message));
      return;
    }
    this.input(message.to, { kind: 'message', message });
  }

  /** In this life of a node. */
  later(node: TestNode, delayMs: number, run: () => void): void {
    const { life } = node;
    this.at(this.nowMs + delayMs, () => {
      if (node.life !== life || node.cas === null) return;
      if (node.isPaused) this.later(node, 10, run);
      else run();
    });
  }

  #wake(node: TestNode): void {
    const dueMs = Math.min(node.cas?.nextWakeMs() ?? 0, this.nowMs + 20);
    this.later(node, Math.max(1, dueMs - this.nowMs), () => {
      this.input(node.id, { kind: 'tick' });
      this.#wake(node);
    });
  }
}
