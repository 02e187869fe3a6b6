/** A region that an operator has drained: nothing of what comes to it all the same is refused. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { usualWish } from '../regions/desired.ts';
import { noRegion, type RegionView } from './regionView.ts';
import { answerEvents, configOf, encode, open, refuse, send, SSE, type World } from './testkit.ts';

const DRAINED = configOf({ wishes: [{ ...usualWish('here-1'), desired: 'drained' }] });

function there(isLastResort = false): RegionView {
  return {
    choose: ({ excluded }) =>
      excluded.has('there-1')
        ? noRegion('tried')
        : { region: 'there-1', why: 'near', isLastResort },
    knows: () => true,
    candidates: () => [],
    started: () => {},
    finished: () => {},
  };
}

function answering(world: World): World {
  world.servers.scripts.set('region:there-1', (call, handler) => {
    handler.onHead(200, [...SSE, 'x-banyan-region', 'there-1', 'x-banyan-target', 'z']);
    for (const event of answerEvents(call)) handler.onBody(encode(event));
    handler.onEnd();
  });
  return world;
}

function servedIn(world: World): string | null {
  const client = send(world);
  world.time.advance(10);
  assert.equal(client.status, 200);
  return client.header('x-banyan-region');
}

test('load balancers are told to go elsewhere, and why; the process is well', () => {
  const world = open(DRAINED);
  const ready = send(world, { path: '/readyz', method: 'GET' });
  assert.equal(ready.status, 503);
  assert.equal(ready.body, 'drained: an operator drained this region\n');
  assert.equal(send(world, { path: '/livez', method: 'GET' }).status, 200);
  world.gateway.reconfigure(configOf());
  assert.equal(send(world, { path: '/readyz', method: 'GET' }).status, 200);
});

test('what comes goes to another region that is well', () => {
  assert.equal(servedIn(answering(open(DRAINED, there()))), 'there-1');
  assert.equal(servedIn(answering(open(configOf(), there()))), 'here-1');
});

test('what no other region takes is served here', () => {
  assert.equal(servedIn(open(DRAINED)), 'here-1');
  assert.equal(servedIn(answering(open(DRAINED, there(true)))), 'here-1');
  const world = open(DRAINED, there());
  world.servers.scripts.set('region:there-1', refuse);
  assert.equal(servedIn(world), 'here-1');
});

test('what another region sends is served here', () => {
  const world = answering(open(DRAINED, there()));
  const headers = ['x-banyan-key-name', 'demo', 'x-banyan-model', 'm'];
  const client = send(world, { forwardedFrom: 'there-1', key: null, headers });
  world.time.advance(10);
  assert.equal(client.status, 200);
  assert.ok(world.servers.calls.every(({ origin }) => !origin.startsWith('region:')));
});

test('a region in doubt serves where only sick targets are left here', () => {
  const world = answering(open(DRAINED, there(true)));
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, refuse);
  assert.equal(servedIn(world), 'there-1');
});
