import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encodeUtf8 } from '../base/bytes.ts';
import { createPrng } from '../base/prng.ts';
import { JsonScanner } from './jsonScan.ts';
import { SIMD_BYTES_MAX, simdScan } from './simdScan.ts';

/** The same, one byte at a time. */
function firstSpecial(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length) {
    const byte = bytes[at] ?? 0;
    if (byte === 0x22 || byte === 0x5c || byte < 0x20) break;
    at += 1;
  }
  return at;
}

test('this platform has the vectors', () => {
  assert.ok(simdScan !== null);
});

test('vectors find what a loop over bytes finds, from every start, for every byte', () => {
  assert.ok(simdScan !== null);
  for (let byte = 0; byte < 256; byte += 1) {
    const bytes = new Uint8Array(96).fill(0x61);
    bytes[41] = byte;
    simdScan.load(bytes);
    assert.equal(simdScan.hasNonAscii, byte > 0x7f, `byte ${byte}`);
    for (let start = 0; start <= 96; start += 1) {
      assert.equal(simdScan.find(start), firstSpecial(bytes, start), `byte ${byte}, from ${start}`);
    }
  }
});

test('a body of any length ends the search, whatever was loaded before', () => {
  assert.ok(simdScan !== null);
  simdScan.load(new Uint8Array(5000).fill(0xff));
  for (let length = 0; length < 100; length += 1) {
    simdScan.load(new Uint8Array(length).fill(0x61));
    assert.equal(simdScan.find(0), length);
    assert.equal(simdScan.hasNonAscii, false);
  }
  const largest = new Uint8Array(SIMD_BYTES_MAX).fill(0x61);
  simdScan.load(largest);
  assert.equal(simdScan.find(3), SIMD_BYTES_MAX);
});

test('random bytes: vectors and bytes agree (seed 5)', () => {
  assert.ok(simdScan !== null);
  const random = createPrng(5);
  for (let round = 0; round < 300; round += 1) {
    const bytes = new Uint8Array(1 + random.nextBelow(400)).map(() => 0x20 + random.nextBelow(200));
    simdScan.load(bytes);
    for (let at = 0; at <= bytes.length; at = firstSpecial(bytes, at) + 1) {
      assert.equal(simdScan.find(at), firstSpecial(bytes, at), `round ${round}`);
    }
  }
});

test('long strings of documents end where JSON.parse ends them, at any alignment and size', () => {
  for (const length of [900, 1023, 1024, 1025, 3000, SIMD_BYTES_MAX + 5]) {
    for (const tail of ['', '\\n', '\\"', '你', '\\u4f60x']) {
      const text = JSON.stringify({ a: 1, b: '@', c: [2] }).replace('@', 'y'.repeat(length) + tail);
      for (let offset = 0; offset < 4; offset += 1) {
        const bytes = encodeUtf8(text);
        const room = new Uint8Array(bytes.length + 8).fill(0x22);
        room.set(bytes, offset);
        const scanner = new JsonScanner(room.subarray(offset, offset + bytes.length));
        assert.equal(scanner.skipValue(0, 0), bytes.length, `${length} ${tail} ${offset}`);
        assert.equal(scanner.hasNonAscii, tail === '你');
        const broken = room.slice(offset, offset + bytes.length);
        broken[length - 100] = 0x0a;
        assert.equal(new JsonScanner(broken).skipValue(0, 0), -1);
      }
    }
  }
});

test('scanners that take turns do not see each other’s bodies', () => {
  const one = encodeUtf8(`["${'a'.repeat(2000)}","${'b'.repeat(2000)}"]`);
  const two = encodeUtf8(`["${'a'.repeat(1500)}\\n","${'你'.repeat(700)}"]`);
  const first = new JsonScanner(one);
  const second = new JsonScanner(two);
  const middle = first.skipString(1);
  assert.equal(second.skipValue(0, 0), two.length);
  assert.equal(first.skipString(middle + 1), one.length - 1);
  assert.equal(first.hasNonAscii, false);
  assert.equal(second.hasNonAscii, true);
});

test('a buffer that is filled anew is read anew', () => {
  const bytes = encodeUtf8(`"${'a'.repeat(2000)}"`);
  assert.equal(new JsonScanner(bytes).skipString(0), bytes.length);
  bytes[500] = 0x22;
  assert.equal(new JsonScanner(bytes).skipString(0), 501);
});
