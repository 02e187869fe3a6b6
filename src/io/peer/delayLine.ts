/**
 * The way of frames into the socket, with an artificial one-way delay where the demo and tests ask
 * for one: each frame leaves `delayMs` after it was given, in order.
 *
 * @hot
 */

import type { Socket } from 'node:net';

import { PEER_LIMITS } from '../../base/limits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';

/** Told how much of a stream left this process. */
export interface SentCounter {
  bytesSent: number;
}

interface Delayed {
  readonly dueMs: number;
  readonly bytes: Uint8Array;
  readonly counter: SentCounter | null;
}

/** What a line needs. */
export interface DelayLineParts {
  readonly socket: Socket;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** One connection's outgoing side. */
export class DelayLine {
  bytesOut = 0;
  /** One way, ms; 0: none. Lowered while frames wait, it lets later ones wait for them. */
  delayMs = 0;
  private readonly parts: DelayLineParts;
  private readonly waiting: Delayed[] = [];
  private first = 0;
  private waitingBytes = 0;
  private timer: TimerHandle | null = null;
  private isClosed = false;
  private readonly roomFound: () => void;

  /** `roomFound` is called when `hasRoom` may have become true. */
  constructor(parts: DelayLineParts, roomFound: () => void) {
    this.parts = parts;
    this.roomFound = roomFound;
  }

  /** False: streams wait, so that no queue grows where nobody sees whose bytes are in it. */
  hasRoom(): boolean {
    return (
      this.parts.socket.writableLength < PEER_LIMITS.socketHighWaterBytes &&
      this.waitingBytes < PEER_LIMITS.delayLineBytesMax
    );
  }

  /** Sends `bytes` after the delay; `counter` is raised when they reach the socket. */
  send(bytes: Uint8Array, counter: SentCounter | null): void {
    if (this.isClosed) return;
    if (this.delayMs === 0 && this.waitingBytes === 0) {
      this.write(bytes, counter);
      return;
    }
    const dueMs = this.parts.clock.nowMs() + this.delayMs;
    this.waiting.push({ dueMs, bytes, counter });
    this.waitingBytes += bytes.length;
    this.arm();
  }

  /** True: nothing waits here or in the socket. */
  isEmpty(): boolean {
    return this.waitingBytes === 0 && this.parts.socket.writableLength === 0;
  }

  close(): void {
    this.isClosed = true;
    this.timer?.cancel();
    this.timer = null;
    this.waiting.length = 0;
    this.first = 0;
    this.waitingBytes = 0;
  }

  private write(bytes: Uint8Array, counter: SentCounter | null): void {
    this.bytesOut += bytes.length;
    if (counter !== null) counter.bytesSent += bytes.length;
    this.parts.socket.write(bytes);
  }

  private arm(): void {
    const next = this.waiting[this.first];
    if (this.timer !== null || next === undefined) return;
    const waitMs = Math.max(0, next.dueMs - this.parts.clock.nowMs());
    this.timer = this.parts.timers.after(Math.ceil(waitMs), () => this.due());
  }

  private due(): void {
    this.timer = null;
    const nowMs = this.parts.clock.nowMs();
    const { socket } = this.parts;
    socket.cork();
    for (;;) {
      const next = this.waiting[this.first];
      // A timer may fire a fraction of a millisecond early.
      if (next === undefined || next.dueMs > nowMs + 0.5) break;
      this.first += 1;
      this.waitingBytes -= next.bytes.length;
      this.write(next.bytes, next.counter);
    }
    socket.uncork();
    if (this.first === this.waiting.length || this.first > 1_024) {
      this.waiting.splice(0, this.first);
      this.first = 0;
    }
    this.arm();
    this.roomFound();
  }
}
