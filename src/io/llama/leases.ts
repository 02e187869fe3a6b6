/** Who has which sequence: the free one that knows most of a prompt, or a bounded queue. */

import type { LlamaSequence } from './runtime.ts';

export type QueueFull = 'queue-full';

interface Waiter {
  readonly prompt: readonly number[];
  readonly give: (sequence: LlamaSequence | 'aborted') => void;
}

/** The sequences of a model and those who wait for one, first come first served. */
export class Leases {
  readonly #free: LlamaSequence[];
  readonly #count: number;
  readonly #waiters: Waiter[] = [];
  readonly #queueDepthMax: number;

  constructor(sequences: readonly LlamaSequence[], queueDepthMax: number) {
    this.#free = [...sequences];
    this.#count = sequences.length;
    this.#queueDepthMax = queueDepthMax;
  }

  get load(): { readonly active: number; readonly waiting: number } {
    return { active: this.#count - this.#free.length, waiting: this.#waiters.length };
  }

  /** Gives a sequence now or when one is free; `aborted` where the client left first. */
  take(
    prompt: readonly number[],
    signal: AbortSignal,
  ): Promise<LlamaSequence | QueueFull | 'aborted'> {
    if (signal.aborted) return Promise.resolve('aborted');
    const free = this.#takeFree(prompt);
    if (free !== null) return Promise.resolve(free);
    if (this.#waiters.length >= this.#queueDepthMax) return Promise.resolve('queue-full');
    return new Promise((resolve) => {
      const leave = (): void => {
        const at = this.#waiters.indexOf(waiter);
        if (at !== -1) this.#waiters.splice(at, 1);
        waiter.give('aborted');
      };
      const waiter: Waiter = {
        prompt,
        give: (sequence) => {
          signal.removeEventListener('abort', leave);
          resolve(sequence);
        },
      };
      signal.addEventListener('abort', leave);
      this.#waiters.push(waiter);
    });
  }

  giveBack(sequence: LlamaSequence): void {
    this.#free.push(sequence);
    const waiter = this.#waiters.shift();
    if (waiter === undefined) return;
    const free = this.#takeFree(waiter.prompt);
    if (free !== null) waiter.give(free);
  }

  /** The free sequence with the longest common beginning; ties: the one freed longest ago. */
  #takeFree(prompt: readonly number[]): LlamaSequence | null {
    let best = -1;
    let bestLength = -1;
    for (const [index, sequence] of this.#free.entries()) {
      const length = commonLength(sequence.tokens(), prompt);
      if (length > bestLength) {
        best = index;
        bestLength = length;
      }
    }
    return best === -1 ? null : (this.#free.splice(best, 1)[0] ?? null);
  }
}

/** Length of the common beginning. */
export function commonLength(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length += 1;
  return length;
}
