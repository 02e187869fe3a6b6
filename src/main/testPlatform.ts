/** A platform for tests: `node:http` to targets, no peers. Only tests import it. */

import { request as httpRequest } from 'node:http';

import type { Upstream } from '../base/ports.ts';
import { createPrng } from '../base/prng.ts';
import { createClock, createTimers } from '../io/clock.ts';
import type { Platform } from './platform.ts';
import { listenApi } from './realPlatform.ts';

/** Makes it. */
export function testPlatform(): Platform {
  const clock = createClock();
  return {
    clock,
    timers: createTimers(),
    prng: createPrng(1),
    openUpstream: () => ({ upstream: httpUpstream(), close: () => Promise.resolve() }),
    listenApi: (options) => listenApi(options, clock),
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
