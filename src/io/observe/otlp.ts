/**
 * Sends spans to a collector: OTLP over HTTP, in batches, from a bounded queue.
 *
 * O1: `take` never waits and never throws: what does not fit is dropped and counted.
 * O2: every span taken ends in exactly one count of `OtlpCounts`, or is still queued.
 * O3: only the configured address is called; a redirect counts as a refusal (the pool follows none).
 * O4: one call at a time; a batch is sent `exportTriesMax` times at most, again only after answers
 *     that the specification calls retryable, or none.
 * Held by otlp.test.ts.
 */

import { encodeUtf8 } from '../../base/bytes.ts';
import { headerValue, type HeaderList } from '../../base/headers.ts';
import { TRACE_LIMITS } from '../../base/traceLimits.ts';
import type { Clock, TimerHandle, Timers, Upstream, UpstreamHandle } from '../../base/ports.ts';
import type { Span, Tracer } from '../../replica/tracing.ts';
import { renderSpans, type OtlpResource } from './otlpJson.ts';

/** What became of spans. */
export interface OtlpCounts {
  exported: number;
  /** The queue was full. */
  queueFull: number;
  /** The collector did not answer, or was overloaded, until no call was left. */
  unreachable: number;
  /** The collector answered that it will not take them. */
  refused: number;
  /** The node stopped before they were sent. */
  stopped: number;
}

/** Where spans go. */
export interface OtlpAddress {
  readonly origin: string;
  /** Path and query of the traces. */
  readonly path: string;
  readonly headers: HeaderList;
}

/** What the exporter needs. */
export interface OtlpOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly upstream: Upstream;
  readonly address: OtlpAddress;
  readonly resource: OtlpResource;
  readonly sampleRatio: number;
}

/** Sends spans until it is closed. */
export interface OtlpExporter extends Tracer {
  readonly counts: Readonly<OtlpCounts>;
  readonly queuedSpans: number;
  setSampleRatio(ratio: number): void;
  /** Sends what is left, within `closeMs`; the rest counts as `stopped`. */
  close(): Promise<void>;
}

/** Answers after which the specification lets a client send the same again. */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** Makes an exporter; it does nothing before spans come. */
export function createOtlpExporter(options: OtlpOptions): OtlpExporter {
  return new Exporter(options);
}

class Exporter implements OtlpExporter {
  readonly counts: OtlpCounts = {
    exported: 0,
    queueFull: 0,
    unreachable: 0,
    refused: 0,
    stopped: 0,
  };
  sampleRatio: number;
  readonly #options: OtlpOptions;
  #queue: Span[] = [];
  /** The batch under way or waiting to be sent again; empty: none. */
  #batch: readonly Span[] = [];
  #tries = 0;
  #timer: TimerHandle | null = null;
  #call: UpstreamHandle | null = null;
  /** Ends the call. */
  #limit: TimerHandle | null = null;
  /** Called once nothing is left, or the time is over; null: it is not closing. */
  #onIdle: (() => void) | null = null;
  #isClosed = false;

  constructor(options: OtlpOptions) {
    this.#options = options;
    this.sampleRatio = options.sampleRatio;
  }

  get queuedSpans(): number {
    return this.#queue.length + this.#batch.length;
  }

  setSampleRatio(ratio: number): void {
    this.sampleRatio = ratio;
  }

  take(spans: readonly Span[]): void {
    if (this.#isClosed) {
      this.counts.stopped += spans.length;
      return;
    }
    // The spans of an exchange stay together: half of them would tell a wrong story.
    if (this.queuedSpans + spans.length > TRACE_LIMITS.queueSpansMax) {
      this.counts.queueFull += spans.length;
      return;
    }
    for (const span of spans) this.#queue.push(span);
    if (this.#batch.length > 0) return;
    if (this.#queue.length >= TRACE_LIMITS.batchSpansMax) this.#wait(0);
    else if (this.#timer === null) this.#wait(TRACE_LIMITS.batchMs);
  }

  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      const limit = this.#options.timers.after(TRACE_LIMITS.closeMs, () => this.#onIdle?.());
      this.#onIdle = () => {
        limit.cancel();
        this.#stop();
        resolve();
      };
      if (this.queuedSpans === 0) this.#onIdle();
      else if (this.#call === null) this.#wait(0); // Neither a batch nor a retry is waited for.
    });
  }

  #stop(): void {
    this.#isClosed = true;
    this.#onIdle = null;
    this.#timer?.cancel();
    this.#timer = null;
    this.#limit?.cancel();
    this.#call?.cancel();
    this.#call = null;
    this.counts.stopped += this.queuedSpans;
    this.#queue = [];
    this.#batch = [];
  }

  /** Sends after `ms`, outside of whatever runs now. */
  #wait(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.timers.after(ms, () => {
      this.#timer = null;
      this.#send();
    });
  }

  #send(): void {
    if (this.#batch.length === 0) {
      this.#batch = this.#queue.slice(0, TRACE_LIMITS.batchSpansMax);
      this.#queue = this.#queue.slice(this.#batch.length);
      this.#tries = 0;
    }
    this.#tries += 1;
    const { address, resource, upstream, timers } = this.#options;
    let status = 0;
    let fields: HeaderList = [];
    let answer = '';
    const decoder = new TextDecoder();
    const finish = (isAnswered: boolean): void => {
      this.#limit?.cancel();
      this.#call = null;
      if (isAnswered) this.#answered(status, fields, answer);
      else this.#again(null);
    };
    this.#limit = timers.after(TRACE_LIMITS.exportMs, () => {
      this.#call?.cancel();
      finish(false);
    });
    this.#call = upstream.start(
      {
        origin: address.origin,
        method: 'POST',
        path: address.path,
        headers: [...address.headers, 'content-type', 'application/json'],
        body: encodeUtf8(renderSpans(resource, this.#batch)),
        connectMs: TRACE_LIMITS.connectMs,
      },
      {
        onHead: (code, headers) => {
          status = code;
          fields = headers;
        },
        onBody: (chunk) => {
          if (answer.length < TRACE_LIMITS.answerBytesMax) {
            answer += decoder.decode(chunk, { stream: true });
          }
        },
        onEnd: () => finish(true),
        onFailure: () => finish(false),
      },
    );
  }

  #answered(status: number, fields: HeaderList, answer: string): void {
    if (RETRYABLE.has(status)) {
      this.#again(headerValue(fields, 'retry-after'));
      return;
    }
    const count = this.#batch.length;
    const isTaken = status >= 200 && status < 300;
    const refused = isTaken ? Math.min(count, refusedSpans(answer)) : count;
    this.counts.refused += refused;
    this.counts.exported += count - refused;
    this.#next();
  }

  /** The batch is to be sent again, unless no call is left. `seconds`: the collector's wish. */
  #again(seconds: string | null): void {
    if (this.#tries >= TRACE_LIMITS.exportTriesMax || this.#onIdle !== null) {
      this.counts.unreachable += this.#batch.length;
      this.#next();
      return;
    }
    const { retryMs, retryMsMax } = TRACE_LIMITS;
    const ownMs = retryMs * 2 ** (this.#tries - 1);
    const toldMs = seconds !== null && /^\d{1,9}$/.test(seconds) ? Number(seconds) * 1000 : 0;
    this.#wait(Math.min(retryMsMax, Math.max(ownMs, toldMs)));
  }

  /** The batch is done with. */
  #next(): void {
    this.#batch = [];
    if (this.#queue.length >= TRACE_LIMITS.batchSpansMax || this.#onIdle !== null) {
      if (this.#queue.length > 0) this.#wait(0);
      else this.#onIdle?.();
    } else if (this.#queue.length > 0) {
      this.#wait(TRACE_LIMITS.batchMs);
    }
  }
}

/** Spans that a collector says it did not take of those that it was sent. */
function refusedSpans(answer: string): number {
  try {
    const told: unknown = JSON.parse(answer);
    const partial = told instanceof Object && 'partialSuccess' in told ? told.partialSuccess : null;
    const has = partial instanceof Object && 'rejectedSpans' in partial;
    const count = has ? Number(partial.rejectedSpans) : 0;
    return Number.isSafeInteger(count) && count > 0 ? count : 0;
  } catch {
    return 0; // An empty answer, or not JSON: the status said that all were taken.
  }
}
