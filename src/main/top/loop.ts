/**
 * The live screen: takes looks, draws, and gives the terminal back as it was, however it ends.
 * Everything outside is handed in, so that a test can be the terminal.
 */

import { figuresOf, type TopFigures } from './figures.ts';
import type { Snapshot } from './snapshot.ts';

/** A terminal as the loop uses it. */
export interface Terminal {
  size(): { readonly columns: number; readonly rows: number };
  write(text: string): void;
  /** Calls back for each key and each change of size; gives what undoes it, raw mode included. */
  listen(onKey: (key: string) => void, onResize: () => void): () => void;
}

/** What the loop is made of. */
export interface LoopOptions {
  readonly terminal: Terminal;
  readonly look: () => Promise<Snapshot>;
  /** Resolves after the interval, or when `signal` aborts. */
  readonly wait: (signal: AbortSignal) => Promise<void>;
  readonly draw: (figures: TopFigures, size: ReturnType<Terminal['size']>) => readonly string[];
  /** A line for a look that failed; throws what it cannot put into words. */
  readonly explain: (cause: unknown) => string;
  /** Ends it from outside (SIGTERM). */
  readonly signal: AbortSignal;
}

/** How it ended. */
export type LoopEnd = 'quit' | 'interrupted';

const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
/** Rates are over about this time, quantiles over about that, ms. */
const RATE_MS = 4_500;
const QUANTILE_MS = 30_000;
/** Looks kept, whatever the interval. */
const LOOKS_MAX = 200;

/** Runs until a key or the signal ends it. */
export async function runLoop(options: LoopOptions): Promise<LoopEnd> {
  const { terminal, look, wait, draw, explain } = options;
  const history = new History();
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, options.signal]);
  let end: LoopEnd = 'interrupted';
  let figures: TopFigures | null = null;
  let note = '';
  const paint = (): void => {
    if (signal.aborted) return;
    const size = terminal.size();
    const lines = figures === null ? [] : draw(figures, size);
    const all = note === '' ? lines : [...lines.slice(0, Math.max(size.rows - 1, 0)), note];
    const shown = all.map((line) => `${line}\u001b[0m\u001b[K`).join('\r\n');
    terminal.write(`\u001b[H${shown}\u001b[J`);
  };
  const undo = terminal.listen((key) => {
    if (key !== 'q' && key !== 'Q' && key !== '\u0003') return;
    end = key === '\u0003' ? 'interrupted' : 'quit';
    stop.abort();
  }, paint);
  terminal.write(ENTER);
  try {
    while (!signal.aborted) {
      try {
        history.add(await look());
        figures = history.figures();
        note = '';
      } catch (cause) {
        note = explain(cause);
      }
      paint();
      await wait(signal);
    }
    return end;
  } finally {
    undo();
    terminal.write(LEAVE);
  }
}

/** The last looks, for rates and quantiles. */
export class History {
  readonly #looks: Snapshot[] = [];

  add(look: Snapshot): void {
    this.#looks.push(look);
    if (this.#looks.length > LOOKS_MAX) this.#looks.shift();
  }

  /** Of the newest look against older ones; throws where there is none. */
  figures(): TopFigures {
    const now = this.#looks.at(-1);
    if (now === undefined) throw new Error('figures need a look');
    return figuresOf(now, this.#before(now, RATE_MS), this.#before(now, QUANTILE_MS));
  }

  /** The oldest look that is at most `ms` older; null where there is no other. */
  #before(now: Snapshot, ms: number): Snapshot | null {
    const found = this.#looks.find((look) => now.nowMs - look.nowMs <= ms);
    if (found !== undefined && found !== now) return found;
    return this.#looks.at(-2) ?? null; // The interval is longer than that.
  }
}
