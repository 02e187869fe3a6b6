import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';

import { PEER_LIMITS } from '../../base/limits.ts';
import type { UpstreamFailure } from '../../base/ports.ts';
import { createPrng } from '../../base/prng.ts';
import { createClock, createTimers } from '../clock.ts';
import { PEER_ALPN } from './dial.ts';
import { createPeerHub } from './hub.ts';
import {
  addresses,
  echo,
  longAgoMs,
  makeCerts,
  startHub,
  startPair,
  TestHandler,
  until,
  type Taken,
  type TestCerts,
  type TestHub,
} from './testdata/kit.ts';

let certs: TestCerts;
before(async () => {
  certs = await makeCerts();
});
after(async () => {
  await certs.remove();
});

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The first request that a hub's handler took. */
async function firstTaken(hub: TestHub): Promise<Taken> {
  await until(() => hub.handler.taken.length > 0, 'a request was taken');
  const [taken] = hub.handler.taken;
  assert.ok(taken !== undefined);
  return taken;
}

test('requests go both ways over one link, with who forwarded them', async () => {
  const { a, b, close } = await startPair(certs);
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const { seen } = from.call(to.peer, {
      path: '/v1/messages?beta=true',
      headers: ['content-type', 'application/json', 'x-note', '你好'],
      body: Buffer.from('{"hello":1}'),
      keyHash: 'c'.repeat(64),
    });
    await until(() => seen.isDone, 'the call is done');
    assert.equal(seen.failure, null);
    assert.equal(seen.status, 200);
    assert.deepEqual(seen.headers, ['x-echo', '/v1/messages']);
    assert.equal(seen.body.toString(), '{"hello":1}');
    const { request } = await firstTaken(to);
    assert.equal(request.forwardedFrom, from.peer);
    assert.equal(request.query, 'beta=true');
    assert.equal(request.keyHash, 'c'.repeat(64));
    assert.deepEqual(request.headers.slice(2), ['x-note', '你好']);
  }
  await until(() => a.digests.length > 2 && b.digests.length > 2, 'digests came');
  assert.deepEqual(a.digests[0], ['b', '{"from":"b"}']);
  await close();
});

test('8 MiB up and down arrive whole', async () => {
  const { a, close } = await startPair(certs);
  const body = randomBytes(8 * 1024 * 1024);
  const { seen } = a.call('b', { body });
  await until(() => seen.isDone, 'the call is done', 30_000);
  assert.equal(seen.failure, null);
  assert.equal(sha256(seen.body), sha256(body));
  await close();
});

test('100 parallel streams each way keep apart and in order', async () => {
  const answer = ({ body, reply }: Taken): void => {
    const name = body.toString();
    reply.head(200, [], { kind: 'stream' });
    let count = 0;
    const step = (): void => {
      reply.write(Buffer.from(`${name}:${count};`));
      count += 1;
      if (count < 20) setImmediate(step);
      else reply.end();
    };
    step();
  };
  const { a, b, close } = await startPair(certs, { answer });
  const calls = Array.from({ length: 100 }, (_, index) => [
    { name: `a${index}`, ...a.call('b', { body: Buffer.from(`a${index}`) }) },
    { name: `b${index}`, ...b.call('a', { body: Buffer.from(`b${index}`) }) },
  ]).flat();
  await until(() => calls.every(({ seen }) => seen.isDone), 'all calls are done', 20_000);
  for (const { name, seen } of calls) {
    const expected = Array.from({ length: 20 }, (_, index) => `${name}:${index};`).join('');
    assert.equal(seen.body.toString(), expected);
    assert.ok(seen.isEnded);
  }
  assert.equal(a.hub.status()[0]?.outgoing, 0);
  assert.equal(a.hub.status()[0]?.incoming, 0);
  await close();
});

test('a reader that pauses holds back its own stream only, and within its window', async () => {
  const { a, b, close } = await startPair(certs, { answer: null });
  b.handler.taken.length = 0;
  const slow = a.call('b', { body: Buffer.from('slow') });
  slow.handle.pause();
  const { reply } = await firstTaken(b);
  reply.head(200, [], { kind: 'stream' });
  const piece = Buffer.alloc(16 * 1024, 1);
  let written = 0;
  while (reply.write(piece)) {
    written += piece.length;
    assert.ok(written < 64 * 1024 * 1024, 'back-pressure reaches the writer');
    await new Promise((resolve) => setImmediate(resolve));
  }
  written += piece.length;
  assert.ok(
    written <= PEER_LIMITS.windowBytesInitial + PEER_LIMITS.replyHighWaterBytes + 2 * piece.length,
  );
  assert.equal(slow.seen.status, null);
  const startMs = performance.now();
  const others = Array.from({ length: 20 }, () => a.call('b', { body: Buffer.from('quick') }));
  await until(() => b.handler.taken.length === 21, 'the others arrived');
  for (const taken of b.handler.taken.slice(1)) echo(taken);
  await until(() => others.every(({ seen }) => seen.isDone), 'the others are done');
  assert.ok(performance.now() - startMs < 2_000);
  assert.equal(slow.seen.chunks.length, 0);
  slow.handle.resume();
  await until(() => slow.seen.bodyBytes === written, 'the slow one has all');
  reply.end();
  await until(() => slow.seen.isDone, 'the slow one is done');
  assert.deepEqual(slow.seen.order, ['head', 'body', 'end']);
  assert.ok((b.handler.taken[0]?.drains ?? 0) > 0);
  await close();
});

test('a cancelled call is gone at the other region within 100 ms', async () => {
  const { a, b, close } = await startPair(certs, { answer: null });
  const { seen, handle } = a.call('b');
  const taken = await firstTaken(b);
  taken.reply.head(200, [], { kind: 'stream' });
  taken.reply.write(Buffer.from('one'));
  await until(() => seen.chunks.length === 1, 'the first piece came');
  const cancelledMs = performance.now();
  handle.cancel();
  taken.reply.write(Buffer.from('two'));
  await until(() => taken.goneMs !== null, 'the handler knows');
  assert.ok((taken.goneMs ?? 0) - cancelledMs < 100, 'within 100 ms');
  const again = a.call('b');
  await until(() => b.handler.taken.length === 2, 'the link still serves');
  const second = b.handler.taken[1];
  assert.ok(second !== undefined);
  echo(second);
  await until(() => again.seen.isDone, 'the next call is done');
  assert.equal(seen.chunks.length, 1);
  assert.equal(seen.isDone, false);
  await close();
});

test('an answer that is broken off is truncated, after what came of it', async () => {
  const { a, close } = await startPair(certs, {
    answer: ({ reply }) => {
      reply.head(200, [], { kind: 'stream' });
      reply.write(Buffer.from('event: error\n\n'));
      reply.abort();
    },
  });
  const { seen } = a.call('b');
  await until(() => seen.isDone, 'the call is done');
  assert.equal(seen.body.toString(), 'event: error\n\n');
  assert.equal(seen.failure?.kind, 'truncated');
  assert.ok((seen.failure?.bytesSent ?? 0) > 0);
  await close();
});

test('a head that fits into no frame fails its stream, and the gateway hears of it later', async () => {
  let isInHead = false;
  let goneInHead: boolean | null = null;
  const { a, close } = await startPair(certs, {
    answer: (taken) => {
      taken.onGone = (): void => {
        goneInHead = isInHead;
      };
      const long = 'x'.repeat(PEER_LIMITS.framePayloadBytesMax);
      isInHead = true;
      taken.reply.head(200, ['x-long', long], { kind: 'stream' });
      isInHead = false;
    },
  });
  const { seen } = a.call('b', {});
  await until(() => seen.isDone && goneInHead !== null, 'both sides know');
  assert.equal(seen.failure?.kind, 'truncated');
  assert.equal(goneInHead, false, 'no callback inside the call of the gateway (P1)');
  assert.equal(a.hub.status()[0]?.state.kind, 'up', 'the link stays');
  await close();
});

test('an answer shorter than its length is truncated', async () => {
  const { a, close } = await startPair(certs, {
    answer: ({ reply }) => {
      reply.head(200, [], { kind: 'length', bytes: 10 });
      reply.end(Buffer.from('short'));
    },
  });
  const { seen } = a.call('b');
  await until(() => seen.isDone, 'the call is done');
  assert.equal(seen.failure?.kind, 'truncated');
  await close();
});

test('what arrived whole is delivered to a paused reader although the link is gone', async () => {
  const { a, b, close } = await startPair(certs, { answer: null });
  const { seen, handle } = a.call('b');
  handle.pause();
  const { reply } = await firstTaken(b);
  reply.head(200, [], { kind: 'stream' });
  reply.write(Buffer.from('all of it'));
  reply.end();
  await until(() => a.hub.status()[0]?.outgoing === 0, 'the end arrived');
  a.hub.setCut('b', true);
  assert.equal(seen.status, null);
  handle.resume();
  assert.equal(seen.status, null, 'nothing comes from inside resume');
  await until(() => seen.isDone, 'the call is done');
  assert.deepEqual(seen.order, ['head', 'body', 'end']);
  await close();
});

test('without a link a call fails at once, later than its start, and was not sent', async () => {
  const a = await startHub({ peer: 'a', tls: certs.tls('a'), peers: { b: 9 } });
  for (const [to, kind] of [
    ['b', 'link-down'],
    ['nowhere', 'unresolved'],
  ] as const) {
    const { seen } = a.call(to);
    assert.equal(seen.isDone, false);
    await until(() => seen.isDone, 'the call failed', 500);
    assert.equal(seen.failure?.kind, kind);
    assert.equal(seen.failure?.bytesSent, 0);
  }
  const cancelled = a.call('b');
  cancelled.handle.cancel();
  await until(() => a.state('b')?.kind === 'down', 'it is down');
  assert.equal(cancelled.seen.failure, null);
  await a.hub.close(0);
});

test('a cut link fails its calls, stays cut, and heals', async () => {
  const { a, b, close } = await startPair(certs, { answer: null });
  const { seen } = a.call('b');
  const taken = await firstTaken(b);
  a.hub.setCut('b', true);
  await until(() => seen.isDone && taken.goneMs !== null, 'both sides know');
  assert.equal(seen.failure?.kind, 'reset');
  await until(() => b.state('a')?.kind === 'down', 'b sees it down');
  // b dials and is turned away: wait for three attempts that failed.
  b.states.length = 0;
  await until(() => b.states.length >= 3, 'b tried again');
  for (const [, state] of b.states) {
    assert.equal(state.kind, 'down');
    assert.equal(state.kind === 'down' && state.cause, 'reset');
  }
  assert.equal(a.isUp('b'), false);
  assert.equal(a.hub.status()[0]?.isCut, true);
  a.hub.setCut('b', false);
  await until(() => a.isUp('b') && b.isUp('a'), 'it heals');
  const again = a.call('b');
  await until(() => b.handler.taken.length === 2, 'it serves');
  again.handle.cancel();
  await close();
});

test('both sides dial; one link stays, and it is the same for both', async () => {
  const { a, b, close } = await startPair(certs);
  for (let round = 0; round < 10; round += 1) {
    a.hub.setCut('b', true);
    b.hub.setCut('a', true);
    await until(() => !a.isUp('b') && !b.isUp('a'), 'cut');
    b.hub.setCut('a', false);
    a.hub.setCut('b', false);
    await until(() => a.isUp('b') && b.isUp('a'), 'linked');
    const calls = [a.call('b'), b.call('a'), a.call('b')];
    await until(() => calls.every(({ seen }) => seen.isDone), 'calls done');
    for (const { seen } of calls) assert.equal(seen.failure, null);
  }
  await close();
});

test('a hub that stops lets streams finish, refuses new ones, and its peer finds it again', async () => {
  const { a, b } = await startPair(certs, { answer: null });
  const { seen } = a.call('b');
  const { reply } = await firstTaken(b);
  reply.head(200, [], { kind: 'stream' });
  const closing = b.hub.close(5_000);
  const late = await firstRefused(a);
  assert.equal(late.kind, 'link-down');
  assert.equal(late.bytesSent, 0);
  reply.write(Buffer.from('last words'));
  reply.end();
  await closing;
  await until(() => seen.isDone, 'the stream finished');
  assert.equal(seen.failure, null);
  assert.equal(seen.body.toString(), 'last words');
  await until(() => a.state('b')?.kind === 'down', 'a knows');
  const next = await startHub({
    peer: 'b',
    tls: certs.tls('b'),
    peers: { a: a.port },
    port: b.port,
  });
  await until(() => a.isUp('b') && next.isUp('a'), 'linked again');
  const again = a.call('b');
  await until(() => again.seen.isDone, 'it serves again');
  assert.equal(again.seen.status, 200);
  await Promise.all([a.hub.close(0), next.hub.close(0)]);
});

/** Calls until the goodbye has arrived; calls before it are refused or not answered. */
async function firstRefused(hub: TestHub): Promise<UpstreamFailure> {
  for (;;) {
    const { seen, handle } = hub.call('b');
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (seen.failure !== null && seen.failure.kind !== 'refused') return seen.failure;
    handle.cancel();
  }
}

test('an artificial round trip of 120 ms is added, and order is kept', async () => {
  const { a, close } = await startPair(certs, {
    delayMs: 120,
    answer: ({ reply }) => {
      reply.head(200, [], { kind: 'stream' });
      for (let index = 0; index < 500; index += 1) reply.write(Buffer.from(`${index},`));
      reply.end();
    },
  });
  const startMs = performance.now();
  const { seen } = a.call('b', { body: randomBytes(200_000) });
  await until(() => seen.isDone, 'the call is done');
  assert.ok((seen.headMs ?? 0) - startMs >= 115, 'at least the round trip');
  assert.ok((seen.headMs ?? 0) - startMs < 2_000);
  const expected = Array.from({ length: 500 }, (_, index) => `${index},`).join('');
  assert.equal(seen.body.toString(), expected);
  await until(() => (a.hub.status()[0]?.rttMs ?? 0) >= 110, 'the round trip is measured');
  await close();
});

// Who may not come in.

async function refusedPair(
  a: TestHub,
  b: TestHub,
): Promise<{ dialer: string; listener: readonly string[] }> {
  a.hub.setPeers(addresses({ b: b.port }));
  const detail = (): string => {
    const state = a.state('b');
    return state?.kind === 'down' && state.cause === 'rejected' ? state.detail : '';
  };
  await until(() => detail() !== '', `a was rejected (${JSON.stringify(a.state('b'))})`);
  await Promise.all([a.hub.close(0), b.hub.close(0)]);
  return { dialer: detail(), listener: b.refusals };
}

test('a peer of another CA is refused on both sides', async () => {
  const other = await makeCerts();
  const a = await startHub({ peer: 'a', tls: other.tls('a') });
  const b = await startHub({ peer: 'b', tls: certs.tls('b'), peers: { a: 9 } });
  const { dialer } = await refusedPair(a, b);
  assert.match(dialer, /not signed by our CA/);
  await other.remove();
});

test('what becomes of a connection to an old address says nothing of the peer at its new one', async () => {
  const tls = certs.tls('b');
  assert.ok(tls.kind === 'mutual');
  // It takes the connection, and never says who it is.
  const mute = createTlsServer({ ...tls, requestCert: true, ALPNProtocols: [PEER_ALPN] });
  const taken = new Promise<TLSSocket>((resolve) => mute.once('secureConnection', resolve));
  let connections = 0;
  mute.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const bound = mute.address();
  assert.ok(typeof bound === 'object' && bound !== null);
  const a = await startHub({ peer: 'a', tls: certs.tls('a'), peers: { b: bound.port } });
  const b = await startHub({ peer: 'b', tls, peers: { a: 9 } });
  const socket = await taken;
  const hello = new Promise<void>((resolve) => socket.once('data', () => resolve()));
  await hello; // The link is made at the side that dials.
  a.hub.setPeers(addresses({ b: b.port }));
  await until(() => a.isUp('b'), 'it is linked at the new address');
  a.states.length = 0;
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.destroy();
  await closed;
  for (let count = 0; count < 5; count += 1) {
    const { seen } = a.call('b');
    await until(() => seen.isDone, 'a call');
  }
  const after = [[...a.states], a.isUp('b'), connections];
  await Promise.all([a.hub.close(0), b.hub.close(0)]);
  mute.close();
  assert.deepEqual(after, [[], true, 1]);
});

test('a client of another CA is refused by the listener with a sentence', async () => {
  const other = await makeCerts();
  const mine = certs.tls('b');
  const theirs = other.tls('a');
  assert.ok(mine.kind === 'mutual' && theirs.kind === 'mutual');
  // It trusts our CA, but presents a certificate of another one.
  const a = await startHub({ peer: 'a', tls: { ...theirs, ca: mine.ca } });
  const b = await startHub({ peer: 'b', tls: mine, peers: { a: 9 } });
  a.hub.setPeers(addresses({ b: b.port }));
  await until(() => b.refusals.length > 0, 'b refused');
  assert.match(b.refusals[0] ?? '', /not signed by our CA/);
  assert.equal(a.isUp('b'), false);
  await Promise.all([a.hub.close(0), b.hub.close(0), other.remove()]);
});

test('an expired certificate is refused by name', async () => {
  const old = await makeCerts(['b'], 'test', longAgoMs());
  const oldTls = old.tls('b');
  assert.ok(oldTls.kind === 'mutual');
  const mine = certs.tls('a');
  assert.ok(mine.kind === 'mutual');
  const a = await startHub({ peer: 'a', tls: { ...mine, ca: oldTls.ca } });
  const b = await startHub({ peer: 'b', tls: oldTls, peers: { a: 9 } });
  const { dialer } = await refusedPair(a, b);
  assert.match(dialer, /expired/);
  await old.remove();
});

test('a certificate of another region is refused', async () => {
  const a = await startHub({ peer: 'a', tls: certs.tls('a') });
  const b = await startHub({ peer: 'b', tls: certs.tls('c'), peers: { a: 9 } });
  const { dialer } = await refusedPair(a, b);
  assert.match(dialer, /of region c, not b/);
});

test('a certificate of another cluster is refused', async () => {
  const oak = await makeCerts(['b'], 'oak');
  const oakTls = oak.tls('b');
  const mine = certs.tls('a');
  assert.ok(mine.kind === 'mutual' && oakTls.kind === 'mutual');
  const a = await startHub({ peer: 'a', tls: { ...mine, ca: oakTls.ca } });
  const b = await startHub({ peer: 'b', tls: oakTls, peers: { a: 9 }, cluster: 'oak' });
  const { dialer } = await refusedPair(a, b);
  assert.match(dialer, /cluster "oak", not "test"/);
  await oak.remove();
});

test('a region that says it is another one than its certificate is refused', async () => {
  const a = await startHub({ peer: 'c', tls: certs.tls('a') });
  const b = await startHub({ peer: 'b', tls: certs.tls('b'), peers: { a: 9, c: 9 } });
  const { dialer, listener } = await refusedPair(a, b);
  assert.match(dialer, /says it is c, but its certificate is of region a/);
  assert.match(listener.join(), /says it is c, but its certificate is of region a/);
});

test('a region that nobody configured is refused', async () => {
  const a = await startHub({ peer: 'a', tls: certs.tls('a') });
  const b = await startHub({ peer: 'b', tls: certs.tls('b') });
  const { dialer } = await refusedPair(a, b);
  assert.match(dialer, /a is not among the configured peers/);
});

test('without TLS links are for loopback addresses only, and then they work', async () => {
  const tls = { kind: 'plaintext-loopback' } as const;
  const a = await startHub({ peer: 'a', tls });
  const b = await startHub({ peer: 'b', tls });
  a.hub.setPeers(addresses({ b: b.port }, 40));
  b.hub.setPeers(addresses({ a: a.port }, 40));
  await until(() => a.isUp('b') && b.isUp('a'), 'linked');
  const { seen } = a.call('b', { body: Buffer.from('x') });
  await until(() => seen.isDone, 'done');
  assert.equal(seen.body.toString(), 'x');
  await Promise.all([a.hub.close(0), b.hub.close(0)]);
  const outside = createPeerHub({
    config: { cluster: 'test', name: 'a', node: 'a-1', peers: [] },
    tls,
    clock: createClock(),
    timers: createTimers(),
    prng: createPrng(1),
    handler: new TestHandler(),
    localDigest: () => new Uint8Array(0),
    onDigest: () => {},
    observer: { linkChanged() {}, rttMeasured() {}, probed() {}, refused() {} },
  });
  const listening = await outside.listen({ host: '0.0.0.0', port: 0 });
  assert.equal(listening.ok, false);
  assert.match(listening.ok ? '' : listening.error, /loopback/);
});

test('strangers who talk nonsense to the listener harm no link', async () => {
  const { a, b, close } = await startPair(certs);
  const sockets = Array.from({ length: 20 }, (_, index) => {
    const socket = connect(a.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(index % 2 === 0 ? 'GET / HTTP/1.1\r\n\r\n' : randomBytes(500));
    return socket;
  });
  await until(() => a.refusals.length >= 10, 'they were refused');
  const { seen } = b.call('a', { body: Buffer.from('still here') });
  await until(() => seen.isDone, 'done');
  assert.equal(seen.body.toString(), 'still here');
  for (const socket of sockets) socket.destroy();
  await close();
});

test('an address where something else listens is told apart from one where nobody does', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end('SSH-2.0-nonsense\r\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  assert.ok(typeof bound === 'object' && bound !== null);
  const a = await startHub({ peer: 'a', tls: certs.tls('a'), peers: { b: bound.port, c: 9 } });
  const cause = (of: string): string => {
    const state = a.state(of);
    return state?.kind === 'down' ? state.cause : '';
  };
  await until(() => cause('b') === 'rejected' && cause('c') === 'refused', 'told apart');
  await a.hub.close(0);
  server.close();
});
