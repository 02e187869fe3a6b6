/** From tokens to text that can be sent: whole characters, and nothing of a stop sequence. */

import { LLAMA_LIMITS } from '../../base/limits.ts';

const BROKEN = '\uFFFD';

/** Collects tokens and gives text as soon as it ends with a whole character. */
export class Characters {
  readonly #detokenize: (tokens: readonly number[]) => string;
  #held: number[] = [];

  constructor(detokenize: (tokens: readonly number[]) => string) {
    this.#detokenize = detokenize;
  }

  /** The text that this token completes; empty while a character is open. */
  push(token: number): string {
    this.#held.push(token);
    const text = this.#detokenize(this.#held);
    if (text.endsWith(BROKEN) && this.#held.length < LLAMA_LIMITS.heldTokensMax) return '';
    this.#held = [];
    return text;
  }

  /** What is left when the answer ends: bytes that never became a character. */
  flush(): string {
    const text = this.#held.length === 0 ? '' : this.#detokenize(this.#held);
    this.#held = [];
    return text;
  }
}

/** Finds stop sequences and holds back what may be the beginning of one. */
export class StopFilter {
  readonly #stops: readonly string[];
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== '');
  }

  /** What may be sent of the text so far; `isStopped` once a stop sequence stands behind it. */
  push(text: string): { readonly text: string; readonly isStopped: boolean } {
    if (this.#stops.length === 0) return { text, isStopped: false };
    const all = this.#held + text;
    let first = -1;
    for (const stop of this.#stops) {
      const at = all.indexOf(stop);
      if (at !== -1 && (first === -1 || at < first)) first = at;
    }
    if (first !== -1) {
      this.#held = '';
      return { text: all.slice(0, first), isStopped: true };
    }
    const safe = all.length - this.#beginningLength(all);
    this.#held = all.slice(safe);
    return { text: all.slice(0, safe), isStopped: false };
  }

  /** What is left when the answer ends without a stop sequence. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  /** Characters at the end of `all` that could begin a stop sequence. */
  #beginningLength(all: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      const most = Math.min(stop.length - 1, all.length);
      for (let length = most; length > longest; length -= 1) {
        if (all.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}

/** Ends between two halves of a surrogate pair? Then the last half waits for its other one. */
export function wholeCharacters(text: string): string {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last <= 0xdbff ? text.slice(0, -1) : text;
}
