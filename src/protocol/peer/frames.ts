/**
 * Frames of a peer link: what two regions say to each other over one connection.
 *
 *     offset  bytes  field (big-endian)
 *     0       4      length of the payload
 *     4       1      type
 *     5       3      zero
 *     8       4      stream; 0: the connection itself
 *     12      4      CRC-32C of bytes 0..11 and of the payload
 *     16      n      payload
 *
 * The dialling side says `hello`; the other answers with its own, or with a `goaway` that says why
 * not. The layout of both up to the version never changes, so that two versions that do not
 * understand each other can say so. What newer software adds within a version
 * is used only where both sides' feature level allows it.
 *
 * F1: an encoder makes no frame that the decoder of the same version refuses (frames.test.ts).
 */

import { PEER_LIMITS } from '../../base/limits.ts';
import { assert, unreachable } from '../../base/assert.ts';
import type { HeaderList } from '../../base/headers.ts';
import { crc32c } from '../../base/crc32c.ts';
import { FieldWriter } from './fields.ts';

/** The version of this layout. Another one is refused. */
export const PEER_VERSION = 1;
/** The features that this build knows within the version. The lower one of both sides counts. */
export const PEER_FEATURE_LEVEL = 1;
export const FRAME_HEADER_BYTES = 16;
/** `BNYN`: the first bytes of a hello's payload. */
export const PEER_MAGIC = 0x424e594e;

/** The number of each type on the wire. */
export const FRAME_TYPES = {
  hello: 1,
  ping: 2,
  pong: 3,
  digest: 4,
  goaway: 5,
  'request-head': 16,
  'request-body': 17,
  'request-end': 18,
  'response-head': 19,
  data: 20,
  end: 21,
  abort: 22,
  cancel: 23,
  window: 24,
} as const;
export type FrameType = keyof typeof FRAME_TYPES;

/** Why the answering side ends a stream before its end. */
export const ABORT_REASONS = {
  /** The answer broke off: what came is not the whole. */
  broken: 1,
  /** Definite: it was not run (draining, too many streams, too large). */
  refused: 2,
} as const;
export type AbortReason = keyof typeof ABORT_REASONS;

/** Why a side ends the connection. */
export const GOAWAY_REASONS = {
  closing: 1,
  /** Both sides dialled; the other connection stays. */
  duplicate: 2,
  protocol: 3,
  identity: 4,
} as const;
export type GoawayReason = keyof typeof GOAWAY_REASONS;

/** Who speaks. */
export interface HelloFrame {
  readonly type: 'hello';
  readonly version: number;
  readonly featureLevel: number;
  readonly cluster: string;
  /** The peer name of the one that speaks. */
  readonly region: string;
  readonly node: string;
  /** Drawn when the process starts: another one means that it restarted. */
  readonly session: number;
}

/** The start of a request. Streams of the dialling side are odd, of the other even. */
export interface RequestHeadFrame {
  readonly type: 'request-head';
  readonly stream: number;
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: HeaderList;
  /** Lower-case hex SHA-256 of the client's key; null where the sender checked it by itself. */
  readonly keyHash: string | null;
  /** The peer name of the node that a client sent it to. */
  readonly forwardedFrom: string;
  /** Time left for the whole exchange, ms; null: not bounded. */
  readonly deadlineMs: number | null;
  /** The size of the whole body, bytes. */
  readonly bodyBytes: number;
}

/** The start of a response; `bodyBytes` is null for a stream. */
export interface ResponseHeadFrame {
  readonly type: 'response-head';
  readonly stream: number;
  readonly status: number;
  readonly bodyBytes: number | null;
  readonly headers: HeaderList;
}

/** All frames. `bytes` of a decoded frame is borrowed: valid until the callback returns. */
export type PeerFrame =
  | HelloFrame
  | { readonly type: 'ping'; readonly sentMs: number }
  | { readonly type: 'pong'; readonly sentMs: number }
  | { readonly type: 'digest'; readonly bytes: Uint8Array }
  | { readonly type: 'goaway'; readonly reason: GoawayReason; readonly detail: string }
  | RequestHeadFrame
  | { readonly type: 'request-body'; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly type: 'request-end'; readonly stream: number }
  | ResponseHeadFrame
  | { readonly type: 'data'; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly type: 'end'; readonly stream: number }
  | {
      readonly type: 'abort';
      readonly stream: number;
      readonly reason: AbortReason;
      readonly detail: string;
    }
  | { readonly type: 'cancel'; readonly stream: number }
  /** Allows `bytes` more of a body on the stream. */
  | { readonly type: 'window'; readonly stream: number; readonly bytes: number };

/** Bytes of one frame; null where its payload is over the limit (only heads can be). */
export function encodeFrame(frame: PeerFrame): Uint8Array | null {
  const writer = new FieldWriter(FRAME_HEADER_BYTES, sizeHint(frame));
  writePayload(writer, frame);
  const bytes = writer.finish();
  const payloadBytes = bytes.length - FRAME_HEADER_BYTES;
  if (payloadBytes > PEER_LIMITS.framePayloadBytesMax) return null;
  sealHeader(bytes, payloadBytes, frame.type, 'stream' in frame ? frame.stream : 0);
  return bytes;
}

/** A frame of a body straight from `chunk[from..to)`, which is copied. @hot */
export function encodeBody(
  type: 'data' | 'request-body',
  stream: number,
  chunk: Uint8Array,
  from: number,
  to: number,
): Uint8Array {
  assert(to - from <= PEER_LIMITS.dataBytesMax, 'one turn carries one piece of a body');
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + to - from);
  bytes.set(chunk.subarray(from, to), FRAME_HEADER_BYTES);
  sealBody(bytes, type, stream);
  return bytes;
}

/** Makes a frame of `bytes`, whose payload already stands behind room for the header. @hot */
export function sealBody(bytes: Uint8Array, type: 'data' | 'request-body', stream: number): void {
  sealHeader(bytes, bytes.length - FRAME_HEADER_BYTES, type, stream);
}

function sealHeader(bytes: Uint8Array, length: number, type: FrameType, stream: number): void {
  assert(stream >= 0 && stream <= 0xffff_ffff, 'a stream has 32 bits');
  const view = new DataView(bytes.buffer, bytes.byteOffset, FRAME_HEADER_BYTES);
  view.setUint32(0, length);
  view.setUint32(4, FRAME_TYPES[type] << 24);
  view.setUint32(8, stream);
  const crc = crc32c(bytes, crc32c(bytes, 0, 0, 12), FRAME_HEADER_BYTES);
  view.setUint32(12, crc);
}

function sizeHint(frame: PeerFrame): number {
  if ('bytes' in frame && typeof frame.bytes !== 'number') return frame.bytes.length;
  return 'headers' in frame ? 1_024 : 64;
}

function writePayload(writer: FieldWriter, frame: PeerFrame): void {
  switch (frame.type) {
    case 'hello':
      writer.uint32(PEER_MAGIC);
      writer.uint16(frame.version);
      writer.uint16(frame.featureLevel);
      writer.uint32(frame.session);
      writer.text(frame.cluster);
      writer.text(frame.region);
      writer.text(frame.node);
      return;
    case 'ping':
    case 'pong':
      writer.float64(frame.sentMs);
      return;
    case 'goaway':
      writer.uint8(GOAWAY_REASONS[frame.reason]);
      writer.text(frame.detail.slice(0, PEER_LIMITS.detailCharsMax));
      return;
    case 'request-head':
      writer.text(frame.method);
      writer.text(frame.path);
      writer.text(frame.forwardedFrom);
      writer.text(frame.keyHash ?? '');
      // 0 stands for "none": a request with no time left is not sent.
      writer.uint32(frame.deadlineMs === null ? 0 : Math.max(1, Math.ceil(frame.deadlineMs)));
      writer.uint32(frame.bodyBytes);
      writer.headers(frame.headers);
      return;
    case 'response-head':
      writer.uint16(frame.status);
      writer.uint8(frame.bodyBytes === null ? 0 : 1);
      writer.uint32(frame.bodyBytes ?? 0);
      writer.headers(frame.headers);
      return;
    case 'abort':
      writer.uint8(ABORT_REASONS[frame.reason]);
      writer.text(frame.detail.slice(0, PEER_LIMITS.detailCharsMax));
      return;
    case 'window':
      writer.uint32(frame.bytes);
      return;
    case 'digest':
    case 'data':
    case 'request-body':
      writer.raw(frame.bytes);
      return;
    case 'request-end':
    case 'end':
    case 'cancel':
      return; // They carry nothing but their stream.
    default:
      unreachable(frame);
  }
}
