/**
 * Three regions as real processes with mutual TLS between them: forwarding, deaths under load, and
 * what each region sees of the others.
 */

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import {
  answerText,
  ask,
  errorOf,
  hasDialectEnd,
  type Question,
  type Reply,
} from '../support/client.ts';
import {
  DEFAULT_WORDS,
  startFakeUpstream,
  type FakeUpstream,
  type Fault,
} from '../support/fakeUpstream.ts';
import { startLinkProxy, type LinkProxy } from '../support/linkProxy.ts';
import {
  atEnd,
  seenState,
  startRegions,
  until,
  untilSeen,
  type RegionSpec,
  type TestNode,
} from '../support/node.ts';

const DIALECTS = ['openai', 'anthropic'] as const;
const WHOLE_TEXT = DEFAULT_WORDS.join('');
const REGIONS = ['us-east-2', 'eu-central-1', 'ap-northeast-1'] as const;
type Region = (typeof REGIONS)[number];
const [US, EU, AP] = REGIONS;

/** Three regions with two model servers each. */
interface World {
  readonly nodes: Readonly<Record<Region, TestNode>>;
  readonly fakes: Readonly<Record<Region, readonly [FakeUpstream, FakeUpstream]>>;
}

/** Where each model runs: its targets by region; a region that is not named has none. */
type Placement = Readonly<Record<string, Partial<Record<Region, readonly (string | object)[]>>>>;

const EVERYWHERE = { [US]: ['one', 'two'], [EU]: ['one', 'two'], [AP]: ['one', 'two'] };
const GONE = 'gone'; // A target that nobody listens at.

async function startWorld(
  placement: Placement,
  wire?: (port: number, region: string) => Promise<number>,
): Promise<World> {
  const pairs = await Promise.all(
    REGIONS.map(async (region) => {
      const pair = [
        await startFakeUpstream(`${region}/one`),
        await startFakeUpstream(`${region}/two`),
      ] as const;
      for (const fake of pair) atEnd(() => fake.close());
      return [region, pair] as const;
    }),
  );
  const fakes = Object.fromEntries(pairs) as World['fakes'];
  const nodes = await startRegions(
    REGIONS.map((region) => specOf(region, placement, fakes[region])),
    wire,
  );
  const byRegion = Object.fromEntries(nodes.map((node) => [node.region, node]));
  return { nodes: byRegion as World['nodes'], fakes };
}

function specOf(
  region: Region,
  placement: Placement,
  [one, two]: readonly [FakeUpstream, FakeUpstream],
): RegionSpec {
  const origins = { one: one.origin, two: two.origin, [GONE]: 'http://127.0.0.1:1' };
  return {
    region,
    targets: Object.entries(origins).map(([name, origin]) => ({
      name,
      kind: 'openai',
      baseUrl: `${origin}/v1`,
      options: { continuation: 'prefill' },
    })),
    models: Object.entries(placement).map(([name, places]) => ({
      name,
      targets: [...(places[region] ?? [])],
      deadlines: { connectMs: 1_000, firstByteMs: 20_000, idleMs: 20_000, totalMs: 60_000 },
    })),
    limits: { drainMs: 10_000 },
    demo: { faults: true },
  };
}

async function stopWorld({ nodes, fakes }: World): Promise<void> {
  for (const node of Object.values(nodes)) node.signal('SIGCONT');
  await Promise.all(Object.values(nodes).map((node) => node.kill9()));
  for (const fake of Object.values(fakes).flat()) await fake.close();
}

function question(model: string, more: Partial<Question> = {}): Question {
  return { dialect: 'openai', model, isStream: true, ...more };
}

function assertPerfect(reply: Reply, { dialect, isStream }: Question): void {
  const about = `${reply.status} ${reply.end} ${JSON.stringify(reply.headers)} ${reply.body}`;
  assert.equal(reply.status, 200, about);
  assert.equal(reply.end, 'clean', about);
  assert.equal(answerText(dialect, isStream, reply.body), WHOLE_TEXT, about);
  if (isStream) assert.ok(hasDialectEnd(dialect, reply.body), about);
}

/** Asks `count` times, `width` at a time; both dialects, streamed and whole in turn. */
async function load(
  node: TestNode,
  models: readonly string[],
  count: number,
  asked: (index: number) => void = () => {},
): Promise<readonly Reply[]> {
  const replies: Reply[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      asked(index);
      const one: Question = {
        dialect: DIALECTS[index % 2] ?? 'openai',
        model: models[index % models.length] ?? '',
        isStream: index % 4 < 2,
      };
      const reply = await ask(node.apiUrl, one);
      assertPerfect(reply, one);
      replies.push(reply);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return replies;
}

describe('a request that a region cannot serve goes to another one', async () => {
  const world = await startWorld({
    'only-eu': { [EU]: ['one'] },
    'eu-is-dead': { [EU]: [GONE], [AP]: ['one'] },
    'all-dead': { [EU]: [GONE], [US]: [GONE] },
    'eu-pair': {
      [EU]: [
        { target: 'one', priority: 0 },
        { target: 'two', priority: 1 },
      ],
    },
  });
  const { nodes, fakes } = world;
  after(() => stopWorld(world));
  const [euOne] = fakes[EU];

  for (const dialect of DIALECTS) {
    for (const isStream of [true, false]) {
      test(`${dialect}, ${isStream ? 'streamed' : 'whole'}: the headers tell which`, async () => {
        const one = question('only-eu', { dialect, isStream });
        const reply = await ask(nodes[US].apiUrl, one);
        assertPerfect(reply, one);
        assert.equal(reply.headers['x-banyan-region'], EU);
        assert.equal(reply.headers['x-banyan-target'], 'one');
        assert.equal(reply.headers['x-banyan-forwarded-by'], US);
        assert.match(String(reply.headers['x-request-id']), /^\S{8,}$/);
      });
    }
  }

  test('one request id through both regions', async () => {
    const reply = await ask(nodes[US].apiUrl, question('only-eu'));
    const id = String(reply.headers['x-request-id']);
    for (const region of [US, EU]) {
      await until(`${region} logs ${id}`, () => nodes[region].logs().includes(id));
    }
  });

  test('pieces come through as they are made', async () => {
    euOne.queueFaults([{ kind: 'slow-drip', gapMs: 100 }]);
    const controller = new AbortController();
    const response = await fetch(`${nodes[US].apiUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-banyan-test', 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'only-eu',
        stream: true,
        messages: [{ role: 'user', content: '?' }],
      }),
      signal: controller.signal,
    });
    const arrivalsMs: number[] = [];
    assert.ok(response.body !== null);
    for await (const _ of response.body) arrivalsMs.push(performance.now());
    const [first = 0] = arrivalsMs;
    assert.ok(arrivalsMs.length >= 5, `${arrivalsMs.length} pieces`);
    assert.ok((arrivalsMs.at(-1) ?? 0) - first > 400, 'the first came long before the last');
  });

  test('a client that leaves cancels through both regions', async () => {
    euOne.queueFaults([{ kind: 'stall-mid-stream', events: 3 }]);
    const seen = euOne.seen.length;
    const aborts = euOne.aborts.length;
    const controller = new AbortController();
    const { signal } = controller;
    const gone = ask(nodes[US].apiUrl, question('only-eu', { signal })).catch(() => null);
    await until('the model server has it', () => euOne.seen.length > seen);
    const leftMs = performance.now();
    controller.abort();
    await until('the model server is told', () => euOne.aborts.length > aborts, 2_000);
    const tookMs = (euOne.aborts.at(-1) ?? Infinity) - leftMs;
    assert.ok(tookMs < 500, `${tookMs} ms`);
    await gone;
  });

  test("a provider's refusal arrives as it is, and is not tried elsewhere", async () => {
    euOne.queueFaults([{ kind: 'status', status: 400 }]);
    const seen = euOne.seen.length;
    const reply = await ask(nodes[US].apiUrl, question('only-eu'));
    assert.equal(reply.status, 400, reply.body);
    assert.equal(errorOf(reply.body)?.code, 'upstream_rejected');
    assert.match(errorOf(reply.body)?.message ?? '', /fake status 400/);
    assert.equal(euOne.seen.length, seen + 1);
  });

  test('an answer that breaks off in the other region breaks off here, honestly', async () => {
    euOne.queueFaults([{ kind: 'reset-after-events', events: 4 }]);
    const headers = { 'x-banyan-continue': 'off' };
    const reply = await ask(nodes[US].apiUrl, question('only-eu', { headers }));
    assert.equal(reply.status, 200);
    assert.equal(reply.end, 'aborted');
    assert.equal(errorOf(reply.body)?.code, 'stream_broken');
  });

  test('an answer that breaks off goes on at the second target of the other region', async () => {
    for (const dialect of DIALECTS) {
      euOne.queueFaults([{ kind: 'reset-after-events', events: 4 }]);
      const one = question('eu-pair', { dialect });
      const reply = await ask(nodes[US].apiUrl, one);
      assertPerfect(reply, one);
      assert.equal(reply.headers['x-banyan-region'], EU);
      assert.equal(fakes[EU][1].seen.length, DIALECTS.indexOf(dialect) + 1);
    }
  });

  test('one hop at most: the next region is chosen by the first one', async () => {
    const before = nodes[AP].logs().length;
    const reply = await ask(nodes[US].apiUrl, question('eu-is-dead'));
    assertPerfect(reply, question('eu-is-dead'));
    assert.equal(reply.headers['x-banyan-region'], AP);
    assert.equal(reply.headers['x-banyan-forwarded-by'], US);
    const id = String(reply.headers['x-request-id']);
    const line = await until(
      'the region that served it logs who sent it',
      () =>
        nodes[AP]
          .logs()
          .slice(before)
          .split('\n')
          .find((text) => text.includes(id)) ?? null,
    );
    assert.match(line, new RegExp(`"${US}"`));
  });

  test('with no region that can serve it the client is told once, quickly', async () => {
    const reply = await ask(nodes[AP].apiUrl, question('all-dead'));
    assert.equal(reply.status, 503, reply.body);
    assert.ok(reply.totalMs < 10_000, `${reply.totalMs} ms`);
    assert.match(String(reply.headers['x-request-id']), /^\S{8,}$/);
  });

  test('a client cannot pretend to be a region', async () => {
    const headers = {
      authorization: 'Bearer sk-nobody',
      'x-banyan-key-name': 'test',
      'x-banyan-model': 'only-eu',
      'x-banyan-forwarded-by': US,
    };
    const reply = await ask(nodes[EU].apiUrl, question('only-eu', { headers }));
    assert.equal(reply.status, 401, reply.body);
  });
});

describe('what a region sees of another: cut, paused, slow and dead are told apart', async () => {
  const wires = new Map<string, LinkProxy>();
  const world = await startWorld(
    { m: EVERYWHERE, far: { [EU]: ['one'], [AP]: ['one'] } },
    async (port, region) => {
      const wire = await startLinkProxy(port);
      atEnd(() => wire.close());
      wires.set(region, wire);
      return wire.port;
    },
  );
  const { nodes } = world;
  after(() => stopWorld(world));

  test('a link that is cut is `cut` at both ends, and traffic takes another way', async () => {
    for (const region of [US, EU] as const) {
      await nodes[region].fault({ action: 'cut', a: US, b: EU });
    }
    await untilSeen(nodes[US], EU, ['cut']);
    await untilSeen(nodes[EU], US, ['cut']);
    assert.equal(await seenState(nodes[AP], EU), 'healthy');
    const replies = await load(nodes[US], ['far'], 8);
    for (const { headers } of replies) assert.equal(headers['x-banyan-region'], AP);
    for (const region of [US, EU] as const) await nodes[region].fault({ action: 'heal' });
    await untilSeen(nodes[US], EU, ['healthy']);
    await untilSeen(nodes[EU], US, ['healthy']);
  });

  test('a process that is stopped is `paused`, and healthy again when it goes on', async () => {
    nodes[EU].signal('SIGSTOP');
    await untilSeen(nodes[US], EU, ['paused']);
    const replies = await load(nodes[US], ['far'], 8);
    for (const { headers } of replies) assert.equal(headers['x-banyan-region'], AP);
    nodes[EU].signal('SIGCONT');
    await untilSeen(nodes[US], EU, ['healthy'], 20_000);
  });

  test('a wire that became slow is `slow`, and still serves', async () => {
    for (const wire of wires.values()) wire.setDelayMs(300);
    await untilSeen(nodes[US], EU, ['slow'], 20_000);
    const replies = await load(nodes[US], ['far'], 4);
    assert.equal(replies.length, 4);
    for (const wire of wires.values()) wire.setDelayMs(0);
    await untilSeen(nodes[US], EU, ['healthy'], 20_000);
  });

  test('a process that was killed is `down`', async () => {
    await nodes[EU].kill9();
    await wires.get(EU)?.close();
    await untilSeen(nodes[US], EU, ['down']);
    await untilSeen(nodes[AP], EU, ['down']);
  });
});

describe('deaths under load', async () => {
  test('all model servers of a region die: 200 of 200 requests to it succeed', async () => {
    const world = await startWorld({ m: EVERYWHERE });
    const { nodes, fakes } = world;
    const replies = await load(nodes[US], ['m'], 200, (index) => {
      if (index === 20) void fakes[US][0].close();
      if (index === 30) void fakes[US][1].close();
    });
    assert.equal(replies.length, 200);
    const here = replies.filter(({ headers }) => headers['x-banyan-region'] === US).length;
    assert.ok(here > 0 && here < 200, `${here} were served by the region itself`);
    await stopWorld(world);
  });

  test('a region dies: 200 of 200 requests to each other one succeed', async () => {
    // `far` has no target in two of the regions: half of the load is under way between regions.
    const world = await startWorld({ m: EVERYWHERE, far: { [EU]: ['one', 'two'], [AP]: ['one'] } });
    const { nodes } = world;
    const killed: Promise<void>[] = [];
    const both = await Promise.all(
      [US, AP].map((region) =>
        load(nodes[region], ['m', 'm', 'far', 'far'], 200, (index) => {
          if (index === 40 && killed.length === 0) killed.push(nodes[EU].kill9());
        }),
      ),
    );
    await Promise.all(killed);
    assert.deepEqual(
      both.map((replies) => replies.length),
      [200, 200],
    );
    const far = both.flat().filter(({ headers }) => headers['x-banyan-forwarded-by'] !== undefined);
    assert.ok(far.length > 0, 'some went through another region');
    await stopWorld(world);
  });

  for (const isStream of [true, false]) {
    const mode = isStream ? 'streamed' : 'whole';
    test(`${mode}: a region dies before its first content, and another one answers`, async () => {
      const world = await startWorld({ far: { [EU]: ['one'], [AP]: ['one'] } });
      const { nodes } = world;
      const { reply, region } = await askHeld(world, { kind: 'stall-before-head' }, { isStream });
      await nodes[region].kill9();
      const told = await reply;
      assertPerfect(told, question('far', { isStream }));
      assert.equal(told.headers['x-banyan-region'], region === EU ? AP : EU);
      assert.equal(told.headers['x-banyan-attempts'], '2');
      assert.ok(told.totalMs < 8_000, `${told.totalMs} ms`);
      await stopWorld(world);
    });
  }

  for (const dialect of DIALECTS) {
    test(`${dialect}: a region dies after its first content, and another one goes on`, async () => {
      const world = await startWorld({ far: { [EU]: ['one'], [AP]: ['one'] } });
      const { nodes } = world;
      const fault: Fault = { kind: 'stall-mid-stream', events: 4 };
      const { reply, region, hasContent } = await askHeld(world, fault, { dialect });
      await hasContent;
      await nodes[region].kill9();
      const told = await reply;
      assertPerfect(told, question('far', { dialect }));
      assert.equal(told.headers['x-banyan-region'], region, 'the head went out before');
      await stopWorld(world);
    });
  }

  test('a region is stopped gracefully: what it runs ends well, what comes goes elsewhere', async () => {
    const world = await startWorld({ far: { [EU]: ['one'], [AP]: ['one'] }, m: EVERYWHERE });
    const { nodes, fakes } = world;
    fakes[EU][0].queueFaults([{ kind: 'slow-drip', gapMs: 150 }]);
    fakes[EU][1].queueFaults([{ kind: 'slow-drip', gapMs: 150 }]);
    const running = ask(nodes[EU].apiUrl, question('m'));
    await until('it runs', () => fakes[EU].some(({ seen }) => seen.length > 0));
    const stopped: Promise<number | null>[] = [];
    const replies = await load(nodes[US], ['m', 'm', 'far', 'far'], 100, (index) => {
      if (index === 10) stopped.push(nodes[EU].stop());
    });
    assert.equal(replies.length, 100);
    assertPerfect(await running, question('m'));
    assert.deepEqual(await Promise.all(stopped), [0], 'it ended by itself');
    await stopWorld(world);
  });
});

/** Asks for `far` in a region that has none; the region that was chosen holds the request back. */
async function askHeld(
  { nodes, fakes }: World,
  fault: Fault,
  more: Partial<Question>,
): Promise<{ reply: Promise<Reply>; region: Region; hasContent: Promise<unknown> }> {
  const [eu, ap] = [fakes[EU][0], fakes[AP][0]];
  for (const fake of [eu, ap]) fake.queueFaults([fault]);
  let isBegun = false;
  const began = (): void => {
    isBegun = true;
  };
  const reply = ask(nodes[US].apiUrl, question('far', { ...more, began }));
  const region = await until('the request has arrived', () => {
    if (eu.seen.length > 0) return EU;
    return ap.seen.length > 0 ? AP : null;
  });
  // The other one is well.
  (region === EU ? ap : eu).queueFaults([]);
  return { reply, region, hasContent: until('the answer has begun', () => isBegun) };
}
