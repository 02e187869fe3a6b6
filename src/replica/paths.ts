/**
 * The public API's paths: what a method and a path ask for, and in whose dialect to answer, refusals
 * included. The same paths stand below `/anthropic` for clients whose base URL ends there.
 */

import type { Dialect, Operation } from '../protocol/dialect.ts';

/** What a path asks for. */
export type Route =
  | { readonly kind: 'operation'; readonly operation: Operation; readonly dialect: Dialect }
  | { readonly kind: 'models'; readonly dialect: Dialect }
  | { readonly kind: 'model'; readonly id: string; readonly dialect: Dialect }
  | { readonly kind: 'live' }
  | { readonly kind: 'ready' }
  | { readonly kind: 'wrong-method'; readonly allow: string; readonly dialect: Dialect }
  | { readonly kind: 'unknown'; readonly dialect: Dialect };

const OPERATIONS: ReadonlyMap<string, Operation> = new Map([
  ['/v1/chat/completions', 'chat'],
  ['/v1/completions', 'completions'],
  ['/v1/embeddings', 'embeddings'],
  ['/v1/messages', 'messages'],
  ['/v1/messages/count_tokens', 'count_tokens'],
]);

const LIVE: ReadonlySet<string> = new Set(['/livez', '/health/liveliness', '/health/liveness']);
const READY: ReadonlySet<string> = new Set(['/readyz', '/health/readiness']);
const PREFIX = '/anthropic';
const MODELS = '/v1/models';

// One object for each plain operation: nothing is allocated on the usual path.
const ROUTES: ReadonlyMap<string, Route> = new Map(
  [...OPERATIONS].map(([path, operation]) => {
    const isAnthropic = operation === 'messages' || operation === 'count_tokens';
    const dialect: Dialect = isAnthropic ? 'anthropic' : 'openai';
    const route: Route = { kind: 'operation', operation, dialect };
    return [path, route];
  }),
);

function wrongMethod(allow: string, dialect: Dialect): Route {
  return { kind: 'wrong-method', allow, dialect };
}

/** Finds the route. `isAnthropicClient`: the request carries an `anthropic-version` field. */
export function findRoute(method: string, path: string, isAnthropicClient: boolean): Route {
  const plain = ROUTES.get(path);
  if (plain !== undefined && plain.kind === 'operation') {
    return method === 'POST' ? plain : wrongMethod('POST', plain.dialect);
  }
  if (LIVE.has(path) || READY.has(path)) {
    if (method !== 'GET' && method !== 'HEAD') return wrongMethod('GET, HEAD', 'openai');
    return LIVE.has(path) ? { kind: 'live' } : { kind: 'ready' };
  }
  const isBelow = path.startsWith(`${PREFIX}/`);
  const dialect: Dialect = isBelow || isAnthropicClient ? 'anthropic' : 'openai';
  const rest = isBelow ? path.slice(PREFIX.length) : path;
  const prefixed = isBelow ? ROUTES.get(rest) : undefined;
  if (prefixed !== undefined && prefixed.kind === 'operation' && prefixed.dialect === 'anthropic') {
    return method === 'POST' ? prefixed : wrongMethod('POST', 'anthropic');
  }
  if (rest === MODELS || rest === `${MODELS}/`) {
    return method === 'GET' ? { kind: 'models', dialect } : wrongMethod('GET', dialect);
  }
  if (rest.startsWith(`${MODELS}/`)) {
    if (method !== 'GET') return wrongMethod('GET', dialect);
    const id = decodePath(rest.slice(MODELS.length + 1));
    return id === null ? { kind: 'unknown', dialect } : { kind: 'model', id, dialect };
  }
  return { kind: 'unknown', dialect };
}

/** Percent-decodes a path segment; null where an escape is malformed. */
function decodePath(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null; // The only error of decodeURIComponent is a malformed escape.
  }
}
