/**
 * The status page and what it asks: `/`, `/demo/state`, `/demo/chat`; and the simulator's page. Pages
 * are static files without outside resources, under a strict content policy.
 *
 * W1: what costs or changes something is a POST from this very origin with our own header, which no
 * other site can send without a preflight that nobody here answers.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';

import { DEMO_LIMITS } from '../../base/limits.ts';
import { isRow } from '../json.ts';
import type { Figures } from './figures.ts';
import { DEMO_KEY, DEMO_MODEL, type UpPlan } from './plan.ts';
import { createSimulatorPages } from './simulator.ts';

/** Header that the page sends with every POST. */
const PAGE_HEADER = 'x-banyan-page';

/** Makes the handler that the admin server asks for paths that are not its own. */
export function createPages(
  plan: UpPlan,
  figures: Figures,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  const page = readFileSync(join(import.meta.dirname, 'page.html'));
  const policy = contentPolicy(page.toString('utf8'));
  const simulator = createSimulatorPages(contentPolicy);
  return (request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
    const isGet = request.method === 'GET' || request.method === 'HEAD';
    if (path === '/' && isGet) {
      response.writeHead(200, {
        'content-type': 'text/html; charset=utf-8',
        'content-length': page.length,
        'cache-control': 'no-cache',
        'content-security-policy': policy,
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
        'cross-origin-opener-policy': 'same-origin',
        vary: 'accept-language',
        'content-language': pageLanguage(request),
      });
      response.end(request.method === 'HEAD' ? undefined : page);
      return true;
    }
    if (path === '/favicon.ico' && isGet) {
      response.writeHead(204).end();
      return true;
    }
    if (isGet && simulator(path, request, response)) return true;
    if (path === '/demo/state' && isGet) {
      figures.state().then(
        (state) => sendJson(response, 200, { ...state, language: pageLanguage(request) }),
        (cause: unknown) => sendError(response, 500, 'internal', String(cause)),
      );
      return true;
    }
    if (path === '/demo/chat' && request.method === 'POST') {
      chat(plan, request, response).catch(() => response.destroy());
      return true;
    }
    return false;
  };
}

/**
 * Only the file's own style and script, by hash, and what a module script imports from here;
 * nothing from elsewhere, nothing framed.
 */
function contentPolicy(page: string): string {
  const hash = (tag: string): string => {
    const text =
      new RegExp(`<${tag}(?: type="module")?>([\\s\\S]*?)</${tag}>`).exec(page)?.[1] ?? '';
    return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  };
  const imported = page.includes('<script type="module">') ? " 'self'" : '';
  return (
    `default-src 'none'; style-src ${hash('style')}; script-src ${hash('script')}${imported}; ` +
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; " +
    "frame-ancestors 'none'"
  );
}

/** `zh` where the browser prefers Chinese to English. */
function pageLanguage(request: IncomingMessage): 'en' | 'zh' {
  const wanted = request.headers['accept-language'] ?? '';
  const ranked = wanted
    .split(',')
    .slice(0, 16)
    .map((entry) => {
      const [tag = '', ...rest] = entry.trim().toLowerCase().split(';');
      const quality = Number(
        rest
          .find((part) => part.trim().startsWith('q='))
          ?.trim()
          .slice(2),
      );
      return { tag, quality: Number.isFinite(quality) ? quality : 1 };
    })
    .filter(({ tag }) => /^(?:en|zh)\b/.test(tag))
    .toSorted((left, right) => right.quality - left.quality);
  return ranked[0]?.tag.startsWith('zh') === true ? 'zh' : 'en';
}

/** True for a POST of our own page (W1). */
function isOwnPage(request: IncomingMessage): boolean {
  const { origin, host } = request.headers;
  const site = request.headers['sec-fetch-site'];
  return (
    (origin === undefined || origin === `http://${host ?? ''}`) &&
    (site === undefined || site === 'same-origin') &&
    request.headers[PAGE_HEADER] !== undefined &&
    /^application\/json\b/i.test(request.headers['content-type'] ?? '')
  );
}

/** Passes a question on to a region's API and streams its answer back. */
async function chat(
  plan: UpPlan,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (!isOwnPage(request)) return sendError(response, 403, 'wrong_origin', 'Not from here.');
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > DEMO_LIMITS.chatBodyBytesMax) {
      response.setHeader('connection', 'close');
      return sendError(response, 413, 'body_too_large', 'The conversation is too long.');
    }
    chunks.push(chunk);
  }
  const asked = parseJson(Buffer.concat(chunks).toString('utf8'));
  const region = isRow(asked) ? asked['region'] : null;
  const node = plan.nodes.find((entry) => entry.region === region);
  if (!isRow(asked) || node === undefined || !Array.isArray(asked['messages'])) {
    return sendError(response, 400, 'invalid_request', 'Send {region, messages}.');
  }
  const body = Buffer.from(
    JSON.stringify({ model: DEMO_MODEL, stream: true, messages: asked['messages'] }),
  );
  forward(node.apiPort, body, response);
}

function forward(port: number, body: Buffer, response: ServerResponse): void {
  const upstream = httpRequest(
    {
      host: '127.0.0.1',
      port,
      path: '/v1/chat/completions',
      method: 'POST',
      agent: false,
      signal: AbortSignal.timeout(DEMO_LIMITS.chatMs),
      headers: {
        'content-type': 'application/json',
        'content-length': body.length,
        authorization: `Bearer ${DEMO_KEY}`,
      },
    },
    (answer) => {
      const headers: Record<string, string> = { 'cache-control': 'no-store' };
      for (const [name, value] of Object.entries(answer.headers)) {
        const isShown = name.startsWith('x-banyan-') || name === 'content-type';
        if (isShown && typeof value === 'string') headers[name] = value;
      }
      response.writeHead(answer.statusCode ?? 502, headers);
      response.flushHeaders();
      answer.pipe(response);
      answer.on('error', () => response.destroy());
      answer.on('close', () => {
        if (!answer.complete) response.destroy(); // Broken off, and so must ours be.
      });
    },
  );
  upstream.on('error', () => {
    if (response.headersSent) response.destroy();
    else sendError(response, 502, 'region_unreachable', 'The region does not answer.');
  });
  response.on('close', () => upstream.destroy());
  upstream.end(body);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // Told to the page as a malformed request.
  }
}

function sendError(response: ServerResponse, status: number, code: string, message: string): void {
  sendJson(response, status, { error: { code, message } });
}

function sendJson(response: ServerResponse, status: number, value: object): void {
  const bytes = Buffer.from(JSON.stringify(value));
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': bytes.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(bytes);
}
