import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  BytePattern,
  concatBytes,
  copyBytes,
  decodeUtf8Strict,
  encodeUtf8,
  indexOfBytes,
  lastIndexOfBytes,
} from './bytes.ts';
import { failure, failureMessage, failureStatus } from './errors.ts';
import { headerValue, headerValues } from './headers.ts';
import { parseModelName, parseRegionName, parseTargetName } from './names.ts';
import { createPrng, hashText } from './prng.ts';
import { VirtualTime } from './virtualTime.ts';

test('the search for bytes agrees with the search for text, forwards and backwards', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 30 });
  fc.assert(
    fc.property(letters, letters, fc.nat(30), (haystack, needle, from) => {
      const bytes = encodeUtf8(haystack);
      const part = encodeUtf8(needle);
      if (needle !== '') {
        assert.equal(indexOfBytes(bytes, part, from), haystack.indexOf(needle, from));
        assert.equal(new BytePattern(part).indexIn(bytes, from), haystack.indexOf(needle, from));
        assert.equal(lastIndexOfBytes(bytes, part), haystack.lastIndexOf(needle));
      }
    }),
  );
});

test('joined parts are all their bytes in order, and one part is not copied', () => {
  const one = new Uint8Array([1, 2]);
  assert.equal(concatBytes([one]), one);
  assert.deepEqual(
    concatBytes([one, new Uint8Array([]), new Uint8Array([3])]),
    Uint8Array.of(1, 2, 3),
  );
  assert.equal(concatBytes([]).length, 0);
});

test('a copy stays when the buffer that it was read from is overwritten', () => {
  const shared = Buffer.from('one');
  const copy = copyBytes(shared.subarray(1));
  shared.fill(0);
  assert.deepEqual(copy, encodeUtf8('ne'));
});

test('malformed UTF-8 is null, well-formed text comes back', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      assert.equal(decodeUtf8Strict(encodeUtf8(text)), text);
    }),
  );
  for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe4, 0xb8]]) {
    assert.equal(decodeUtf8Strict(Uint8Array.from(bytes)), null);
  }
});

test('names: what is allowed at and past each limit', () => {
  for (const name of ['us-east-2', 'a', 'a'.repeat(63)]) assert.ok(parseRegionName(name).ok, name);
  for (const name of ['', 'A', '-a', 'a-', 'a.b', 'a'.repeat(64), 'eu central', 'é']) {
    assert.ok(!parseRegionName(name).ok, name);
    assert.ok(!parseTargetName(name).ok, name);
  }
  for (const name of ['Qwen/Qwen3-32B', 'gpt-4.1', 'a@b+c:d', 'm'.repeat(128)]) {
    assert.ok(parseModelName(name).ok, name);
  }
  for (const name of ['', '/a', 'a/', 'a b', '../..\n', 'm'.repeat(129)]) {
    assert.ok(!parseModelName(name).ok, JSON.stringify(name));
  }
});

test('the same seed gives the same draws, and floats stay in [0, 1)', () => {
  const one = createPrng(42);
  const other = createPrng(42);
  for (let index = 0; index < 1_000; index += 1) {
    const value = one.nextFloat();
    assert.equal(value, other.nextFloat());
    assert.ok(value >= 0 && value < 1);
  }
  const bound = createPrng(1);
  const counts = [0, 0, 0, 0, 0];
  for (let index = 0; index < 5_000; index += 1) {
    const at = bound.nextBelow(5);
    counts[at] = (counts[at] ?? 0) + 1;
  }
  for (const count of counts) assert.ok(count > 850 && count < 1_150, String(counts));
});

test('hashes of short keys spread over a ring: no octant holds twice its share', () => {
  const octants = Array.from({ length: 8 }, () => 0);
  for (let index = 0; index < 8_000; index += 1) {
    const octant = hashText(`k${index}`) >>> 29;
    octants[octant] = (octants[octant] ?? 0) + 1;
  }
  for (const count of octants) assert.ok(count > 850 && count < 1_150, String(octants));
});

test('timers fire in order of their time, then of arming, and a cancelled one does not', () => {
  const time = new VirtualTime();
  const fired: string[] = [];
  time.after(20, () => fired.push('late'));
  time.after(10, () => {
    fired.push(`first at ${time.nowMs()}`);
    time.after(0, () => fired.push('nested'));
  });
  time.after(10, () => fired.push('second'));
  time.after(15, () => fired.push('never')).cancel();
  time.advance(15);
  assert.deepEqual(fired, ['first at 10', 'second', 'nested']);
  time.advance(5);
  assert.deepEqual(fired.at(-1), 'late');
  assert.equal(time.nowMs(), 20);
});

test('the first and all values of a header are found by lower-case name', () => {
  const headers = ['a', '1', 'b', '2', 'a', '3'];
  assert.equal(headerValue(headers, 'a'), '1');
  assert.deepEqual(headerValues(headers, 'a'), ['1', '3']);
  assert.equal(headerValue(headers, '2'), null);
});

test('a failure tells its sentence, then the details, and may keep the status of another', () => {
  const told = failure('rate_limited', 'Ten a minute.', { retryAfterMs: 5, status: 420 });
  assert.match(failureMessage(told), /^This API key is over its rate limit\. Ten a minute\.$/);
  assert.equal(failureStatus(told), 420);
  assert.equal(failureStatus(failure('rate_limited')), 429);
});
