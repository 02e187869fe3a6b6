/**
 * One model server, iteration by iteration: continuous batching with chunked prefill, a prefix
 * cache of chained blocks, and preemption when the KV memory is full.
 *
 *   T[ms] = overhead + max(a0 + a1 n, b0 + b1 n) + (B > 0: d0 + d1 K) + p1 * sum c (k + c / 2)
 *
 * n = decodes + prefill tokens of the iteration, B = decodes, K = their KV tokens, c = a chunk's
 * tokens, k = tokens already there. Coefficients: fits of published profiles (Vidur: Llama-3-8B on
 * one A100, error 3.1 %; Splitwise: Llama-2-70B on four H100, measured end to end).
 */

/** Coefficients of one kind of server. Times in ms. */
export interface ServerKind {
  readonly name: string;
  readonly a0: number;
  readonly a1: number;
  readonly b0: number;
  readonly b1: number;
  readonly d0: number;
  readonly d1: number;
  readonly p1: number;
  readonly overheadMs: number;
  /** KV memory, tokens. */
  readonly kvTokens: number;
  /** Tokens of the prefix cache beyond the free KV memory (host memory). */
  readonly hostCacheTokens: number;
  /** Tokens of one iteration, decodes first. */
  readonly chunkTokens: number;
  /** Limit for the time per output token in goodput, ms. */
  readonly tpotMs: number;
}

export const A100_8B: ServerKind = {
  name: 'Llama-3-8B, A100',
  a0: 9.32,
  a1: 0.0431,
  b0: 4.54,
  b1: 0.06797,
  d0: 0.61,
  d1: 8.0e-5,
  p1: 3.2e-6,
  overheadMs: 2,
  kvTokens: 411_000,
  hostCacheTokens: 0,
  chunkTokens: 2_048,
  tpotMs: 50,
};

/** Prefill and decode times are added up: measured apart, one at a time. */
export const H100X4_70B_SLOW: ServerKind = {
  name: 'Llama-2-70B, 4 H100, end to end',
  a0: 4.1,
  a1: 0.1072,
  b0: 4.1,
  b1: 0.1072,
  d0: 24.55,
  d1: 1.23e-4,
  p1: 0,
  overheadMs: 0,
  kvTokens: 436_000,
  hostCacheTokens: 0,
  chunkTokens: 2_048,
  tpotMs: 100,
};

/** Long prompts: a cache in host memory, and a limit that leaves room for chunks of prefill. */
export const A100_8B_LONG: ServerKind = {
  ...A100_8B,
  name: 'Llama-3-8B, A100, 1.6 M tokens of host cache',
  hostCacheTokens: 1_600_000,
  tpotMs: 150,
};

const BATCH_MAX = 256;
export const BLOCK_TOKENS = 512;

/** One request at one server. */
export interface Sequence {
  readonly id: number;
  promptTokens: number;
  outputTokens: number;
  readonly blocks: readonly number[];
  prefillLeft: number;
  /** KV tokens there before the next chunk. */
  done: number;
  finishIteration: number;
  isRunning: boolean;
  hadFirst: boolean;
}

/** What an iteration's end brings. */
export interface ServerEvents {
  onFirst(id: number, nowMs: number): void;
  onFinish(id: number, nowMs: number): void;
}

/** A server; `endMs` is when its present iteration ends, infinity while it idles. */
export class Server {
  endMs = Infinity;
  /** Tokens that went through it: computed prefill and output. */
  workTokens = 0;
  promptTokensSeen = 0;
  hitTokens = 0;
  preemptions = 0;
  readonly #kind: ServerKind;
  readonly #events: ServerEvents;
  readonly slowFactor: number;
  #waiting: Sequence[] = [];
  #prefilling: Sequence[] = [];
  #running: Sequence[] = [];
  readonly #finishing = new Map<number, Sequence[]>();
  readonly #cache = new Map<number, true>();
  #chunks: { sequence: Sequence; tokens: number }[] = [];
  #iteration = 0;
  #batch = 0;
  #batchKv = 0;
  #kv = 0;

  constructor(kind: ServerKind, slowFactor: number, events: ServerEvents) {
    this.#kind = kind;
    this.slowFactor = slowFactor;
    this.#events = events;
  }

  submit(
    id: number,
    promptTokens: number,
    outputTokens: number,
    blocks: readonly number[],
    nowMs: number,
  ): void {
    this.#waiting.push({
      id,
      promptTokens,
      outputTokens: Math.max(1, outputTokens),
      blocks,
      prefillLeft: 0,
      done: 0,
      finishIteration: 0,
      isRunning: false,
      hadFirst: false,
    });
    if (this.endMs === Infinity) this.#begin(nowMs);
  }

  /** The present iteration ends at `endMs`. */
  step(): void {
    const nowMs = this.endMs;
    this.#iteration += 1;
    this.#batchKv += this.#batch;
    this.#kv += this.#batch;
    this.workTokens += this.#batch;
    const finished = this.#finishing.get(this.#iteration) ?? [];
    this.#finishing.delete(this.#iteration);
    for (const sequence of finished) {
      if (!sequence.isRunning || sequence.finishIteration !== this.#iteration) continue;
      this.#stop(sequence, sequence.outputTokens);
      this.#events.onFinish(sequence.id, nowMs);
    }
    for (const { sequence, tokens } of this.#chunks) {
      sequence.prefillLeft -= tokens;
      sequence.done += tokens;
      this.workTokens += tokens;
      if (sequence.prefillLeft === 0) this.#prefilled(sequence, nowMs);
    }
    this.#prefilling = this.#prefilling.filter((sequence) => sequence.prefillLeft > 0);
    while (this.#kv > this.#kind.kvTokens && this.#preempt());
    this.#begin(nowMs);
  }

  #begin(nowMs: number): void {
    this.#admit();
    this.#chunks = [];
    let room = this.#kind.chunkTokens - this.#batch;
    let attention = 0;
    let prefill = 0;
    for (const sequence of this.#prefilling) {
      if (room <= 0) break;
      const tokens = Math.min(room, sequence.prefillLeft);
      this.#chunks.push({ sequence, tokens });
      attention += tokens * (sequence.done + tokens / 2);
      prefill += tokens;
      room -= tokens;
    }
    const count = this.#batch + prefill;
    if (count === 0) {
      this.endMs = Infinity;
      return;
    }
    const { a0, a1, b0, b1, d0, d1, p1, overheadMs } = this.#kind;
    const linear = Math.max(a0 + a1 * count, b0 + b1 * count);
    const decode = this.#batch > 0 ? d0 + d1 * this.#batchKv : 0;
    this.endMs = nowMs + this.slowFactor * (overheadMs + linear + decode + p1 * attention);
  }

  #admit(): void {
    while (this.#waiting.length > 0) {
      const next = this.#waiting[0];
      if (next === undefined) return;
      const isFull = this.#batch + this.#prefilling.length >= BATCH_MAX;
      const isAlone = this.#kv === 0;
      if (isFull || (!isAlone && this.#kv + next.promptTokens + 16 > 0.95 * this.#kind.kvTokens)) {
        return;
      }
      this.#waiting.shift();
      const hit = this.#lookup(next);
      next.done = hit;
      next.prefillLeft = next.promptTokens - hit;
      this.promptTokensSeen += next.promptTokens;
      this.hitTokens += hit;
      this.#kv += next.promptTokens;
      this.#prefilling.push(next);
    }
  }

  #prefilled(sequence: Sequence, nowMs: number): void {
    this.#insert(sequence);
    if (!sequence.hadFirst) this.#events.onFirst(sequence.id, nowMs);
    sequence.hadFirst = true;
    if (sequence.outputTokens <= 1) {
      this.#kv -= sequence.promptTokens;
      this.#events.onFinish(sequence.id, nowMs);
      return;
    }
    sequence.isRunning = true;
    sequence.finishIteration = this.#iteration + sequence.outputTokens - 1;
    this.#batch += 1;
    this.#batchKv += sequence.promptTokens;
    this.#running.push(sequence);
    const bucket = this.#finishing.get(sequence.finishIteration);
    if (bucket === undefined) this.#finishing.set(sequence.finishIteration, [sequence]);
    else bucket.push(sequence);
  }

  /** Takes a sequence out of the batch that has made `made` tokens, its first included. */
  #stop(sequence: Sequence, made: number): void {
    sequence.isRunning = false;
    const kv = sequence.promptTokens + made - 1;
    this.#batch -= 1;
    this.#batchKv -= kv;
    this.#kv -= kv;
  }

  /** The newest gives its memory back and computes its prompt and output again later. */
  #preempt(): boolean {
    let newest = this.#running.pop();
    while (newest !== undefined && !newest.isRunning) newest = this.#running.pop();
    if (newest === undefined) return false;
    const left = newest.finishIteration - this.#iteration;
    const made = newest.outputTokens - left;
    this.#stop(newest, made);
    newest.promptTokens += made;
    newest.outputTokens = left;
    this.#waiting.unshift(newest);
    this.preemptions += 1;
    return true;
  }

  #lookup(sequence: Sequence): number {
    let count = 0;
    for (const block of sequence.blocks) {
      if (!this.#cache.has(block)) break;
      count += 1;
    }
    // The root is touched last, so that leaves go first.
    for (let index = count - 1; index >= 0; index -= 1) this.#touch(sequence.blocks[index] ?? 0);
    return Math.min(count * BLOCK_TOKENS, sequence.promptTokens - 1);
  }

  #insert(sequence: Sequence): void {
    const { blocks } = sequence;
    for (let index = blocks.length - 1; index >= 0; index -= 1) this.#touch(blocks[index] ?? 0);
    const free = Math.max(0, this.#kind.kvTokens - this.#kv);
    const capacity = (free + this.#kind.hostCacheTokens) / BLOCK_TOKENS;
    for (const block of this.#cache.keys()) {
      if (this.#cache.size <= capacity) return;
      this.#cache.delete(block);
    }
  }

  #touch(block: number): void {
    this.#cache.delete(block);
    this.#cache.set(block, true);
  }
}

/**
 * Requests a second that one server takes at its TPOT limit, in the mean: the rate whose stationary
 * iteration takes that long. Sets the load of a run.
 */
export function capacityPerSecond(
  kind: ServerKind,
  mean: {
    readonly prompt: number;
    /** Of the squares: attention makes long prompts dear. */
    readonly promptSquare: number;
    readonly output: number;
    readonly hitShare: number;
  },
): number {
  const uncached = mean.prompt * (1 - mean.hitShare);
  const iterationMs = (perMs: number): number => {
    let ms = kind.a0;
    for (let round = 0; round < 200; round += 1) {
      const batch = perMs * mean.output * ms;
      const count = batch + perMs * uncached * ms;
      const kv = batch * (mean.prompt + mean.output / 2);
      if (kv > 0.95 * kind.kvTokens) return Infinity;
      const linear = Math.max(kind.a0 + kind.a1 * count, kind.b0 + kind.b1 * count);
      ms = kind.overheadMs + linear + kind.d0 + kind.d1 * kv;
      ms /= 1 - Math.min(0.99, kind.p1 * perMs * (1 - mean.hitShare) * (mean.promptSquare / 2));
      if (ms > 1_000) return Infinity;
    }
    return ms;
  };
  let low = 0;
  let high = 1;
  for (let round = 0; round < 50; round += 1) {
    const middle = (low + high) / 2;
    if (iterationMs(middle) <= kind.tpotMs) low = middle;
    else high = middle;
  }
  return low * 1_000;
}
