/** A platform for tests: plain `node:http` behind the ports, no peers. Only tests import it. */

import { createHash } from 'node:crypto';
import { createServer, request as httpRequest } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { ClientReply, Upstream } from '../base/ports.ts';
import { createPrng } from '../base/prng.ts';
import { createClock, createTimers } from '../io/clock.ts';
import type { ApiOptions, Listening, Platform } from './platform.ts';

/** Makes it. */
export function testPlatform(): Platform {
  return {
    clock: createClock(),
    timers: createTimers(),
    prng: createPrng(1),
    openUpstream: () => ({ upstream: httpUpstream(), close: () => Promise.resolve() }),
    listenApi,
    openPeers: () => Promise.reject(new Error('tests of a node have no peers')),
  };
}

function httpUpstream(): Upstream {
  return {
    start(call, handler) {
      let isOver = false;
      const url = new URL(call.path, call.origin);
      const outgoing = httpRequest(
        url,
        { method: call.method, headers: pairs(call.headers), agent: false },
        (response) => {
          const headers = Object.entries(response.headers).flatMap(([name, value]) => [
            name,
            String(value),
          ]);
          if (!isOver) handler.onHead(response.statusCode ?? 0, headers);
          response.on('data', (chunk: Buffer) => {
            if (!isOver) handler.onBody(chunk);
          });
          response.on('end', () => {
            if (!isOver) handler.onEnd();
            isOver = true;
          });
        },
      );
      outgoing.on('error', (cause) => {
        if (isOver) return;
        isOver = true;
        const kind = 'code' in cause && cause.code === 'ECONNREFUSED' ? 'refused' : 'reset';
        handler.onFailure({ kind, bytesSent: 0, detail: cause.message });
      });
      outgoing.end(call.body);
      return {
        cancel: () => {
          isOver = true;
          outgoing.destroy();
        },
        pause: () => {},
        resume: () => {},
      };
    },
  };
}

function pairs(list: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let index = 0; index < list.length; index += 2) {
    headers[list[index] ?? ''] = list[index + 1] ?? '';
  }
  return headers;
}

function listenApi(options: ApiOptions): Promise<Listening> {
  const server = createServer((request, response) => void serve(options, request, response));
  const { host, port } = options.address;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      const address = server.address();
      resolve({
        port: typeof address === 'object' && address !== null ? address.port : 0,
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            server.closeAllConnections();
          }),
      });
    });
  });
}

async function serve(
  { handler }: ApiOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  const key = request.headers.authorization?.replace(/^Bearer /, '') ?? null;
  const reply: ClientReply = {
    head: (status, headers) => void response.writeHead(status, pairs(headers)),
    write: (chunk) => response.write(Buffer.from(chunk)),
    end: (last) => void response.end(last === undefined ? undefined : Buffer.from(last)),
    abort: () => void response.destroy(),
  };
  const events = handler.handle(
    {
      method: request.method ?? 'GET',
      path: (request.url ?? '/').split('?')[0] ?? '/',
      query: '',
      headers: Object.entries(request.headers).flatMap(([name, value]) => [name, String(value)]),
      body: Buffer.concat(chunks),
      keyHash: key === null ? null : createHash('sha256').update(key).digest('hex'),
      receivedMs: performance.now(),
      remote: '127.0.0.1',
      forwardedFrom: null,
    },
    reply,
  );
  response.on('close', () => {
    if (!response.writableFinished) events.onGone();
  });
}
