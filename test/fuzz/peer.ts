/**
 * Frames between regions: random ones must come back as they were sent, mutated ones must be decoded
 * or refused, the same way for every cut, and nothing is hoarded.
 */

import assert from 'node:assert/strict';

import { encodeUtf8 } from '../../src/base/bytes.ts';
import { PEER_LIMITS } from '../../src/base/limits.ts';
import type { Prng } from '../../src/base/prng.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import { decodeDigest, encodeDigest } from '../../src/protocol/peer/digest.ts';
import { FrameDecoder } from '../../src/protocol/peer/frameDecoder.ts';
import {
  encodeFrame,
  FRAME_HEADER_BYTES,
  PEER_FEATURE_LEVEL,
  PEER_VERSION,
  type PeerFrame,
} from '../../src/protocol/peer/frames.ts';
import { chance, cutsOf, mutateText, pick, pieces, several, type Area } from './area.ts';

const TEXTS = ['', 'a', 'content-type', '你好 · é', '/v1/messages?x=1', 'x'.repeat(300), '\u0000'];
const HELLO: PeerFrame = {
  type: 'hello',
  version: PEER_VERSION,
  featureLevel: PEER_FEATURE_LEVEL,
  cluster: 'banyan',
  region: 'eu-central-1',
  node: 'node-1',
  session: 0xdeadbeef,
};

function bytesOf(prng: Prng): Uint8Array {
  return new Uint8Array(1 + prng.nextBelow(300)).map(() => prng.nextBelow(256));
}

function headersOf(prng: Prng): string[] {
  return several(prng, 6, () => [pick(prng, TEXTS), pick(prng, TEXTS)]).flat();
}

function frame(prng: Prng): PeerFrame {
  const stream = 1 + prng.nextBelow(0xffff_fffe);
  switch (prng.nextBelow(12)) {
    case 0:
      return { type: 'ping', sentMs: prng.nextFloat() * 1e9 };
    case 1:
      return { type: 'pong', sentMs: prng.nextBelow(1e9) };
    case 2:
      return { type: 'digest', bytes: bytesOf(prng) };
    case 3:
      return {
        type: 'request-head',
        stream,
        method: pick(prng, ['GET', 'POST']),
        path: `/${pick(prng, TEXTS)}`,
        headers: headersOf(prng),
        keyHash: chance(prng, 50) ? 'ab'.repeat(32) : null,
        forwardedFrom: pick(prng, TEXTS),
        deadlineMs: chance(prng, 50) ? 1 + prng.nextBelow(1e6) : null,
        bodyBytes: prng.nextBelow(1e6),
      };
    case 4:
      return { type: 'request-body', stream, bytes: bytesOf(prng) };
    case 5:
      return { type: 'request-end', stream };
    case 6:
      return {
        type: 'response-head',
        stream,
        status: 200 + prng.nextBelow(400),
        bodyBytes: chance(prng, 50) ? prng.nextBelow(1e6) : null,
        headers: headersOf(prng),
      };
    case 7:
      return { type: 'data', stream, bytes: bytesOf(prng) };
    case 8:
      return { type: 'window', stream, bytes: 1 + prng.nextBelow(1e6) };
    case 9:
      return { type: 'end', stream };
    case 10:
      return { type: 'abort', stream, reason: 'refused', detail: pick(prng, TEXTS) };
    default:
      return { type: 'goaway', reason: 'closing', detail: pick(prng, TEXTS) };
  }
}

/** A frame whose borrowed bytes are copied, to compare later. */
function kept(found: PeerFrame): PeerFrame {
  if (!('bytes' in found) || typeof found.bytes === 'number') return found;
  return { ...found, bytes: found.bytes.slice() } as PeerFrame;
}

function decode(chunks: readonly Uint8Array[]): { frames: PeerFrame[]; error: string | null } {
  const decoder = new FrameDecoder();
  const frames: PeerFrame[] = [];
  for (const chunk of chunks) {
    const error = decoder.push(chunk, (found) => {
      frames.push(kept(found));
      return true;
    });
    chunk.fill(0x21); // What is kept must have been copied.
    assert.ok(decoder.pendingBytes <= FRAME_HEADER_BYTES + PEER_LIMITS.framePayloadBytesMax);
    if (error !== null) return { frames, error: error.kind };
  }
  return { frames, error: null };
}

/** Makes the checksums right again, so that mutations reach the fields behind them. */
function fixChecksums(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (at + FRAME_HEADER_BYTES <= bytes.length) {
    const end = at + FRAME_HEADER_BYTES + view.getUint32(at);
    if (end > bytes.length) return;
    view.setUint32(at + 12, crc32c(bytes, crc32c(bytes, 0, at, at + 12), at + 16, end));
    at = end;
  }
}

function mutate(prng: Prng, clean: Uint8Array): Uint8Array {
  let bytes = clean.slice();
  for (let count = prng.nextBelow(6); count >= 0; count -= 1) {
    const at = prng.nextBelow(bytes.length);
    const kind = prng.nextBelow(5);
    if (kind === 0) bytes[at] = prng.nextBelow(256);
    else if (kind === 1) bytes[at] = pick(prng, [0, 1, 0x7f, 0x80, 0xff]);
    else if (kind === 2) bytes = bytes.slice(0, at + 1);
    else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
    else
      bytes = Buffer.concat([bytes.subarray(0, at), Uint8Array.of(at & 255), bytes.subarray(at)]);
    if (bytes.length === 0) bytes = clean.slice();
  }
  const out = new Uint8Array(bytes);
  if (chance(prng, 70)) fixChecksums(out);
  return out;
}

const DIGEST = Buffer.from(
  encodeDigest({
    region: 'eu-central-1',
    node: 'node-1',
    seq: 7,
    models: { m: { healthy: 2, total: 2, inFlight: 3, queuedTokens: 120 } },
    inFlight: 3,
    views: { 'us-east-2': { state: 'healthy', ageMs: 40 } },
    isDraining: false,
  }),
).toString('utf8');
const DIGEST_SPLICES = ['null', '-1', '1e999', '{}', '[]', '"', '"__proto__":{},', '"seq":8,', ','];

function oneDigest(prng: Prng): boolean {
  const bytes = encodeUtf8(mutateText(prng, DIGEST, DIGEST_SPLICES));
  const found = decodeDigest(bytes);
  if (found === null) return false;
  // As text: JSON has a -0 that does not come back.
  const again = JSON.stringify(decodeDigest(encodeDigest(found)));
  assert.equal(again, JSON.stringify(found), Buffer.from(bytes).toString());
  return true;
}

export function peerArea(): Area {
  return {
    claim: 'frames come back as they went; others are refused alike for every cut',
    one: (prng) => {
      if (chance(prng, 15)) {
        return oneDigest(prng);
      }
      const frames = [HELLO, ...several(prng, 5, () => frame(prng))];
      const encoded = frames.map((each) => encodeFrame(each));
      const clean = new Uint8Array(Buffer.concat(encoded.flatMap((each) => each ?? [])));
      if (chance(prng, 30)) {
        const label = `${Buffer.from(clean).toString('hex')}`;
        const found = decode(pieces(clean, cutsOf(prng, clean.length)));
        assert.deepEqual(found, { frames, error: null }, label);
        return true;
      }
      const bytes = mutate(prng, clean);
      const cuts = cutsOf(prng, bytes.length);
      const label = `${Buffer.from(bytes).toString('hex')}, cut at ${cuts.join()}`;
      const whole = decode(pieces(bytes, []));
      assert.deepEqual(decode(pieces(bytes, cuts)), whole, label);
      return whole.error === null;
    },
  };
}
