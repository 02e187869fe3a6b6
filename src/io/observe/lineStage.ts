/**
 * Lines of the request path on their way to the log's writer. Each is copied into one block at once:
 * a text put together from forty pieces is a tree of as many objects, and kept until the next write
 * it would be carried from one young generation to the other. The writer gets one text for many. @hot
 */

import { OBSERVE_LIMITS } from '../../base/limits.ts';

/** UTF-8 takes at most this many bytes for a unit of UTF-16. */
const UNIT_BYTES_MAX = 3;

/** Stages lines in the order of their coming. */
export class LineStage {
  readonly #write: (text: string) => void;
  readonly #block: Buffer = Buffer.allocUnsafeSlow(4 * OBSERVE_LIMITS.logWriteBytesMin);
  #used = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** Takes a line with its end; it is written after `logFlushMs` at the latest. */
  push(line: string): void {
    const bytesMax = line.length * UNIT_BYTES_MAX;
    if (bytesMax > this.#block.length - this.#used) {
      this.flush();
      if (bytesMax > this.#block.length) {
        this.#write(line);
        return;
      }
    }
    this.#used += this.#block.write(line, this.#used, 'utf8');
    if (this.#used >= OBSERVE_LIMITS.logWriteBytesMin) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), OBSERVE_LIMITS.logFlushMs).unref();
  }

  /** Hands all lines over. */
  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#used === 0) return;
    const text = this.#block.toString('utf8', 0, this.#used);
    this.#used = 0;
    this.#write(text);
  }
}
