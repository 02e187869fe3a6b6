/**
 * One random run: a swarm of faults drawn from the seed, clients that change and read registers and
 * ask again where they do not know, changes of acceptors, closings of buckets. At the end everything
 * heals and every client must get its answers.
 */

import { assert } from '../base/assert.ts';
import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { createPrng, type Prng } from '../base/prng.ts';
import type { Result } from '../base/result.ts';
import type { Bugs } from './bugs.ts';
import {
  beginChange,
  closeBucket,
  finishChange,
  isClosed,
  isJoint,
  openBuckets,
  type ControlError,
} from './control.ts';
import { CAS_ERRORS } from './errors.ts';
import { testAcceptor, TestCluster } from './testkit.ts';
import type { RegisterChecker, Watched } from './testChecker.ts';
import type { Control, Key, NodeId, Reply } from './types.ts';

interface Shape {
  readonly hasCrashes: boolean;
  readonly hasPartitions: boolean;
  readonly hasChanges: boolean;
  readonly hasClosings: boolean;
  readonly hasPauses: boolean;
  readonly loss: number;
  readonly duplicate: number;
  readonly keys: number;
  readonly logMsMax: number;
}

export interface RunOptions {
  readonly bugs?: Bugs;
  readonly isProposerReused?: boolean;
  /** Every operation of the clients is added here, for checkers that look afterwards. */
  readonly history?: TestOperation[];
}

/** An operation as its client saw it; times count calls and answers. */
export interface TestOperation {
  readonly client: string;
  readonly key: string;
  /** Null: a read. Else the value that it writes. */
  readonly writes: string | null;
  /** The value that it expects; null: nothing. */
  readonly expects: string | null;
  readonly calledAt: number;
  answeredAt: number;
  /** `value`: what a read found (null: nothing). */
  outcome:
    | { readonly kind: 'value'; readonly value: string | null }
    | { readonly kind: 'changed' | 'conflict' | 'refused' | 'unknown' };
}

/** What a run has done, for marks that say that it was worth something. */
export interface RunCount {
  changed: number;
  conflicts: number;
  values: number;
  unknown: number;
  failed: number;
  rescans: number;
  closings: number;
  crashes: number;
}

const NODES = 5;

/** Swarm testing: each seed draws which faults are on. */
function drawShape(prng: Prng): Shape {
  const isOn = (): boolean => prng.nextBelow(3) > 0;
  return {
    hasCrashes: isOn(),
    hasPartitions: isOn(),
    hasChanges: isOn(),
    hasClosings: isOn(),
    hasPauses: isOn(),
    loss: isOn() ? prng.nextFloat() * 0.2 : 0,
    duplicate: isOn() ? prng.nextFloat() * 0.3 : 0,
    keys: 1 + prng.nextBelow(3),
    logMsMax: isOn() ? 300 : 4_000,
  };
}

interface Call {
  readonly key: Key;
  readonly watched: Watched;
  readonly checker: RegisterChecker;
  readonly operation: TestOperation;
}

/** A client: one request at a time, at any node. */
class TestClient {
  readonly #run: Run;
  readonly #name: string;
  #count = 0;
  #isBusy = false;
  /** The last known version and its value, by key. */
  readonly #known = new Map<string, { readonly version: number; readonly value: string | null }>();
  doneCount = 0;

  constructor(run: Run, name: string) {
    this.#run = run;
    this.#name = name;
  }

  poll(): void {
    if (this.#isBusy) return;
    const { cluster } = this.#run;
    const key = this.#run.drawKey();
    const checker = cluster.checker(key);
    const isRead = cluster.prng.nextBelow(3) === 0;
    if (!isRead) this.#count += 1;
    const requestId = isRead ? null : `${this.#name}${this.#count}`;
    const text = `${key.bucket}/${key.name}`;
    const known = isRead ? null : (this.#known.get(text) ?? null);
    const watched = checker.begin(requestId, known?.version ?? 0);
    const operation: TestOperation = {
      client: this.#name,
      key: text,
      writes: requestId,
      expects: known?.value ?? null,
      calledAt: this.#run.tick(),
      answeredAt: 0,
      outcome: { kind: 'unknown' },
    };
    this.#run.history.push(operation);
    this.#send({ key, watched, checker, operation }, false);
  }

  #send(call: Call, isRetry: boolean): void {
    const { key, watched, checker, operation } = call;
    const { cluster } = this.#run;
    const node = this.#run.drawRunning();
    if (node === null) return;
    this.#isBusy = true;
    const { requestId, expect } = watched;
    const done = (reply: Reply): void => {
      this.#isBusy = false;
      this.#tally(reply);
      const isOver = reply.kind !== 'failed' || CAS_ERRORS[reply.error].definite;
      this.#learn(operation, reply, isOver);
      checker.reply(watched, reply);
      const isFailed = reply.kind === 'failed';
      if (!isFailed || reply.error === 'bucket-closed') this.doneCount += 1;
      // Half of those who do not know ask again; the others live with it.
      if (isOver || requestId === null || cluster.prng.nextBelow(2) === 0) return;
      this.#send(call, true);
    };
    cluster.request(
      node,
      (id) =>
        requestId === null
          ? { kind: 'read', id, key }
          : {
              kind: 'change',
              id,
              key,
              change: { expect, value: encodeUtf8(requestId), requestId, isRetry },
            },
      done,
    );
  }

  #learn(operation: TestOperation, reply: Reply, isOver: boolean): void {
    const { key, writes } = operation;
    operation.answeredAt = this.#run.tick();
    if (reply.kind === 'changed') {
      operation.outcome = { kind: 'changed' };
      this.#known.set(key, { version: reply.version, value: writes });
    } else if (reply.kind === 'value' || reply.kind === 'conflict') {
      const { version, value: bytes } = reply.register;
      const value = version === 0 ? null : decodeUtf8(bytes);
      operation.outcome = reply.kind === 'value' ? { kind: 'value', value } : { kind: 'conflict' };
      this.#known.set(key, { version, value });
    } else if (isOver) operation.outcome = { kind: 'refused' };
  }

  #tally(reply: Reply): void {
    const { count } = this.#run;
    if (reply.kind === 'changed') count.changed += 1;
    else if (reply.kind === 'conflict') count.conflicts += 1;
    else if (reply.kind === 'value') count.values += 1;
    else if (reply.kind !== 'failed') return;
    else if (reply.error === 'outcome-unknown') count.unknown += 1;
    else count.failed += 1;
  }
}

class Run {
  readonly cluster: TestCluster;
  readonly shape: Shape;
  readonly count: RunCount = {
    changed: 0,
    conflicts: 0,
    values: 0,
    unknown: 0,
    failed: 0,
    rescans: 0,
    closings: 0,
    crashes: 0,
  };
  readonly history: TestOperation[];
  #isRescanning = false;
  #ticks = 0;

  constructor(seed: number, options: RunOptions) {
    const { history = [], ...planted } = options;
    this.history = history;
    const prng = createPrng(seed);
    this.shape = drawShape(prng);
    const { loss, duplicate, logMsMax } = this.shape;
    this.cluster = new TestCluster({
      seed,
      nodes: NODES,
      acceptors: [1, 2, 3],
      openTo: 3,
      faults: { loss, duplicate, delayMsMin: 1, delayMsMax: 40, fsyncMsMax: 20, logMsMax },
      ...planted,
    });
  }

  /** Calls and answers in their order. */
  tick(): number {
    this.#ticks += 1;
    return this.#ticks;
  }

  drawKey(): Key {
    const { prng, control } = this.cluster;
    const span = control.openTo - control.floor;
    const bucket = control.floor + 1 + prng.nextBelow(Math.max(1, Math.min(2, span)));
    return { bucket, name: `k${prng.nextBelow(this.shape.keys)}` };
  }

  drawRunning(): NodeId | null {
    const running = [...this.cluster.nodes.values()].filter(({ cas }) => cas !== null);
    return running[this.cluster.prng.nextBelow(Math.max(1, running.length))]?.id ?? null;
  }

  disturb(): void {
    const { prng, nodes } = this.cluster;
    const id = 1 + prng.nextBelow(NODES);
    const node = this.cluster.node(id);
    const what = prng.nextBelow(9);
    if (what <= 1 && this.shape.hasCrashes && node.cas !== null) this.#crash(id);
    if (what === 2 && this.shape.hasPartitions) {
      const left = new Set([...nodes.keys()].filter(() => prng.nextBelow(2) === 0));
      for (const from of nodes.keys()) {
        for (const to of nodes.keys())
          if (left.has(from) !== left.has(to)) this.cluster.cut(from, to);
      }
    }
    if (what === 3 && this.shape.hasPartitions) {
      this.cluster.cut(id, 1 + prng.nextBelow(NODES), prng.nextBelow(2) === 0);
    }
    if (what === 4) this.cluster.cuts.clear();
    if (what === 5 && this.shape.hasPauses && node.cas !== null) {
      node.isPaused = true;
      this.cluster.at(this.cluster.nowMs + prng.nextBelow(1_000), () => {
        node.isPaused = false;
      });
    }
    if (what === 6 && this.shape.hasChanges) this.#changeAcceptors();
    if (what === 7 && this.shape.hasClosings) this.#closeBucket();
    this.driveRescan();
  }

  #crash(id: NodeId): void {
    const { cluster } = this;
    const node = cluster.node(id);
    cluster.crash(id, cluster.prng.nextBelow(node.unsynced.length + 1));
    this.count.crashes += 1;
    cluster.at(cluster.nowMs + cluster.prng.nextBelow(1_000), () => {
      if (node.cas === null) cluster.start(id);
    });
  }

  #commit(make: (control: Control, index: number) => Result<Control, ControlError>): void {
    const { cluster } = this;
    const made = make(cluster.control, cluster.logIndex());
    if (made.ok) cluster.commit(made.value);
  }

  #changeAcceptors(): void {
    const { prng } = this.cluster;
    const ids = [1, 2, 3, 4, 5];
    const wanted = prng.nextBelow(4) === 0 ? 4 : 3;
    while (ids.length > wanted) ids.splice(prng.nextBelow(ids.length), 1);
    this.#commit((control, index) => beginChange(control, ids.map(testAcceptor), index));
  }

  #closeBucket(): void {
    const { control } = this.cluster;
    const open: number[] = [];
    for (let bucket = control.floor + 1; bucket <= control.openTo; bucket += 1) {
      if (!isClosed(control, bucket)) open.push(bucket);
    }
    const bucket = open[this.cluster.prng.nextBelow(Math.min(2, open.length))];
    if (bucket !== undefined && open.length > 1) {
      this.count.closings += 1;
      this.#commit((now, index) => closeBucket(now, bucket, index));
    }
    this.#commit((now, index) => openBuckets(now, now.openTo + 1, index));
  }

  /** Somebody rescans until the change of acceptors can end. */
  driveRescan(): void {
    const { cluster } = this;
    if (this.#isRescanning || !isJoint(cluster.control)) return;
    const node = this.drawRunning();
    if (node === null) return;
    this.#isRescanning = true;
    cluster.request(
      node,
      (id) => ({ kind: 'rescan', id }),
      (reply) => {
        this.#isRescanning = false;
        if (reply.kind !== 'rescanned') return;
        this.count.rescans += 1;
        this.#commit((control, index) => finishChange(control, reply.epoch, index));
      },
    );
  }

  heal(): void {
    const { cluster } = this;
    cluster.cuts.clear();
    cluster.faults = { ...cluster.faults, loss: 0, duplicate: 0 };
    for (const node of cluster.nodes.values()) {
      node.isPaused = false;
      if (node.cas === null) cluster.start(node.id);
    }
  }
}

/** Runs one seed; throws where something does not hold. */
export function runSeed(seed: number, options: RunOptions = {}): RunCount {
  const run = new Run(seed, options);
  const { cluster } = run;
  const clients = ['a', 'b', 'c'].map((name) => new TestClient(run, name));
  for (let turn = 0; turn < 40; turn += 1) {
    run.disturb();
    cluster.run(20 + cluster.prng.nextBelow(120));
    for (const client of clients) client.poll();
  }
  run.heal();
  const targets = clients.map((client) => client.doneCount + 3);
  const isDone = (): boolean => {
    for (const client of clients) client.poll();
    run.driveRescan();
    const areServed = clients.every((client, at) => client.doneCount >= (targets[at] ?? 0));
    return areServed && !isJoint(cluster.control);
  };
  assert(cluster.runUntil(isDone, 60_000), 'a healed cluster serves its clients');
  return run.count;
}
