/**
 * Generates answers: leases a sequence, keeps what it has of the prompt, and goes on from an answer
 * already begun so that the whole equals the answer of one uninterrupted call.
 *
 * E1: the token at position n of an answer depends on the prompt, the tokens before it and the seed
 * of n alone (greedy, or sampled with a seed made of the request's seed and n). Hence another process
 * with the same file continues with the same text. Checked by continuation.test.ts.
 * E2: an answer begun is verified in one pass: each of its tokens against what would have been chosen
 * there. Where they part (a cut inside a token; another tokenization of the same text), generation
 * starts again from that place and must first reproduce what was sent. Text that this model would
 * not have written is continued as it stands.
 * E3: a sequence is free again on every path: end, abort, error.
 */

import { createHash } from 'node:crypto';

import { LLAMA_LIMITS } from '../../base/limits.ts';
import { commonLength, Leases, type QueueFull } from './leases.ts';
import type { LlamaRuntime, LlamaSequence, Sampling } from './runtime.ts';
import { Characters, StopFilter, wholeCharacters } from './textStream.ts';

/** How an answer is chosen; `seed` is the request's, the same for all positions. */
export interface SamplingRequest {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
}

/** One answer to generate. */
export interface Job {
  /** Ends with the mark after which the answer begins. */
  readonly prompt: readonly number[];
  /** The answer's text so far; empty: none. */
  readonly begun: string;
  readonly sampling: SamplingRequest;
  /** New tokens at most; null: as the context allows. */
  readonly tokensMax: number | null;
  readonly stops: readonly string[];
  /** Null: full speed. */
  readonly tokensPerSecondMax: number | null;
  /** Takes a piece: whole characters, one token's worth where characters allow. */
  readonly onText: (text: string) => void | Promise<void>;
  readonly signal: AbortSignal;
}

/** How it ended and what it took. */
export interface JobResult {
  readonly end: 'stop' | 'length' | 'aborted';
  readonly promptTokens: number;
  /** Of the prompt, those whose evaluation was kept from before. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** Generates answers, as many at a time as there are sequences. */
export class Engine {
  readonly runtime: LlamaRuntime;
  readonly #leases: Leases;

  constructor(runtime: LlamaRuntime, queueDepthMax: number) {
    this.runtime = runtime;
    this.#leases = new Leases(runtime.sequences, queueDepthMax);
  }

  /** Answers under way and requests that wait. */
  get load(): { readonly active: number; readonly waiting: number } {
    return this.#leases.load;
  }

  /** Resolves when the answer is over, or at once with `queue-full`. */
  async generate(job: Job): Promise<JobResult | QueueFull> {
    const begun = this.runtime.tokenize(wholeCharacters(job.begun));
    const length = job.prompt.length + begun.length;
    if (length >= this.runtime.contextTokens) return ended('length', length, 0, 0);
    const lease = await this.#leases.take([...job.prompt, ...begun], job.signal);
    if (lease === 'queue-full') return lease;
    if (lease === 'aborted') return ended('aborted', length, 0, 0);
    try {
      return await new Answer(this.runtime, lease, job, begun).run();
    } finally {
      this.#leases.giveBack(lease);
    }
  }
}

function ended(
  end: JobResult['end'],
  promptTokens: number,
  cachedTokens: number,
  completionTokens: number,
): JobResult {
  return { end, promptTokens, cachedTokens, completionTokens };
}

/** The seed of one position: what makes a sampled answer go on the same anywhere (E1). */
export function seedAt(seed: number, position: number): number {
  return createHash('sha256').update(`${seed}:${position}`).digest().readUInt32LE(0);
}

/** One answer on one sequence. */
class Answer {
  readonly #runtime: LlamaRuntime;
  readonly #sequence: LlamaSequence;
  readonly #job: Job;
  readonly #begun: readonly number[];
  readonly #characters: Characters;
  readonly #stops: StopFilter;
  /** The answer's text since its first token, as far as it is whole characters. */
  #text = '';
  /** Tokens of the answer that stand in the sequence: the position of the next. */
  #position = 0;
  #completionTokens = 0;
  #cachedTokens = 0;
  #paceStartMs = 0;

  constructor(runtime: LlamaRuntime, sequence: LlamaSequence, job: Job, begun: readonly number[]) {
    this.#runtime = runtime;
    this.#sequence = sequence;
    this.#job = job;
    this.#begun = begun;
    this.#characters = new Characters((tokens) => runtime.detokenize(tokens));
    this.#stops = new StopFilter(job.stops);
  }

  async run(): Promise<JobResult> {
    const { prompt } = this.#job;
    const all = [...prompt, ...this.#begun];
    // The last token of the prompt is always evaluated: what follows it is the first choice.
    const kept = Math.min(commonLength(this.#sequence.tokens(), all), prompt.length - 1);
    await this.#sequence.keep(kept);
    this.#cachedTokens = kept;
    const choices = await this.#evaluate(all.slice(kept), prompt.length - 1 - kept);
    if (choices === 'aborted') return this.#ended('aborted');
    const agreed = commonLength(choices, this.#begun);
    const token = choices[agreed];
    if (token === undefined) return this.#ended('length');
    this.#take(this.#begun.slice(0, agreed));
    if (this.#text === this.#job.begun) return this.#goOn(token);
    await this.#sequence.keep(prompt.length + agreed);
    const replayed = await this.#replay(token);
    if (replayed === 'other-text') return this.#continueAsItStands(agreed);
    return replayed;
  }

  /** Generates again what was sent, then goes on; the text must agree as far as it was sent (E2). */
  async #replay(first: number): Promise<JobResult | 'other-text'> {
    const { begun } = this.#job;
    let token: number | null = first;
    while (token !== null) {
      if (this.#job.signal.aborted) return this.#ended('aborted');
      if (this.#runtime.isEnd(token)) return 'other-text';
      this.#take([token]);
      if (this.#text.length < begun.length) {
        if (!begun.startsWith(this.#text)) return 'other-text';
      } else {
        if (!this.#text.startsWith(begun)) return 'other-text';
        return this.#goOn(token, this.#text.slice(begun.length));
      }
      token = await this.#next(token);
    }
    return 'other-text';
  }

  /** The text begun is not what this model would have written: it stands, and the answer follows. */
  async #continueAsItStands(agreed: number): Promise<JobResult> {
    await this.#sequence.keep(this.#job.prompt.length + agreed);
    const rest = this.#begun.slice(agreed);
    let token: number | undefined;
    if (rest.length === 0) {
      // Half a surrogate pair at the very end: the last whole token is chosen from again.
      await this.#sequence.keep(this.#job.prompt.length + agreed - 1);
      const last = this.#begun[agreed - 1] ?? this.#job.prompt.at(-1);
      if (last === undefined) return this.#ended('length');
      rest.push(last);
    }
    this.#position = this.#begun.length;
    const choices = await this.#evaluate(rest, rest.length - 1);
    if (choices === 'aborted') return this.#ended('aborted');
    [token] = choices;
    this.#text = this.#job.begun;
    this.#characters.flush();
    return token === undefined ? this.#ended('length') : this.#goOn(token);
  }

  /**
   * The plain loop. `token` was chosen and not yet evaluated; where `pending` is given its text is
   * part of the answer already and only `pending` of it is new.
   */
  async #goOn(token: number, pending: string | null = null): Promise<JobResult> {
    this.#paceStartMs = performance.now();
    let next: number | null = token;
    let text = pending;
    while (next !== null) {
      if (this.#job.signal.aborted) return this.#ended('aborted');
      if (text === null) {
        if (this.#runtime.isEnd(next)) return this.#finish('stop');
        if (this.#completionTokens >= (this.#job.tokensMax ?? Infinity)) break;
        text = this.#take([next]);
      }
      // A token of which nothing is new was counted by the call that sent it.
      if (text !== '' || pending === null) this.#completionTokens += 1;
      const passed = this.#stops.push(text);
      if (passed.text !== '') {
        await this.#pace();
        await this.#job.onText(passed.text);
      }
      if (passed.isStopped) return this.#ended('stop');
      if (this.#completionTokens >= (this.#job.tokensMax ?? Infinity)) break;
      next = await this.#next(next);
      text = null;
    }
    return this.#finish('length');
  }

  /** Adds tokens to the answer; returns the text that they complete. */
  #take(tokens: readonly number[]): string {
    let text = '';
    for (const token of tokens) text += this.#characters.push(token);
    this.#text += text;
    this.#position += tokens.length;
    return text;
  }

  /** Evaluates one token of the answer; null where the context is full. */
  async #next(token: number): Promise<number | null> {
    if (this.#sequence.tokens().length >= this.#runtime.contextTokens - 1) return null;
    const [chosen] = await this.#sequence.step([{ token, choose: this.#samplingAt() }]);
    return chosen ?? null;
  }

  /**
   * Evaluates `tokens`, a part at a time so that a client can leave, and gives what would follow
   * each from index `chooseFrom` on.
   */
  async #evaluate(
    tokens: readonly number[],
    chooseFrom: number,
  ): Promise<readonly number[] | 'aborted'> {
    const choices: number[] = [];
    const position = this.#position;
    for (let start = 0; start < tokens.length; start += LLAMA_LIMITS.prefillTokens) {
      if (this.#job.signal.aborted) return 'aborted';
      const part = tokens.slice(start, start + LLAMA_LIMITS.prefillTokens);
      const chosen = await this.#sequence.step(
        part.map((token, index) => {
          const at = start + index - chooseFrom;
          return { token, choose: at < 0 ? null : this.#samplingOf(position + at) };
        }),
      );
      for (const token of chosen) if (token !== null) choices.push(token);
    }
    return choices;
  }

  #samplingAt(): Sampling {
    return this.#samplingOf(this.#position);
  }

  #samplingOf(position: number): Sampling {
    const { temperature, topP, topK, seed } = this.#job.sampling;
    return { temperature, topP, topK, seed: temperature === 0 ? 0 : seedAt(seed, position) };
  }

  /** Waits until the next piece is due. */
  async #pace(): Promise<void> {
    const rate = this.#job.tokensPerSecondMax;
    if (rate === null) return;
    const dueMs = this.#paceStartMs + (this.#completionTokens - 1) * (1_000 / rate);
    const waitMs = dueMs - performance.now();
    if (waitMs <= 1 || this.#job.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#job.signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      this.#job.signal.addEventListener('abort', done);
    });
  }

  /** Sends what was held back, then ends. */
  async #finish(end: 'stop' | 'length'): Promise<JobResult> {
    const { text, isStopped } = this.#stops.push(this.#characters.flush());
    const rest = isStopped ? text : text + this.#stops.flush();
    if (rest !== '') await this.#job.onText(rest);
    return this.#ended(isStopped ? 'stop' : end);
  }

  #ended(end: JobResult['end']): JobResult {
    const promptTokens = this.#job.prompt.length + this.#begun.length;
    return ended(end, promptTokens, this.#cachedTokens, this.#completionTokens);
  }
}
