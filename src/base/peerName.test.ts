import assert from 'node:assert/strict';
import { test } from 'node:test';

import { nodeOfPeer, peerName, regionOfPeer } from './peerName.ts';

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
