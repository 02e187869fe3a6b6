/**
 * One connection to an upstream: opens it, sends one request at a time and reads its response. @hot
 *
 * U1: what is reported as not sent was not given to the kernel.
 * U2: a body ends only by its own framing; anything else is `truncated`.
 * U3: a connection is used again only after a response whose end is certain, with no byte after it
 *     and the whole request written.
 */

import { connect as connectPlain, type Socket, type TcpNetConnectOpts } from 'node:net';
import { connect as connectSecure, type ConnectionOptions } from 'node:tls';

import { assert } from '../../base/assert.ts';
import { headerValue, type HeaderList } from '../../base/headers.ts';
import { HTTP_LIMITS } from '../../base/limits.ts';
import type { UpstreamCall, UpstreamFailure, UpstreamFailureKind } from '../../base/ports.ts';
import { BodyBuffer } from './bodies.ts';
import { READ_BUFFER, SocketWriter } from './buffers.ts';
import { ChunkedDecoder } from './chunked.ts';
import type { HttpLimits } from './limits.ts';
import type { OriginSettings } from './origin.ts';
import { HeadParser, PARSE_FAULT, PARSE_MORE, type ParseFault } from './parser.ts';
import { abortSocket } from './sockets.ts';
import { spendTurn, takeTurn, waitForTurn, type LateReader } from './turns.ts';

/** Whoever uses a connection for one call. All are called from socket events, never from `send`. */
export interface ConnectionUser {
  connected(connection: UpstreamConnection): void;
  connectFailed(failure: UpstreamFailure): void;
  head(status: number, headers: HeaderList): void;
  body(chunk: Uint8Array): void;
  ended(): void;
  /** `hasResponse`: some byte of the response had arrived. */
  failed(failure: UpstreamFailure, hasResponse: boolean): void;
}

/** Whoever keeps connections. */
export interface ConnectionOwner {
  /** The connection is free for another call. */
  free(connection: UpstreamConnection): void;
  /** The connection is gone. Called once. */
  gone(connection: UpstreamConnection): void;
}

const NO_REST: readonly Uint8Array[] = [];
const PHASE = { connecting: 0, free: 1, head: 2, body: 3, gone: 4 } as const;
const BODY = { none: 0, length: 1, chunked: 2, close: 3 } as const;
/** Bytes that wait for a turn: reading stops past `lateFloodBytes`, by one read at most. */
const LATE_BYTES_MAX = HTTP_LIMITS.lateFloodBytes + HTTP_LIMITS.readBufferBytes;

/** TLS sessions by origin, so that another connection resumes instead of a full handshake. */
export type SessionStore = Map<string, Buffer>;

export class UpstreamConnection implements LateReader {
  /** True once it has carried a whole exchange. */
  isReused = false;
  idleSinceMs = 0;
  /** How long it may lie idle, ms: ours or, where the upstream says less, the upstream's. */
  idleMsMax: number;

  readonly #origin: OriginSettings;
  readonly #limits: HttpLimits;
  readonly #owner: ConnectionOwner;
  readonly #socket: Socket;
  readonly #writer: SocketWriter;
  readonly #parser: HeadParser;
  #chunked: ChunkedDecoder | null = null;
  #user: ConnectionUser | null;
  #phase: number = PHASE.connecting;
  #hasTcp = false;
  #connectTimer: NodeJS.Timeout | null;
  #requestBytes = 0;
  /** The kernel has taken the whole request. */
  #isSent = false;
  #hasResponse = false;
  #isHeadRequest = false;
  #interims = 0;
  #body: number = BODY.none;
  #leftBytes = 0;
  /** The user wants no bytes. */
  #isPaused = false;
  /** Bytes of the body that wait for a turn. */
  #late: BodyBuffer | null = null;
  #isInLine = false;
  /** Not read, since so much waits. */
  #isHeld = false;
  #error: Error | null = null;

  /** Begins to connect for `user`; `connectMs` covers name, TCP and TLS. */
  constructor(
    origin: OriginSettings,
    limits: HttpLimits,
    sessions: SessionStore,
    owner: ConnectionOwner,
    user: ConnectionUser,
    connectMs: number,
  ) {
    this.#origin = origin;
    this.#limits = limits;
    this.#owner = owner;
    this.#user = user;
    this.idleMsMax = limits.upstreamIdleMs;
    this.#parser = new HeadParser('response', limits);
    this.#connectTimer = setTimeout(() => this.#connectTimedOut(connectMs), connectMs);
    this.#socket = origin.isSecure ? this.#openSecure(sessions) : this.#openPlain();
    this.#writer = new SocketWriter(this.#socket, () => {
      if (this.#socket.errored === null) this.#isSent = true;
    });
    this.#socket.on('connect', () => {
      this.#hasTcp = true;
      if (!origin.isSecure) this.#connected();
    });
    this.#socket.on('end', () => this.#eof());
    this.#socket.on('error', (cause: Error) => {
      this.#error = cause;
    });
    this.#socket.on('close', () => this.#closed());
  }

  #openPlain(): Socket {
    return connectPlain({
      host: this.#origin.host,
      port: this.#origin.port,
      noDelay: true,
      keepAlive: true,
      autoSelectFamily: true,
      onread: {
        buffer: READ_BUFFER,
        callback: (bytesRead: number): boolean => {
          this.#feed(READ_BUFFER, 0, bytesRead);
          return true;
        },
      },
    });
  }

  #openSecure(sessions: SessionStore): Socket {
    const { origin, host, port, ca, serverName } = this.#origin;
    const session = sessions.get(origin);
    const options: ConnectionOptions & TcpNetConnectOpts = {
      host,
      port,
      autoSelectFamily: true,
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      ...(serverName === null ? {} : { servername: serverName }),
      ...(ca === null ? {} : { ca }),
      ...(session === undefined ? {} : { session }),
    };
    const socket = connectSecure(options);
    socket.setNoDelay(true);
    socket.setKeepAlive(true);
    socket.on('session', (fresh: Buffer) => sessions.set(origin, fresh));
    socket.on('secureConnect', () => this.#connected());
    socket.on('data', (bytes: Buffer) => this.#feed(bytes, 0, bytes.length));
    return socket;
  }

  #connected(): void {
    if (this.#phase !== PHASE.connecting) return;
    this.#clearConnectTimer();
    this.#phase = PHASE.free;
    const user = this.#user;
    this.#user = null;
    user?.connected(this);
  }

  #clearConnectTimer(): void {
    if (this.#connectTimer !== null) clearTimeout(this.#connectTimer);
    this.#connectTimer = null;
  }

  #connectTimedOut(connectMs: number): void {
    this.#connectTimer = null;
    this.#failConnect('connect-timeout', `no connection within ${connectMs} ms`);
  }

  #failConnect(kind: UpstreamFailureKind, detail: string): void {
    const user = this.#user;
    this.#user = null;
    this.#drop();
    user?.connectFailed({ kind, bytesSent: 0, detail: `${this.#origin.origin}: ${detail}` });
  }

  /** Closes; the owner hears of it at once. */
  #drop(): void {
    if (this.#phase === PHASE.gone) return;
    this.#phase = PHASE.gone;
    this.#clearConnectTimer();
    this.#writer.discard();
    this.#late?.release();
    this.#late = null;
    abortSocket(this.#socket);
    this.#owner.gone(this);
  }

  /** Closes an idle connection. */
  close(): void {
    assert(this.#user === null, 'a connection in use is abandoned, not closed');
    this.#drop();
  }

  /** Breaks off whatever `user` does here; it hears no more. */
  abandon(user: ConnectionUser): void {
    if (this.#user !== user) return;
    this.#user = null;
    this.#drop();
  }

  /** Breaks off and tells the user. */
  breakOff(): void {
    if (this.#phase === PHASE.connecting) this.#failConnect('refused', 'the pool is closing');
    else if (this.#user === null) this.#drop();
    else this.#fail('reset', 'the pool is closing');
  }

  pause(user: ConnectionUser): void {
    if (this.#user !== user || this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(user: ConnectionUser): void {
    if (this.#user !== user || !this.#isPaused) return;
    this.#isPaused = false;
    if (this.#late !== null) this.#standInLine(this.#late.length);
    if (!this.#isHeld) this.#socket.resume();
  }

  /**
   * Sends a request for `user`: `head` with its empty line, then the body of `call`. False: the
   * connection had died and certainly no byte left (U1).
   */
  send(user: ConnectionUser, head: string, call: UpstreamCall): boolean {
    const { body, bodyRest = NO_REST } = call;
    assert(this.#phase === PHASE.free, 'a connection carries one request at a time');
    this.#phase = PHASE.head;
    this.#user = user;
    this.#isHeadRequest = call.method === 'HEAD';
    this.#hasResponse = false;
    this.#interims = 0;
    this.#parser.reset();
    this.#requestBytes = head.length + body.length;
    for (const piece of bodyRest) this.#requestBytes += piece.length;
    this.#isSent = false;
    this.#writer.pushMessage(head, body, bodyRest);
    if (this.#socket.errored === null && !this.#socket.destroyed) return true;
    this.#user = null; // The kernel refused the very first byte.
    this.#drop();
    return false;
  }

  #feed(bytes: Buffer, start: number, end: number): void {
    if (this.#phase === PHASE.free) {
      this.#drop(); // Nobody asked: whatever it is, it is no answer to the next request.
      return;
    }
    if (this.#writer.stagedBytes > 0 && this.#phase === PHASE.head) {
      this.#fail('reset', 'bytes came before the request was sent');
      return;
    }
    this.#hasResponse = true;
    let at = start;
    if (this.#phase === PHASE.head) {
      // First bytes are not put off: somebody waits for them.
      at = this.#feedHead(bytes, at, end);
      spendTurn(end - start);
    } else if (this.#mustWait(end - start)) {
      this.#putOff(bytes, start, end);
      return;
    }
    if (this.#phase === PHASE.body) this.#feedBody(bytes, at, end);
  }

  /** Is it other connections' turn? A body of known length is only gathered: that is no work. */
  #mustWait(bytes: number): boolean {
    if (this.#phase !== PHASE.body || this.#body === BODY.length) return false;
    return this.#late !== null || !takeTurn(bytes);
  }

  /** Keeps bytes of the body until it is this connection's turn. */
  #putOff(bytes: Buffer, start: number, end: number): void {
    const late = (this.#late ??= new BodyBuffer(end - start, LATE_BYTES_MAX));
    const isKept = late.append(bytes, start, end);
    assert(isKept, 'a connection that floods is not read');
    if (late.length > HTTP_LIMITS.lateFloodBytes) {
      this.#isHeld = true;
      this.#socket.pause();
    }
    this.#standInLine(late.length);
  }

  #standInLine(bytes: number): void {
    if (this.#isInLine) return;
    this.#isInLine = true;
    waitForTurn(this, bytes);
  }

  /** It is this connection's turn. */
  handleLate(): void {
    this.#isInLine = false;
    if (this.#late === null || this.#isPaused) return; // `resume` stands in line again.
    spendTurn(this.#late.length);
    this.#feedLate();
  }

  #feedLate(): void {
    const late = this.#late;
    if (late === null) return;
    this.#late = null;
    this.#feedBody(late.take(), 0, late.length);
    late.release();
    if (!this.#isHeld) return;
    this.#isHeld = false;
    if (!this.#isPaused && this.#phase !== PHASE.gone) this.#socket.resume();
  }

  /** Returns where the body begins; the phase tells whether there is one. */
  #feedHead(bytes: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end) {
      at = this.#parser.push(bytes, at, end);
      if (at === PARSE_MORE) return end;
      if (at === PARSE_FAULT) {
        this.#failParse(this.#parser.fault);
        return end;
      }
      if (this.#parser.status >= 200) {
        this.#headDone(at, end);
        return at;
      }
      this.#interims += 1;
      if (this.#parser.status === 101 || this.#interims > this.#limits.interimResponsesMax) {
        this.#fail('malformed', 'interim responses without a final one');
        return end;
      }
      this.#parser.reset();
    }
    return at;
  }

  #headDone(at: number, end: number): void {
    const parser = this.#parser;
    const { status, headers } = parser;
    this.#decideFraming();
    if (this.#leftBytes > this.#limits.responseBodyBytesMax) {
      this.#fail('too-large', `a body of ${this.#leftBytes} bytes`);
      return;
    }
    const user = this.#user;
    this.#phase = PHASE.body;
    user?.head(status, headers);
    if (this.#user !== user) return; // Cancelled by the handler.
    const isEmpty =
      this.#body === BODY.none || (this.#body === BODY.length && this.#leftBytes === 0);
    if (isEmpty) this.#finish(at === end);
  }

  #decideFraming(): void {
    const { status, isChunked, contentLength } = this.#parser;
    this.#leftBytes = 0;
    if (this.#isHeadRequest || status === 204 || status === 304) {
      this.#body = BODY.none;
    } else if (isChunked) {
      this.#body = BODY.chunked;
      this.#chunked ??= new ChunkedDecoder(this.#limits);
      this.#chunked.reset();
    } else if (contentLength >= 0) {
      this.#body = BODY.length;
      this.#leftBytes = contentLength;
    } else {
      this.#body = BODY.close;
    }
  }

  #feedBody(bytes: Buffer, start: number, end: number): void {
    if (start === end) return;
    const user = this.#user;
    if (this.#body === BODY.chunked) {
      this.#feedChunks(bytes, start, end);
    } else if (this.#body === BODY.length) {
      const stop = Math.min(end, start + this.#leftBytes);
      this.#leftBytes -= stop - start;
      user?.body(bytes.subarray(start, stop));
      if (this.#leftBytes === 0 && this.#user === user) this.#finish(stop === end);
    } else {
      user?.body(bytes.subarray(start, end));
    }
  }

  #feedChunks(bytes: Buffer, start: number, end: number): void {
    const user = this.#user;
    const decoder = this.#chunked;
    assert(decoder !== null, 'a chunked body has a decoder');
    const at = decoder.push(bytes, start, end);
    if (decoder.outEnd > decoder.outStart) {
      user?.body(bytes.subarray(decoder.outStart, decoder.outEnd));
    }
    if (this.#user !== user) return;
    if (at === PARSE_FAULT) this.#failParse(decoder.fault);
    else if (decoder.isDone) this.#finish(at === end);
  }

  /** The response is complete. The connection is free before the handler hears of it. */
  #finish(isLastByte: boolean): void {
    const user = this.#user;
    this.#user = null;
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#socket.resume();
    }
    if (isLastByte && this.#mayReuse()) {
      this.isReused = true;
      this.#phase = PHASE.free;
      this.#owner.free(this);
    } else {
      this.#drop();
    }
    user?.ended();
  }

  #mayReuse(): boolean {
    const { minor, isClose, isKeepAlive, headers } = this.#parser;
    if (isClose || (minor === 0 && !isKeepAlive) || this.#body === BODY.close) return false;
    if (!this.#isSent || !this.#socket.writable) return false;
    this.idleMsMax = idleMsOf(headers, this.#limits.upstreamIdleMs);
    return this.idleMsMax > 0;
  }

  #eof(): void {
    if (this.#phase === PHASE.connecting) return; // `close` follows, and knows why.
    this.#feedLate();
    if (this.#phase === PHASE.body && this.#body === BODY.close) {
      this.#finish(false);
      return;
    }
    this.#fail(this.#hasResponse ? 'truncated' : 'reset', 'the upstream closed the connection');
  }

  #closed(): void {
    this.#feedLate();
    const detail = codeOf(this.#error);
    if (this.#phase === PHASE.connecting) this.#failConnect(this.#connectKind(detail), detail);
    else this.#fail(this.#phase === PHASE.body ? 'truncated' : 'reset', detail);
  }

  #connectKind(code: string): UpstreamFailureKind {
    if (this.#hasTcp) return 'tls';
    if (code === 'ENOTFOUND' || code.startsWith('EAI_')) return 'unresolved';
    return code === 'ETIMEDOUT' ? 'connect-timeout' : 'refused';
  }

  #failParse(fault: ParseFault | null): void {
    const kind = fault?.code === 'headers_too_large' ? 'too-large' : 'malformed';
    this.#fail(kind, fault?.detail ?? 'malformed');
  }

  #fail(kind: UpstreamFailureKind, detail: string): void {
    const user = this.#user;
    this.#user = null;
    const isUnsent = this.#writer.stagedBytes > 0 || this.#writer.isRefused;
    this.#drop();
    if (user === null) return;
    // The kernel does not tell how much of a broken write it sent; one byte is enough to have run.
    const bytesSent = isUnsent ? 0 : this.#isSent ? this.#requestBytes : 1;
    user.failed(
      { kind, bytesSent, detail: `${this.#origin.origin}: ${detail}` },
      this.#hasResponse,
    );
  }
}

/** Idle time of a connection, ms: under what `keep-alive: timeout=…` allows, by a second. */
function idleMsOf(headers: HeaderList, idleMs: number): number {
  const value = headerValue(headers, 'keep-alive');
  if (value === null) return idleMs;
  const seconds = /(?:^|[,\s])timeout=(\d{1,6})\b/.exec(value)?.[1];
  return seconds === undefined ? idleMs : Math.min(idleMs, Number(seconds) * 1000 - 1000);
}

function codeOf(cause: Error | null): string {
  if (cause === null) return 'closed';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
}
