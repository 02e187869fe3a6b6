/**
 * Frames out of a byte stream, split anywhere. Strict: what this version does not know ends the
 * connection with a sentence that says what it was.
 *
 * D1: never throws, whatever the bytes. D2: holds at most one frame; a length over the limit is
 * refused from its header. Both in frames.test.ts.
 *
 * @hot
 */

import { unreachable } from '../../base/assert.ts';
import { EMPTY_BYTES } from '../../base/bytes.ts';
import { PEER_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { crc32c } from '../../base/crc32c.ts';
import { FieldReader } from './fields.ts';
import {
  ABORT_REASONS,
  FRAME_HEADER_BYTES,
  FRAME_TYPES,
  GOAWAY_REASONS,
  PEER_MAGIC,
  PEER_VERSION,
  type FrameType,
  type HelloFrame,
  type PeerFrame,
} from './frames.ts';

/** Why bytes are not frames of this version. */
export type FrameErrorKind =
  | 'not-a-peer' // The first bytes are not a hello: another protocol.
  | 'version' // A hello of another version.
  | 'too-long'
  | 'checksum'
  | 'unknown-type'
  | 'malformed'
  | 'out-of-order'; // A second hello, or another frame before the first.

/** One refusal; `detail` is a sentence for the operator. */
export interface FrameError {
  readonly kind: FrameErrorKind;
  readonly detail: string;
}

const TYPE_NAMES: ReadonlyMap<number, FrameType> = new Map(
  Object.entries(FRAME_TYPES).map(([name, number]) => [number, name as FrameType]),
);
const ABORT_NAMES = new Map(Object.entries(ABORT_REASONS).map(([name, value]) => [value, name]));
const GOAWAY_NAMES = new Map(Object.entries(GOAWAY_REASONS).map(([name, value]) => [value, name]));
const ON_CONNECTION: ReadonlySet<FrameType> = new Set([
  'hello',
  'ping',
  'pong',
  'digest',
  'goaway',
]);

/** Takes a frame; false: stop, the rest of the bytes is not wanted. */
export type TakeFrame = (frame: PeerFrame) => boolean;

/** The decoder of one connection's incoming side. */
export class FrameDecoder {
  private held: Uint8Array = EMPTY_BYTES;
  private heldBytes = 0;
  private hasHello = false;
  private failed: FrameError | null = null;

  /** Bytes held of an unfinished frame. */
  get pendingBytes(): number {
    return this.heldBytes;
  }

  /** Decodes what is complete. An error is final: every later call returns it again. */
  push(chunk: Uint8Array, take: TakeFrame): FrameError | null {
    if (this.failed !== null) return this.failed;
    let at = 0;
    while (at < chunk.length) {
      if (this.heldBytes === 0) {
        const used = this.direct(chunk, at, take);
        if (this.failed !== null || used === -1) return this.failed;
        if (used > 0) {
          at += used;
          continue;
        }
      }
      at = this.hold(chunk, at);
      const length = this.frameBytes(this.held, 0, this.heldBytes);
      if (this.failed !== null) return this.failed;
      if (length === 0 || this.heldBytes < length) continue;
      const frame = this.held.subarray(0, length);
      this.heldBytes = 0;
      // The array is given away: a frame that is borrowed from it must survive the next one.
      this.held = EMPTY_BYTES;
      if (!this.give(frame, take)) return this.failed;
    }
    return null;
  }

  /** Takes a frame that lies whole in `chunk`: its length, 0 where it is not whole, -1: stop. */
  private direct(chunk: Uint8Array, at: number, take: TakeFrame): number {
    const length = this.frameBytes(chunk, at, chunk.length - at);
    if (length === 0 || chunk.length - at < length) return 0;
    return this.give(chunk.subarray(at, at + length), take) ? length : -1;
  }

  /** The whole length of the frame at `at`, or 0 where its header is not complete. */
  private frameBytes(bytes: Uint8Array, at: number, available: number): number {
    if (available < FRAME_HEADER_BYTES) return 0;
    const payload = uint32(bytes, at);
    if (!this.hasHello && !isOpening(bytes[at + 4])) {
      return this.fail('not-a-peer', 'it does not begin with a hello; is this a peer listener?');
    }
    if (payload > PEER_LIMITS.framePayloadBytesMax) {
      const limit = PEER_LIMITS.framePayloadBytesMax;
      return this.fail('too-long', `a frame of ${payload} bytes; the limit is ${limit}`);
    }
    return FRAME_HEADER_BYTES + payload;
  }

  /** Moves bytes of the unfinished frame out of `chunk`; returns where it stopped. */
  private hold(chunk: Uint8Array, at: number): number {
    const length = this.frameBytes(this.held, 0, this.heldBytes);
    const wanted = length === 0 ? FRAME_HEADER_BYTES : length;
    if (this.held.length < wanted) {
      const grown = new Uint8Array(wanted);
      grown.set(this.held.subarray(0, this.heldBytes));
      this.held = grown;
    }
    const count = Math.min(wanted - this.heldBytes, chunk.length - at);
    this.held.set(chunk.subarray(at, at + count), this.heldBytes);
    this.heldBytes += count;
    return at + count;
  }

  private give(bytes: Uint8Array, take: TakeFrame): boolean {
    const frame = this.parse(bytes);
    if (frame === null) return false;
    return take(frame);
  }

  private parse(bytes: Uint8Array): PeerFrame | null {
    const crc = crc32c(bytes, crc32c(bytes, 0, 0, 12), FRAME_HEADER_BYTES);
    if (crc !== uint32(bytes, 12)) {
      this.fail('checksum', 'a frame does not match its checksum');
      return null;
    }
    const number = bytes[4] ?? 0;
    const type = TYPE_NAMES.get(number);
    if (type === undefined) {
      this.fail('unknown-type', `frame type ${number} is not known; the peer may be newer`);
      return null;
    }
    if (bytes[5] !== 0 || bytes[6] !== 0 || bytes[7] !== 0) {
      this.fail('malformed', `reserved bytes of a ${type} frame are set; the peer may be newer`);
      return null;
    }
    if ((type === 'hello') === this.hasHello && type !== 'goaway') {
      this.fail('out-of-order', `${type} ${this.hasHello ? 'came twice' : 'came before hello'}`);
      return null;
    }
    if (type === 'hello') this.hasHello = true;
    const stream = uint32(bytes, 8);
    if (ON_CONNECTION.has(type) !== (stream === 0)) {
      this.fail('malformed', `a ${type} frame on stream ${stream}`);
      return null;
    }
    const frame = parsePayload(type, stream, bytes.subarray(FRAME_HEADER_BYTES));
    if (frame.ok) return frame.value;
    this.failed = frame.error;
    return null;
  }

  private fail(kind: FrameErrorKind, detail: string): 0 {
    this.failed = { kind, detail };
    return 0;
  }
}

/** A connection begins with a hello, or with the reason why there is none. */
function isOpening(type: number | undefined): boolean {
  return type === FRAME_TYPES.hello || type === FRAME_TYPES.goaway;
}

function uint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) |
      ((bytes[at + 1] ?? 0) << 16) |
      ((bytes[at + 2] ?? 0) << 8) |
      (bytes[at + 3] ?? 0)) >>>
    0
  );
}

type Parsed = Result<PeerFrame, FrameError>;

function malformed(type: FrameType): Parsed {
  return err({ kind: 'malformed', detail: `the fields of a ${type} frame are malformed` });
}

function parsePayload(type: FrameType, stream: number, payload: Uint8Array): Parsed {
  switch (type) {
    case 'data':
    case 'request-body':
      if (payload.length === 0 || payload.length > PEER_LIMITS.dataBytesMax) return malformed(type);
      return ok({ type, stream, bytes: payload });
    case 'digest':
      return ok({ type, bytes: payload });
    case 'request-end':
    case 'end':
    case 'cancel':
      return payload.length === 0 ? ok({ type, stream }) : malformed(type);
    case 'hello':
      return parseHello(payload);
    case 'request-head':
      return parseRequestHead(stream, payload);
    case 'response-head':
      return parseResponseHead(stream, payload);
    case 'ping':
    case 'pong':
    case 'goaway':
    case 'abort':
    case 'window':
      return parseSmall(type, stream, new FieldReader(payload));
    default:
      return unreachable(type);
  }
}

function parseSmall(
  type: 'ping' | 'pong' | 'goaway' | 'abort' | 'window',
  stream: number,
  reader: FieldReader,
): Parsed {
  switch (type) {
    case 'ping':
    case 'pong': {
      const sentMs = reader.float64();
      return reader.isDone() && Number.isFinite(sentMs) ? ok({ type, sentMs }) : malformed(type);
    }
    case 'goaway': {
      const reason = GOAWAY_NAMES.get(reader.uint8() as 1);
      const detail = reader.text();
      if (!reader.isDone() || reason === undefined) return malformed(type);
      return ok({ type, reason: reason as keyof typeof GOAWAY_REASONS, detail });
    }
    case 'abort': {
      const reason = ABORT_NAMES.get(reader.uint8() as 1);
      const detail = reader.text();
      if (!reader.isDone() || reason === undefined) return malformed(type);
      return ok({ type, stream, reason: reason as keyof typeof ABORT_REASONS, detail });
    }
    case 'window': {
      const bytes = reader.uint32();
      const isInRange = bytes > 0 && bytes <= PEER_LIMITS.windowBytesMax;
      return reader.isDone() && isInRange ? ok({ type, stream, bytes }) : malformed(type);
    }
    default:
      return unreachable(type);
  }
}

function parseHello(payload: Uint8Array): Parsed {
  const reader = new FieldReader(payload);
  const magic = reader.uint32();
  const version = reader.uint16();
  if (reader.isBad || magic !== PEER_MAGIC) {
    return err({ kind: 'not-a-peer', detail: 'the hello is not one of Banyan' });
  }
  if (version !== PEER_VERSION) {
    const which = version > PEER_VERSION ? 'newer' : 'older';
    const detail = `the peer speaks version ${version}, ${which} than ours (${PEER_VERSION})`;
    return err({ kind: 'version', detail });
  }
  const featureLevel = reader.uint16();
  const session = reader.uint32();
  const cluster = reader.text();
  const region = reader.text();
  const node = reader.text();
  if (!reader.isDone()) return malformed('hello');
  return ok({ type: 'hello', version, featureLevel, session, cluster, region, node });
}

function parseRequestHead(stream: number, payload: Uint8Array): Parsed {
  const reader = new FieldReader(payload);
  const method = reader.text();
  const path = reader.text();
  const forwardedFrom = reader.text();
  const keyHash = reader.text();
  const deadlineMs = reader.uint32();
  const bodyBytes = reader.uint32();
  const headers = reader.headers();
  const isKeyHash = keyHash === '' || /^[0-9a-f]{64}$/.test(keyHash);
  const isMethod = /^[A-Z]{1,16}$/.test(method);
  if (!reader.isDone() || !isKeyHash || !isMethod || !path.startsWith('/')) {
    return malformed('request-head');
  }
  return ok({
    type: 'request-head',
    stream,
    method,
    path,
    headers,
    keyHash: keyHash === '' ? null : keyHash,
    forwardedFrom,
    deadlineMs: deadlineMs === 0 ? null : deadlineMs,
    bodyBytes,
  });
}

function parseResponseHead(stream: number, payload: Uint8Array): Parsed {
  const reader = new FieldReader(payload);
  const status = reader.uint16();
  const hasLength = reader.uint8();
  const bodyBytes = reader.uint32();
  const headers = reader.headers();
  const isFraming = hasLength === 1 || (hasLength === 0 && bodyBytes === 0);
  if (!reader.isDone() || !isFraming || status < 200 || status > 999) {
    return malformed('response-head');
  }
  const framed = hasLength === 1 ? bodyBytes : null;
  return ok({ type: 'response-head', stream, status, bodyBytes: framed, headers });
}

/** Who a hello must be from. */
export interface HelloExpectation {
  readonly cluster: string;
  /** Our own peer name: a link to oneself is a mistake in the addresses. */
  readonly own: string;
  /** Null: any of `peers`. */
  readonly peer: string | null;
  readonly peers: ReadonlySet<string>;
}

/** Checks who speaks; the error is a sentence for the operator. */
export function checkHello(hello: HelloFrame, expected: HelloExpectation): Result<null, string> {
  if (hello.cluster !== expected.cluster) {
    return err(`it belongs to cluster "${hello.cluster}", not "${expected.cluster}"`);
  }
  if (hello.region === expected.own) {
    return err(`it says it is ${hello.region}, which is this node; check the address`);
  }
  if (expected.peer !== null && hello.region !== expected.peer) {
    return err(`it says it is ${hello.region}, not ${expected.peer}; check the address`);
  }
  if (!expected.peers.has(hello.region)) {
    return err(`${hello.region} is not among the configured peers`);
  }
  return ok(null);
}
