/**
 * One client connection: requests in, one at a time, and their responses out. Bytes come through
 * `feed`, time through `sweep`, the end through the socket's events. @hot
 *
 * C1: at most one request is with the handler; what a client sends after it waits, bounded.
 * C2: a request that the handler has is ended once: by `end`, by `abort`, or by `onGone`.
 * C3: after a message that is refused nothing of the connection is parsed again.
 */

import type { Socket } from 'node:net';

import { assert } from '../../base/assert.ts';
import { EMPTY_BYTES } from '../../base/bytes.ts';
import { failure, type ErrorCode, type Failure } from '../../base/errors.ts';
import type { ClientEvents, Clock, RequestHandler } from '../../base/ports.ts';
import { BodyBuffer } from './bodies.ts';
import { SocketWriter } from './buffers.ts';
import { ChunkedDecoder } from './chunked.ts';
import { PresentedKey } from './credentials.ts';
import type { DateLine } from './fields.ts';
import type { HttpLimits } from './limits.ts';
import { HeadParser, PARSE_FAULT, PARSE_MORE } from './parser.ts';
import { refusalText } from './refusal.ts';
import { Reply, type ReplyHost } from './reply.ts';
import { abortSocket, StallWatch } from './sockets.ts';

/** Counters of one listener since it was made. */
export interface ServerCounts {
  requests: number;
  /** Responses that ended cleanly. */
  answered: number;
  /** Responses that the gateway broke off. */
  aborted: number;
  /** Requests whose client left before the response was complete. */
  gone: number;
  /** Requests refused before the gateway saw them. */
  refused: number;
  /** Connections dropped because their client read nothing. */
  stalled: number;
}

/** What all connections of a listener share. */
export interface ListenerContext {
  readonly handler: RequestHandler;
  readonly clock: Clock;
  readonly limits: HttpLimits;
  readonly date: DateLine;
  readonly counts: ServerCounts;
  /** All request bodies in memory, bytes. */
  bodiesBytes: number;
  /** The listener takes no new requests on kept connections. */
  isClosing: boolean;
  readonly onRefused: (code: ErrorCode, remote: string) => void;
}

const STATE = { idle: 0, head: 1, body: 2, busy: 3, linger: 4, dead: 5 } as const;

export class Connection implements ReplyHost {
  readonly writer: SocketWriter;
  readonly writeHighWaterBytes: number;
  isHeadRequest = false;
  knowsChunks = true;

  readonly #context: ListenerContext;
  readonly #socket: Socket;
  readonly #remote: string;
  readonly #parser: HeadParser;
  readonly #stall: StallWatch;
  readonly #key = new PresentedKey();
  #chunked: ChunkedDecoder | null = null;
  #state: number = STATE.idle;
  /** When the state must have been left; checked by `sweep`. */
  #deadlineMs: number;
  #receivedMs = 0;
  #body: BodyBuffer | null = null;
  /** Bytes of this connection's bodies that count against the limit of all. */
  #bodyBytes = 0;
  #reply: Reply | null = null;
  #events: ClientEvents | null = null;
  #isKeptAlive = true;
  #isBlocked = false;
  #isFeeding = false;
  /** Bytes after the request under way. */
  #pipelined: Buffer | null = null;
  #isPaused = false;

  constructor(context: ListenerContext, socket: Socket, remote: string) {
    this.#context = context;
    this.#socket = socket;
    this.#remote = remote;
    this.#parser = new HeadParser('request', context.limits);
    this.#stall = new StallWatch(socket);
    this.writeHighWaterBytes = context.limits.writeHighWaterBytes;
    this.#deadlineMs = context.clock.nowMs() + context.limits.headerReadMs;
    this.writer = new SocketWriter(socket, () => this.#written());
  }

  get isIdle(): boolean {
    return this.#state === STATE.idle;
  }

  /** True while a request is being received or answered. */
  get isBusy(): boolean {
    return this.#state > STATE.idle && this.#state < STATE.linger;
  }

  /** Takes bytes of the socket, borrowed. */
  feed(bytes: Buffer, start: number, end: number): void {
    let at = start;
    this.#isFeeding = true;
    while (at < end) {
      if (this.#state === STATE.head || this.#state === STATE.idle) {
        at = this.#feedHead(bytes, at, end);
      } else if (this.#state === STATE.body) {
        at = this.#feedBody(bytes, at, end);
      } else {
        if (this.#state === STATE.busy) this.#keepPipelined(bytes, at, end);
        break; // A lingering connection reads to forget.
      }
    }
    this.#isFeeding = false;
  }

  #feedHead(bytes: Buffer, start: number, end: number): number {
    const { clock, limits } = this.#context;
    if (this.#state === STATE.idle) {
      this.#state = STATE.head;
      this.#receivedMs = clock.nowMs();
      this.#deadlineMs = this.#receivedMs + limits.headerReadMs;
    }
    const at = this.#parser.push(bytes, start, end);
    if (at === PARSE_MORE) return end;
    if (at === PARSE_FAULT) {
      const { fault } = this.#parser;
      this.#refuse(failure(fault?.code ?? 'bad_http', fault?.detail));
      return end;
    }
    this.#headDone(at === end);
    return at;
  }

  #headDone(isLastByte: boolean): void {
    const parser = this.#parser;
    const { limits, clock } = this.#context;
    this.isHeadRequest = parser.method === 'HEAD';
    this.knowsChunks = parser.minor === 1;
    this.#isKeptAlive = parser.minor === 1 && !parser.isClose;
    const bytes = parser.contentLength;
    if (bytes > limits.requestBodyBytesMax) {
      this.#refuse(tooLarge(limits.requestBodyBytesMax));
      return;
    }
    if (!parser.isChunked && bytes <= 0) {
      this.#dispatch(EMPTY_BYTES);
      return;
    }
    this.#state = STATE.body;
    this.#deadlineMs = clock.nowMs() + limits.bodyReadMs;
    this.#body = new BodyBuffer(parser.isChunked ? -1 : bytes, limits.requestBodyBytesMax);
    if (parser.isChunked) {
      this.#chunked ??= new ChunkedDecoder(limits);
      this.#chunked.reset();
    }
    if (!this.#countBody()) return;
    if (parser.expectsContinue && isLastByte && parser.minor === 1) {
      this.writer.push('HTTP/1.1 100 Continue\r\n\r\n', null, '');
      this.writer.flush();
    }
  }

  #feedBody(bytes: Buffer, start: number, end: number): number {
    const body = this.#body;
    assert(body !== null, 'a body under way has a buffer');
    if (this.#parser.isChunked) return this.#feedChunks(body, bytes, start, end);
    const expected = this.#parser.contentLength;
    const stop = Math.min(end, start + expected - body.length);
    body.append(bytes, start, stop);
    if (!this.#countBody()) return end;
    if (body.length === expected) this.#dispatch(body.take());
    return stop;
  }

  #feedChunks(body: BodyBuffer, bytes: Buffer, start: number, end: number): number {
    const decoder = this.#chunked;
    assert(decoder !== null, 'a chunked body has a decoder');
    const at = decoder.push(bytes, start, end);
    if (at === PARSE_FAULT) {
      this.#refuse(failure(decoder.fault?.code ?? 'bad_http', decoder.fault?.detail));
      return end;
    }
    if (!body.append(bytes, decoder.outStart, decoder.outEnd)) {
      this.#refuse(tooLarge(this.#context.limits.requestBodyBytesMax));
      return end;
    }
    if (!this.#countBody()) return end;
    if (decoder.isDone) this.#dispatch(body.take());
    return at;
  }

  /** Counts this body against the memory of all; false, and refused, where that is used up. */
  #countBody(): boolean {
    const context = this.#context;
    const bytes = this.#body?.capacity ?? 0;
    context.bodiesBytes += bytes - this.#bodyBytes;
    this.#bodyBytes = bytes;
    if (context.bodiesBytes <= context.limits.requestBodiesBytesMax) return true;
    const detail = 'Request bodies take all the memory that they may.';
    this.#refuse(failure('overloaded', detail, { retryAfterMs: 1000 }));
    return false;
  }

  #releaseBody(): void {
    this.#context.bodiesBytes -= this.#bodyBytes;
    this.#bodyBytes = 0;
    this.#body?.release();
    this.#body = null;
  }

  #dispatch(body: Uint8Array): void {
    const parser = this.#parser;
    const keyHash = this.#key.hashOf(parser.authorization, parser.apiKey);
    if (!keyHash.ok) {
      this.#refuse(failure('bad_http', 'Authorization and x-api-key hold different keys.'));
      return;
    }
    this.#context.counts.requests += 1;
    this.#state = STATE.busy;
    const { target } = parser;
    const queryAt = target.indexOf('?');
    const reply = new Reply(this);
    this.#reply = reply;
    const request = {
      method: parser.method,
      path: queryAt === -1 ? target : target.slice(0, queryAt),
      query: queryAt === -1 ? '' : target.slice(queryAt + 1),
      headers: parser.headers,
      body,
      keyHash: keyHash.value,
      receivedMs: this.#receivedMs,
      remote: this.#remote,
      forwardedFrom: null,
    };
    parser.reset();
    const events = this.#context.handler.handle(request, reply);
    // The handler may have answered at once; its events are then of no more use.
    if (this.#reply === reply) this.#events = events;
  }

  dateLine(): string {
    return this.#context.date.text();
  }

  keepsAlive(): boolean {
    if (this.#context.isClosing) this.#isKeptAlive = false;
    if (!this.knowsChunks) this.#isKeptAlive = false;
    return this.#isKeptAlive;
  }

  blocked(): void {
    this.#isBlocked = true;
  }

  replyEnded(): void {
    this.#context.counts.answered += 1;
    this.#forgetExchange();
    if (!this.#isKeptAlive || this.#context.isClosing) {
      this.#linger();
      return;
    }
    this.#state = STATE.idle;
    this.#deadlineMs = this.#context.clock.nowMs() + this.#context.limits.keepAliveIdleMs;
    // Never parse from within the handler's own call: it would be entered again.
    if (this.#pipelined !== null) process.nextTick(resumePipelined, this);
  }

  replyAborted(isCutVisible: boolean): void {
    this.#context.counts.aborted += 1;
    this.#forgetExchange();
    if (isCutVisible) {
      this.#linger();
    } else {
      abortSocket(this.#socket);
    }
  }

  #forgetExchange(): void {
    this.#reply?.detach();
    this.#reply = null;
    this.#events = null;
    this.#isBlocked = false;
    this.#releaseBody();
  }

  #keepPipelined(bytes: Buffer, start: number, end: number): void {
    const piece = Buffer.from(bytes.subarray(start, end));
    this.#pipelined = this.#pipelined === null ? piece : Buffer.concat([this.#pipelined, piece]);
    const { pipelineBytesMax, pipelineBytesCut } = this.#context.limits;
    if (this.#pipelined.length > pipelineBytesCut) {
      this.breakOff();
    } else if (this.#pipelined.length >= pipelineBytesMax) {
      this.#isPaused = true;
      this.#socket.pause();
    }
  }

  /** Parses what waited behind the request that has just been answered. */
  feedPipelined(): void {
    const bytes = this.#pipelined;
    if (bytes === null || this.#state !== STATE.idle || this.#isFeeding) return;
    this.#pipelined = null;
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#socket.resume();
    }
    this.feed(bytes, 0, bytes.length);
  }

  /** Answers without the gateway and closes. */
  #refuse(cause: Failure): void {
    const context = this.#context;
    context.counts.refused += 1;
    context.onRefused(cause.code, this.#remote);
    this.#releaseBody();
    this.writer.push(refusalText(cause, this.#parser.target, this.dateLine()), null, '');
    this.#linger();
  }

  /** Tells a client that there is no room for its connection. */
  refuseConnection(): void {
    const detail = 'It has too many connections.';
    this.#refuse(failure('overloaded', detail, { retryAfterMs: 1000 }));
  }

  /** Sends the rest and FIN, then reads on: unread bytes would turn the close into a reset. */
  #linger(): void {
    this.writer.flush();
    this.#state = STATE.linger;
    this.#pipelined = null;
    this.#deadlineMs = this.#context.clock.nowMs() + this.#context.limits.lingerMs;
    if (this.#isPaused) this.#socket.resume();
    this.#socket.end();
  }

  #written(): void {
    this.#stall.progress();
    if (!this.#isBlocked) return;
    if (this.writer.pendingBytes > this.#context.limits.writeLowWaterBytes) return;
    this.#isBlocked = false;
    this.#events?.onDrain();
  }

  /** The client closed its side: it takes no answer any more (as in nginx and node:http). */
  onEof(): void {
    if (this.#state === STATE.idle && this.writer.pendingBytes > 0) {
      this.#linger(); // It has asked for nothing more; what it asked for is still on its way.
      return;
    }
    // Node closes the socket when the last byte has left.
    if (this.#state === STATE.linger && this.writer.pendingBytes > 0) return;
    this.#socket.destroy();
    this.onClosed();
  }

  /** The socket is gone, for whatever reason. */
  onClosed(): void {
    if (this.#state === STATE.dead) return;
    const events = this.#events;
    this.#state = STATE.dead;
    this.#pipelined = null;
    this.writer.discard();
    if (this.#reply !== null) {
      this.#context.counts.gone += 1;
      this.#reply.detach();
      events?.onGone(); // Before its body is given back: until then it may be read.
      this.#forgetExchange();
    }
    this.#releaseBody();
  }

  /** Looks at the clocks of this connection. */
  sweep(nowMs: number): void {
    if (this.#state === STATE.dead) return;
    const { limits, counts } = this.#context;
    if (this.#stall.isStalled(nowMs, this.writer.pendingBytes, limits.writeStallMs)) {
      counts.stalled += 1;
      this.breakOff();
      return;
    }
    if (this.#state === STATE.busy) {
      // A socket that is not read does not tell of its end: one read, and `feed` pauses it again.
      if (this.#isPaused) this.#socket.resume();
      return;
    }
    if (nowMs < this.#deadlineMs) return;
    if (this.#state === STATE.idle || this.#state === STATE.linger) {
      // Bytes on their way to a slow reader are the stall watch's business.
      if (this.writer.pendingBytes === 0) this.#drop();
      return;
    }
    this.#refuse(failure('request_timeout'));
  }

  #drop(): void {
    this.#socket.destroy();
    this.onClosed();
  }

  /** The listener closes: idle connections go at once, the others after their answer. */
  closeWhenIdle(): void {
    if (this.#state === STATE.idle) this.#linger();
  }

  /** Breaks the connection off; the gateway hears that the client is gone. */
  breakOff(): void {
    abortSocket(this.#socket);
    this.onClosed();
  }
}

function resumePipelined(connection: Connection): void {
  connection.feedPipelined();
}

function tooLarge(bytesMax: number): Failure {
  return failure('body_too_large', `The limit is ${bytesMax} bytes.`);
}
