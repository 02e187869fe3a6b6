/**
 * Calls of workers to other regions: the first process has the links, a worker has the exchange. One
 * side is the `Upstream` of the worker, the other one makes the call.
 *
 * C1: exactly one of `onEnd` and `onFailure` ends a call, and nothing comes after `cancel`. C2: what is
 * on the way to a worker and not read stays below `WORKER_LIMITS.callHighWaterBytes` and one chunk.
 */

import { unreachable } from '../../base/assert.ts';
import { copyBytes } from '../../base/bytes.ts';
import { WORKER_LIMITS } from '../../base/workerLimits.ts';
import type { Upstream, UpstreamCall, UpstreamHandle, UpstreamHandler } from '../../base/ports.ts';
import type { ToCallee, ToCaller } from './messages.ts';

/** The worker's side. */
export class RegionCaller implements Upstream {
  readonly #send: (message: ToCallee) => void;
  readonly #calls = new Map<number, Call>();
  #next = 0;

  constructor(send: (message: ToCallee) => void) {
    this.#send = send;
  }

  start(call: UpstreamCall, handler: UpstreamHandler): UpstreamHandle {
    const id = this.#next++;
    const { origin, method, path, headers, body, connectMs } = call;
    const made = new Call(handler, {
      read: (bytes) => this.#send({ kind: 'call-read', call: id, bytes }),
      cancelled: () => this.#send({ kind: 'call-cancel', call: id }),
      over: () => this.#calls.delete(id),
    });
    this.#calls.set(id, made);
    const request = { origin, method, path, headers, body, connectMs };
    this.#send({ kind: 'call', call: id, request });
    return made;
  }

  /** A message of the other side. One for a call that was cancelled is passed over. */
  came(message: ToCaller): void {
    this.#calls.get(message.call)?.came(message);
  }
}

interface CallEvents {
  read(bytes: number): void;
  cancelled(): void;
  over(): void;
}

/** One call of a worker; what comes while its reader pauses waits. */
class Call implements UpstreamHandle {
  readonly #handler: UpstreamHandler;
  readonly #events: CallEvents;
  readonly #waiting: ToCaller[] = [];
  #isPaused = false;
  #isResumeDue = false;
  #isOver = false;

  constructor(handler: UpstreamHandler, events: CallEvents) {
    this.#handler = handler;
    this.#events = events;
  }

  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.over();
    this.#events.cancelled();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#waiting.length === 0 || this.#isResumeDue) return;
    this.#isResumeDue = true;
    queueMicrotask(() => {
      this.#isResumeDue = false;
      this.#deliverWaiting();
    });
  }

  came(message: ToCaller): void {
    if (this.#isPaused || this.#waiting.length > 0) this.#waiting.push(message);
    else this.#deliver(message);
  }

  #deliverWaiting(): void {
    while (!this.#isPaused && !this.#isOver) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#deliver(next);
    }
  }

  #deliver(message: ToCaller): void {
    switch (message.kind) {
      case 'call-head':
        return this.#handler.onHead(message.status, message.headers);
      case 'call-body':
        this.#handler.onBody(message.bytes);
        if (!this.#isOver) this.#events.read(message.bytes.length);
        return;
      case 'call-end':
        this.#end();
        return this.#handler.onEnd();
      case 'call-failed':
        this.#end();
        return this.#handler.onFailure(message.failure);
      default:
        unreachable(message);
    }
  }

  #end(): void {
    this.#isOver = true;
    this.#events.over();
  }
}

/** The side with the links: makes the calls of one worker. */
export class RegionCallee {
  readonly #upstream: Upstream;
  readonly #send: (message: ToCaller) => void;
  readonly #calls = new Map<number, Made>();

  constructor(upstream: Upstream, send: (message: ToCaller) => void) {
    this.#upstream = upstream;
    this.#send = send;
  }

  came(message: ToCallee): void {
    switch (message.kind) {
      case 'call':
        return this.#make(message.call, message.request);
      case 'call-cancel':
        this.#calls.get(message.call)?.handle.cancel();
        this.#calls.delete(message.call);
        return;
      case 'call-read':
        return this.#read(message.call, message.bytes);
      default:
        unreachable(message);
    }
  }

  /** The worker is gone: so are its calls. */
  close(): void {
    for (const { handle } of this.#calls.values()) handle.cancel();
    this.#calls.clear();
  }

  #make(id: number, request: UpstreamCall): void {
    const made: Made = {
      unreadBytes: 0,
      isPaused: false,
      handle: this.#upstream.start(request, {
        onHead: (status, headers) => this.#send({ kind: 'call-head', call: id, status, headers }),
        onBody: (chunk) => {
          this.#send({ kind: 'call-body', call: id, bytes: copyBytes(chunk) });
          made.unreadBytes += chunk.length;
          if (made.isPaused || made.unreadBytes < WORKER_LIMITS.callHighWaterBytes) return;
          made.isPaused = true;
          made.handle.pause();
        },
        onEnd: () => {
          this.#calls.delete(id);
          this.#send({ kind: 'call-end', call: id });
        },
        onFailure: (failure) => {
          this.#calls.delete(id);
          this.#send({ kind: 'call-failed', call: id, failure });
        },
      }),
    };
    this.#calls.set(id, made);
  }

  #read(id: number, bytes: number): void {
    const made = this.#calls.get(id);
    if (made === undefined) return; // Its end is on the way to the worker.
    made.unreadBytes -= bytes;
    if (!made.isPaused || made.unreadBytes > WORKER_LIMITS.callLowWaterBytes) return;
    made.isPaused = false;
    made.handle.resume();
  }
}

interface Made {
  readonly handle: UpstreamHandle;
  /** On the way to the worker. */
  unreadBytes: number;
  isPaused: boolean;
}
