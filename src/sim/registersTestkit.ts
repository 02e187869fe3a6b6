/**
 * Nodes with registers on simulated disks in virtual time. The control state stands outside: one
 * log, which each node applies when it hears of it, so that tests can keep a node behind.
 */

import { assert } from '../base/assert.ts';
import { createPrng } from '../base/prng.ts';
import { err, ok, type Result } from '../base/result.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import { decodeReply, encodeCommand } from '../replica/control/codec.ts';
import type { ControlEngine } from '../replica/control/engine.ts';
import { ControlMachine } from '../replica/control/machine.ts';
import type { Transaction } from '../replica/control/types.ts';
import {
  Registers,
  type RegistersFailure,
  type RegistersOptions,
} from '../replica/registers/registers.ts';
import { announceNode } from '../replica/registers/state.ts';
import type { StoreDone, StoreFailure } from '../replica/registers/port.ts';
import { SimDisk } from './disk.ts';

const CLUSTER = 'c';
const DELAY_MS = 20;

/** The log of the control state. */
class ControlLog {
  readonly entries: Uint8Array[] = [];
  readonly machine = new ControlMachine();
  /** Nobody can write: no quorum. */
  isDown = false;
}

class LogEngine implements ControlEngine {
  readonly view = new ControlMachine();
  readonly #log: ControlLog;
  readonly #time: VirtualTime;
  readonly #listeners = new Set<() => void>();
  #applied = 0;
  isDeaf = false;
  isStopped = false;

  constructor(log: ControlLog, time: VirtualTime) {
    this.#log = log;
    this.#time = time;
    this.catchUp();
  }

  transact(transaction: Transaction, done: Parameters<ControlEngine['transact']>[1]): void {
    this.#time.after(DELAY_MS, () => {
      if (this.isStopped) return;
      const { entries, machine } = this.#log;
      if (this.#log.isDown) return done(err({ kind: 'unavailable', detail: 'no quorum' }));
      const data = encodeCommand(transaction);
      entries.push(data);
      const reply = decodeReply(machine.apply(entries.length, this.#time.wallMs(), data));
      assert(reply?.kind === 'done', 'what these tests ask for is well-formed');
      this.catchUp();
      done(ok(reply));
    });
  }

  confirm(): void {
    assert(false, 'nothing here confirms');
  }

  onMoved(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  catchUp(): void {
    if (this.isDeaf || this.isStopped) return;
    for (const data of this.#log.entries.slice(this.#applied)) {
      this.#applied += 1;
      this.view.apply(this.#applied, 0, data);
    }
    for (const listener of this.#listeners) listener();
  }
}

interface Node {
  /** Its peer name. */
  readonly name: string;
  /** It votes for its region in the group. */
  isVoter: boolean;
  /** It is a member of the group. */
  isMember: boolean;
  readonly disk: SimDisk;
  own: { readonly id: number; readonly incarnation: number };
  engine: LogEngine;
  registers: Registers | null;
  life: number;
}

export class RegisterWorld {
  readonly time = new VirtualTime();
  readonly log = new ControlLog();
  readonly nodes: Node[] = [];
  readonly cuts = new Set<string>();
  readonly claimMs: number;
  readonly #limits: NonNullable<RegistersOptions['limits']>;
  #incarnations = 0;

  /** `further`: names of nodes that come after the first ones, of which there is one a region. */
  constructor(
    count: number,
    claimMs = 3_600_000,
    seed = 1,
    further: readonly string[] = [],
    limits: NonNullable<RegistersOptions['limits']> = {},
  ) {
    this.claimMs = claimMs;
    this.#limits = limits;
    const first = Array.from({ length: count }, (_, place) => `r${place}`);
    for (const [place, name] of [...first, ...further].entries()) {
      const disk = new SimDisk(this.time, createPrng(seed * 100 + place), { latencyMs: 1 });
      const engine = new LogEngine(this.log, this.time);
      const own = { id: 0, incarnation: 0 };
      const roles = { isVoter: place < count, isMember: true };
      this.nodes.push({ name, ...roles, disk, own, engine, registers: null, life: 0 });
      this.join(place);
    }
    this.until(() => this.nodes.every(({ registers }) => registers?.host?.isReady === true));
  }

  node(place: number): Node {
    const node = this.nodes[place];
    assert(node !== undefined, 'there is such a node');
    return node;
  }

  registers(place: number): Registers {
    const { registers } = this.node(place);
    assert(registers !== null, 'the node runs');
    return registers;
  }

  /** A disk without a past gets a number. */
  join(place: number): void {
    const node = this.node(place);
    this.#incarnations += 1;
    const incarnation = this.#incarnations;
    node.engine.isStopped = true;
    node.engine = new LogEngine(this.log, this.time);
    const { view } = node.engine;
    const audit = { who: 'test', from: node.name, what: 'announce', why: '' };
    let id = 0;
    node.engine.transact(announceNode(view, CLUSTER, node.name, incarnation, audit), (outcome) => {
      assert(outcome.ok && outcome.value.isSuccess, 'nobody else announces it');
      id = outcome.value.revision;
    });
    this.until(() => id > 0);
    node.own = { id, incarnation };
    let isMade = false;
    this.#make(node).create({ cluster: CLUSTER, ...node.own }, (made) => (isMade = made.ok));
    this.until(() => isMade);
    const opened = this.start(place);
    assert(opened.ok, 'a log that was just made opens');
  }

  #make(node: Node): Registers {
    node.life += 1;
    const { life } = node;
    return new Registers(
      {
        name: node.name,
        claimMs: this.claimMs,
        folder: 'registers',
        limits: this.#limits,
        engine: node.engine,
        members: () =>
          this.nodes
            .filter(({ isMember }) => isMember)
            .map(({ name, isVoter }) => ({ peer: name, isVoter })),
        isLeading: () => this.nodes.find(({ registers }) => registers !== null) === node,
      },
      {
        disk: node.disk.mount(),
        clock: this.time,
        timers: {
          after: (delayMs, fire) =>
            this.time.after(delayMs, () => {
              if (node.life === life) fire();
            }),
        },
        prng: createPrng(life + node.own.id),
        send: (to, bytes) => this.#carry(node, life, to, bytes),
        told: () => {},
        failed: () => {},
      },
    );
  }

  start(place: number): Result<null, RegistersFailure> {
    const node = this.node(place);
    node.engine.isStopped = true;
    node.engine = new LogEngine(this.log, this.time);
    const registers = this.#make(node);
    let opened: Result<null, RegistersFailure> | null = null;
    registers.open({ cluster: CLUSTER, ...node.own }, (result) => (opened = result));
    this.until(() => opened !== null);
    assert(opened !== null, 'it was waited for');
    if ((opened as Result<null, RegistersFailure>).ok) node.registers = registers;
    return opened;
  }

  crash(place: number, how: 'kill' | 'power' = 'kill'): void {
    const node = this.node(place);
    node.life += 1;
    node.engine.isStopped = true;
    node.registers = null;
    if (how === 'kill') node.disk.kill();
    else node.disk.losePower();
  }

  #carry(from: Node, life: number, to: number, bytes: Uint8Array): void {
    const target = this.nodes.find(({ own }) => own.id === to);
    if (target === undefined || from.life !== life) return;
    if (this.cuts.has(`${from.name} ${target.name}`)) return;
    const targetLife = target.life;
    const { id } = from.own;
    this.time.after(DELAY_MS, () => {
      if (target.life === targetLife) target.registers?.host?.receive(id, bytes.slice());
    });
  }

  /** No message to or from it. */
  cut(place: number): void {
    const { name } = this.node(place);
    for (const other of this.nodes) {
      this.cuts.add(`${name} ${other.name}`).add(`${other.name} ${name}`);
    }
  }

  /** Everybody hears of what the log holds. */
  spread(): void {
    for (const { engine } of this.nodes) engine.catchUp();
  }

  until(isDone: () => boolean, limitMs = 120_000): void {
    const endMs = this.time.nowMs() + limitMs;
    while (!isDone()) {
      const dueMs = this.time.nextDueMs();
      assert(dueMs !== null && dueMs <= endMs, 'it happens in time');
      this.time.advance(dueMs - this.time.nowMs());
      this.spread();
    }
  }

  run(ms: number): void {
    const endMs = this.time.nowMs() + ms;
    this.time.after(ms, () => {});
    this.until(() => this.time.nowMs() >= endMs);
  }

  /** The answer to one call. */
  ask<T>(call: (done: StoreDone<T>) => void): Result<T, StoreFailure> {
    const told: Result<T, StoreFailure>[] = [];
    call((result) => told.push(result));
    this.until(() => told.length > 0);
    const [answer] = told;
    assert(answer !== undefined && told.length === 1, 'a call is answered once');
    return answer;
  }
}
