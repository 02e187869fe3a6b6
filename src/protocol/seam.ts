/**
 * The seam of a continued answer: what of the rest's text is new to the client, and whether a stop
 * sequence begins before it and ends after it.
 *
 * J1: sent text and what is shown of the rest are the answer as if it had not been cut: white space
 *     and repetitions at the seam are shown once.
 * J2: of a prescribed form nothing is shown that could not become valid: the rest of JSON is held
 *     until it is whole and parses.
 * J3: a client's stop sequence across the seam ends the answer, and no more of it is shown.
 * Checked by resume.test.ts.
 */

import type { Finish } from './chat.ts';
import { parseJson } from './json.ts';
import type { ResumeWay, SentAnswer } from './resume.ts';

/** What to do with text of the rest. */
export type SeamStep =
  /** Nothing yet: more must come before it is known. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'text'; readonly text: string }
  /** The client's stop sequence is complete: the answer ends here. */
  | { readonly kind: 'stop'; readonly stop: string }
  /** It is no continuation of what the client has. */
  | { readonly kind: 'differs'; readonly why: string };

/** Longest repetition of the sent text's end that is looked for at the start of the rest. */
const OVERLAP_CHARS_MAX = 200;
/** A shorter repetition may be chance. */
const OVERLAP_CHARS_MIN = 8;

const WAIT: SeamStep = { kind: 'wait' };

/** The seam of one continued answer. */
export class Seam {
  readonly #sent: string;
  readonly #way: ResumeWay;
  readonly #stops: readonly string[];
  /** What is left of stop sequences that the end of the sent text has begun, the shortest first. */
  readonly #begun: readonly { readonly rest: string; readonly stop: string }[];
  readonly #isHeld: boolean;
  #waiting = '';
  #isSpliced: boolean;
  #isOpen = false;

  /** `isJson`: the text of the answer is to be one JSON value. */
  constructor(sent: SentAnswer, way: ResumeWay, stops: readonly string[], isJson: boolean) {
    this.#sent = sent.text;
    this.#way = way;
    this.#stops = stops;
    // A server that repeats the answer sees its stop sequences itself.
    const isRepeated = way.mode === 'regenerate';
    this.#begun = isRepeated
      ? []
      : stops.flatMap((stop) => begunStops(sent.text, stop)).toSorted(byRest);
    this.#isHeld = isJson && way.mode === 'prefill' && sent.text !== '';
    const isWhole = !way.isTrimmed || sent.text === sent.text.trimEnd();
    this.#isSpliced = sent.text === '' || (way.mode === 'prefill' && isWhole);
    this.#isOpen = this.#isSpliced && this.#begun.length === 0 && !this.#isHeld;
  }

  /** Text of the rest. */
  push(text: string): SeamStep {
    if (this.#isOpen) return { kind: 'text', text };
    this.#waiting += text;
    return this.#decide(null, false);
  }

  /** Nothing more comes; `finish` is why, where it was told. */
  end(finish: Finish | null): SeamStep {
    return this.#isOpen ? WAIT : this.#decide(finish, true);
  }

  #decide(finish: Finish | null, isLast: boolean): SeamStep {
    if (!this.#isSpliced) {
      const cut = this.#splicePoint(isLast);
      if (cut === 'differs') {
        if (isLast && this.#isStopBefore(finish)) return this.#open('');
        return { kind: 'differs', why: 'The answer came out differently when it was repeated.' };
      }
      if (cut === null) return WAIT;
      this.#waiting = this.#waiting.slice(cut);
      this.#isSpliced = true;
    }
    if (this.#isHeld) {
      if (!isLast) return WAIT;
      const isCut = finish === 'length';
      if (!isCut && parseJson(this.#sent + this.#waiting) === undefined) {
        return { kind: 'differs', why: 'The rest does not make valid JSON of the answer.' };
      }
    }
    const waiting = this.#waiting;
    for (const { rest, stop } of this.#begun) {
      if (waiting.startsWith(rest)) return { kind: 'stop', stop };
      if (!isLast && rest.startsWith(waiting)) return WAIT;
    }
    return this.#open(waiting);
  }

  #open(text: string): SeamStep {
    this.#isOpen = true;
    this.#waiting = '';
    return text === '' ? WAIT : { kind: 'text', text };
  }

  /** The repeated answer was ended by a stop sequence that the client has the beginning of. */
  #isStopBefore(finish: Finish | null): boolean {
    if (finish !== 'stop' && finish !== 'stop-sequence') return false;
    if (!this.#sent.startsWith(this.#waiting)) return false;
    const more = this.#sent.slice(this.#waiting.length);
    return this.#stops.some((stop) => stop.startsWith(more));
  }

  /** How much of the waiting text the client has already; null: not known yet. */
  #splicePoint(isLast: boolean): number | 'differs' | null {
    const text = this.#sent;
    const waiting = this.#waiting;
    if (this.#way.mode === 'regenerate') {
      if (waiting.startsWith(text)) return text.length;
      return !isLast && text.startsWith(waiting) ? null : 'differs';
    }
    if (this.#way.mode === 'prefill') {
      // White space at the end of a prefill is not sent; the model writes it again, or not.
      const space = text.slice(text.trimEnd().length);
      if (!isLast && waiting.length < space.length && space.startsWith(waiting)) return null;
      let same = 0;
      while (same < space.length && waiting[same] === space[same]) same += 1;
      return same;
    }
    if (!isLast && waiting.length < OVERLAP_CHARS_MAX) return null;
    const most = Math.min(OVERLAP_CHARS_MAX, text.length, waiting.length);
    for (let length = most; length >= OVERLAP_CHARS_MIN; length -= 1) {
      if (text.endsWith(waiting.slice(0, length))) return length;
    }
    return 0;
  }
}

/** Every way in which the end of `sent` begins `stop`. */
function begunStops(sent: string, stop: string): readonly { rest: string; stop: string }[] {
  const found: { rest: string; stop: string }[] = [];
  for (let length = Math.min(stop.length - 1, sent.length); length > 0; length -= 1) {
    if (sent.endsWith(stop.slice(0, length))) found.push({ rest: stop.slice(length), stop });
  }
  return found;
}

function byRest(one: { readonly rest: string }, other: { readonly rest: string }): number {
  return one.rest.length - other.rest.length;
}
