/**
 * The admin listener: health, metrics and the admin API as JSON, over `node:http`. It knows paths and
 * rules, not what is behind them: the composition root supplies the views. A node and the demo's
 * supervisor use the same server.
 *
 * A1: on a loopback address only requests whose `Host` is a loopback name are served, so that a web
 * page cannot reach it by a name that it points here (DNS rebinding). A2: what changes something is
 * POST with `application/json` and, where a browser says its origin, from this very origin.
 */

import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';

import { OBSERVE_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';

/** Why the admin API refused. */
export interface AdminRefusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** A JSON object, or a refusal. */
export type AdminAnswer = Result<object, AdminRefusal>;

/** What the server shows; given by the composition root. */
export interface AdminViews {
  /** False while starting and while draining. */
  isReady(): boolean;
  /** What is not as it should be though requests are served; empty: nothing. Told by `/readyz`. */
  warnings(): readonly string[];
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
  status(): Promise<object>;
  regions(): Promise<object>;
  nodes(): Promise<object>;
  targets(): Promise<object>;
  models(): Promise<object>;
  /** `region` is null where the asker named none. */
  explain(model: string, region: string | null): AdminAnswer | Promise<AdminAnswer>;
  /** The control state's part of the API; null: there is none here. */
  readonly control: AdminControl | null;
  /** Null: faults are not allowed here. `body` is JSON as it came, not yet checked. */
  readonly fault: ((body: unknown) => AdminAnswer | Promise<AdminAnswer>) | null;
}

/** Paths that are read with GET and changed with POST. */
export interface AdminControl {
  has(path: string): boolean;
  /** `body` is null for GET, else JSON as it came, not yet checked. */
  answer(path: string, body: unknown, remote: string): Promise<AdminAnswer>;
}

/** What the server is built from. */
export interface AdminServerOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  readonly views: AdminViews;
  /** Serves paths that are not of the admin API (a status page); false: it does not know the path. */
  readonly pages?: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Told of failures inside a view: bugs. */
  readonly onError?: (cause: unknown) => void;
}

/** A running server. */
export interface AdminServer {
  /** The port that it listens on. */
  readonly port: number;
  /** Stops listening and breaks what is open. */
  close(): Promise<void>;
}

/** Listens. Rejects where the address cannot be had. */
export function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const server = createServer(
    {
      requestTimeout: OBSERVE_LIMITS.adminRequestMs,
      headersTimeout: OBSERVE_LIMITS.adminRequestMs,
      maxHeaderSize: 16 * 1024,
    },
    (request, response) => {
      handle(options, request, response).catch((cause: unknown) => {
        options.onError?.(cause);
        if (response.headersSent) response.destroy();
        else refuse(response, { status: 500, code: 'internal', message: 'A view failed.' });
      });
    },
  );
  server.maxConnections = OBSERVE_LIMITS.adminConnectionsMax;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve({ port: boundPort(server), close: () => close(server) });
    });
  });
}

function boundPort(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

const LISTS = ['status', 'regions', 'nodes', 'targets', 'models'] as const;

async function handle(
  options: AdminServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { views } = options;
  if (isLoopbackName(options.host) && !isLoopbackName(hostName(request.headers.host ?? ''))) {
    const message = 'The Host header must be that of this machine.';
    return refuse(response, { status: 421, code: 'wrong_host', message });
  }
  const url = URL.parse(request.url ?? '/', 'http://admin.invalid');
  const path = url?.pathname ?? '/';
  if (path === '/admin/v1/faults') return fault(views, request, response);
  if (views.control?.has(path) === true) return control(views.control, path, request, response);
  const isKnown = path.startsWith('/admin/') || HEALTH.has(path) || path === '/metrics';
  if (!isKnown && options.pages?.(request, response) === true) return;
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    const message = 'This path takes GET.';
    return refuse(response, { status: 405, code: 'method_not_allowed', message });
  }
  const health = HEALTH.get(path);
  if (health !== undefined) return sendHealth(health, views, response);
  if (path === '/metrics') {
    const { contentType, text } = await views.metrics();
    return send(response, 200, contentType, text);
  }
  const list = LISTS.find((name) => path === `/admin/v1/${name}`);
  if (list !== undefined) return sendJson(response, 200, await views[list]());
  if (path === '/admin/v1/explain') {
    return explain(views, url?.searchParams ?? new URLSearchParams(), response);
  }
  refuse(response, { status: 404, code: 'not_found', message: `No such path here.` });
}

/** Liveness: the process answers. Readiness: it takes new requests. LiteLLM's names beside ours. */
const HEALTH: ReadonlyMap<string, 'live' | 'ready'> = new Map([
  ['/livez', 'live'],
  ['/readyz', 'ready'],
  ['/health/liveliness', 'live'],
  ['/health/readiness', 'ready'],
]);

function sendHealth(health: 'live' | 'ready', views: AdminViews, response: ServerResponse): void {
  const isGood = health === 'live' || views.isReady();
  if (!isGood) response.setHeader('retry-after', '1');
  const lines = [isGood ? 'ok' : 'not ready', ...(health === 'ready' ? views.warnings() : [])];
  send(response, isGood ? 200 : 503, 'text/plain; charset=utf-8', `${lines.join('\n')}\n`);
}

async function explain(
  views: AdminViews,
  query: URLSearchParams,
  response: ServerResponse,
): Promise<void> {
  const model = query.get('model');
  if (model === null || model === '') {
    const message = 'Say which model: ?model=NAME.';
    return refuse(response, { status: 400, code: 'invalid_request', message });
  }
  sendAnswer(response, await views.explain(model, query.get('region')));
}

async function fault(
  views: AdminViews,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (views.fault === null) {
    const message = 'Faults are not allowed here; demo.faults in the configuration allows them.';
    return refuse(response, { status: 403, code: 'faults_disabled', message });
  }
  const body = await readPost(request, response);
  sendAnswer(response, body.ok ? await views.fault(body.value) : body);
}

async function control(
  desk: AdminControl,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const remote = request.socket.remoteAddress ?? '';
  if (request.method === 'GET' || request.method === 'HEAD') {
    return sendAnswer(response, await desk.answer(path, null, remote));
  }
  const body = await readPost(request, response);
  sendAnswer(response, body.ok ? await desk.answer(path, body.value, remote) : body);
}

/** The JSON of a POST, or why it is none (A2). */
async function readPost(
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Result<unknown, AdminRefusal>> {
  if (request.method !== 'POST') {
    response.setHeader('allow', 'POST');
    const message = 'This path takes POST.';
    return err({ status: 405, code: 'method_not_allowed', message });
  }
  const { origin, host } = request.headers;
  if (origin !== undefined && origin !== `http://${host ?? ''}`) {
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

function refuse(response: ServerResponse, { status, code, message }: AdminRefusal): void {
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
