/**
 * What claims cost the acceptor that keeps them: memory, disk, opening, and the longest that anything
 * else has to wait while the log is shortened, while a rescan pages through them. One acceptor of
 * the product on its own log; who asks is made up. `node --expose-gc keptClaims.ts FOLDER COUNT`
 * prints its figures as one line of JSON.
 */

import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

import { encodeUtf8 } from '../../src/base/bytes.ts';
import { createPrng } from '../../src/base/prng.ts';
import { REGISTER_LIMITS } from '../../src/base/registerLimits.ts';
import { attachResult, claim } from '../../src/caspaxos/claims.ts';
import { firstControl } from '../../src/caspaxos/control.ts';
import { CasNode } from '../../src/caspaxos/node.ts';
import { casOptions } from '../../src/caspaxos/start.ts';
import type { Body, Key, Output } from '../../src/caspaxos/types.ts';
import { createClock, createTimers } from '../../src/io/clock.ts';
import { NodeDisk } from '../../src/io/disk/nodeDisk.ts';
import { openAcceptorLog, type AcceptorLog } from '../../src/replica/registers/acceptorLog.ts';
import { writeDigest } from '../../src/replica/registers/digest.ts';

const OWN = { id: 1, cluster: 'bench', incarnation: 10 };
const HEAD = { cluster: 'bench', from: 2, to: 1, incarnation: 20, epoch: 1 };
const CONTROL = firstControl(
  [1, 2, 3].map((id) => ({ id, incarnation: id * 10 })),
  1,
  1,
);
const BATCH = 1_024;
const WIDE = { keysMax: 10_000_000, keyBytesMax: 8 * 1024 * 1024 * 1024 };

class Kept {
  readonly node: CasNode;
  readonly log: AcceptorLog;
  #told = 0;
  #waiting: (() => void)[] = [];

  constructor(node: CasNode, log: AcceptorLog) {
    this.node = node;
    this.log = log;
  }

  static open(folder: string, kind: 'create' | 'open'): Promise<Kept> {
    const made: { kept: Kept | null } = { kept: null };
    const events = {
      persisted: (seq: number): void => made.kept?.persisted(seq),
      disk: (): void => {
        throw new Error('the disk failed');
      },
    };
    return new Promise((resolve, reject) => {
      openAcceptorLog(new NodeDisk(folder), 'log', OWN, kind, events, (opened) => {
        if (!opened.ok) return reject(new Error(opened.error.detail));
        const { log, stored } = opened.value;
        const options = casOptions({ ...OWN, ...WIDE, prng: createPrng(1) });
        const node = CasNode.start(options, stored, 0);
        if (!node.ok) return reject(new Error(node.error));
        made.kept = new Kept(node.value, log);
        resolve(made.kept);
      });
    });
  }

  persisted(seq: number): void {
    this.#told = seq;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  take(output: Output): number {
    if (output.persist !== null) this.log.persist(output.persist);
    return output.persist?.seq ?? 0;
  }

  ask(body: Body): Output {
    return this.node.step({ kind: 'message', message: { ...HEAD, ...body } }, 0);
  }

  async durable(seq: number): Promise<void> {
    while (this.#told < seq) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

/** A key, claimed and settled: two changes. */
function claimOne(kept: Kept, at: number): number {
  const key: Key = { bucket: 1, name: `claim/request/key-shop/${idOf(at)}` };
  const of = {
    owner: `ap-northeast-1/req_${idOf(at).slice(0, 26)}`,
    about: idOf(at).repeat(2).slice(0, 64),
  };
  const result = encodeUtf8('answered 200 at ap-northeast-1/gpu-1');
  const changes = [claim(of, 0, false), attachResult(of, 1, result, false)];
  let seq = 0;
  for (const [version, { value }] of changes.entries()) {
    const ballot = { epoch: 1, counter: at * 3 + version + 1, proposer: 1_000_001 };
    const recent = changes.slice(0, version + 1).map(({ requestId }) => requestId);
    const register = { version: version + 1, value, recent };
    const next = { ...ballot, counter: ballot.counter + 1 };
    seq = kept.take(kept.ask({ kind: 'accept', key, ballot, register, next }));
  }
  return seq;
}

/** As long as a UUID, in no order. */
function idOf(at: number): string {
  const text = (Math.imul(at + 1, 0x9e37_79b1) >>> 0).toString(16).padStart(8, '0');
  return `${text}-0000-4000-8000-${String(at).padStart(12, '0')}`;
}

async function digest(kept: Kept, count: number) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let [isOver, commitMsMax, more] = [false, 0, count];
  const fromMs = performance.now();
  delay.enable();
  const ports = { clock: createClock(), timers: createTimers(), isStopped: () => false };
  writeDigest(kept.log, kept.node.digest(REGISTER_LIMITS.digestSlots), ports, () => {
    isOver = true;
  });
  // Claims go on meanwhile, one after the other.
  while (!isOver) {
    const beginMs = performance.now();
    await kept.durable(claimOne(kept, more));
    more += 1;
    commitMsMax = Math.max(commitMsMax, performance.now() - beginMs);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  delay.disable();
  const digestMs = performance.now() - fromMs;
  return { digestMs, digestPauseMs: delay.max / 1e6, digestCommitMsMax: commitMsMax };
}

function pages(kept: Kept) {
  let [after, keys, longest]: [Key | null, number, number] = [null, 0, 0];
  const ballot = { epoch: 1, counter: 1, proposer: 1 };
  const fromMs = performance.now();
  for (;;) {
    const beginMs = performance.now();
    const output = kept.ask({ kind: 'scan', ballot, after });
    longest = Math.max(longest, performance.now() - beginMs);
    const [page] = [...output.send, ...output.afterFsync];
    if (page?.kind !== 'page') throw new Error('a page is answered');
    keys += page.keys.length;
    after = page.keys.at(-1) ?? after;
    if (page.isLast) break;
  }
  return { scanMs: performance.now() - fromMs, scanPauseMs: longest, scanKeys: keys };
}

function folderBytes(folder: string): number {
  const names = readdirSync(folder);
  return names.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

async function reopen(folder: string) {
  const fromMs = performance.now();
  const kept = await Kept.open(folder, 'open');
  const openMs = performance.now() - fromMs;
  return { openMs, openKeys: kept.node.status().keys };
}

async function main(folder: string, count: number): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const kept = await Kept.open(folder, 'create');
  await kept.durable(kept.take(kept.node.step({ kind: 'control', control: CONTROL }, 0)));
  globalThis.gc?.();
  const before = process.memoryUsage();
  const fromMs = performance.now();
  for (let at = 0; at < count;) {
    let seq = 0;
    for (const end = Math.min(count, at + BATCH); at < end; at += 1) seq = claimOne(kept, at);
    await kept.durable(seq);
  }
  const fillMicros = ((performance.now() - fromMs) * 1_000) / count;
  globalThis.gc?.();
  const after = process.memoryUsage();
  const memoryBytes = after.heapUsed + after.external - before.heapUsed - before.external;
  const logBytesBefore = folderBytes(join(folder, 'log'));
  const digested = await digest(kept, count);
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const logBytes = folderBytes(join(folder, 'log'));
  const scanned = pages(kept);
  await new Promise<void>((resolve) => kept.log.close(resolve));
  const figures = {
    count,
    fillMicros,
    bytesEach: memoryBytes / count,
    rssBytes: after.rss,
    logBytesBefore,
    logBytes,
    ...digested,
    ...scanned,
  };
  console.log(JSON.stringify(figures));
}

const [, , folder = '', count = ''] = process.argv;
if (count === 'open') console.log(JSON.stringify(await reopen(folder)));
else await main(folder, Number(count));
