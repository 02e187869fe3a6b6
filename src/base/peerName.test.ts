import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isPeerName, nodeOfPeer, peerName, regionOfPeer } from './peerName.ts';

test('a peer name is taken apart into what it was made of', () => {
  for (const [region, node, name] of [
    ['eu', null, 'eu'],
    ['eu', 'eu-2', 'eu/eu-2'],
  ] as const) {
    assert.equal(peerName(region, node), name);
    assert.equal(regionOfPeer(name), region);
    assert.equal(nodeOfPeer(name), node);
  }
});

test('a peer name is a region, or a region and a node, each a label', () => {
  for (const name of ['eu', 'eu-central-1', 'eu/eu-2', 'eu/2']) assert.ok(isPeerName(name), name);
  for (const name of [
    '',
    '/',
    'eu/',
    '/eu-2',
    'eu/a/b',
    'EU',
    'eu/A',
    'eu ',
    `eu/${'a'.repeat(64)}`,
  ]) {
    assert.ok(!isPeerName(name), name);
  }
});
