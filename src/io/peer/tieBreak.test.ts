import assert from 'node:assert/strict';
import { test } from 'node:test';

import { replaces } from './tieBreak.ts';

/** What a side keeps after links came up in the order given. `session` is that of the peer. */
function keeps(own: string, peer: string, dialers: readonly string[]): string | undefined {
  let kept: string | undefined;
  for (const dialer of dialers) {
    const isKept =
      kept === undefined ||
      replaces({ dialer, session: 1 }, { dialer: kept, session: 1 }, own, peer);
    if (isKept) kept = dialer;
  }
  return kept;
}

test('both sides keep the link that the smaller name dialled, in whatever order they see them (T1)', () => {
  for (const order of [
    ['a', 'b'],
    ['b', 'a'],
  ]) {
    assert.equal(keeps('a', 'b', order), 'a');
    assert.equal(keeps('b', 'a', order), 'a');
  }
});

test('a link of a restarted peer replaces the one of its earlier life, whoever dialled', () => {
  for (const dialer of ['a', 'b']) {
    assert.ok(replaces({ dialer, session: 2 }, { dialer: 'a', session: 1 }, 'a', 'b'));
    assert.ok(replaces({ dialer, session: 2 }, { dialer: 'a', session: 1 }, 'b', 'a'));
  }
});

test('who dials again has lost the earlier link', () => {
  assert.ok(replaces({ dialer: 'b', session: 1 }, { dialer: 'b', session: 1 }, 'a', 'b'));
});
