/**
 * The writer under the log: text to a file descriptor, in order, without the process waiting for a slow
 * reader and without ever waiting for one that is gone.
 *
 * F1: one write is under way at a time, so lines stay in order; only a last flush may overtake it. F2: past
 * `logBufferBytesMax` waiting bytes, what comes is dropped and counted. F3: where nobody reads any more
 * (EPIPE), what waits is dropped and counted, and the process goes on; at its end too: a last flush that
 * tries again for ever would keep a process whose parent died.
 */

import { write, writeSync } from 'node:fs';

import { OBSERVE_LIMITS } from '../../base/limits.ts';

/** A full pipe is tried again after this, ms. */
const RETRY_MS = 10;

/** Writes text to a descriptor. */
export class FdWriter {
  readonly #fd: number;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isWriting = false;
  #retry: NodeJS.Timeout | null = null;
  #dropped = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Lines that were lost. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes text of whole lines. */
  write(text: string): void {
    const bytes = Buffer.from(text);
    if (this.#waitingBytes + bytes.length > OBSERVE_LIMITS.logBufferBytesMax) {
      this.#dropped += linesOf(bytes);
      return; // F2.
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#pump();
  }

  /**
   * Writes what waits before it returns, for the end of the process. A full pipe that does not block is
   * waited for until `logLastFlushMs` are over; one that blocks does so. What is under way goes its own way.
   */
  flushSync(): void {
    const endMs = performance.now() + OBSERVE_LIMITS.logLastFlushMs;
    for (let bytes = this.#waiting.shift(); bytes !== undefined; bytes = this.#waiting.shift()) {
      try {
        this.#wrote(bytes, writeSync(this.#fd, bytes));
      } catch (cause) {
        this.#waiting.unshift(bytes);
        if (!isFull(cause) || performance.now() > endMs) return this.#drop();
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
      }
    }
  }

  #pump(): void {
    if (this.#isWriting || this.#retry !== null) return;
    const bytes = this.#waiting.shift();
    if (bytes === undefined) return;
    this.#isWriting = true;
    write(this.#fd, bytes, (cause, count) => {
      this.#isWriting = false;
      if (cause === null) {
        this.#wrote(bytes, count);
        this.#pump();
        return;
      }
      this.#waiting.unshift(bytes);
      if (!isFull(cause)) return this.#drop(); // F3.
      this.#retry = setTimeout(() => {
        this.#retry = null;
        this.#pump();
      }, RETRY_MS).unref();
    });
  }

  /** `count` of `bytes` are gone; the rest is first in line. */
  #wrote(bytes: Buffer, count: number): void {
    this.#waitingBytes -= count;
    if (count < bytes.length) this.#waiting.unshift(bytes.subarray(count));
  }

  #drop(): void {
    for (const bytes of this.#waiting) this.#dropped += linesOf(bytes);
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}

function isFull(cause: unknown): boolean {
  const { code } = cause as NodeJS.ErrnoException;
  return code === 'EAGAIN' || code === 'EBUSY';
}

function linesOf(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) lines += 1;
  return Math.max(1, lines);
}
