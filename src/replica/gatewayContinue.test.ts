/** Who may go on with an answer whose target died, and how it is told; through a whole gateway. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { ContinueRule } from './config.ts';
import {
  ANSWER,
  chatText,
  configOf,
  dieAfter,
  model,
  open,
  refuse,
  send,
  target,
  type World,
} from './testkit.ts';

/** `m` runs at a alone, its fallback at b; a dies in the middle of an answer. */
function fallbackWorld(rule: ContinueRule): World {
  const world = open(
    configOf({
      targets: [target('a'), target('b')],
      models: [{ ...model('m', ['a'], ['other']), continue: rule }, model('other', ['b'])],
    }),
  );
  world.servers.scripts.set('http://a', (call, handler) => {
    world.servers.scripts.set('http://a', refuse);
    dieAfter(1_200)(call, handler);
  });
  return world;
}

test('another model goes on with an answer only if configuration or request asks for it', () => {
  const cases: readonly (readonly [ContinueRule, readonly string[], boolean])[] = [
    ['same-model', [], false],
    ['fallbacks', [], true],
    ['off', [], false],
    ['same-model', ['x-banyan-continue', 'fallbacks'], true],
    ['off', ['x-banyan-continue', 'fallbacks'], true],
    ['fallbacks', ['x-banyan-continue', 'same-model'], false],
    ['fallbacks', ['x-banyan-continue', 'off'], false],
  ];
  for (const [rule, headers, isWhole] of cases) {
    const world = fallbackWorld(rule);
    const client = send(world, { headers });
    world.time.advance(20_000);
    const what = `${rule} ${headers.join(' ')}`;
    assert.equal(client.state, isWhole ? 'ended' : 'aborted', what);
    if (isWhole) assert.equal(chatText(client.body).text, ANSWER, what);
    else assert.match(client.body, /stream_broken/, what);
    assert.equal(world.records[0]?.modelServed, isWhole ? 'other' : 'm', what);
  }
});
