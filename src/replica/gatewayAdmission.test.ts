/** A gateway under more load than it may take: who is refused, how it is told, and what is counted. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { encodeUtf8 } from '../base/bytes.ts';
import { headerValue, type HeaderList } from '../base/headers.ts';
import type { ModelName, RegionName, TargetName } from '../base/names.ts';
import type { ClientEvents, ClientReply, UpstreamCall, UpstreamHandler } from '../base/ports.ts';
import { createPrng } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import type { Priority } from '../routing/admission.ts';
import { HEALTH_DEFAULTS } from '../routing/health.ts';
import type { KeyConfig, NodeConfig } from './config.ts';
import { Gateway } from './gateway.ts';
import type { ExchangeRecord } from './observer.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

function keyOf(name: Priority, inFlightMax: number | null = null): KeyConfig {
  return {
    name,
    sha256: sha256(name),
    models: ['*'],
    requestsPerMinute: null,
    tokensPerMinute: null,
    inFlightMax,
    priority: name,
    residency: null,
    share: null,
  };
}

const CONFIG: NodeConfig = {
  region: 'here-1' as RegionName,
  peer: 'here-1',
  node: 'here-1-1',
  keys: [keyOf('batch', 3), keyOf('standard'), keyOf('interactive')],
  targets: [
    {
      name: 'a' as TargetName,
      kind: 'openai',
      origin: 'http://a:1',
      pathPrefix: '/v1',
      query: '',
      apiKey: null,
      headers: [],
      options: {},
      probePath: null,
    },
  ],
  models: [
    {
      name: 'm' as ModelName,
      route: {
        model: 'm' as ModelName,
        algorithm: 'least-tokens',
        targets: [{ target: 'a' as TargetName, weight: 1, priority: 0, inFlightMax: null }],
        health: HEALTH_DEFAULTS,
      },
      upstreamNames: {},
      fallbacks: [],
      deadlines: { connectMs: 1_000, firstByteMs: 9_000, idleMs: 9_000, totalMs: 60_000 },
      attemptsMax: 1,
      hedge: null,
      continue: 'same-model',
      stall: null,
      createdSeconds: 1,
    },
  ],
  retryBudgetPercent: 10,
  exchangesMax: 100,
  requestBodyBytesMax: 1_000_000,
  requestBodiesBytesMax: 20_000,
  loopLagMsMax: 100,
  wishes: [],
};

class Client implements ClientReply {
  status = 0;
  headers: HeaderList = [];
  body = '';
  events: ClientEvents = { onGone: () => {}, onDrain: () => {} };
  head(status: number, headers: HeaderList): void {
    this.status = status;
    this.headers = headers;
  }
  write(chunk: Uint8Array): boolean {
    this.body += new TextDecoder().decode(chunk);
    return true;
  }
  end(last?: Uint8Array): void {
    if (last !== undefined) this.write(last);
  }
  abort(): void {}
}

/** A node whose targets take every request and never answer. */
class World {
  readonly calls: { readonly call: UpstreamCall; readonly handler: UpstreamHandler }[] = [];
  readonly records: ExchangeRecord[] = [];
  readonly shed: string[] = [];
  readonly gateway: Gateway;

  constructor(config: NodeConfig = CONFIG) {
    const time = new VirtualTime(1_000);
    this.gateway = new Gateway({
      config,
      clock: time,
      timers: time,
      prng: createPrng(3),
      upstream: {
        start: (call, handler) => {
          this.calls.push({ call, handler });
          return { cancel: () => {}, pause: () => {}, resume: () => {} };
        },
      },
      observer: {
        exchangeStarted: () => {},
        exchangeDone: (record) => void this.records.push(record),
        attemptDone: () => {},
        targetHealth: () => {},
        retrySuppressed: () => {},
        shed: (priority, reason) => void this.shed.push(`${priority} ${reason}`),
        loadMeasured: () => {},
      },
    });
  }

  ask(key: Priority, more: Partial<Ask> = {}): Client {
    const client = new Client();
    const { path = '/v1/chat/completions', headers = [], text = 'hi', forwardedFrom = null } = more;
    client.events = this.gateway.handle(
      {
        method: 'POST',
        path,
        query: '',
        headers,
        body: encodeUtf8(
          JSON.stringify({
            model: 'm',
            max_tokens: 9,
            messages: [{ role: 'user', content: text }],
          }),
        ),
        keyHash: forwardedFrom === null ? sha256(key) : null,
        receivedMs: 1_000,
        remote: '',
        forwardedFrom,
      },
      client,
    );
    return client;
  }

  fill(count: number): readonly Client[] {
    return Array.from({ length: count }, () => this.ask('interactive'));
  }

  /** Lags until `classes` classes are refused. */
  press(classes: number): void {
    while (this.gateway.pressure < classes) this.gateway.onLoopLag(1_000);
  }
}

interface Ask {
  readonly path: string;
  readonly headers: HeaderList;
  readonly text: string;
  readonly forwardedFrom: string | null;
}

test('the lowest class is refused first, in the dialect of the path, with the time to wait', () => {
  const world = new World();
  world.fill(20);
  world.press(1);
  const refused = world.ask('batch');
  assert.equal(refused.status, 503);
  assert.ok(Number(headerValue(refused.headers, 'retry-after')) >= 1);
  assert.match(refused.body, /"code":"overloaded"/);
  const anthropic = world.ask('batch', { path: '/v1/messages' });
  assert.equal(anthropic.status, 503);
  assert.match(anthropic.body, /"type":"overloaded_error"/);
  assert.equal(world.ask('interactive').status, 0, 'under way');
  assert.deepEqual(world.shed, ['batch lag', 'batch lag']);
  assert.deepEqual(
    world.records.map(({ end, errorCode, keyName }) => [end, errorCode, keyName]),
    Array.from({ length: 2 }, () => ['refused', 'overloaded', 'batch']),
  );
});

test('x-banyan-priority lowers the class of a key, never raises it, and must name one', () => {
  const world = new World();
  world.fill(20);
  world.press(1);
  const header = (word: string): Partial<Ask> => ({ headers: ['x-banyan-priority', word] });
  assert.equal(world.ask('interactive', header('batch')).status, 503);
  assert.equal(world.ask('batch', header('interactive')).status, 503);
  assert.equal(world.ask('interactive', header('standard')).status, 0);
  const wrong = world.ask('interactive', header('urgent'));
  assert.equal(wrong.status, 400);
  assert.match(wrong.body, /batch, standard, interactive/);
});

test('health answers whatever the load', () => {
  const world = new World();
  world.fill(100);
  world.press(3);
  for (const path of ['/livez', '/readyz']) {
    const client = new Client();
    world.gateway.handle(
      {
        method: 'GET',
        path,
        query: '',
        headers: [],
        body: new Uint8Array(),
        keyHash: null,
        receivedMs: 0,
        remote: '',
        forwardedFrom: null,
      },
      client,
    );
    assert.equal(client.status, 200, path);
  }
});

test('a key over its own bound gets 429, and a place again when a request of it is over', () => {
  const world = new World();
  const [first] = [world.ask('batch'), world.ask('batch'), world.ask('batch')];
  const refused = world.ask('batch');
  assert.equal(refused.status, 429);
  assert.equal(headerValue(refused.headers, 'retry-after'), '1');
  assert.match(refused.body, /"code":"too_many_requests"/);
  assert.match(world.ask('batch', { path: '/v1/messages' }).body, /"type":"rate_limit_error"/);
  assert.equal(world.ask('standard').status, 0, 'other keys are not held back');
  first?.events.onGone();
  assert.equal(world.ask('batch').status, 0);
  assert.equal(world.ask('batch').status, 429);
  assert.deepEqual(world.shed, [], 'the own limit of a caller is no load of the node');
});

test("a key's bound that changes counts what is under way, and what of it ends", () => {
  const world = new World();
  const [first] = [world.ask('batch'), world.ask('batch'), world.ask('batch')];
  const bounded = (most: number): NodeConfig => ({ ...CONFIG, keys: [keyOf('batch', most)] });
  world.gateway.reconfigure(bounded(2));
  assert.equal(world.ask('batch').status, 429, 'three of two are under way');
  world.gateway.reconfigure(bounded(4));
  assert.equal(world.ask('batch').status, 0, 'the fourth of four');
  assert.equal(world.ask('batch').status, 429);
  first?.events.onGone();
  assert.equal(world.ask('batch').status, 0, 'one that began under the first bound is over');
});

test('bodies of requests under way are bounded together, and freed with them', () => {
  const world = new World();
  const text = 'x'.repeat(6_000);
  const clients = [1, 2, 3].map(() => world.ask('interactive', { text }));
  assert.equal(world.ask('interactive', { text }).status, 503);
  assert.equal(world.shed[0], 'interactive bodies');
  assert.equal(world.ask('interactive').status, 0, 'a small one still fits');
  for (const client of clients) client.events.onGone();
  assert.equal(world.ask('interactive', { text }).status, 0);
});

test('a forwarded request counts, keeps its class, and is not drawn a second time', () => {
  const world = new World();
  world.fill(20);
  while (world.gateway.pressure < 0.5) world.gateway.onLoopLag(100);
  const verdicts = (id: string): readonly number[] => {
    const headers = ['x-banyan-model', 'm', 'x-banyan-priority', 'batch', 'x-request-id', id];
    return [1, 2].map(() => world.ask('batch', { headers, forwardedFrom: 'there-1' }).status);
  };
  let refused = 0;
  for (let number = 0; number < 40; number += 1) {
    const [one, two] = verdicts(`req_${number}`);
    assert.equal(one, two, 'the same request is judged alike wherever it comes');
    if (one === 503) refused += 1;
  }
  assert.ok(refused > 5 && refused < 35, `${refused} of 40`);
});

test('every request is accounted for in any storm (G1)', () => {
  const world = new World({ ...CONFIG, exchangesMax: 10 });
  const prng = createPrng(9);
  const keys: readonly Priority[] = ['batch', 'standard', 'interactive'];
  let asked = 0;
  const live: Client[] = [];
  for (let step = 0; step < 2_000; step += 1) {
    const kind = prng.nextBelow(4);
    if (kind === 0) world.gateway.onLoopLag(prng.nextBelow(300));
    else if (kind === 1) live.splice(prng.nextBelow(live.length + 1), 1)[0]?.events.onGone();
    else {
      asked += 1;
      const client = world.ask(keys[prng.nextBelow(3)] ?? 'batch');
      if (client.status === 0) live.push(client);
    }
    const { started, answered, refused, failed, clientGone } = world.gateway.counts;
    assert.equal(started, asked);
    assert.equal(started, answered + refused + failed + clientGone + world.gateway.inFlight);
    assert.equal(world.gateway.inFlight, live.length);
    assert.ok(live.length <= 10);
  }
  for (const client of live) client.events.onGone();
  assert.equal(world.gateway.bodiesBytes, 0);
});
