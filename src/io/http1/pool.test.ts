import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { after, describe, test } from 'node:test';

import type { HeaderList } from '../../base/headers.ts';
import { HTTP_LIMITS } from '../../base/limits.ts';
import type { UpstreamCall, UpstreamFailure, UpstreamHandle } from '../../base/ports.ts';
import { freeBodyBytes } from './bodies.ts';
import type { HttpLimits } from './limits.ts';
import { parseOrigin } from './origin.ts';
import { createUpstreamPool, type UpstreamPool } from './pool.ts';
import { spendTurn, waitForTurn } from './turns.ts';

const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };
const CRLF2 = '\r\n\r\n';

const servers: Server[] = [];
const pools: UpstreamPool[] = [];
const sockets = new Set<Socket>();
after(() => {
  for (const pool of pools) pool.close();
  for (const server of servers) server.close();
  for (const socket of sockets) socket.destroy();
});

/** Called with each whole request (its bytes as text), its socket and its number from 0. */
type Script = (socket: Socket, request: string, index: number) => void;

interface Upstream {
  readonly origin: string;
  readonly sockets: Socket[];
}

/** A scripted upstream. A request is whole when its Content-Length is there. */
async function listen(script: Script): Promise<Upstream> {
  const accepted: Socket[] = [];
  let index = 0;
  const server = createServer((socket) => {
    accepted.push(socket);
    sockets.add(socket);
    socket.on('error', () => {});
    let text = '';
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      for (let end = endOf(text); end !== -1; end = endOf(text)) {
        const request = text.slice(0, end);
        text = text.slice(end);
        script(socket, request, index);
        index += 1;
      }
    });
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { origin: `http://127.0.0.1:${port}`, sockets: accepted };
}

function endOf(text: string): number {
  const head = text.indexOf(CRLF2);
  if (head === -1) return -1;
  const length = Number(/content-length: (\d+)/.exec(text.slice(0, head))?.[1] ?? 0);
  return text.length >= head + 4 + length ? head + 4 + length : -1;
}

function open(origins: readonly string[], limits: Partial<HttpLimits> = {}): UpstreamPool {
  const made = createUpstreamPool({
    clock,
    limits: { sweepMs: 20, ...limits },
    origins: origins.map((origin) => ({ origin })),
  });
  assert.ok(made.ok);
  pools.push(made.value);
  return made.value;
}

/** What one call reported. */
interface Heard {
  status: number;
  headers: HeaderList;
  body: string;
  pieces: number;
  end: 'ended' | UpstreamFailure;
}

interface Going {
  readonly handle: UpstreamHandle;
  readonly heard: Heard;
  readonly done: Promise<Heard>;
}

interface Hooks {
  readonly onHead?: (handle: UpstreamHandle) => void;
  readonly onBody?: (handle: UpstreamHandle) => void;
  readonly onEnd?: () => void;
}

/** Starts a call; fails the test if a callback comes from inside `start` or after the end. */
function start(pool: UpstreamPool, change: Partial<UpstreamCall>, hooks: Hooks = {}): Going {
  const heard: Heard = { status: 0, headers: [], body: '', pieces: 0, end: 'ended' };
  let isStarting = true;
  let isOver = false;
  let finish: (value: Heard) => void = () => {};
  const done = new Promise<Heard>((resolve) => {
    finish = resolve;
  });
  const check = (): void => {
    assert.ok(!isStarting, 'P1: a callback came from inside start()');
    assert.ok(!isOver, 'a callback came after the end');
  };
  const handle = pool.start(
    {
      origin: '',
      method: 'POST',
      path: '/v1/x',
      headers: ['content-type', 'application/json'],
      body: Buffer.from('{}'),
      connectMs: 1000,
      ...change,
    },
    {
      onHead(status, headers): void {
        check();
        heard.status = status;
        heard.headers = headers;
        hooks.onHead?.(handle);
      },
      onBody(chunk): void {
        check();
        heard.body += Buffer.from(chunk).toString('latin1');
        heard.pieces += 1;
        hooks.onBody?.(handle);
      },
      onEnd(): void {
        check();
        isOver = true;
        hooks.onEnd?.();
        finish(heard);
      },
      onFailure(failure): void {
        check();
        isOver = true;
        heard.end = failure;
        finish(heard);
      },
    },
  );
  isStarting = false;
  return { handle, heard, done };
}

function answer(socket: Socket, body = 'ok', fields = ''): void {
  socket.write(`HTTP/1.1 200 OK\r\n${fields}content-length: ${body.length}${CRLF2}${body}`);
}

function failureOf(heard: Heard): UpstreamFailure {
  assert.ok(heard.end !== 'ended', `it ended: ${heard.status} ${heard.body}`);
  return heard.end;
}

describe('requests to upstreams', () => {
  test('a request goes out as it should', async () => {
    const seen: string[] = [];
    const { origin } = await listen((socket, request) => {
      seen.push(request);
      answer(socket);
    });
    const pool = open([origin]);
    const headers = [
      'authorization',
      'Bearer k',
      'host',
      'evil',
      'content-length',
      '9',
      'x',
      'a\nb',
    ];
    await start(pool, { origin, path: '/v1/c?x=1', headers }).done;
    await start(pool, { origin, method: 'GET', body: new Uint8Array(0), headers: [] }).done;
    await start(pool, { origin, body: new Uint8Array(0), headers: [] }).done;
    const host = `host: ${origin.slice('http://'.length)}\r\n`;
    assert.deepEqual(seen, [
      `POST /v1/c?x=1 HTTP/1.1\r\n${host}authorization: Bearer k\r\nx: a?b\r\ncontent-length: 2${CRLF2}{}`,
      `GET /v1/x HTTP/1.1\r\n${host}\r\n`,
      `POST /v1/x HTTP/1.1\r\n${host}content-length: 0${CRLF2}`,
    ]);
  });

  test('head and body leave in one write', async () => {
    const reads: number[] = [];
    const { origin, sockets: accepted } = await listen((socket) => answer(socket));
    const pool = open([origin]);
    await start(pool, { origin }).done;
    accepted[0]?.on('data', (bytes: Buffer) => reads.push(bytes.length));
    await start(pool, { origin, body: Buffer.alloc(30_000, 'x') }).done;
    assert.equal(reads.length, 1);
  });

  test('a large body arrives whole through a slow socket', async () => {
    const body = Buffer.alloc(8_000_000, 'x');
    let length = 0;
    const { origin } = await listen((socket, request) => {
      ({ length } = request);
      answer(socket);
    });
    await start(open([origin]), { origin, body }).done;
    assert.ok(length > body.length);
  });

  const malformed = ['/a b', '/a\r\nx: y', 'http://evil/', '', '/\u{1f333}'];
  for (const path of malformed) {
    test(`the path ${JSON.stringify(path)} never leaves`, async () => {
      const { origin } = await listen(() => assert.fail());
      const failure = failureOf(await start(open([origin]), { origin, path }).done);
      assert.deepEqual([failure.kind, failure.bytesSent], ['refused', 0]);
    });
  }
});

describe('responses from upstreams', () => {
  const whole: readonly (readonly [name: string, wire: string, status: number, body: string])[] = [
    ['a length', `HTTP/1.1 200 OK\r\ncontent-length: 3${CRLF2}abc`, 200, 'abc'],
    ['no reason', `HTTP/1.1 429\r\ncontent-length: 1${CRLF2}x`, 429, 'x'],
    ['an empty body', `HTTP/1.1 200 OK\r\ncontent-length: 0${CRLF2}`, 200, ''],
    ['204', `HTTP/1.1 204 No Content${CRLF2}`, 204, ''],
    ['304 with a length', `HTTP/1.1 304 x\r\ncontent-length: 9${CRLF2}`, 304, ''],
    [
      'chunks',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nt: 1${CRLF2}`,
      200,
      'abcde',
    ],
    [
      'interim responses',
      `HTTP/1.1 100 Continue${CRLF2}HTTP/1.1 103 Early\r\nlink: x${CRLF2}` +
        `HTTP/1.1 200 OK\r\ncontent-length: 1${CRLF2}x`,
      200,
      'x',
    ],
  ];
  for (const [name, wire, status, body] of whole) {
    test(`${name}: whole, byte by byte, and the connection is used again`, async () => {
      const { origin, sockets: accepted } = await listen((socket, _request, index) => {
        if (index === 0) socket.write(wire, 'latin1');
        else void drip(socket, wire);
      });
      const pool = open([origin]);
      for (let time = 0; time < 2; time += 1) {
        const heard = await start(pool, { origin }).done;
        assert.deepEqual([heard.end, heard.status, heard.body], ['ended', status, body]);
      }
      assert.equal(accepted.length, 1);
    });
  }

  async function drip(socket: Socket, wire: string): Promise<void> {
    socket.setNoDelay(true);
    for (const char of wire) {
      socket.write(char, 'latin1');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  test('without a length the body ends with the connection', async () => {
    const { origin } = await listen((socket) => socket.end(`HTTP/1.1 200 OK${CRLF2}all of it`));
    const heard = await start(open([origin]), { origin }).done;
    assert.deepEqual([heard.end, heard.body], ['ended', 'all of it']);
  });

  test('the answer to HEAD has no body', async () => {
    const { origin } = await listen((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 5${CRLF2}`);
    });
    const heard = await start(open([origin]), { origin, method: 'HEAD' }).done;
    assert.deepEqual([heard.end, heard.headers], ['ended', ['content-length', '5']]);
  });

  test('many small chunks of one read come as one piece', async () => {
    const events = Array.from({ length: 50 }, (_, index) => `data: ${index}\n\n`);
    const { origin } = await listen((socket) => {
      const chunks = events.map((event) => `${event.length.toString(16)}\r\n${event}\r\n`).join('');
      socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}${chunks}0${CRLF2}`);
    });
    const heard = await start(open([origin]), { origin }).done;
    assert.equal(heard.body, events.join(''));
    assert.ok(heard.pieces <= 2, `${heard.pieces} pieces`);
  });

  const bad: readonly (readonly [name: string, wire: string, kind: string])[] = [
    ['not HTTP', 'SSH-2.0-x\r\n', 'malformed'],
    ['a bare LF', 'HTTP/1.1 200 OK\ncontent-length: 0\n\n', 'malformed'],
    ['a status of two digits', `HTTP/1.1 20 OK${CRLF2}`, 'malformed'],
    ['a status of 600', `HTTP/1.1 600 OK${CRLF2}`, 'malformed'],
    ['HTTP/2', `HTTP/2 200 OK${CRLF2}`, 'malformed'],
    [
      'two lengths',
      `HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1${CRLF2}a`,
      'malformed',
    ],
    [
      'a length beside chunks',
      `HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked${CRLF2}`,
      'malformed',
    ],
    [
      'lengths that differ',
      `HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2${CRLF2}ab`,
      'malformed',
    ],
    ['a list of lengths', `HTTP/1.1 200 OK\r\ncontent-length: 1, 1${CRLF2}a`, 'malformed'],
    ['a length with a plus', `HTTP/1.1 200 OK\r\ncontent-length: +1${CRLF2}a`, 'malformed'],
    ['a hexadecimal length', `HTTP/1.1 200 OK\r\ncontent-length: 0x1${CRLF2}a`, 'malformed'],
    ['a negative length', `HTTP/1.1 200 OK\r\ncontent-length: -1${CRLF2}`, 'malformed'],
    ['xchunked', `HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked${CRLF2}`, 'malformed'],
    [
      'chunked, identity',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity${CRLF2}`,
      'malformed',
    ],
    [
      'chunked twice',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked${CRLF2}`,
      'malformed',
    ],
    ['chunks in HTTP/1.0', `HTTP/1.0 200 OK\r\ntransfer-encoding: chunked${CRLF2}`, 'malformed'],
    ['folding', `HTTP/1.1 200 OK\r\nx: a\r\n b${CRLF2}`, 'malformed'],
    ['a bare CR', `HTTP/1.1 200 OK\r\nx: a\rb${CRLF2}`, 'malformed'],
    ['NUL in a value', `HTTP/1.1 200 OK\r\nx: a\0${CRLF2}`, 'malformed'],
    ['space before a colon', `HTTP/1.1 200 OK\r\ncontent-length : 1${CRLF2}a`, 'malformed'],
    [
      'an extension without end',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}1;${'a'.repeat(2_000)}`,
      'malformed',
    ],
    [
      'a huge chunk size',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}fffffffffffffffff\r\n`,
      'malformed',
    ],
    [
      'a trailer without end',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}0\r\nx: ${'a'.repeat(10_000)}`,
      'too-large',
    ],
    [
      'a length in the trailer',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}0\r\ncontent-length: 1${CRLF2}`,
      'malformed',
    ],
    ['gzip transfer', `HTTP/1.1 200 OK\r\ntransfer-encoding: gzip${CRLF2}`, 'malformed'],
    ['101', `HTTP/1.1 101 Switching${CRLF2}`, 'malformed'],
    ['only interim', `HTTP/1.1 100 Continue${CRLF2}`.repeat(40), 'malformed'],
    ['a bad chunk', `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}zz\r\n`, 'malformed'],
    ['a head without end', `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(40_000)}`, 'too-large'],
    [
      'a body over the limit',
      `HTTP/1.1 200 OK\r\ncontent-length: 99999999999${CRLF2}`,
      'too-large',
    ],
  ];
  for (const [name, wire, kind] of bad) {
    test(`${name} is ${kind}, and its connection is not used again`, async () => {
      const { origin } = await listen((socket) => socket.write(wire, 'latin1'));
      const pool = open([origin]);
      const failure = failureOf(await start(pool, { origin }).done);
      assert.equal(failure.kind, kind, failure.detail);
      assert.equal(pool.stats()[0]?.connections, 0);
    });
  }

  const cut: readonly (readonly [name: string, wire: string, kind: string])[] = [
    ['nothing', '', 'reset'],
    ['half a head', 'HTTP/1.1 200 OK\r\nconte', 'truncated'],
    ['half a length', `HTTP/1.1 200 OK\r\ncontent-length: 5${CRLF2}ab`, 'truncated'],
    ['half a chunk', `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}5\r\nab`, 'truncated'],
    [
      'no last chunk',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}2\r\nab\r\n`,
      'truncated',
    ],
    [
      'no end of trailer',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}0\r\n`,
      'truncated',
    ],
  ];
  for (const [name, wire, kind] of cut) {
    test(`${name} and then FIN is ${kind}`, async () => {
      const { origin } = await listen((socket) => socket.end(wire));
      const failure = failureOf(await start(open([origin]), { origin }).done);
      assert.equal(failure.kind, kind);
      assert.ok(failure.bytesSent > 50, 'it may have run');
    });
  }

  test('a reset in a body without length is not its end', async () => {
    const { origin } = await listen((socket) => {
      socket.write(`HTTP/1.1 200 OK${CRLF2}part`);
      setTimeout(() => socket.resetAndDestroy(), 10);
    });
    const failure = failureOf(await start(open([origin]), { origin }).done);
    assert.equal(failure.kind, 'truncated');
  });
});

describe('connecting', () => {
  test('nobody listens: refused, nothing sent', async () => {
    const { origin } = await listen(() => {});
    const server = servers.pop();
    server?.close();
    const failure = failureOf(await start(open([origin]), { origin }).done);
    assert.deepEqual([failure.kind, failure.bytesSent], ['refused', 0]);
  });

  test('no such name: unresolved', async () => {
    const origin = 'http://does-not-exist.invalid';
    const failure = failureOf(await start(open([origin]), { origin, connectMs: 5000 }).done);
    assert.deepEqual([failure.kind, failure.bytesSent], ['unresolved', 0]);
  });

  test('an origin that is not configured is never called', async () => {
    const { origin } = await listen(() => assert.fail());
    const failure = failureOf(await start(open([]), { origin }).done);
    assert.deepEqual([failure.kind, failure.bytesSent], ['refused', 0]);
    assert.match(failure.detail, /not configured/);
  });

  const origins: readonly (readonly [origin: string, says: RegExp | null])[] = [
    ['http://127.0.0.1:80', null],
    ['https://api.example.com', null],
    ['http://[::1]:9', null],
    ['ftp://x', /only http and https/],
    ['unix:/tmp/x', /only http and https/],
    ['example.com', /not a URL/],
    ['http://x/path', /no path/],
    ['http://x?a', /no path/],
    ['http://u:secret@x', /no user/],
  ];
  for (const [origin, says] of origins) {
    test(`the origin ${origin} is ${says === null ? 'taken' : 'refused'}`, () => {
      const parsed = parseOrigin({ origin });
      if (says === null) assert.ok(parsed.ok);
      else assert.match(parsed.ok ? '' : parsed.error, says);
      if (!parsed.ok) assert.ok(!parsed.error.includes('secret'));
    });
  }

  test('all connections busy: a call waits its turn, and is told when it has waited enough', async () => {
    const taken = Promise.withResolvers<() => void>();
    const { origin, sockets: accepted } = await listen((socket, _request, index) => {
      if (index === 0) taken.resolve(() => answer(socket, 'one'));
      else answer(socket, 'two');
    });
    const pool = open([origin], { upstreamConnectionsMax: 1 });
    const first = start(pool, { origin });
    const release = await taken.promise;
    const impatient = start(pool, { origin, connectMs: 40 });
    const patient = start(pool, { origin, connectMs: 5000 });
    const failure = failureOf(await impatient.done);
    assert.deepEqual([failure.kind, failure.bytesSent], ['pool-full', 0]);
    release();
    assert.equal((await first.done).body, 'one');
    assert.equal((await patient.done).body, 'two');
    assert.equal(accepted.length, 1);
  });

  test('calls that wait are bounded', async () => {
    const { origin } = await listen(() => {});
    const pool = open([origin], { upstreamConnectionsMax: 1, upstreamWaitersMax: 1 });
    const [first, second, third] = [0, 1, 2].map(() => start(pool, { origin, connectMs: 5000 }));
    assert.equal(failureOf((await third?.done) ?? assert.fail()).kind, 'pool-full');
    second?.handle.cancel();
    first?.handle.cancel();
    assert.equal(pool.stats()[0]?.waiting, 0);
  });
});

describe('kept connections', () => {
  test('one after another uses one connection, the last one first', async () => {
    const { origin, sockets: accepted } = await listen((socket) => {
      setTimeout(() => answer(socket), 5);
    });
    const pool = open([origin]);
    await Promise.all([start(pool, { origin }).done, start(pool, { origin }).done]);
    for (let time = 0; time < 5; time += 1) await start(pool, { origin }).done;
    assert.equal(accepted.length, 2);
    assert.equal(pool.stats()[0]?.idle, 2);
  });

  test('a call from inside onEnd takes the connection that has just come free', async () => {
    const { origin, sockets: accepted } = await listen((socket) => answer(socket));
    const pool = open([origin]);
    const second = await new Promise<Going>((resolve) => {
      start(pool, { origin }, { onEnd: () => resolve(start(pool, { origin })) });
    });
    await second.done;
    assert.equal(accepted.length, 1);
  });

  test('idle connections are bounded in number and time', async () => {
    const { origin } = await listen((socket) => setTimeout(() => answer(socket), 5));
    const pool = open([origin], { upstreamIdleConnectionsMax: 2, upstreamIdleMs: 60 });
    await Promise.all([0, 1, 2, 3].map(() => start(pool, { origin }).done));
    assert.equal(pool.stats()[0]?.idle, 2);
    while ((pool.stats()[0]?.connections ?? 0) > 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  const notKept: readonly (readonly [name: string, wire: string])[] = [
    ['Connection: close', `HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0${CRLF2}`],
    ['HTTP/1.0', `HTTP/1.0 200 OK\r\ncontent-length: 0${CRLF2}`],
    ['bytes after the end', `HTTP/1.1 200 OK\r\ncontent-length: 0${CRLF2}HTTP/1.1 200 OK${CRLF2}`],
    ['a timeout of 1 s', `HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 0${CRLF2}`],
  ];
  for (const [name, wire] of notKept) {
    test(`after ${name} a connection is not kept`, async () => {
      const { origin } = await listen((socket) => socket.write(wire));
      const pool = open([origin]);
      assert.equal((await start(pool, { origin }).done).end, 'ended');
      assert.equal(pool.stats()[0]?.connections, 0);
    });
  }

  test('an idle connection that the upstream closes or speaks on is dropped', async () => {
    const { origin, sockets: accepted } = await listen((socket) => answer(socket));
    const pool = open([origin]);
    for (const act of ['end', 'write'] as const) {
      await start(pool, { origin }).done;
      accepted.at(-1)?.[act]('HTTP/1.1 200 OK\r\n');
      while ((pool.stats()[0]?.connections ?? 0) > 0) {
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
    assert.equal(accepted.length, 2);
  });

  function staleUpstream(): Promise<Upstream> {
    // The second request, the first on a kept connection, finds it closing.
    return listen((socket, _request, index) => {
      if (index === 1) socket.resetAndDestroy();
      else answer(socket, `answer ${index}`);
    });
  }

  test('a GET that meets a dying kept connection is sent once more', async () => {
    const { origin, sockets: accepted } = await staleUpstream();
    const pool = open([origin]);
    const body = new Uint8Array(0);
    await start(pool, { origin, method: 'GET', body }).done;
    const heard = await start(pool, { origin, method: 'GET', body }).done;
    assert.deepEqual([heard.end, heard.body], ['ended', 'answer 2']);
    assert.equal(accepted.length, 2);
  });

  test('a POST that may have run is not: reset, with the bytes that left', async () => {
    const { origin } = await staleUpstream();
    const pool = open([origin]);
    await start(pool, { origin }).done;
    const failure = failureOf(await start(pool, { origin }).done);
    assert.equal(failure.kind, 'reset');
    assert.ok(failure.bytesSent > 0);
  });

  test('a POST on a connection whose reset has arrived moves to a fresh one unseen', async () => {
    const { origin, sockets: accepted } = await listen((socket) => answer(socket));
    const pool = open([origin]);
    await start(pool, { origin }).done;
    accepted[0]?.resetAndDestroy();
    // Busy until the kernel has the reset, while our own loop has not read it yet.
    const untilMs = performance.now() + 20;
    while (performance.now() < untilMs);
    await new Promise((resolve) => process.nextTick(resolve));
    const heard = await start(pool, { origin }).done;
    assert.equal(heard.end, 'ended');
  });

  test('bytes that come before a request has left are not taken for its answer', async () => {
    const { origin, sockets: accepted } = await listen((socket) => answer(socket, 'mine'));
    const pool = open([origin]);
    await start(pool, { origin }).done;
    // From a timer: the loop reads its sockets before it writes what was staged.
    const second = await new Promise<Going>((resolve) => {
      setTimeout(() => {
        accepted[0]?.write(`HTTP/1.1 200 OK\r\ncontent-length: 6${CRLF2}nobody`);
        resolve(start(pool, { origin }));
      }, 0);
    });
    const heard = await second.done;
    assert.deepEqual([heard.end, heard.body], ['ended', 'mine']);
    assert.equal(accepted.length, 2);
  });
});

describe('cancel, pause, resume', () => {
  test('a cancelled call is closed at the upstream within 100 ms, and is silent', async () => {
    let begun: () => void = () => {};
    const { origin, sockets: accepted } = await listen((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}1\r\na\r\n`);
      begun();
    });
    const pool = open([origin]);
    for (const moment of ['before the head', 'in the body'] as const) {
      const requested = new Promise<void>((resolve) => {
        begun = resolve;
      });
      const going = start(pool, { origin });
      await requested;
      if (moment === 'in the body') {
        while (going.heard.body === '') await new Promise((resolve) => setImmediate(resolve));
      }
      const closed = new Promise((resolve) => accepted.at(-1)?.once('close', resolve));
      const startMs = performance.now();
      going.handle.cancel();
      going.handle.cancel();
      await closed;
      assert.ok(performance.now() - startMs < 100);
      assert.equal(pool.stats()[0]?.connections, 0);
    }
  });

  test('cancelling from a callback stops at once', async () => {
    const { origin } = await listen((socket) => answer(socket, 'body'));
    const pool = open([origin]);
    const inHead = start(pool, { origin }, { onHead: (handle) => handle.cancel() });
    const inBody = start(pool, { origin }, { onBody: (handle) => handle.cancel() });
    await start(pool, { origin }).done;
    assert.deepEqual([inHead.heard.body, inBody.heard.body], ['', 'body']);
  });

  test('cancelling while connecting leaves nothing', async () => {
    const { origin } = await listen((socket) => answer(socket));
    const pool = open([origin]);
    start(pool, { origin }).handle.cancel();
    assert.equal(pool.stats()[0]?.connections, 0);
    await start(pool, { origin }).done;
  });

  test('a paused call holds its upstream back by the socket', async () => {
    const total = 40_000_000;
    let sent = 0;
    const { origin } = await listen((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${total}${CRLF2}`);
      const piece = Buffer.alloc(100_000);
      const fill = (): void => {
        while (sent < total) {
          sent += piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.on('drain', fill);
      fill();
    });
    let got = 0;
    const pool = open([origin]);
    const going = start(
      pool,
      { origin },
      {
        onHead: (handle) => handle.pause(),
        onBody: () => {
          got += going.heard.body.length;
          going.heard.body = '';
        },
      },
    );
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.ok(got <= 64 * 1024, `${got} bytes came through a pause`);
    assert.ok(sent < 16_000_000, 'the kernel holds the rest back');
    going.handle.resume();
    assert.equal((await going.done).end, 'ended');
    assert.equal(got, total);
    // The connection is usable after a pause.
    assert.equal(pool.stats()[0]?.idle, 1);
  });
});

/** Runs `work` while every turn is spent before a socket is read: all bodies have to wait. */
async function inBusyTurns(work: () => Promise<void>): Promise<void> {
  let isBusy = true;
  const spend = (): void => {
    spendTurn(HTTP_LIMITS.turnBytes);
    if (isBusy) setImmediate(spend);
  };
  spend();
  await work().finally(() => {
    isBusy = false;
  });
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
const CHUNKED_HEAD = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked${CRLF2}`;

/** A chunked body of `text` in chunks of `bytes`. */
function chunkedOf(text: string, bytes: number): string {
  let out = '';
  for (let at = 0; at < text.length; at += bytes) {
    const piece = text.slice(at, at + bytes);
    out += `${piece.length.toString(16)}\r\n${piece}\r\n`;
  }
  return `${out}0${CRLF2}`;
}

describe('a stream that waits for its turn', () => {
  const text = Array.from({ length: 40_000 }, (_, index) => `${index}`).join(' ');

  test('comes whole and in order, in pieces of any size, and its connection is used again', async () => {
    const { origin, sockets: made } = await listen(async (socket, _, index) => {
      socket.write(CHUNKED_HEAD);
      const framed = chunkedOf(text, 100 + index * 777);
      const step = [511, 9_000, 200_000][index] ?? 0;
      for (let at = 0; at < framed.length; at += step) {
        socket.write(framed.slice(at, at + step));
        if (at % 5 === 0) await sleep(0);
      }
    });
    const pool = open([origin]);
    await inBusyTurns(async () => {
      for (let index = 0; index < 3; index += 1) {
        const heard = await start(pool, { origin }).done;
        assert.equal(heard.end, 'ended');
        assert.ok(heard.body === text, `${heard.body.length} of ${text.length} bytes`);
      }
    });
    assert.equal(made.length, 1);
    assert.equal(pool.stats()[0]?.idle, 1);
  });

  test('is not read on while much of it waits, and holds nothing once it is over', async () => {
    const { origin } = await listen((socket) => socket.write(CHUNKED_HEAD + chunkedOf(text, 999)));
    const pool = open([origin]);
    let most = 0;
    await inBusyTurns(async () => {
      const going = start(
        pool,
        { origin },
        {
          onBody: () => {
            most = Math.max(most, going.heard.body.length);
            if (going.heard.pieces === 2) going.handle.cancel();
          },
        },
      );
      await sleep(100);
      assert.equal(going.heard.pieces, 2, 'a cancelled call hears no more');
    });
    const first = HTTP_LIMITS.readBufferBytes;
    assert.ok(most <= first + HTTP_LIMITS.lateFloodBytes + HTTP_LIMITS.readBufferBytes, `${most}`);
    const free = freeBodyBytes();
    await inBusyTurns(async () => {
      assert.equal((await start(pool, { origin }).done).end, 'ended');
    });
    assert.ok(freeBodyBytes() >= free, 'all memory of bodies was given back');
  });

  test('can be paused and goes on', async () => {
    const { origin } = await listen((socket) => socket.write(CHUNKED_HEAD + chunkedOf(text, 999)));
    const pool = open([origin]);
    await inBusyTurns(async () => {
      let paused = 0;
      const going = start(
        pool,
        { origin },
        {
          onBody: (handle) => {
            handle.pause();
            const { pieces } = going.heard;
            setTimeout(() => {
              assert.equal(going.heard.pieces, pieces, 'nothing comes through a pause');
              paused += 1;
              handle.resume();
            }, 5);
          },
        },
      );
      const heard = await going.done;
      assert.equal(heard.end, 'ended');
      assert.ok(heard.body === text);
      assert.ok(paused >= 3, `${paused}`);
    });
  });

  test('is told whole before its cut, or its end by the close of the connection', async () => {
    const { origin } = await listen(async (socket, _, index) => {
      socket.write(index === 0 ? CHUNKED_HEAD : `HTTP/1.1 200 OK${CRLF2}`);
      for (let piece = 0; piece < 20; piece += 1) {
        await sleep(1);
        socket.write(index === 0 ? '5\r\nhello\r\n' : 'hello');
      }
      socket.end();
    });
    const pool = open([origin]);
    await inBusyTurns(async () => {
      const cut = await start(pool, { origin }).done;
      assert.equal(failureOf(cut).kind, 'truncated');
      assert.equal(cut.body, 'hello'.repeat(20));
      const closed = await start(pool, { origin }).done;
      assert.equal(closed.end, 'ended');
      assert.equal(closed.body, 'hello'.repeat(20));
    });
  });

  /** Puts `turns` readers in line, each of which takes a whole turn: who comes now waits for them. */
  const crowd = (turns: number): void => {
    const handleLate = (): void => spendTurn(HTTP_LIMITS.turnBytes);
    for (let turn = 0; turn < turns; turn += 1) waitForTurn({ handleLate }, 1);
  };

  test('is told whole where the end of the connection overtakes it', async () => {
    const { origin } = await listen((socket, _, index) => {
      socket.write(index === 0 ? CHUNKED_HEAD : `HTTP/1.1 200 OK${CRLF2}`);
      setTimeout(() => {
        crowd(2_000);
        socket.end(index === 0 ? '5\r\nhello\r\n' : 'hello');
      }, 20);
    });
    const pool = open([origin]);
    const cut = await start(pool, { origin }).done;
    assert.equal(failureOf(cut).kind, 'truncated');
    assert.equal(cut.body, 'hello');
    const closed = await start(pool, { origin }).done;
    assert.equal(closed.end, 'ended');
    assert.equal(closed.body, 'hello');
  });

  test('that is paused in line comes after it was resumed', async () => {
    const { origin } = await listen((socket) => {
      socket.write(CHUNKED_HEAD);
      setTimeout(() => {
        crowd(2_000);
        socket.write(`5\r\nhello\r\n0${CRLF2}`);
        // The bytes are read in one of the next turns, and wait in line by then.
        setTimeout(() => going.handle.pause(), 1);
      }, 20);
    });
    const going = start(open([origin]), { origin });
    await sleep(150);
    assert.equal(going.heard.body, '', 'nothing comes through a pause');
    going.handle.resume();
    const heard = await going.done;
    assert.equal(heard.end, 'ended');
    assert.equal(heard.body, 'hello');
  });

  test('does not hold up who waits for a first byte', async () => {
    const { origin } = await listen((socket, _, index) => {
      if (index > 0) answer(socket);
      else socket.write(CHUNKED_HEAD + chunkedOf('x'.repeat(8_000_000), 4_000));
    });
    const pool = open([origin]);
    await inBusyTurns(async () => {
      let isOver = false;
      const flood = start(pool, { origin });
      void flood.done.then(() => (isOver = true));
      await sleep(2);
      const heard = await start(pool, { origin }).done;
      assert.equal(heard.body, 'ok');
      assert.ok(!isOver, 'the flood still goes on');
      assert.equal((await flood.done).body.length, 8_000_000);
    });
  });
});

describe('a changing table of origins', () => {
  test('one that left can be called for a while, without keeping connections', async () => {
    const { origin } = await listen((socket) => answer(socket));
    const pool = open([origin], { upstreamRetiredMs: 50 });
    await start(pool, { origin }).done;
    assert.ok(pool.setOrigins([]).ok);
    assert.equal((await start(pool, { origin }).done).end, 'ended');
    assert.equal(pool.stats()[0]?.connections, 0);
    while (pool.stats().length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.match(failureOf(await start(pool, { origin }).done).detail, /not configured/);
  });

  test('a table with a wrong origin changes nothing', async () => {
    const { origin } = await listen((socket) => answer(socket));
    const pool = open([origin]);
    const set = pool.setOrigins([{ origin: 'http://y' }, { origin: 'gopher://x' }]);
    assert.ok(!set.ok);
    assert.equal((await start(pool, { origin }).done).end, 'ended');
    assert.equal(pool.stats().length, 1);
  });

  test('closing breaks off what is under way', async () => {
    const { origin } = await listen(() => {});
    const pool = open([origin]);
    const going = start(pool, { origin });
    await new Promise((resolve) => setTimeout(resolve, 30));
    pool.close();
    assert.equal(failureOf(await going.done).kind, 'reset');
    assert.equal(failureOf(await start(pool, { origin }).done).kind, 'refused');
  });
});
