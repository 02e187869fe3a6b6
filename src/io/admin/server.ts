/**
 * The admin listener: probes, metrics and the admin API as JSON, over `node:http`. It knows rules, not
 * what is behind them: the composition root supplies a table of routes with their handlers
 * (`route.ts`). A node and the demo's supervisor use the same server.
 *
 * A1: on a loopback address only requests whose `Host` is a loopback name are served, so that a web
 * page cannot reach it by a name that it points here (DNS rebinding). A2: what changes something is
 * POST with `application/json` and, where a browser says its origin, from this very origin. A3: nobody
 * reaches a handler without the role of its row (`access.ts`).
 */

import { constants } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import { TLSSocket, type SecureContextOptions, type TlsOptions } from 'node:tls';

import { ADMIN_LIMITS } from '../../base/adminLimits.ts';
import type { Role } from '../../base/adminRoles.ts';
import { OBSERVE_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { AccessGuard, type AccessRules, type Credentials } from './access.ts';
import { clientCertificateOf } from './clientCertificate.ts';
import { limitConnections } from './connections.ts';
import { PROBES, type Probe } from './probes.ts';
import type { AdminAnswer, AdminRefusal, Caller, ServedRoute } from './route.ts';

/** What the probes show. */
export interface AdminViews {
  /** False while starting and while draining. */
  isReady(): boolean;
  /**
   * What is not as it should be though requests are served; empty: nothing. `/readyz` tells it those
   * who may see more than probes.
   */
  warnings(): readonly string[];
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/** PEM, read. */
export interface AdminTls {
  readonly cert: string;
  readonly key: string;
  /** Who signs the certificates of clients; null: they are not asked for one. */
  readonly clientCa: string | null;
}

/** A request that changed something, or was to. */
export interface AdminCallTold {
  readonly caller: Caller;
  readonly path: string;
  readonly status: number;
}

/** What the server is built from. */
export interface AdminServerOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  readonly views: AdminViews;
  readonly routes: readonly ServedRoute[];
  /** Null: plain HTTP. */
  readonly tls?: AdminTls | null;
  /** Who may call; null: everybody who reaches the listener, whose credentials are passed on unread. */
  readonly access: (() => AccessRules) | null;
  readonly nowMs: () => number;
  /** Serves paths that are not of the admin API (a status page); false: it does not know the path. */
  readonly pages?: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Told of failures inside a view: bugs. */
  readonly onError?: (cause: unknown) => void;
  /** Told of every POST that was let in. */
  readonly onChange?: (told: AdminCallTold) => void;
  /** Told of callers that were not let in. */
  readonly onRefused?: (refusal: AdminRefusal, remote: string) => void;
}

/** A running server. */
export interface AdminServer {
  /** The port that it listens on. */
  readonly port: number;
  /** Takes other certificates for new connections. Throws where they do not fit. */
  setTls(tls: AdminTls): void;
  /** Stops listening and breaks what is open. */
  close(): Promise<void>;
}

/** Listens. Rejects where the address cannot be had. */
export function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const desk = new Desk(options);
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    desk.handle(request, response).catch((cause: unknown) => {
      options.onError?.(cause);
      if (response.headersSent) response.destroy();
      else refuse(response, { status: 500, code: 'internal', message: 'A view failed.' });
    });
  };
  const limits = {
    requestTimeout: OBSERVE_LIMITS.adminRequestMs,
    headersTimeout: OBSERVE_LIMITS.adminRequestMs,
    maxHeaderSize: 16 * 1024,
  };
  const { tls = null } = options;
  const tlsServer =
    tls === null
      ? null
      : createTlsServer(
          { ...limits, ...tlsOptions(tls), handshakeTimeout: OBSERVE_LIMITS.adminRequestMs },
          serve,
        );
  const server = tlsServer ?? createServer(limits, serve);
  server.maxConnections = OBSERVE_LIMITS.adminConnectionsMax;
  limitConnections(server, ADMIN_LIMITS.connectionsPerAddressMax);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve({
        port: boundPort(server),
        setTls: (next) => tlsServer?.setSecureContext(tlsOptions(next)),
        close: () => close(server),
      });
    });
  });
}

/** A client without a certificate may still have a key: the handshake refuses nobody. */
function tlsOptions({ cert, key, clientCa }: AdminTls): SecureContextOptions & TlsOptions {
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    // A session that is gone on with would keep the certificate that was good when it began.
    secureOptions: constants.SSL_OP_NO_TICKET,
    ...(clientCa === null ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: false }),
  };
}

function boundPort(server: Server | TlsServer): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function close(server: Server | TlsServer): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

const PROBE_BY_PATH: ReadonlyMap<string, Probe> = new Map(
  PROBES.map((probe) => [probe.path, probe]),
);

/** Where requests come in. */
class Desk {
  readonly #options: AdminServerOptions;
  readonly #guard: AccessGuard | null;
  /** By path, then by method. */
  readonly #routes = new Map<string, Map<string, ServedRoute>>();

  constructor(options: AdminServerOptions) {
    this.#options = options;
    this.#guard = options.access === null ? null : new AccessGuard(options.access);
    for (const served of options.routes) {
      const { path, method } = served.route;
      const at = this.#routes.get(path) ?? new Map<string, ServedRoute>();
      this.#routes.set(path, at.set(method, served));
    }
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { host } = this.#options;
    if (isLoopbackName(host) && !isLoopbackName(hostName(request.headers.host ?? ''))) {
      const message = 'The Host header must be that of this machine.';
      return refuse(response, { status: 421, code: 'wrong_host', message });
    }
    const url = URL.parse(request.url ?? '/', 'http://admin.invalid');
    const path = url?.pathname ?? '/';
    const probe = PROBE_BY_PATH.get(path);
    if (probe !== undefined) return this.#probe(probe, request, response);
    const methods = this.#routes.get(path);
    if (methods !== undefined) {
      const query = url?.searchParams ?? new URLSearchParams();
      return this.#route(methods, query, request, response);
    }
    const isPage = !path.startsWith('/admin/') && this.#options.pages?.(request, response) === true;
    if (isPage) return;
    refuse(response, { status: 404, code: 'not_found', message: 'No such path here.' });
  }

  async #probe(probe: Probe, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (methodOf(request) !== 'GET') return refuseMethod(response, ['GET']);
    const { views, nowMs } = this.#options;
    if (probe.role !== null) {
      const caller = this.#caller(request, probe.role);
      if (!caller.ok) return this.#refuseCaller(request, response, caller.error);
      const { contentType, text } = await views.metrics();
      return send(response, 200, contentType, text);
    }
    const seesMore = this.#guard?.glance(credentialsOf(request), nowMs()) ?? ok(true);
    if (!seesMore.ok) return refuse(response, seesMore.error);
    sendHealth(probe, views, seesMore.value, response);
  }

  async #route(
    methods: ReadonlyMap<string, ServedRoute>,
    query: URLSearchParams,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const served = methods.get(methodOf(request));
    if (served === undefined) return refuseMethod(response, [...methods.keys()]);
    const { role, method, path } = served.route;
    const caller = this.#caller(request, role);
    if (!caller.ok) return this.#refuseCaller(request, response, caller.error);
    if (method === 'GET') {
      return sendAnswer(response, await served.answer(query, null, caller.value));
    }
    const body = await readPost(request, response);
    const answer = body.ok ? await served.answer(query, body.value, caller.value) : body;
    const status = answer.ok ? 200 : answer.error.status;
    this.#options.onChange?.({ caller: caller.value, path, status });
    sendAnswer(response, answer);
  }

  #caller(request: IncomingMessage, role: Role): Result<Caller, AdminRefusal> {
    const { remote: from, ...credentials } = credentialsOf(request);
    if (this.#guard !== null) {
      return this.#guard.admit({ remote: from, ...credentials }, role, this.#options.nowMs());
    }
    return ok({ who: 'local', role: 'admin', from, authorization: credentials.authorization });
  }

  #refuseCaller(request: IncomingMessage, response: ServerResponse, refusal: AdminRefusal): void {
    if (refusal.status === 401)
      response.setHeader('www-authenticate', 'Bearer realm="banyan-admin"');
    this.#options.onRefused?.(refusal, remoteOf(request));
    response.setHeader('connection', 'close'); // A body that nobody reads may follow.
    refuse(response, refusal);
  }
}

/** An address of IPv4 as such, on a socket of IPv6 too. */
function remoteOf({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
}

function credentialsOf(request: IncomingMessage): Credentials {
  return {
    remote: remoteOf(request),
    authorization: request.headers.authorization ?? null,
    certificate: clientCertificateOf(request.socket),
  };
}

/** What GET answers HEAD is asked for, too. */
function methodOf({ method = '' }: IncomingMessage): string {
  return method === 'HEAD' ? 'GET' : method;
}

function refuseMethod(response: ServerResponse, methods: readonly string[]): void {
  const allowed = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  response.setHeader('allow', allowed.join(', '));
  const message = `This path takes ${methods.join(' and ')}.`;
  refuse(response, { status: 405, code: 'method_not_allowed', message });
}

function sendHealth(
  { shows }: Probe,
  views: AdminViews,
  seesMore: boolean,
  response: ServerResponse,
): void {
  const isGood = shows === 'live' || views.isReady();
  if (!isGood) response.setHeader('retry-after', '1');
  const more = shows === 'ready' && seesMore ? views.warnings() : [];
  const text = [isGood ? 'ok' : 'not ready', ...more].map((line) => `${line}\n`).join('');
  send(response, isGood ? 200 : 503, 'text/plain; charset=utf-8', text);
}

/** The JSON of a POST, or why it is none (A2). */
async function readPost(
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Result<unknown, AdminRefusal>> {
  const { origin, host } = request.headers;
  const scheme = request.socket instanceof TLSSocket ? 'https' : 'http';
  if (origin !== undefined && origin !== `${scheme}://${host ?? ''}`) {
    const message = 'Not from another origin.';
    return err({ status: 403, code: 'wrong_origin', message });
  }
  if (!/^application\/json\s*(?:;|$)/i.test(request.headers['content-type'] ?? '')) {
    const message = 'Send Content-Type: application/json.';
    return err({ status: 415, code: 'unsupported_media_type', message });
  }
  const text = await readBody(request);
  if (text === null) {
    response.setHeader('connection', 'close');
    const message = `The body is over ${OBSERVE_LIMITS.adminBodyBytesMax} bytes.`;
    return err({ status: 413, code: 'body_too_large', message });
  }
  const body = parseJson(text);
  if (body === undefined) {
    const message = 'The body is not valid JSON.';
    return err({ status: 400, code: 'invalid_json', message });
  }
  return ok(body);
}

/** The body as text; null where it is over its limit. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > OBSERVE_LIMITS.adminBodyBytesMax) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // JSON has no undefined: the caller tells it apart from every value.
  }
}

function hostName(hostHeader: string): string {
  return hostHeader.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

function isLoopbackName(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

function sendAnswer(response: ServerResponse, answer: AdminAnswer): void {
  if (answer.ok) sendJson(response, 200, answer.value);
  else refuse(response, answer.error);
}

function refuse(
  response: ServerResponse,
  { status, code, message, retryAfterMs }: AdminRefusal,
): void {
  if (retryAfterMs !== undefined) {
    response.setHeader('retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1_000))));
  }
  sendJson(response, status, { error: { code, message } });
}

function sendJson(response: ServerResponse, status: number, value: object): void {
  send(response, status, 'application/json; charset=utf-8', JSON.stringify(value));
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  const bytes = Buffer.from(text);
  response.writeHead(status, {
    'content-type': type,
    'content-length': bytes.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(bytes);
}
