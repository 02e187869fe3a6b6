/**
 * How much of a turn of the event loop goes to streams under way. All sockets that can be read are
 * read in one turn: with some hundred streams that flood it took hundreds of milliseconds, and
 * whoever had just come waited for all of them. So a turn has a budget; what is over it waits in line,
 * and the loop looks at timers, new connections and first bytes before it goes on.
 *
 * As in FQ-CoDel (RFC 8290, 4.2) who brings little goes before who floods: a token is not late because
 * others get megabytes. Only the wait of those with little is lag; a flood waits for itself, and its
 * sender is held back by TCP.
 *
 * T1: bytes of one connection are handled in their order: once some wait, all that follow do.
 * T2: a connection keeps no more than `lateFloodBytes` and one read; past the first it is not read.
 * T3: who floods gets on in every turn, whatever the others do.
 * Held by turns.test.ts and pool.test.ts. @hot
 */

import { HTTP_LIMITS } from '../../base/limits.ts';
import { flushStaged } from './buffers.ts';

const { turnBytes, turnPieceBytes, lateFloodBytes } = HTTP_LIMITS;
/** A line is moved to the front of its array once so many have left. */
const LEFT_MAX = 1_024;

/** A connection with bytes that wait. */
export interface LateReader {
  /** Handles all that waits. Called once for each time it was put in line. */
  handleLate(): void;
}

/** First in, first out. */
class Line {
  readonly #readers: LateReader[] = [];
  readonly #sinceMs: number[] = [];
  #at = 0;

  get isEmpty(): boolean {
    return this.#at === this.#readers.length;
  }

  /** How long the first has waited, ms; 0: nobody waits. */
  get waitMs(): number {
    return this.isEmpty ? 0 : performance.now() - (this.#sinceMs[this.#at] ?? 0);
  }

  push(reader: LateReader): void {
    this.#readers.push(reader);
    this.#sinceMs.push(performance.now());
  }

  shift(): LateReader | null {
    const reader = this.#readers[this.#at];
    if (reader === undefined) return null;
    this.#at += 1;
    if (this.isEmpty || this.#at > LEFT_MAX) {
      this.#readers.splice(0, this.#at);
      this.#sinceMs.splice(0, this.#at);
      this.#at = 0;
    }
    return reader;
  }
}

const few = new Line();
const floods = new Line();
let spentBytes = 0;
let isScheduled = false;

/** May `bytes` of a stream be handled at once? If so they are counted. */
export function takeTurn(bytes: number): boolean {
  const isFree = few.isEmpty && (bytes <= lateFloodBytes || floods.isEmpty);
  if (!isFree || spentBytes >= turnBytes) return false;
  spendTurn(bytes);
  return true;
}

/** Counts what is handled at once whatever the turn has done. */
export function spendTurn(bytes: number): void {
  spentBytes += turnPieceBytes + bytes;
  schedule();
}

/** Puts `reader`, which has `bytes`, in line. */
export function waitForTurn(reader: LateReader, bytes: number): void {
  (bytes <= lateFloodBytes ? few : floods).push(reader);
  schedule();
}

/** How long the bytes of a stream that brings few have waited, ms; 0: none wait. */
export function lateMs(): number {
  return few.waitMs;
}

function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(endTurn);
}

/** Handles who is in line, as far as the budget goes; the next turn's is whole again. */
function endTurn(): void {
  isScheduled = false;
  spentBytes = 0;
  floods.shift()?.handleLate(); // T3
  while (spentBytes < turnBytes) {
    const reader = few.shift() ?? floods.shift();
    if (reader === null) break;
    reader.handleLate();
  }
  spentBytes = 0;
  if (!few.isEmpty || !floods.isEmpty) schedule();
  flushStaged();
}
