import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { UpstreamCall, UpstreamHandler } from '../../base/ports.ts';
import { WORKER_LIMITS } from '../../base/workerLimits.ts';
import type { ToCallee, ToCaller } from './messages.ts';
import { RegionCallee, RegionCaller } from './regionCalls.ts';

const CALL: UpstreamCall = {
  origin: 'region:eu',
  method: 'POST',
  path: '/v1/chat/completions',
  headers: [],
  body: new Uint8Array([1, 2]),
  connectMs: 100,
};

/** Both sides, joined by two queues that `pump` empties. */
class Pair {
  readonly seen: string[] = [];
  readonly calls: { call: UpstreamCall; handler: UpstreamHandler; events: string[] }[] = [];
  readonly toCallee: ToCallee[] = [];
  readonly toCaller: ToCaller[] = [];
  readonly caller = new RegionCaller((message) => this.toCallee.push(message));
  readonly callee = new RegionCallee(
    {
      start: (call, handler) => {
        const events: string[] = [];
        this.calls.push({ call, handler, events });
        return {
          cancel: () => events.push('cancel'),
          pause: () => events.push('pause'),
          resume: () => events.push('resume'),
        };
      },
    },
    (message) => this.toCaller.push(message),
  );

  start() {
    const handle = this.caller.start(CALL, {
      onHead: (status) => this.seen.push(`head ${status}`),
      onBody: (chunk) => this.seen.push(`body ${chunk.length}`),
      onEnd: () => this.seen.push('end'),
      onFailure: ({ kind }) => this.seen.push(`failure ${kind}`),
    });
    this.pump();
    return handle;
  }

  pump(): void {
    while (this.toCallee.length + this.toCaller.length > 0) {
      for (const message of this.toCallee.splice(0)) this.callee.came(message);
      for (const message of this.toCaller.splice(0)) this.caller.came(message);
    }
  }
}

test('a call goes out as it was made, its answer comes back in order, its end once', () => {
  const pair = new Pair();
  pair.start();
  const [made] = pair.calls;
  assert.deepEqual(made?.call, CALL);
  made?.handler.onHead(200, []);
  made?.handler.onBody(new Uint8Array(3));
  made?.handler.onEnd();
  pair.pump();
  assert.deepEqual(pair.seen, ['head 200', 'body 3', 'end']);
});

test('C1: nothing comes after cancel, and the other side stops', () => {
  const pair = new Pair();
  const handle = pair.start();
  pair.calls[0]?.handler.onHead(200, []);
  handle.cancel();
  pair.pump();
  assert.deepEqual(pair.seen, []);
  assert.deepEqual(pair.calls[0]?.events, ['cancel']);
});

test('C2: a reader that pauses holds the other region back, and takes all in the end', async () => {
  const pair = new Pair();
  const handle = pair.start();
  const [made] = pair.calls;
  made?.handler.onHead(200, []);
  pair.pump();
  handle.pause();
  const chunk = new Uint8Array(WORKER_LIMITS.callHighWaterBytes / 4);
  for (let count = 0; count < 4; count += 1) made?.handler.onBody(chunk);
  made?.handler.onEnd();
  pair.pump();
  assert.deepEqual(pair.seen, ['head 200']);
  assert.deepEqual(made?.events, ['pause']);
  handle.resume();
  await Promise.resolve();
  pair.pump();
  assert.deepEqual(pair.seen.slice(1), [...Array(4).fill(`body ${chunk.length}`), 'end']);
});

test('C2: once enough is read the other region goes on', () => {
  const pair = new Pair();
  pair.start();
  const [made] = pair.calls;
  made?.handler.onHead(200, []);
  made?.handler.onBody(new Uint8Array(WORKER_LIMITS.callHighWaterBytes));
  assert.deepEqual(made?.events, ['pause']);
  pair.pump();
  assert.deepEqual(made?.events, ['pause', 'resume']);
});

test('a worker that is gone leaves no call behind', () => {
  const pair = new Pair();
  pair.start();
  pair.start();
  pair.callee.close();
  assert.deepEqual(
    pair.calls.map(({ events }) => events),
    [['cancel'], ['cancel']],
  );
});
