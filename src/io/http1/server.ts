/**
 * The public listener: accepts plain or TLS connections within their limits and owns the one timer
 * that all of them share.
 */

import { Server, type AddressInfo, type Socket } from 'node:net';
import {
  createSecureContext,
  createServer as createTlsServer,
  type Server as TlsServer,
} from 'node:tls';

import { assert } from '../../base/assert.ts';
import type { ErrorCode } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { Clock, RequestHandler } from '../../base/ports.ts';
import { Connection, type ListenerContext, type ServerCounts } from './connection.ts';
import { DateLine } from './fields.ts';
import { httpLimits, type HttpLimits } from './limits.ts';
import { listenWide } from './listening.ts';
import { adoptSocket, feedByData } from './sockets.ts';

/** Certificate chain and private key, PEM. */
export interface TlsIdentity {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
}

export interface HttpServerOptions {
  readonly handler: RequestHandler;
  readonly clock: Clock;
  /** Serves HTTPS (TLS 1.2 and up); absent or null: plain HTTP. */
  readonly tls?: TlsIdentity | null;
  /** Lowered limits; the rest are `HTTP_LIMITS`. */
  readonly limits?: Partial<HttpLimits>;
  /** Told of each request refused before the handler, for logs and metrics. */
  readonly onRefused?: (code: ErrorCode, remote: string) => void;
}

/** A listener's state for metrics. */
export interface HttpServerStats extends Readonly<ServerCounts> {
  readonly connections: number;
  /** Connections that are receiving or answering a request. */
  readonly busy: number;
  readonly lingering: number;
  /** Connections refused for want of room, since the start. */
  readonly connectionsRefused: number;
  readonly tlsFailures: number;
  readonly bodiesBytes: number;
}

export interface HttpServer {
  /**
   * Begins to accept. Port 0 takes a free one; a failure (address in use …) is Node's error.
   * `isShared`: other processes of ours listen there too, and the kernel deals connections out.
   */
  listen(host: string, port: number, isShared?: boolean): Promise<Result<AddressInfo, Error>>;
  /**
   * Stops accepting, lets requests under way finish (their connections close) and breaks off what is
   * left after `graceMs`. Resolves once every connection is gone.
   */
  close(graceMs: number): Promise<void>;
  /** Serves new connections with another certificate; false where it cannot be used. */
  reloadTls(identity: TlsIdentity): Result<void, string>;
  /** Changes the limit of a request body, bytes, for requests that begin from now on. */
  setRequestBodyBytesMax(bytes: number): void;
  stats(): HttpServerStats;
}

/** Makes a listener; nothing is bound before `listen`. */
export function createHttpServer(options: HttpServerOptions): HttpServer {
  return new Listener(options);
}

class Listener implements HttpServer {
  readonly #context: ListenerContext;
  readonly #server: Server;
  readonly #tls: TlsServer | null;
  /** Further listening sockets of the same address. */
  readonly #more: Server[] = [];
  readonly #connections = new Set<Connection>();
  readonly #perAddress = new Map<string, number>();
  /** Connections over the limit that are being told so. */
  readonly #lingering = new Set<Connection>();
  /** Sockets below TLS, from before their handshake. */
  readonly #raw = new Set<Socket>();
  #accepted = 0;
  #connectionsRefused = 0;
  #tlsFailures = 0;
  #sweepTimer: NodeJS.Timeout | null = null;
  #closed: (() => void) | null = null;

  constructor(options: HttpServerOptions) {
    this.#context = {
      handler: options.handler,
      clock: options.clock,
      limits: httpLimits(options.limits),
      date: new DateLine(options.clock),
      counts: { requests: 0, answered: 0, aborted: 0, gone: 0, refused: 0, stalled: 0 },
      bodiesBytes: 0,
      isClosing: false,
      onRefused: options.onRefused ?? ((): void => {}),
    };
    const identity = options.tls ?? null;
    this.#tls = identity === null ? null : this.#secureServer(identity);
    this.#server = this.#tls ?? this.#plainServer();
    this.#countFailures(this.#server);
  }

  #countFailures(server: Server): Server {
    return server.on('error', () => {
      this.#connectionsRefused += 1; // Accepting failed (EMFILE); the listener itself lives on.
    });
  }

  /** A server that only accepts: a TLS one has its certificate and its tickets once. */
  #anotherServer(): Server {
    const tls = this.#tls;
    if (tls === null) return this.#countFailures(this.#plainServer());
    return this.#countFailures(
      new Server({ noDelay: true }, (raw) => void tls.emit('connection', raw)),
    );
  }

  #plainServer(): Server {
    const settings = { allowHalfOpen: true, pauseOnConnect: true, noDelay: true };
    return new Server(settings, (accepted) => this.#acceptPlain(accepted));
  }

  #secureServer(identity: TlsIdentity): TlsServer {
    const server = createTlsServer({
      cert: identity.cert,
      key: identity.key,
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: this.#context.limits.headerReadMs,
      noDelay: true,
    });
    server.on('connection', (raw: Socket) => this.#countSecure(raw));
    server.on('secureConnection', (socket) => {
      const connection = this.#connect(socket, remoteOf(socket));
      feedByData(socket, (bytes, start, end) => connection.feed(bytes, start, end));
    });
    server.on('tlsClientError', (_cause, socket) => {
      this.#tlsFailures += 1;
      socket.destroy(); // After a handshake that timed out Node leaves it open.
    });
    return server;
  }

  /** Counts a TLS connection from before its handshake; over the limit it is dropped. */
  #countSecure(raw: Socket): void {
    const remote = remoteOf(raw);
    if (!this.#admit(remote)) {
      raw.destroy();
      return;
    }
    this.#raw.add(raw);
    raw.once('close', () => {
      this.#raw.delete(raw);
      this.#release(remote);
    });
  }

  #acceptPlain(accepted: Socket): void {
    const remote = remoteOf(accepted);
    if (!this.#admit(remote)) {
      this.#turnAway(accepted, remote);
      return;
    }
    const connection = this.#adopt(accepted, remote);
    connection.socket.once('close', () => this.#release(remote));
  }

  #adopt(accepted: Socket, remote: string): { connection: Connection; socket: Socket } {
    let connection: Connection | null = null;
    const socket = adoptSocket(accepted, (bytes, start, end) => {
      connection?.feed(bytes, start, end);
    });
    connection = this.#connect(socket, remote);
    return { connection, socket };
  }

  #connect(socket: Socket, remote: string): Connection {
    const connection = new Connection(this.#context, socket, remote);
    this.#connections.add(connection);
    socket.on('end', () => connection.onEof());
    socket.on('error', () => {}); // `close` follows and says all there is to say.
    socket.on('close', () => {
      this.#connections.delete(connection);
      this.#lingering.delete(connection);
      connection.onClosed();
      if (this.#connections.size === 0) this.#closed?.();
    });
    return connection;
  }

  /** Answers a connection over the limit with 503, while few enough are being told so. */
  #turnAway(accepted: Socket, remote: string): void {
    if (this.#lingering.size >= this.#context.limits.lingeringMax) {
      accepted.destroy();
      return;
    }
    const { connection } = this.#adopt(accepted, remote);
    this.#lingering.add(connection);
    connection.refuseConnection();
  }

  #admit(remote: string): boolean {
    const { limits, isClosing } = this.#context;
    const ofAddress = this.#perAddress.get(remote) ?? 0;
    const hasRoom =
      !isClosing &&
      this.#accepted < limits.connectionsMax &&
      ofAddress < limits.connectionsPerAddressMax;
    if (!hasRoom) {
      this.#connectionsRefused += 1;
      return false;
    }
    this.#accepted += 1;
    this.#perAddress.set(remote, ofAddress + 1);
    return true;
  }

  #release(remote: string): void {
    this.#accepted -= 1;
    const ofAddress = (this.#perAddress.get(remote) ?? 1) - 1;
    if (ofAddress === 0) this.#perAddress.delete(remote);
    else this.#perAddress.set(remote, ofAddress);
  }

  async listen(host: string, port: number, isShared = false): Promise<Result<AddressInfo, Error>> {
    const { listeningSockets: sockets, sweepMs } = this.#context.limits;
    const plan = { host, port, isShared, sockets };
    const bound = await listenWide(this.#server, () => this.#anotherServer(), this.#more, plan);
    if (!bound.ok) return bound;
    this.#sweepTimer = setInterval(() => this.#sweep(), sweepMs);
    this.#sweepTimer.unref();
    return bound;
  }

  #sweep(): void {
    const nowMs = this.#context.clock.nowMs();
    for (const connection of this.#connections) connection.sweep(nowMs);
  }

  close(graceMs: number): Promise<void> {
    this.#context.isClosing = true;
    this.#server.close();
    for (const server of this.#more) server.close();
    return new Promise((resolve) => {
      const grace = setTimeout(() => {
        for (const connection of this.#connections) connection.breakOff();
      }, graceMs);
      this.#closed = (): void => {
        clearTimeout(grace);
        for (const raw of this.#raw) raw.destroy(); // Handshakes that are not done.
        if (this.#sweepTimer !== null) clearInterval(this.#sweepTimer);
        resolve();
      };
      for (const connection of this.#connections) connection.closeWhenIdle();
      if (this.#connections.size === 0) this.#closed();
    });
  }

  reloadTls(identity: TlsIdentity): Result<void, string> {
    if (this.#tls === null) return err('this listener serves plain HTTP');
    try {
      createSecureContext(identity);
      this.#tls.setSecureContext({ ...identity, minVersion: 'TLSv1.2' });
      return ok(undefined);
    } catch (cause) {
      return err(cause instanceof Error ? cause.message : 'the certificate cannot be used');
    }
  }

  setRequestBodyBytesMax(bytes: number): void {
    assert(Number.isSafeInteger(bytes) && bytes > 0, 'a body limit is a positive whole number');
    this.#context.limits.requestBodyBytesMax = bytes;
  }

  stats(): HttpServerStats {
    let busy = 0;
    for (const connection of this.#connections) if (connection.isBusy) busy += 1;
    return {
      ...this.#context.counts,
      connections: this.#connections.size,
      busy,
      lingering: this.#lingering.size,
      connectionsRefused: this.#connectionsRefused,
      tlsFailures: this.#tlsFailures,
      bodiesBytes: this.#context.bodiesBytes,
    };
  }
}

function remoteOf(socket: Socket): string {
  return socket.remoteAddress ?? '';
}
