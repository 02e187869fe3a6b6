import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeUtf8 } from './bytes.ts';
import { crc32c } from './crc32c.ts';
import { createPrng } from './prng.ts';

test('crc32c gives the check values of RFC 3720, B.4', () => {
  assert.equal(crc32c(encodeUtf8('123456789')), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e);
  assert.equal(crc32c(new Uint8Array(0)), 0);
});

test('crc32c of pieces is that of the whole, wherever it is cut', () => {
  const prng = createPrng(7);
  const bytes = Uint8Array.from({ length: 67 }, () => prng.nextBelow(256));
  const whole = crc32c(bytes);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    assert.equal(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), whole);
    assert.equal(crc32c(bytes, crc32c(bytes, 0, 0, cut), cut), whole);
  }
});
