/** What the tests of the gateway share: simulated model servers, a client, one node. */

import { assert } from '../base/assert.ts';
import { concatBytes, decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { headerValue, type HeaderList } from '../base/headers.ts';
import type { ModelName, RegionName, TargetName } from '../base/names.ts';
import type {
  BodyFraming,
  ClientEvents,
  ClientReply,
  Upstream,
  UpstreamCall,
  UpstreamHandler,
} from '../base/ports.ts';
import { createPrng, hashText } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import type { ModelConfig, NodeConfig, TargetConfig } from './config.ts';
import { Gateway } from './gateway.ts';
import type { ClaimDesk } from './idempotency.ts';
import type { ExchangeRecord } from './observer.ts';
import type { RegionView } from './regionView.ts';
import type { Tracer } from './tracing.ts';

export const decode = decodeUtf8;
export const encode = encodeUtf8;
/** Stands in for SHA-256: the gateway compares hashes and makes none. */
const keyHash = (text: string): string => hashText(text).toString(16).padStart(64, '0');

export const ANSWER = 'Your parcel, 您的包裹, leaves today — "tracking" shows it.\n\nThank you!';
export /** About four characters each. */
function tokensOf(text: string): readonly string[] {
  return text.match(/\s?[^\s]{1,4}|\s/gu) ?? [];
}

export const TOKENS = tokensOf(ANSWER);

/** What a simulated model server does with one call. */
export type Script = (call: UpstreamCall, handler: UpstreamHandler) => void;

/** Simulated model servers by origin; every answer comes after the call has returned (P1). */
class Servers implements Upstream {
  readonly calls: UpstreamCall[] = [];
  readonly scripts = new Map<string, Script>();
  cancelled = 0;
  private readonly time: VirtualTime;

  constructor(time: VirtualTime) {
    this.time = time;
  }

  start(call: UpstreamCall, handler: UpstreamHandler): ReturnType<Upstream['start']> {
    this.calls.push(call);
    let isLive = true;
    const guard = <A extends unknown[]>(run: (...args: A) => void) => {
      return (...args: A): void => {
        if (isLive) run(...args);
      };
    };
    const guarded: UpstreamHandler = {
      onHead: guard((status, headers) => handler.onHead(status, headers)),
      onBody: guard((chunk) => handler.onBody(chunk)),
      onEnd: guard(() => handler.onEnd()),
      onFailure: guard((failure) => handler.onFailure(failure)),
    };
    const script = this.scripts.get(call.origin) ?? refuse;
    this.time.after(1, () => script(call, guarded));
    return {
      cancel: () => {
        isLive = false;
        this.cancelled += 1;
      },
      pause: () => {},
      resume: () => {},
    };
  }
}

export const refuse: Script = (_call, handler) =>
  handler.onFailure({ kind: 'refused', bytesSent: 0, detail: 'nobody' });

/** The events of an answer in OpenAI's dialect, from where a prefill ends. */
export function answerEvents(call: UpstreamCall, text = ANSWER): readonly string[] {
  const body = JSON.parse(decode(call.body)) as {
    messages: { role: string; content: string }[];
    max_tokens?: number;
    stream_options?: { include_usage?: boolean };
  };
  const last = body.messages.at(-1);
  const prefix = last?.role === 'assistant' ? last.content : '';
  assert(text.startsWith(prefix), 'a prefill is the beginning');
  // A server that drops to its last token boundary and leaves out what was sent already.
  const rest: string[] = [];
  let at = 0;
  for (const token of tokensOf(text)) {
    const end = at + token.length;
    if (end > prefix.length) rest.push(token.slice(Math.max(0, prefix.length - at)));
    at = end;
  }
  const limit = body.max_tokens ?? rest.length;
  const base = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 5, model: 'm' };
  const event = (choices: unknown[], more = {}): string =>
    `data: ${JSON.stringify({ ...base, choices, ...more })}\n\n`;
  const delta = (value: unknown, reason: string | null): string =>
    event([{ index: 0, delta: value, finish_reason: reason }]);
  const events = [delta({ role: 'assistant', content: '' }, null)];
  for (const content of rest.slice(0, limit)) events.push(delta({ content }, null));
  events.push(delta({}, rest.length > limit ? 'length' : 'stop'));
  const usage = { prompt_tokens: 3, completion_tokens: Math.min(limit, rest.length) };
  if (body.stream_options?.include_usage === true) events.push(event([], { usage }));
  events.push('data: [DONE]\n\n');
  return events;
}

export const SSE: HeaderList = ['content-type', 'text/event-stream'];

/** A healthy server. */
export const serve: Script = (call, handler) => {
  const body = JSON.parse(decode(call.body)) as { stream?: boolean };
  if (body.stream === true) {
    handler.onHead(200, SSE);
    for (const event of answerEvents(call)) handler.onBody(encode(event));
  } else {
    handler.onHead(200, ['content-type', 'application/json']);
    const message = { role: 'assistant', content: ANSWER };
    const choices = [{ index: 0, message, finish_reason: 'stop' }];
    const usage = { prompt_tokens: 3, completion_tokens: 9, total_tokens: 12 };
    handler.onBody(encode(JSON.stringify({ id: 'chatcmpl-1', choices, usage })));
  }
  handler.onEnd();
};

/** Dies after `bytes` of its body. */
export function dieAfter(bytes: number, text = ANSWER): Script {
  return (call, handler) => {
    handler.onHead(200, SSE);
    const whole = encode(answerEvents(call, text).join(''));
    handler.onBody(whole.subarray(0, bytes));
    handler.onFailure({ kind: 'reset', bytesSent: 100, detail: 'killed' });
  };
}

export class Client implements ClientReply {
  status = 0;
  headers: HeaderList = [];
  body = '';
  state: 'open' | 'ended' | 'aborted' = 'open';
  events: ClientEvents | null = null;
  private readonly parts: Uint8Array[] = [];

  head(status: number, headers: HeaderList, _framing: BodyFraming): void {
    assert(this.status === 0, 'one head a reply');
    this.status = status;
    this.headers = headers;
  }

  /** Says of each piece whether there is room for more. */
  takes: () => boolean = () => true;

  write(chunk: Uint8Array): boolean {
    assert(this.status !== 0, 'a head before the body');
    if (this.state === 'open') this.parts.push(chunk.slice());
    return this.takes();
  }

  end(last?: Uint8Array): void {
    if (last !== undefined) this.write(last);
    this.finish('ended');
  }

  abort(): void {
    this.finish('aborted');
  }

  /** What has come until now. */
  get soFar(): string {
    return decode(concatBytes(this.parts));
  }

  header(name: string): string | null {
    return headerValue(this.headers, name);
  }

  private finish(state: 'ended' | 'aborted'): void {
    assert(this.state === 'open', 'a reply ends once');
    this.state = state;
    this.body = decode(concatBytes(this.parts));
  }
}

const HEALTH = {
  consecutiveFailuresMax: 5,
  ejectBaseMs: 10_000,
  ejectMaxMs: 300_000,
  ejectedPercentMax: 50,
  panicPercent: 50,
  slowStartMs: 0,
  probeIntervalMs: 1_000,
};

export function target(name: string, kind = 'llama'): TargetConfig {
  return {
    name: name as TargetName,
    kind,
    origin: `http://${name}`,
    pathPrefix: '/v1',
    query: '',
    apiKey: null,
    headers: [],
    options: {},
    probePath: null,
  };
}

export function model(
  name: string,
  targets: readonly string[],
  fallbacks: string[] = [],
): ModelConfig {
  return {
    name: name as ModelName,
    route: {
      model: name as ModelName,
      algorithm: 'least-tokens',
      targets: targets.map((one) => ({
        target: one as TargetName,
        weight: 1,
        priority: 0,
        inFlightMax: null,
      })),
      health: HEALTH,
    },
    upstreamNames: {},
    fallbacks: fallbacks as ModelName[],
    deadlines: { connectMs: 500, firstByteMs: 5_000, idleMs: 2_000, totalMs: 60_000 },
    attemptsMax: 4,
    hedge: null,
    continue: 'same-model',
    stall: null,
    createdSeconds: 1_700_000_000,
  };
}

export function configOf(more: Partial<NodeConfig> = {}): NodeConfig {
  return {
    region: 'here-1' as RegionName,
    peer: 'here-1',
    node: 'here-1-a',
    keys: [
      {
        name: 'demo',
        sha256: keyHash('demo-key'),
        models: ['*'],
        requestsPerMinute: null,
        tokensPerMinute: null,
        inFlightMax: null,
        priority: 'standard',
        residency: null,
        share: null,
      },
      {
        name: 'small',
        sha256: keyHash('small-key'),
        models: ['m'],
        requestsPerMinute: 2,
        tokensPerMinute: null,
        inFlightMax: null,
        priority: 'standard',
        residency: null,
        share: null,
      },
    ],
    targets: [target('a'), target('b')],
    models: [model('m', ['a', 'b'])],
    retryBudgetPercent: 10,
    exchangesMax: 100,
    requestBodiesBytesMax: 1_000_000,
    loopLagMsMax: 100,
    wishes: [],
    requestBodyBytesMax: 1_000_000,
    ...more,
  };
}

export interface World {
  readonly time: VirtualTime;
  readonly servers: Servers;
  readonly gateway: Gateway;
  readonly records: ExchangeRecord[];
}

export function open(
  config: NodeConfig = configOf(),
  regions?: RegionView,
  tracer?: Tracer,
  claims: ClaimDesk | null = null,
): World {
  const time = new VirtualTime(1_000);
  const servers = new Servers(time);
  const records: ExchangeRecord[] = [];
  const gateway = new Gateway({
    config,
    clock: time,
    timers: time,
    prng: createPrng(3),
    upstream: servers,
    observer: {
      exchangeStarted: () => {},
      exchangeDone: (record) => {
        records.push(record);
      },
      attemptDone: () => {},
      targetHealth: () => {},
      retrySuppressed: () => {},
      shed: () => {},
      loadMeasured: () => {},
    },
    claims,
    ...(regions === undefined ? {} : { regions }),
    ...(tracer === undefined ? {} : { tracer }),
  });
  for (const { origin } of config.targets) servers.scripts.set(origin, serve);
  return { time, servers, gateway, records };
}

interface Ask {
  readonly path?: string;
  readonly method?: string;
  readonly key?: string | null;
  readonly headers?: HeaderList;
  readonly body?: unknown;
  readonly forwardedFrom?: string | null;
}

export const CHAT = { model: 'm', stream: true, messages: [{ role: 'user', content: 'hi' }] };

export function send(world: World, ask: Ask = {}): Client {
  const client = new Client();
  const key = ask.key === undefined ? 'demo-key' : ask.key;
  client.events = world.gateway.handle(
    {
      method: ask.method ?? 'POST',
      path: ask.path ?? '/v1/chat/completions',
      query: '',
      headers: ['content-type', 'application/json', ...(ask.headers ?? [])],
      body: encode(typeof ask.body === 'string' ? ask.body : JSON.stringify(ask.body ?? CHAT)),
      keyHash: key === null ? null : keyHash(key),
      receivedMs: world.time.nowMs(),
      remote: '127.0.0.1',
      forwardedFrom: ask.forwardedFrom ?? null,
    },
    client,
  );
  return client;
}

/** The text that a client of OpenAI's dialect sees; every event must be well formed. */
export function chatText(body: string): {
  text: string;
  ids: Set<string>;
  roles: number;
  done: number;
} {
  let text = '';
  let roles = 0;
  let done = 0;
  const ids = new Set<string>();
  for (const event of body.split('\n\n')) {
    if (event === '' || event.startsWith(':')) continue;
    assert(event.startsWith('data: '), 'every event has data');
    const data = event.slice(6);
    if (data === '[DONE]') {
      done += 1;
      continue;
    }
    const chunk = JSON.parse(data) as {
      id: string;
      choices: { delta: { content?: string; role?: string } }[];
    };
    ids.add(chunk.id);
    const delta = chunk.choices[0]?.delta;
    if (delta?.role !== undefined) roles += 1;
    text += delta?.content ?? '';
  }
  return { text, ids, roles, done };
}

export function isBalanced(world: World): boolean {
  const { started, answered, refused, failed, clientGone } = world.gateway.counts;
  return started === answered + refused + failed + clientGone + world.gateway.inFlight;
}
