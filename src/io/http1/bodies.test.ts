import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { HTTP_LIMITS } from '../../base/limits.ts';
import { BodyBuffer, freeBodyBytes, holdBytes, releaseBytes } from './bodies.ts';

const KIB = 1024;

function bodyOf(bytes: number, fill: number, isExpected = true): BodyBuffer {
  const body = new BodyBuffer(isExpected ? bytes : -1, 64 * KIB * KIB);
  const piece = Buffer.alloc(Math.min(bytes, 24 * KIB), fill);
  for (let left = bytes; left > 0; left -= piece.length) {
    body.append(piece, 0, Math.min(left, piece.length));
  }
  return body;
}

test('the memory of a released body is used for the next one of its size', () => {
  const first = bodyOf(50 * KIB, 1);
  const memory = first.take().buffer;
  first.release();
  const second = bodyOf(49 * KIB, 2);
  assert.equal(second.take().buffer, memory);
  second.release();
});

test('memory that a write still holds is not used again until it is let go', () => {
  const first = bodyOf(50 * KIB, 1);
  const piece = first.take().subarray(100, 40_000);
  holdBytes(piece);
  first.release();
  const second = bodyOf(50 * KIB, 2);
  assert.notEqual(second.take().buffer, piece.buffer);
  assert.ok(piece.every((byte) => byte === 1));
  releaseBytes(piece);
  const third = bodyOf(50 * KIB, 3);
  assert.equal(third.take().buffer, piece.buffer);
  second.release();
  third.release();
});

test('holding what is no block does nothing', () => {
  holdBytes(new Uint8Array(10));
  releaseBytes(new Uint8Array(10));
});

test('bodies that live at the same time never share a byte, whatever came and went before', () => {
  const sizes = fc.oneof(fc.nat(5 * KIB), fc.nat(300 * KIB));
  const step = fc.record({ bytes: sizes, isExpected: fc.boolean(), keeps: fc.nat(5) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const live: { body: BodyBuffer; fill: number; held: Uint8Array | null }[] = [];
      steps.forEach(({ bytes, isExpected, keeps }, index) => {
        const fill = (index % 250) + 1;
        const body = bodyOf(bytes, fill, isExpected);
        const held = keeps % 2 === 1 && bytes > 0 ? body.take().subarray(bytes >> 1) : null;
        if (held !== null) holdBytes(held);
        live.push({ body, fill, held });
        while (live.length > keeps) {
          const oldest = live.shift();
          assert.ok(oldest !== undefined);
          assert.ok(oldest.body.take().every((byte) => byte === oldest.fill));
          oldest.body.release();
          if (oldest.held === null) continue;
          bodyOf(oldest.held.length, 255).release();
          assert.ok(oldest.held.every((byte) => byte === oldest.fill));
          releaseBytes(oldest.held);
        }
      });
      for (const { body, held } of live) {
        body.release();
        if (held !== null) releaseBytes(held);
      }
    }),
    { numRuns: 100 },
  );
});

test('memory kept to be used again is bounded', () => {
  const bodies = Array.from({ length: 80 }, () => bodyOf(1024 * KIB, 1));
  for (const body of bodies) body.release();
  assert.ok(freeBodyBytes() <= HTTP_LIMITS.freeBodyBytesMax);
});
