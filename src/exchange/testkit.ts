/** What the tests of this room share: a toy dialect, its servers and clients, one exchange. */

import { assert } from '../base/assert.ts';
import { decodeUtf8, EMPTY_BYTES, encodeUtf8 } from '../base/bytes.ts';
import type { ErrorCode } from '../base/errors.ts';
import { failure } from '../base/errors.ts';
import type { HeaderList } from '../base/headers.ts';
import type {
  BodyFraming,
  ClientReply,
  Upstream,
  UpstreamCall,
  UpstreamFailureKind,
  UpstreamHandler,
} from '../base/ports.ts';
import { createPrng } from '../base/prng.ts';
import { ok } from '../base/result.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import type {
  Adapter,
  ParsedRequest,
  StreamReader,
  StreamStep,
  UpstreamError,
} from '../protocol/adapter.ts';
import type { AttemptOutcome } from '../routing/outcome.ts';
import { Exchange } from './exchange.ts';
import type { ExchangeEnd, ExchangeOwner } from './owner.ts';
import type { StallSpec } from './stall.ts';
import type { AttemptReport, ExchangeHost, Place } from './place.ts';

const NO_LAYOUT = {
  membersStart: 1,
  modelStart: -1,
  modelEnd: -1,
  streamOptionsStart: -1,
  streamOptionsEnd: -1,
  maxTokensKeyStart: -1,
  maxCompletionTokensKeyStart: -1,
  cuts: [],
};

export const text = decodeUtf8;
export const bytes = encodeUtf8;

/**
 * A toy dialect, a line a piece: `role` is lifecycle, `done` the end, `error CLASS` an in-band
 * error, anything else content.
 */
class ToyReader implements StreamReader {
  private rest = '';
  private readonly step: StreamStep = {
    bytes: EMPTY_BYTES,
    hasContent: false,
    isDone: false,
    error: null,
  };

  push(chunk: Uint8Array): StreamStep {
    this.rest += text(chunk);
    let out = '';
    for (let end = this.rest.indexOf('\n'); end !== -1; end = this.rest.indexOf('\n')) {
      const line = this.rest.slice(0, end);
      this.rest = this.rest.slice(end + 1);
      if (line.startsWith('error ')) {
        this.step.error = errorOf(line.slice(6) as UpstreamError['class']);
        break;
      }
      out += `${line}\n`;
      if (line === 'done') this.step.isDone = true;
      else if (line !== 'role') this.step.hasContent = true;
    }
    this.step.bytes = bytes(out);
    return this.step;
  }

  end(): StreamStep {
    this.step.bytes = EMPTY_BYTES;
    return this.step;
  }

  usage(): null {
    return null;
  }
}

function errorOf(kind: UpstreamError['class'], status = 500): UpstreamError {
  return { class: kind, status, message: 'no', code: null, param: null, retryAfterMs: null };
}

const STATUS_CLASSES: Readonly<Record<number, UpstreamError['class']>> = {
  400: 'invalid-request',
  401: 'unauthorized',
  404: 'model-missing',
  429: 'rate-limited',
  500: 'server',
  529: 'overloaded',
};

const TOY: Adapter = {
  kind: 'toy',
  dialect: 'openai',
  continuation: 'none',
  refusal: () => null,
  prepare: () => ok({ method: 'POST', path: '/', headers: [], body: EMPTY_BYTES }),
  readError: (status) => errorOf(STATUS_CLASSES[status] ?? 'server', status),
  readUnary: (_request, _headers, body) =>
    text(body).endsWith('}')
      ? ok({ body, usage: null, headers: [] })
      : { ok: false, error: errorOf('malformed') },
  openStream: () => new ToyReader(),
};

export interface Call {
  readonly call: UpstreamCall;
  readonly handler: UpstreamHandler;
  isCancelled: boolean;
  pauses: number;
  resumes: number;
}

/** Every call waits for the test to answer it. */
class ToyUpstream implements Upstream {
  readonly calls: Call[] = [];

  start(call: UpstreamCall, handler: UpstreamHandler): ReturnType<Upstream['start']> {
    const entry: Call = { call, handler, isCancelled: false, pauses: 0, resumes: 0 };
    this.calls.push(entry);
    return {
      cancel: () => {
        entry.isCancelled = true;
      },
      pause: () => {
        entry.pauses += 1;
      },
      resume: () => {
        entry.resumes += 1;
      },
    };
  }
}

class ToyReply implements ClientReply {
  status = 0;
  headers: HeaderList = [];
  framing: BodyFraming | null = null;
  body = '';
  end_: 'open' | 'ended' | 'aborted' = 'open';
  accepts = true;

  head(status: number, headers: HeaderList, framing: BodyFraming): void {
    assert(this.status === 0, 'one head a reply');
    this.status = status;
    this.headers = headers;
    this.framing = framing;
  }

  write(chunk: Uint8Array): boolean {
    assert(this.status !== 0, 'a head before the body');
    assert(this.end_ === 'open', 'a reply ends once');
    this.body += text(chunk);
    return this.accepts;
  }

  end(last?: Uint8Array): void {
    assert(this.end_ === 'open', 'a reply ends once');
    if (last !== undefined) this.body += text(last);
    this.end_ = 'ended';
  }

  abort(): void {
    assert(this.end_ === 'open', 'a reply ends once');
    this.end_ = 'aborted';
  }
}

export interface World {
  readonly time: VirtualTime;
  readonly upstream: ToyUpstream;
  readonly reply: ToyReply;
  readonly exchange: Exchange;
  readonly outcomes: AttemptOutcome[];
  readonly reports: AttemptReport[];
  readonly ends: { end: ExchangeEnd; code: ErrorCode | null }[];
}

interface WorldOptions {
  readonly isStream?: boolean;
  readonly places?: readonly string[];
  readonly attemptsMax?: number;
  readonly retries?: number;
  /** Null: no hedging. */
  readonly hedgeMs?: number | null;
  readonly hedges?: number;
  readonly mayContinue?: boolean;
  readonly stall?: StallSpec | null;
}

function requestOf(isStream: boolean): ParsedRequest {
  return {
    operation: 'chat',
    dialect: 'openai',
    model: 'm',
    isStream,
    wantsUsage: false,
    body: bytes('{}'),
    promptTokensEstimate: 1,
    outputTokensMax: null,
    fallbacks: [],
    sessionKey: null,
    prefixHash: 0,
    choicesCount: 1,
    providerHeaders: [],
    layout: NO_LAYOUT,
    json: () => ({}),
  };
}

function placeOf(name: string, outcomes: AttemptOutcome[]): Place {
  return {
    kind: 'target',
    name,
    region: 'here',
    origin: `http://${name}`,
    model: 'm',
    adapter: TOY,
    target: null,
    resume: null,
    reason: 'test',
    started: () => {},
    firstContent: () => {},
    finished: (outcome) => {
      outcomes.push(outcome);
    },
    streamed: () => {},
    bytesPerSecond: () => null,
  };
}

export function open(options: WorldOptions = {}): World {
  const time = new VirtualTime(1_000);
  const upstream = new ToyUpstream();
  const reply = new ToyReply();
  const outcomes: AttemptOutcome[] = [];
  const reports: AttemptReport[] = [];
  const ends: World['ends'] = [];
  let retriesLeft = options.retries ?? 100;
  let hedgesLeft = options.hedges ?? 100;
  const host: ExchangeHost = {
    clock: time,
    timers: time,
    prng: createPrng(7),
    upstream,
    kept: { bytes: 0, bytesMax: 256 * 1024 * 1024 },
    takeRetry: (_nowMs, _mayHaveRun, isFree) => {
      if (isFree) return true;
      retriesLeft -= 1;
      return retriesLeft >= 0;
    },
  };
  const request = requestOf(options.isStream ?? true);
  const owner: ExchangeOwner = {
    choose: (query) => {
      const names = query.modelIndex === 0 ? (options.places ?? ['a', 'b', 'c']) : ['other'];
      const name = names.find((one) => !query.excluded.has(`target:${one}`));
      return name === undefined || query.modelIndex > 1
        ? { kind: 'none', failure: failure('no_target'), why: 'none left' }
        : { kind: 'place', place: placeOf(name, outcomes), modelIndex: query.modelIndex };
    },
    prepare: () => ({
      call: { method: 'POST', path: '/', headers: [], body: bytes('{}'), connectMs: 100 },
    }),
    hedgeDelayMs: () => options.hedgeMs ?? null,
    takeHedge: () => {
      hedgesLeft -= 1;
      return hedgesLeft >= 0;
    },
    replyHeaders: (exchange) => ['x-banyan-attempts', String(exchange.attempts)],
    metadata: () => null,
    attemptOver: (_exchange, report) => {
      reports.push(report);
    },
    exchangeOver: (_exchange, end, code) => {
      ends.push({ end, code });
    },
  };
  const info = {
    requestId: 'req_1',
    receivedMs: time.nowMs(),
    deadlines: { connectMs: 100, firstByteMs: 5_000, idleMs: 2_000, totalMs: 60_000 },
    attemptsMax: options.attemptsMax ?? 4,
    mayContinue: options.mayContinue ?? false,
    mayChangeModel: false,
    stall: options.stall ?? null,
    clientHeaders: [],
  };
  const exchange = new Exchange(host, owner, info, request, reply);
  exchange.start();
  return { time, upstream, reply, exchange, outcomes, reports, ends };
}

export const SSE: HeaderList = ['content-type', 'text/event-stream'];

export function last(world: World): Call {
  const call = world.upstream.calls.at(-1);
  assert(call !== undefined, 'a call was made');
  return call;
}

export function feed(world: World, ...pieces: readonly string[]): void {
  const { handler } = last(world);
  handler.onHead(200, SSE);
  for (const piece of pieces) handler.onBody(bytes(piece));
}

export function breakOff(world: World, kind: UpstreamFailureKind, bytesSent = 10): void {
  last(world).handler.onFailure({ kind, bytesSent, detail: '' });
}
