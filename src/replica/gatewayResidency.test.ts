/** Keys that are bound to labels of regions: what is theirs never leaves those (RS1 to RS3). */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { headerValue } from '../base/headers.ts';
import { usualWish, type RegionWish } from '../regions/desired.ts';
import { mayServe, type Residency } from '../regions/residency.ts';
import type { NodeConfig } from './config.ts';
import { noRegion, type RegionView } from './regionView.ts';
import {
  ANSWER,
  answerEvents,
  chatText,
  configOf,
  dieAfter,
  encode,
  isBalanced,
  model,
  open,
  refuse,
  send,
  serve,
  SSE,
  type Client,
  type Script,
  type World,
} from './testkit.ts';

const REGIONS = ['here-1', 'there-1', 'third-1'] as const;

function labelled(labels: Readonly<Record<string, string | null>>): readonly RegionWish[] {
  return Object.entries(labels).map(([region, residency]) => ({
    ...usualWish(region),
    residency,
  }));
}

const MESSAGES = { model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] };
const LABELS = labelled({ 'here-1': 'us', 'there-1': 'eu', 'third-1': 'ch' });

function bound(residency: Residency, more: Partial<NodeConfig> = {}): NodeConfig {
  const keys = configOf().keys.map((key) => ({ ...key, residency }));
  return configOf({ keys, wishes: LABELS, ...more });
}

/** There and third, in this order, where the caller may be served and that was not tried. */
const OTHERS: RegionView = {
  choose: ({ excluded, residency, wishes }) => {
    const able = REGIONS.slice(1).find((region) => {
      return !excluded.has(region) && mayServe(residency, wishes, region);
    });
    if (able === undefined) return noRegion('none');
    return { region: able, why: 'near', isLastResort: false };
  },
  knows: () => true,
  candidates: () => [],
  started: () => {},
  finished: () => {},
};

function answerOf(region: string): Script {
  return (call, handler) => {
    handler.onHead(200, [...SSE, 'x-banyan-region', region, 'x-banyan-target', 'z']);
    for (const event of answerEvents(call)) handler.onBody(encode(event));
    handler.onEnd();
  };
}

function worldOf(config: NodeConfig): World {
  const world = open(config, OTHERS);
  for (const region of REGIONS.slice(1)) {
    world.servers.scripts.set(`region:${region}`, answerOf(region));
  }
  return world;
}

function asked(world: World): Client {
  const client = send(world);
  world.time.advance(60_000);
  assert.ok(isBalanced(world));
  return client;
}

/** Where the calls went: names of regions. */
function visited(world: World): ReadonlySet<string> {
  return new Set(
    world.servers.calls.map(({ origin }) =>
      origin.startsWith('region:') ? origin.slice('region:'.length) : 'here-1',
    ),
  );
}

test('what is bound elsewhere is served there, though this region is well', () => {
  const world = worldOf(bound(['eu', 'ch']));
  const client = asked(world);
  assert.equal(client.header('x-banyan-region'), 'there-1');
  assert.equal(chatText(client.body).text, ANSWER);
  assert.deepEqual([...visited(world)], ['there-1']);
  const [call] = world.servers.calls;
  assert.equal(headerValue(call?.headers ?? [], 'x-banyan-residency'), 'eu,ch');
});

test('what may be served here is, and goes only where it may when it fails', () => {
  const here = worldOf(bound(['us']));
  assert.equal(asked(here).header('x-banyan-region'), 'here-1');
  const sick = worldOf(bound(['us']));
  for (const origin of ['http://a', 'http://b']) sick.servers.scripts.set(origin, refuse);
  assert.equal(asked(sick).status, 503);
  assert.deepEqual([...visited(sick)], ['here-1']);
  const both = worldOf(bound(['us', 'ch']));
  for (const origin of ['http://a', 'http://b']) both.servers.scripts.set(origin, refuse);
  assert.equal(asked(both).header('x-banyan-region'), 'third-1');
  assert.deepEqual([...visited(both)], ['here-1', 'third-1']);
});

test('a broken answer goes on in another region of its labels, or not at all', () => {
  const more = labelled({ 'here-1': 'us', 'there-1': 'eu', 'third-1': 'eu' });
  const world = worldOf(bound(['eu'], { wishes: more }));
  world.servers.scripts.set('region:there-1', dieAfter(1_200));
  assert.equal(chatText(asked(world).body).text, ANSWER);
  assert.deepEqual([...visited(world)], ['there-1', 'third-1']);
  const alone = worldOf(bound(['eu']));
  alone.servers.scripts.set('region:there-1', (call, handler) => {
    alone.servers.scripts.set('region:there-1', refuse);
    dieAfter(1_200)(call, handler);
  });
  const client = asked(alone);
  assert.equal(client.state, 'aborted');
  assert.match(client.body, /stream_broken/);
  assert.deepEqual([...visited(alone)], ['there-1']);
});

test('where no region has a label of the key, the refusal says so in the dialect of the client', () => {
  const world = worldOf(bound(['cn']));
  const openai = asked(world);
  assert.equal(openai.status, 403);
  const told = JSON.parse(openai.body) as { error: Record<string, unknown> };
  assert.equal(told.error['code'], 'residency_refused');
  assert.equal(told.error['type'], 'permission_error');
  assert.match(String(told.error['message']), /No region has one of its labels: cn\.$/);
  const anthropic = send(world, { path: '/v1/messages', body: MESSAGES });
  assert.equal(anthropic.status, 403);
  assert.match(anthropic.body, /"type":"permission_error"/);
  assert.deepEqual(world.servers.calls, []);
  assert.deepEqual(
    world.records.map(({ errorCode }) => errorCode),
    ['residency_refused', 'residency_refused'],
  );
});

test('where those that fit are not well, the client is told when to ask again', () => {
  const config = bound(['eu']);
  const world = open(config, { ...OTHERS, choose: () => noRegion('it is down') });
  const client = asked(world);
  assert.equal(client.status, 503);
  assert.match(client.body, /residency_unavailable/);
  assert.ok(Number(client.header('retry-after')) >= 1);
  assert.deepEqual(world.servers.calls, []);
});

test('as long as nothing is known of labels nothing is served, and the client may ask again', () => {
  assert.equal(asked(worldOf(bound(['us'], { wishes: null }))).status, 503);
  const unlabelled = asked(worldOf(bound(['us'], { wishes: [] })));
  assert.equal(unlabelled.status, 403, 'known, and no region has a label');
  assert.equal(asked(worldOf(bound(null, { wishes: null }))).status, 200);
});

const PEER = ['x-banyan-key-name', 'demo', 'x-banyan-model', 'm'];

function forwarded(world: World, residency: string | null): Client {
  const more = residency === null ? [] : ['x-banyan-residency', residency];
  const headers = [...PEER, ...more];
  const client = send(world, { forwardedFrom: 'there-1', key: null, headers });
  world.time.advance(10);
  return client;
}

test('the region that is asked to serve looks for itself, at its label and at its keys (RS2)', () => {
  const free = worldOf(bound(null));
  assert.equal(forwarded(free, 'us').status, 200);
  assert.equal(forwarded(free, null).status, 200);
  for (const told of ['eu', 'eu,ch', '', ',']) {
    const client = forwarded(free, told);
    assert.equal(client.status, 421, told);
    assert.match(client.body, /residency_elsewhere/);
  }
  const own = worldOf(bound(['eu']));
  assert.equal(forwarded(own, 'us').status, 421, 'the sender knows of an older binding');
  assert.equal(forwarded(own, null).status, 421, 'the sender knows of none');
  assert.deepEqual(own.servers.calls, []);
});

test('a key whose rates are divided elsewhere is refused here, and SDKs do not ask again', () => {
  const share = { percent: 0, places: ['eu', 'us'], isComing: false };
  const keys = configOf().keys.map((key) => ({ ...key, requestsPerMinute: 0, share }));
  const world = worldOf(configOf({ keys }));
  const client = asked(world);
  assert.equal(client.status, 429);
  assert.match(client.body, /"code":"no_share"/);
  assert.match(client.body, /divided between eu, us\./);
  assert.deepEqual(
    [client.header('x-should-retry'), client.header('retry-after')],
    ['false', null],
  );
  const anthropic = send(world, { path: '/v1/messages', body: MESSAGES });
  assert.match(anthropic.body, /"type":"rate_limit_error"/);
  assert.deepEqual(world.servers.calls, []);
});

test('a key whose share here is on its way is refused, and told when to come again', () => {
  const share = { percent: 0, places: ['eu', 'us'], isComing: true };
  const keys = configOf().keys.map((key) => ({ ...key, requestsPerMinute: 0, share }));
  const client = asked(worldOf(configOf({ keys })));
  assert.equal(client.status, 429);
  assert.match(client.body, /"code":"rate_limit_exceeded"|"code":"rate_limited"/);
  assert.deepEqual([client.header('x-should-retry'), client.header('retry-after')], [null, '1']);
});

test('a client cannot bind or free its key by the field of the regions', () => {
  const world = worldOf(bound(['eu']));
  const client = send(world, { headers: ['x-banyan-residency', 'us'] });
  world.time.advance(10);
  assert.equal(client.header('x-banyan-region'), 'there-1');
});

test('a region that refuses what is not for it is passed over, and not blamed', () => {
  const ends: string[] = [];
  const config = bound(['eu', 'ch']);
  const world = open(config, {
    ...OTHERS,
    finished: (region, _tokens, { kind }) => ends.push(`${region} ${kind}`),
  });
  world.servers.scripts.set('region:there-1', (_call, handler) => {
    handler.onHead(421, ['content-type', 'application/json']);
    handler.onBody(encode('{"error":{"message":"no","type":"invalid_request_error"}}'));
    handler.onEnd();
  });
  world.servers.scripts.set('region:third-1', answerOf('third-1'));
  assert.equal(asked(world).header('x-banyan-region'), 'third-1');
  assert.deepEqual(ends, ['there-1 cancelled', 'third-1 answered']);
});

test('an exchange ends by the labels that it began with; the next one goes by the new ones (G2)', () => {
  const world = worldOf(bound(['us']));
  world.servers.scripts.set('http://a', (call, handler) => {
    world.time.after(500, () => serve(call, handler));
  });
  world.servers.scripts.set('http://b', world.servers.scripts.get('http://a') ?? refuse);
  const client = send(world);
  world.time.advance(100);
  const moved = labelled({ 'here-1': 'eu', 'there-1': 'us' });
  world.gateway.reconfigure(bound(['us'], { wishes: moved }));
  world.time.advance(1_000);
  assert.equal(client.header('x-banyan-region'), 'here-1');
  assert.equal(chatText(client.body).text, ANSWER);
  assert.equal(asked(world).header('x-banyan-region'), 'there-1');
});

test('a view of regions that breaks the rule stops the process, not the rule', () => {
  const lying: RegionView = {
    ...OTHERS,
    choose: () => ({ region: 'there-1', why: 'near', isLastResort: false }),
  };
  assert.throws(() => send(open(bound(['ch']), lying)), /RS1/);
});

type Way = 'serve' | 'refuse' | 'die' | 'slow';
const label = fc.constantFrom('eu', 'ch', 'us');
const way = fc.constantFrom<Way>('serve', 'refuse', 'die', 'slow');

/** What places do, call by call; their turns are counted from 1. */
const turns = (here: Way[], there: Way[]): Way[][] => [here, there, there];
const GOOD: Way[] = ['serve', 'serve', 'serve', 'serve'];
const BAD: Way[] = ['refuse', 'refuse', 'refuse', 'refuse'];
const EVERYWHERE = { 'here-1': 'eu', 'there-1': 'eu', 'third-1': 'eu' };
const ONLY_HERE = { 'here-1': 'eu', 'there-1': 'us', 'third-1': 'us' };
/** One of each kind that chance alone may not bring: served here, and elsewhere; nowhere; broken. */
const EXAMPLES: [string[] | null, Record<string, string | null>, Way[][]][] = [
  [['eu'], ONLY_HERE, turns(GOOD, GOOD)],
  [['eu'], EVERYWHERE, turns(BAD, GOOD)],
  [['ch'], EVERYWHERE, turns(GOOD, GOOD)],
  [['eu'], ONLY_HERE, turns(['refuse', 'die', 'refuse', 'refuse'], GOOD)],
];

test('whatever fails and however it is raced or continued, no call leaves the labels (RS1)', () => {
  const outcomes = new Set<string>();
  const residency = fc.option(fc.uniqueArray(label, { minLength: 1 }));
  const labels = fc.record(Object.fromEntries(REGIONS.map((region) => [region, fc.option(label)])));
  const ways = fc.array(fc.array(way, { minLength: 4, maxLength: 4 }), {
    minLength: 3,
    maxLength: 3,
  });
  fc.assert(
    fc.property(residency, labels, ways, (key, byRegion, scripts) => {
      const hedge = { afterMs: 50, afterPercentile: null, budgetPercent: 100 };
      const wishes = labelled(byRegion);
      const models = [{ ...model('m', ['a', 'b']), hedge }];
      const world = worldOf(bound(key, { wishes, models }));
      const take = (kind: Way, good: Script): Script => {
        if (kind === 'refuse') return refuse;
        if (kind === 'die') return dieAfter(1_200);
        if (kind === 'serve') return good;
        return (call, handler) => void world.time.after(400, () => good(call, handler));
      };
      const play = (origin: string, turns: readonly Way[]) => {
        const good = origin.startsWith('region:') ? answerOf(origin.slice(7)) : serve;
        let turn = 0;
        world.servers.scripts.set(origin, (call, handler) => {
          turn += 1;
          take(turns[turn % turns.length] ?? 'serve', good)(call, handler);
        });
      };
      const [here = [], there = [], third = []] = scripts;
      for (const origin of ['http://a', 'http://b']) play(origin, here);
      play('region:there-1', there);
      play('region:third-1', third);
      const client = asked(world);
      for (const region of visited(world)) assert.ok(mayServe(key, wishes, region), region);
      outcomes.add(`${client.status} ${client.state} ${visited(world).size}`);
    }),
    { numRuns: 300, examples: EXAMPLES },
  );
  // The runs were of all kinds: served in one place and in several, refused, broken off.
  for (const kind of ['200 ended 1', '200 ended 2', '403 ended 0', '200 aborted 1']) {
    assert.ok(outcomes.has(kind), `${kind} of ${[...outcomes].join(', ')}`);
  }
});
