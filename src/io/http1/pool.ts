/**
 * The `Upstream` port over sockets: kept-alive connections to the origins of the configuration.
 *
 * P1: callbacks come later, never from inside `start`.
 * P2: only origins of the table are called; redirects are not followed, proxies not asked.
 * P3: a call is sent a second time by the pool only if it cannot have run, or if its method is safe
 *     (GET, HEAD, OPTIONS) and a kept connection died before any byte of a response. A POST that may
 *     have run is reported as `reset` with the bytes that left, and the exchange decides.
 */

import type {
  Clock,
  Upstream,
  UpstreamCall,
  UpstreamFailure,
  UpstreamFailureKind,
  UpstreamHandle,
  UpstreamHandler,
} from '../../base/ports.ts';
import { assert } from '../../base/assert.ts';
import type { HeaderList } from '../../base/headers.ts';
import { ok, type Result } from '../../base/result.ts';
import { IS_TARGET } from './chars.ts';
import {
  UpstreamConnection,
  type ConnectionOwner,
  type ConnectionUser,
  type SessionStore,
} from './client.ts';
import { fieldLines } from './fields.ts';
import { httpLimits, type HttpLimits } from './limits.ts';
import { parseOrigin, type OriginConfig, type OriginSettings } from './origin.ts';

export interface UpstreamPoolOptions {
  readonly clock: Clock;
  readonly origins: readonly OriginConfig[];
  /** Lowered limits; the rest are `HTTP_LIMITS`. */
  readonly limits?: Partial<HttpLimits>;
}

/** One origin's state for metrics. */
export interface OriginStats {
  readonly origin: string;
  /** Connections in all: connecting, in use and idle. */
  readonly connections: number;
  readonly idle: number;
  /** Calls that wait for a connection. */
  readonly waiting: number;
  /** Connections opened since the start. */
  readonly opened: number;
  /** Calls begun since the start. */
  readonly calls: number;
}

export interface UpstreamPool extends Upstream {
  /**
   * Replaces the table of origins, as a whole or not at all. One that is gone or has changed can be
   * called by exchanges under way for `upstreamRetiredMs` more, if it is not named anew.
   */
  setOrigins(origins: readonly OriginConfig[]): Result<void, string>;
  stats(): readonly OriginStats[];
  /** Breaks off every call (they fail with `reset`) and closes every connection. */
  close(): void;
}

/** Makes a pool; the error names the origin at fault. */
export function createUpstreamPool(options: UpstreamPoolOptions): Result<UpstreamPool, string> {
  const pool = new Pool(options.clock, httpLimits(options.limits));
  const set = pool.setOrigins(options.origins);
  return set.ok ? ok(pool) : set;
}

class Pool implements UpstreamPool {
  readonly #clock: Clock;
  readonly #limits: HttpLimits;
  readonly #sessions: SessionStore = new Map();
  readonly #origins = new Map<string, OriginPool>();
  /** Replaced by others of the same name; they close their connections one by one. */
  readonly #replaced = new Set<OriginPool>();
  readonly #sweepTimer: NodeJS.Timeout;

  constructor(clock: Clock, limits: HttpLimits) {
    this.#clock = clock;
    this.#limits = limits;
    this.#sweepTimer = setInterval(() => this.#sweep(), limits.sweepMs);
    this.#sweepTimer.unref();
  }

  setOrigins(origins: readonly OriginConfig[]): Result<void, string> {
    const settings = new Map<string, OriginSettings>();
    for (const config of origins) {
      const parsed = parseOrigin(config);
      if (!parsed.ok) return parsed;
      settings.set(config.origin, parsed.value);
    }
    const nowMs = this.#clock.nowMs();
    for (const [name, pool] of this.#origins) if (!settings.has(name)) pool.retire(nowMs);
    for (const [name, wanted] of settings) this.#setOrigin(name, wanted, nowMs);
    return ok(undefined);
  }

  #setOrigin(name: string, wanted: OriginSettings, nowMs: number): void {
    const current = this.#origins.get(name);
    if (current !== undefined && isSame(current.settings, wanted)) {
      current.retiredMs = null;
      return;
    }
    if (current !== undefined) {
      current.retire(nowMs);
      this.#replaced.add(current);
      this.#sessions.delete(name);
    }
    this.#origins.set(name, new OriginPool(wanted, this.#clock, this.#limits, this.#sessions));
  }

  start(call: UpstreamCall, handler: UpstreamHandler): UpstreamHandle {
    const origin = this.#origins.get(call.origin);
    const pooled = new PooledCall(call, handler, origin ?? null);
    if (origin === undefined) pooled.failLater('refused', `${call.origin}: not configured`);
    else if (!origin.takesPath(call.path))
      pooled.failLater('refused', 'the request target is malformed');
    else origin.acquire(pooled);
    return pooled;
  }

  #sweep(): void {
    const nowMs = this.#clock.nowMs();
    for (const [name, pool] of this.#origins) {
      pool.sweep(nowMs);
      if (pool.isForgettable(nowMs)) this.#origins.delete(name);
    }
    for (const pool of this.#replaced) {
      pool.sweep(nowMs);
      if (pool.isForgettable(nowMs)) this.#replaced.delete(pool);
    }
  }

  stats(): readonly OriginStats[] {
    return [...this.#origins.values()].map((pool) => pool.stats());
  }

  close(): void {
    clearInterval(this.#sweepTimer);
    for (const pool of [...this.#origins.values(), ...this.#replaced]) pool.close();
  }
}

/** The connections of one origin, and the calls that wait for one. */
class OriginPool implements ConnectionOwner {
  readonly settings: OriginSettings;
  /** When it left the configuration; null: it is in it. */
  retiredMs: number | null = null;
  readonly #clock: Clock;
  readonly #limits: HttpLimits;
  readonly #sessions: SessionStore;
  readonly #all = new Set<UpstreamConnection>();
  /** A stack: the one used last is the one least likely to have been closed. */
  readonly #idle: UpstreamConnection[] = [];
  readonly #waiting = new Set<PooledCall>();
  #opened = 0;
  #calls = 0;
  #isClosed = false;
  /** The fields and the path of the last call: those of a target are the same for every call. */
  #headers: HeaderList | null = null;
  #lines = '';
  #path = '/';

  constructor(settings: OriginSettings, clock: Clock, limits: HttpLimits, sessions: SessionStore) {
    this.settings = settings;
    this.#clock = clock;
    this.#limits = limits;
    this.#sessions = sessions;
  }

  /** The head of the request of `call`, with its empty line. */
  headOf(call: UpstreamCall): string {
    const { method, path, headers } = call;
    let bodyBytes = call.body.length;
    for (const piece of call.bodyRest ?? NO_REST) bodyBytes += piece.length;
    assert(SAFE_METHODS.has(method) || BODY_METHODS.has(method) || method === 'DELETE', 'a method');
    if (headers !== this.#headers) {
      this.#headers = headers;
      this.#lines = fieldLines(headers, true);
    }
    const { authority } = this.settings;
    const start = `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n${this.#lines}`;
    const hasLength = bodyBytes > 0 || BODY_METHODS.has(method);
    return hasLength ? `${start}content-length: ${bodyBytes}\r\n\r\n` : `${start}\r\n`;
  }

  /** May `path` stand in a request line? */
  takesPath(path: string): boolean {
    if (path === this.#path) return true;
    if (!isTarget(path)) return false;
    this.#path = path;
    return true;
  }

  /** Begins `call` on a connection: an idle one, a new one, or the next that comes free. */
  acquire(call: PooledCall): void {
    this.#calls += 1;
    const nowMs = this.#clock.nowMs();
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      const isFresh = nowMs - idle.idleSinceMs < idle.idleMsMax;
      if (isFresh && call.sendOn(idle)) return;
      if (!isFresh) idle.close();
    }
    this.open(call);
  }

  /** Opens a connection for `call`, or lets it wait for one. */
  open(call: PooledCall): void {
    if (this.#isClosed) {
      call.failLater('refused', 'the pool is closed');
    } else if (this.#all.size < this.#limits.upstreamConnectionsMax) {
      this.#opened += 1;
      const { connectMs } = call.call;
      const connection = new UpstreamConnection(
        this.settings,
        this.#limits,
        this.#sessions,
        this,
        call,
        connectMs,
      );
      this.#all.add(connection);
      call.connecting(connection);
    } else if (this.#waiting.size < this.#limits.upstreamWaitersMax) {
      this.#waiting.add(call);
      call.wait();
    } else {
      call.failLater('pool-full', `${this.settings.origin}: too many calls wait`);
    }
  }

  stopWaiting(call: PooledCall): void {
    this.#waiting.delete(call);
  }

  free(connection: UpstreamConnection): void {
    for (const call of this.#waiting) {
      this.#waiting.delete(call);
      call.waited();
      if (call.sendOn(connection)) return;
      this.open(call); // The connection died under it; its place is free.
      return;
    }
    const isKept =
      !this.#isClosed &&
      this.retiredMs === null &&
      this.#idle.length < this.#limits.upstreamIdleConnectionsMax;
    if (!isKept) {
      connection.close();
      return;
    }
    connection.idleSinceMs = this.#clock.nowMs();
    this.#idle.push(connection);
  }

  gone(connection: UpstreamConnection): void {
    this.#all.delete(connection);
    const index = this.#idle.indexOf(connection);
    if (index !== -1) this.#idle.splice(index, 1);
    for (const call of this.#waiting) {
      this.#waiting.delete(call);
      call.waited();
      this.open(call);
      return;
    }
  }

  retire(nowMs: number): void {
    this.retiredMs ??= nowMs;
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  isForgettable(nowMs: number): boolean {
    if (this.retiredMs === null || this.#all.size > 0 || this.#waiting.size > 0) return false;
    return nowMs - this.retiredMs >= this.#limits.upstreamRetiredMs;
  }

  sweep(nowMs: number): void {
    for (const connection of this.#idle.slice()) {
      if (nowMs - connection.idleSinceMs >= connection.idleMsMax) connection.close();
    }
  }

  stats(): OriginStats {
    return {
      origin: this.settings.origin,
      connections: this.#all.size,
      idle: this.#idle.length,
      waiting: this.#waiting.size,
      opened: this.#opened,
      calls: this.#calls,
    };
  }

  close(): void {
    this.#isClosed = true;
    for (const call of this.#waiting) {
      call.waited();
      call.failLater('refused', 'the pool is closed');
    }
    this.#waiting.clear();
    for (const connection of this.#all) connection.breakOff();
  }
}

const NO_REST: readonly Uint8Array[] = [];
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** One call on its way through the pool, and its handle. */
class PooledCall implements UpstreamHandle, ConnectionUser {
  readonly call: UpstreamCall;
  readonly #handler: UpstreamHandler;
  readonly #pool: OriginPool | null;
  #connection: UpstreamConnection | null = null;
  #waitTimer: NodeJS.Timeout | null = null;
  #isOver = false;
  #isOnReused = false;
  #hasRetried = false;
  #isPaused = false;

  constructor(call: UpstreamCall, handler: UpstreamHandler, pool: OriginPool | null) {
    this.call = call;
    this.#handler = handler;
    this.#pool = pool;
  }

  /** Sends on a free connection; false where it had died before a byte left. */
  sendOn(connection: UpstreamConnection): boolean {
    const { call } = this;
    assert(this.#pool !== null, 'a call with a connection has a pool');
    this.#connection = connection;
    this.#isOnReused = connection.isReused;
    const head = this.#pool.headOf(call);
    if (!connection.send(this, head, call)) return false;
    if (this.#isPaused) connection.pause(this);
    return true;
  }

  connecting(connection: UpstreamConnection): void {
    this.#connection = connection;
  }

  connected(connection: UpstreamConnection): void {
    if (this.#isOver) return;
    if (this.sendOn(connection)) return;
    this.#fail({ kind: 'reset', bytesSent: 0, detail: 'the connection died as it was made' });
  }

  connectFailed(failure: UpstreamFailure): void {
    this.#fail(failure);
  }

  /** Waits for a connection to come free, for as long as it may take to have one. */
  wait(): void {
    this.#waitTimer = setTimeout(() => {
      this.#waitTimer = null;
      this.#pool?.stopWaiting(this);
      this.#fail({ kind: 'pool-full', bytesSent: 0, detail: 'every connection is busy' });
    }, this.call.connectMs);
  }

  waited(): void {
    if (this.#waitTimer !== null) clearTimeout(this.#waitTimer);
    this.#waitTimer = null;
  }

  failLater(kind: UpstreamFailureKind, detail: string): void {
    process.nextTick(failNow, this, { kind, bytesSent: 0, detail });
  }

  head(status: number, headers: HeaderList): void {
    this.#handler.onHead(status, headers);
  }

  body(chunk: Uint8Array): void {
    this.#handler.onBody(chunk);
  }

  ended(): void {
    this.#isOver = true;
    this.#connection = null;
    this.#handler.onEnd();
  }

  failed(failure: UpstreamFailure, hasResponse: boolean): void {
    const mayRepeat = failure.bytesSent === 0 || SAFE_METHODS.has(this.call.method);
    const isStale = failure.kind === 'reset' && this.#isOnReused && !hasResponse;
    if (isStale && mayRepeat && !this.#hasRetried && this.#pool !== null) {
      this.#hasRetried = true;
      this.#pool.open(this);
      return;
    }
    this.#fail(failure);
  }

  #fail(failure: UpstreamFailure): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#connection = null;
    this.#handler.onFailure(failure);
  }

  failNow(failure: UpstreamFailure): void {
    this.#fail(failure);
  }

  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.waited();
    this.#pool?.stopWaiting(this);
    this.#connection?.abandon(this);
    this.#connection = null;
  }

  pause(): void {
    this.#isPaused = true;
    this.#connection?.pause(this);
  }

  resume(): void {
    this.#isPaused = false;
    this.#connection?.resume(this);
  }
}

function failNow(call: PooledCall, failure: UpstreamFailure): void {
  call.failNow(failure);
}

/** Methods whose requests announce a length even when it is 0 (RFC 9110 §8.6). */
const BODY_METHODS: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** A path made from configuration and a model's name: it must not hold what ends a request line. */
function isTarget(path: string): boolean {
  if (!path.startsWith('/')) return false;
  for (let index = 0; index < path.length; index += 1) {
    if (IS_TARGET[path.charCodeAt(index)] !== 1) return false;
  }
  return true;
}

function isSame(one: OriginSettings, other: OriginSettings): boolean {
  return one.serverName === other.serverName && String(one.ca ?? '') === String(other.ca ?? '');
}
