import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeUtf8 } from '../base/bytes.ts';
import {
  attachResult,
  claim,
  claimOutcome,
  claimResultBytesMax,
  freeClaim,
  giveName,
  nameOutcome,
  takeName,
} from './claims.ts';
import { ABSENT, judge } from './register.ts';
import type { Change, Register, Reply } from './types.ts';

const of = (owner: string) => ({ owner, about: `work of ${owner}` });

/** A register as a client meets it. */
class TestRegister {
  register: Register = ABSENT;

  change(change: Change): Reply {
    const verdict = judge(this.register, change, change.isRetry);
    if (verdict.kind === 'unknown') return { kind: 'failed', id: 0, error: 'outcome-unknown' };
    if (verdict.kind === 'conflict') return { kind: 'conflict', id: 0, register: this.register };
    if (verdict.kind === 'apply') this.register = verdict.register;
    return { kind: 'changed', id: 0, version: change.expect + 1, isStanding: true };
  }

  read(): Reply {
    return { kind: 'value', id: 0, register: this.register };
  }
}

test('the first claim wins, the others wait for its result and get it', () => {
  const key = new TestRegister();
  assert.deepEqual(claimOutcome('a', key.change(claim(of('a'), 0, false))), {
    kind: 'won',
    version: 1,
  });
  const later = claimOutcome('b', key.change(claim(of('b'), 0, false)));
  assert.deepEqual(later, { kind: 'pending', ...of('a') });
  const result = encodeUtf8('answer');
  key.change(attachResult(of('a'), 1, result, false));
  const done = { kind: 'done', ...of('a'), result };
  assert.deepEqual(claimOutcome('b', key.read()), done);
  assert.deepEqual(claimOutcome('c', key.change(claim(of('c'), 0, false))), done);
});

test('a claim that is asked about again is still won, and its result is attached once', () => {
  const key = new TestRegister();
  key.change(claim(of('a'), 0, false));
  assert.deepEqual(claimOutcome('a', key.change(claim(of('a'), 0, true))), {
    kind: 'won',
    version: 1,
  });
  assert.deepEqual(claimOutcome('a', key.read()), { kind: 'won', version: 1 });
  const result = encodeUtf8('answer');
  assert.equal(key.change(attachResult(of('a'), 1, result, false)).kind, 'changed');
  assert.equal(key.change(attachResult(of('a'), 1, result, true)).kind, 'changed');
  assert.equal(key.register.version, 2);
  assert.equal(
    claimOutcome('a', key.change(claim(of('a'), 0, true))).kind,
    'won',
    'the first try won',
  );
});

test('an unknown outcome stays unknown, and what is no claim is called foreign', () => {
  const unknown = claimOutcome('a', { kind: 'failed', id: 0, error: 'outcome-unknown' });
  assert.deepEqual(unknown, { kind: 'failed', error: 'outcome-unknown' });
  const nobodys = claimOutcome('a', new TestRegister().read());
  assert.deepEqual(nobodys, { kind: 'free', version: 0 });
  const register = { version: 1, value: Uint8Array.of(9, 9), recent: ['x'] };
  assert.deepEqual(claimOutcome('a', { kind: 'value', id: 0, register }), { kind: 'foreign' });
});

test('a claim whose work did not run is freed, and the next one wins the version after', () => {
  const key = new TestRegister();
  key.change(claim(of('a'), 0, false));
  assert.equal(key.change(freeClaim(of('a'), 1, false)).kind, 'changed');
  const free = claimOutcome('b', key.change(claim(of('b'), 0, false)));
  assert.deepEqual(free, { kind: 'free', version: 2 });
  const won = claimOutcome('b', key.change(claim(of('b'), 2, false)));
  assert.deepEqual(won, { kind: 'won', version: 3 });
  // A late copy of the freeing changes nothing.
  key.change(freeClaim(of('a'), 1, true));
  assert.deepEqual(claimOutcome('c', key.read()), { kind: 'pending', ...of('b') });
});

test('a result of exactly the largest size fits', () => {
  const bytes = claimResultBytesMax(of('a'));
  const change = attachResult(of('a'), 1, new Uint8Array(bytes), false);
  assert.equal(change.value.length, 65_536);
});

test('a name has one owner at a time and comes back to be taken by another', () => {
  const name = new TestRegister();
  const take = takeName('a', 0, false);
  assert.deepEqual(nameOutcome('a', take, name.change(take)), { kind: 'yours', version: 1 });
  const other = takeName('b', 0, false);
  const taken = nameOutcome('b', other, name.change(other));
  assert.deepEqual(taken, { kind: 'taken', owner: 'a' });
  assert.deepEqual(nameOutcome('a', null, name.read()), { kind: 'yours', version: 1 });
  const give = giveName('a', 1, false);
  assert.deepEqual(nameOutcome('a', give, name.change(give)), { kind: 'free', version: 2 });
  const again = takeName('b', 2, false);
  assert.deepEqual(nameOutcome('b', again, name.change(again)), { kind: 'yours', version: 3 });
  // A late copy of the first owner's giving back changes nothing.
  assert.equal(name.change(give).kind, 'changed');
  assert.deepEqual(nameOutcome('b', null, name.read()), { kind: 'yours', version: 3 });
});
