/**
 * What waits to be sent on one connection. Control frames go first; then streams take turns of one
 * frame each, so that a large body holds no small one back, and a stream without credit is passed
 * over, so that a slow reader holds nobody.
 *
 * O1: frames of one stream leave in order: head, body, tail.
 * O2: a stream never sends more than its reader allowed.
 *
 * @hot
 */

import type { Socket } from 'node:net';

import { assert } from '../../base/assert.ts';
import { PEER_LIMITS } from '../../base/limits.ts';
import { FRAME_HEADER_BYTES, sealBody } from '../../protocol/peer/frames.ts';
import type { DelayLine, SentCounter } from './delayLine.ts';

/** The sending half of one stream. */
export class OutStream implements SentCounter {
  readonly id: number;
  readonly type: 'data' | 'request-body';
  bytesSent = 0;
  /** Bytes waiting here. */
  queuedBytes = 0;
  /** Called once when `queuedBytes` falls to the low-water mark after `wantsDrain` was set. */
  drained: (() => void) | null = null;
  wantsDrain = false;
  /** Called when the tail has left. */
  finished: (() => void) | null = null;
  isClosed = false;
  private readonly outbox: Outbox;
  private pieces: Uint8Array[] = [];
  private firstOffset = 0;
  private creditBytes: number = PEER_LIMITS.windowBytesInitial;
  private tail: Uint8Array | null = null;
  isReady = false;

  constructor(outbox: Outbox, id: number, type: 'data' | 'request-body') {
    this.outbox = outbox;
    this.id = id;
    this.type = type;
  }

  /** Queues a piece, which the caller leaves to us. */
  push(piece: Uint8Array): void {
    if (this.isClosed || piece.length === 0) return;
    this.pieces.push(piece);
    this.queuedBytes += piece.length;
    this.outbox.ready(this);
  }

  /** The last frame, sent after all pieces. */
  finish(tail: Uint8Array): void {
    if (this.isClosed || this.tail !== null) return;
    this.tail = tail;
    this.outbox.ready(this);
  }

  /** Drops what waits; nothing more is sent. */
  close(): void {
    this.isClosed = true;
    this.pieces = [];
    this.queuedBytes = 0;
    this.tail = null;
    this.drained = null;
    this.finished = null;
  }

  /** The reader allows more. False: more than any reader of ours would. */
  allow(bytes: number): boolean {
    this.creditBytes += bytes;
    if (!this.isClosed) this.outbox.ready(this);
    return this.creditBytes <= PEER_LIMITS.windowBytesMax * 2;
  }

  /** True: something can be sent now. */
  canSend(): boolean {
    if (this.queuedBytes > 0) return this.creditBytes > 0;
    return this.tail !== null;
  }

  /** The next frame. The tail closes the stream. */
  nextFrame(): Uint8Array {
    if (this.queuedBytes === 0) {
      const { tail } = this;
      assert(tail !== null, 'only a stream that can send is asked for a frame');
      this.close();
      return tail;
    }
    const length = Math.min(this.queuedBytes, this.creditBytes, PEER_LIMITS.dataBytesMax);
    const frame = new Uint8Array(FRAME_HEADER_BYTES + length);
    this.gather(frame, length);
    sealBody(frame, this.type, this.id);
    this.creditBytes -= length;
    this.queuedBytes -= length;
    return frame;
  }

  /** Copies `length` bytes of the pieces behind the header: small writes share a frame. */
  private gather(frame: Uint8Array, length: number): void {
    let at = FRAME_HEADER_BYTES;
    const end = at + length;
    let used = 0;
    while (at < end) {
      const piece = this.pieces[used];
      assert(piece !== undefined, 'queuedBytes counts the pieces');
      const count = Math.min(piece.length - this.firstOffset, end - at);
      frame.set(piece.subarray(this.firstOffset, this.firstOffset + count), at);
      at += count;
      this.firstOffset += count;
      if (this.firstOffset === piece.length) {
        used += 1;
        this.firstOffset = 0;
      }
    }
    this.pieces.splice(0, used);
  }
}

/** All of one connection. */
export class Outbox {
  private readonly socket: Socket;
  private readonly line: DelayLine;
  private readonly control: { bytes: Uint8Array; counter: SentCounter | null }[] = [];
  private controlBytes = 0;
  private readonly turns: OutStream[] = [];
  private isPumpDue = false;
  private isClosed = false;

  constructor(socket: Socket, line: DelayLine) {
    this.socket = socket;
    this.line = line;
  }

  /** Control bytes that wait. */
  get controlWaitingBytes(): number {
    return this.controlBytes;
  }

  /** Queues a control frame. False: the peer reads nothing and the queue is over its limit. */
  sendControl(bytes: Uint8Array, counter: SentCounter | null = null): boolean {
    if (this.isClosed) return true;
    this.control.push({ bytes, counter });
    this.controlBytes += bytes.length;
    this.pumpSoon();
    return this.controlBytes <= PEER_LIMITS.controlBytesMax;
  }

  /** Gives a stream its turn. */
  ready(stream: OutStream): void {
    if (stream.isReady || this.isClosed || !stream.canSend()) return;
    stream.isReady = true;
    this.turns.push(stream);
    this.pumpSoon();
  }

  /** True: all that was given has left. */
  isEmpty(): boolean {
    return this.control.length === 0 && this.turns.length === 0 && this.line.isEmpty();
  }

  close(): void {
    this.isClosed = true;
    this.control.length = 0;
    this.controlBytes = 0;
    this.turns.length = 0;
  }

  /** Sends while there is room. One write to the kernel for all that goes in one turn of the loop. */
  pump(): void {
    if (this.isClosed) return;
    this.socket.cork();
    this.pumpControl();
    while (this.turns.length > 0 && this.line.hasRoom()) {
      const stream = this.turns.shift();
      if (stream === undefined) break;
      stream.isReady = false;
      if (stream.isClosed || !stream.canSend()) continue;
      const { finished } = stream;
      this.line.send(stream.nextFrame(), stream);
      if (stream.isClosed) {
        finished?.();
        continue;
      }
      this.ready(stream);
      if (stream.wantsDrain && stream.queuedBytes <= PEER_LIMITS.replyLowWaterBytes) {
        stream.wantsDrain = false;
        stream.drained?.();
      }
    }
    this.socket.uncork();
  }

  private pumpControl(): void {
    let sent = 0;
    for (; sent < this.control.length && this.line.hasRoom(); sent += 1) {
      const next = this.control[sent];
      if (next === undefined) break;
      this.controlBytes -= next.bytes.length;
      this.line.send(next.bytes, next.counter);
    }
    this.control.splice(0, sent);
  }

  /** At the end of this turn: what a caller sends in one go leaves in one go. */
  private pumpSoon(): void {
    if (this.isPumpDue) return;
    this.isPumpDue = true;
    queueMicrotask(() => {
      this.isPumpDue = false;
      this.pump();
    });
  }
}
