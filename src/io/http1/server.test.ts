import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { connect, type Socket } from 'node:net';
import { after, describe, test } from 'node:test';

import type { ClientEvents, ClientReply, ClientRequest } from '../../base/ports.ts';
import type { HttpLimits } from './limits.ts';
import { createHttpServer, type HttpServer } from './server.ts';

const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };
const CRLF2 = '\r\n\r\n';

/** What the handler got, with the means to answer and to watch. */
class Taken implements ClientEvents {
  readonly request: ClientRequest;
  readonly reply: ClientReply;
  isGone = false;
  drains = 0;
  onGoneHook: () => void = () => {};
  onDrainHook: () => void = () => {};

  constructor(request: ClientRequest, reply: ClientReply) {
    this.request = request;
    this.reply = reply;
  }

  onGone(): void {
    this.isGone = true;
    this.onGoneHook();
  }

  onDrain(): void {
    this.drains += 1;
    this.onDrainHook();
  }

  /** Answers in full. */
  answer(text: string): void {
    const body = Buffer.from(text);
    this.reply.head(200, ['content-type', 'text/plain'], { kind: 'length', bytes: body.length });
    this.reply.end(body);
  }
}

interface Bench {
  readonly server: HttpServer;
  readonly port: number;
  readonly taken: Taken[];
  readonly refused: string[];
  /** Waits for the next request that the handler gets. */
  readonly next: () => Promise<Taken>;
}

const benches: HttpServer[] = [];
const sockets: Socket[] = [];
after(async () => {
  for (const socket of sockets) socket.destroy();
  await Promise.all(benches.map((server) => server.close(0)));
});

/** A listener whose handler does what `act` says with each request. */
async function listen(
  act: (taken: Taken) => void,
  limits: Partial<HttpLimits> = {},
): Promise<Bench> {
  const taken: Taken[] = [];
  const refused: string[] = [];
  const waiting: ((one: Taken) => void)[] = [];
  const server = createHttpServer({
    clock,
    limits: { sweepMs: 20, ...limits },
    onRefused: (code) => refused.push(code),
    handler: {
      handle(request, reply) {
        const one = new Taken(request, reply);
        taken.push(one);
        act(one);
        waiting.shift()?.(one);
        return one;
      },
    },
  });
  benches.push(server);
  const bound = await server.listen('127.0.0.1', 0);
  assert.ok(bound.ok);
  const next = (): Promise<Taken> => new Promise((resolve) => waiting.push(resolve));
  return { server, port: bound.value.port, taken, refused, next };
}

/** A raw client: what it got so far, and how its connection ended. */
interface Raw {
  readonly socket: Socket;
  text(): string;
  /** Waits until `mark` has arrived `count` times. */
  until(mark: string, count?: number): Promise<string>;
  /** Waits for the end: `end` (FIN), or the code of an error. */
  readonly closed: Promise<string>;
}

function dial(port: number): Raw {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  sockets.push(socket);
  let text = '';
  let check: () => void = () => {};
  socket.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1');
    check();
  });
  const closed = new Promise<string>((resolve) => {
    socket.on('end', () => resolve('end'));
    socket.on('error', (cause) => resolve('code' in cause ? String(cause.code) : 'error'));
    socket.on('close', () => resolve('close'));
  });
  const until = (mark: string, count = 1): Promise<string> =>
    new Promise((resolve, reject) => {
      check = (): void => {
        if (text.split(mark).length > count) resolve(text);
      };
      void closed.then(() => reject(new Error(`closed before ${mark}: ${text}`)));
      check();
    });
  return { socket, text: () => text, until, closed };
}

function get(path = '/', fields = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;
}

function post(body: string, fields = ''): string {
  return `POST / HTTP/1.1\r\nHost: x\r\n${fields}Content-Length: ${body.length}${CRLF2}${body}`;
}

describe('requests', () => {
  test('a request reaches the handler in parts, without its key', async () => {
    const { port, taken } = await listen((one) => one.answer('hello'));
    const raw = dial(port);
    raw.socket.write(
      'POST /v1/x?a=b&c HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer K\r\nX-Api-Key: K\r\n' +
        'X-Other: 1\r\nContent-Length: 3\r\n\r\nabc',
    );
    const text = await raw.until('hello');
    const [one] = taken;
    assert.ok(one !== undefined);
    const { method, path, query, headers, body, keyHash, remote, forwardedFrom } = one.request;
    assert.deepEqual([method, path, query], ['POST', '/v1/x', 'a=b&c']);
    assert.deepEqual(headers, ['host', 'x', 'x-other', '1', 'content-length', '3']);
    assert.equal(Buffer.from(body).toString(), 'abc');
    assert.equal(keyHash, createHash('sha256').update('K').digest('hex'));
    assert.deepEqual([remote, forwardedFrom], ['127.0.0.1', null]);
    assert.match(text, /^HTTP\/1\.1 200 OK\r\ndate: .* GMT\r\ncontent-type: text\/plain\r\n/);
    assert.match(text, /content-length: 5\r\n\r\nhello$/);
  });

  test('x-api-key alone, another scheme and no key', async () => {
    const { port, taken } = await listen((one) => one.answer('.'));
    const raw = dial(port);
    raw.socket.write(
      get('/', 'X-Api-Key: \u00e9\r\n') + get('/', 'Authorization: Basic K\r\n') + get(),
    );
    await raw.until(`${CRLF2}.`, 3);
    const hashes = taken.map((one) => one.request.keyHash);
    assert.deepEqual(hashes, [createHash('sha256').update('é').digest('hex'), null, null]);
  });

  test('two different keys are refused', async () => {
    const { port, taken } = await listen((one) => one.answer('.'));
    const raw = dial(port);
    raw.socket.write(get('/', 'Authorization: Bearer a\r\nX-Api-Key: b\r\n'));
    assert.match(await raw.until('different keys'), /^HTTP\/1\.1 400 /);
    assert.equal(taken.length, 0);
  });

  test('a body in chunks, split at every byte', async () => {
    const { port, taken } = await listen((one) => one.answer('.'));
    const raw = dial(port);
    raw.socket.setNoDelay(true);
    const input =
      `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked${CRLF2}` +
      '3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: 1\r\n\r\n';
    for (const char of input) {
      raw.socket.write(char);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await raw.until(`${CRLF2}.`);
    assert.equal(Buffer.from(taken[0]?.request.body ?? []).toString(), 'abcdefg');
  });

  test('a body far larger than one read arrives whole', async () => {
    const { port, taken, server } = await listen((one) => one.answer('.'));
    const body = 'x'.repeat(3_000_000);
    const raw = dial(port);
    raw.socket.write(post(body));
    await raw.until(`${CRLF2}.`);
    assert.equal(Buffer.from(taken[0]?.request.body ?? []).toString(), body);
    assert.equal(server.stats().bodiesBytes, 0, 'answered bodies are given back');
  });

  test('pipelined requests are answered one after another, in order', async () => {
    const { port, taken } = await listen((one) => {
      setTimeout(() => one.answer(`<${one.request.path}>`), 5);
    });
    const raw = dial(port);
    raw.socket.write(get('/1') + post('abc') + get('/3'));
    const text = await raw.until('</3>');
    assert.deepEqual(text.match(/<[^>]*>/g), ['</1>', '</>', '</3>']);
    assert.equal(taken.length, 3);
  });

  test('pipelined bytes past their limit wait in the kernel and are not lost', async () => {
    const { port, taken } = await listen(
      (one) => {
        setTimeout(() => one.answer('.'), 1);
      },
      { pipelineBytesMax: 256 },
    );
    const raw = dial(port);
    for (let index = 0; index < 200; index += 1) raw.socket.write(get(`/${index}`));
    await raw.until(`${CRLF2}.`, 200);
    assert.equal(taken.at(-1)?.request.path, '/199');
  });

  test('Expect: 100-continue is answered before the body is there', async () => {
    const { port } = await listen((one) => one.answer('done'));
    const raw = dial(port);
    raw.socket.write(
      'POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n',
    );
    await raw.until(`HTTP/1.1 100 Continue${CRLF2}`);
    raw.socket.write('ab');
    assert.match(await raw.until('done'), /HTTP\/1\.1 200 OK/);
  });
});

describe('responses', () => {
  test('HEAD, 204 and 304 carry no body', async () => {
    const { port } = await listen((one) => {
      if (one.request.method === 'HEAD') one.answer('abc');
      else {
        one.reply.head(one.request.path === '/204' ? 204 : 304, [], { kind: 'stream' });
        one.reply.end(Buffer.from('never'));
      }
    });
    const raw = dial(port);
    raw.socket.write(`HEAD / HTTP/1.1\r\nHost: x${CRLF2}${get('/204')}${get('/304')}`);
    const text = await raw.until(CRLF2, 3);
    assert.match(text, /content-length: 3\r\n\r\nHTTP\/1\.1 204 /);
    assert.match(text, /304 Not Modified\r\ndate: [^\r]*\r\n\r\n$/);
    assert.ok(!text.includes('transfer-encoding') && !text.includes('never'));
  });

  test('a stream goes out in chunks, its head with its first bytes', async () => {
    const { port } = await listen((one) => {
      one.reply.head(200, [], { kind: 'stream' });
      one.reply.write(Buffer.from('first'));
      setTimeout(() => one.reply.end(Buffer.from('last')), 10);
    });
    const raw = dial(port);
    const firsts: string[] = [];
    raw.socket.once('data', (bytes: Buffer) => firsts.push(bytes.toString()));
    raw.socket.write(get());
    const text = await raw.until('0\r\n\r\n');
    assert.match(firsts[0] ?? '', /^HTTP.*5\r\nfirst\r\n$/s);
    assert.match(text, /transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n$/);
  });

  test('HTTP/1.0 gets a stream that ends with the connection', async () => {
    const { port } = await listen((one) => {
      one.reply.head(200, [], { kind: 'stream' });
      one.reply.end(Buffer.from('all'));
    });
    const raw = dial(port);
    raw.socket.write('GET / HTTP/1.0\r\n\r\n');
    assert.equal(await raw.closed, 'end');
    assert.match(raw.text(), /connection: close\r\n\r\nall$/);
  });

  test('Connection: close is honoured', async () => {
    const { port } = await listen((one) => one.answer('bye'));
    const raw = dial(port);
    raw.socket.write(get('/', 'Connection: close\r\n') + get());
    assert.equal(await raw.closed, 'end');
    assert.equal(raw.text().split('HTTP/1.1').length, 2, 'nothing is answered after it');
    assert.match(raw.text(), /connection: close\r\n/);
  });

  test('fields that belong to the connection and characters that split are kept out', async () => {
    const { port } = await listen((one) => {
      const headers = [
        'transfer-encoding',
        'gzip',
        'content-length',
        '9',
        'x-a',
        'a\r\nb: c\u010d\u{1f333}',
      ];
      one.reply.head(200, headers, { kind: 'length', bytes: 0 });
      one.reply.end();
    });
    const raw = dial(port);
    raw.socket.write(get());
    const text = await raw.until(CRLF2);
    assert.match(text, /x-a: a\?\?b: c\?\?\r\n/);
    assert.ok(!text.includes('gzip') && !text.includes('content-length: 9'));
  });

  test('a body shorter than its head says is a broken connection, not an end', async () => {
    const { port, server } = await listen((one) => {
      one.reply.head(200, [], { kind: 'length', bytes: 10 });
      one.reply.end(Buffer.from('short'));
    });
    await assert.rejects(fetch(`http://127.0.0.1:${port}`).then((answer) => answer.text()));
    assert.equal(server.stats().aborted, 1);
  });
});

describe('cut streams', () => {
  for (const kind of ['stream', 'length'] as const) {
    const framing = kind === 'stream' ? { kind } : { kind, bytes: 1000 };

    test(`fetch and node:http see an aborted ${kind} body, with what was written`, async () => {
      const { port } = await listen((one) => {
        one.reply.head(200, [], framing);
        one.reply.write(Buffer.from('part'));
        setTimeout(() => {
          one.reply.write(Buffer.from('error event'));
          one.reply.abort();
        }, 10);
      });
      const answer = await fetch(`http://127.0.0.1:${port}`);
      const pieces: string[] = [];
      await assert.rejects(async () => {
        for await (const piece of answer.body ?? []) pieces.push(Buffer.from(piece).toString());
      });
      assert.equal(pieces.join(''), 'parterror event');

      const [response] = (await once(http.get({ port, host: '127.0.0.1' }), 'response')) as [
        http.IncomingMessage,
      ];
      response.resume();
      const [cause] = (await once(response, 'error')) as [Error];
      assert.match(cause.message, /aborted/);
      assert.equal(response.complete, false);
    });
  }

  test('an HTTP/1.0 stream that is cut is reset', async () => {
    const { port } = await listen((one) => {
      one.reply.head(200, [], { kind: 'stream' });
      one.reply.write(Buffer.from('part'));
      setTimeout(() => one.reply.abort(), 10);
    });
    const raw = dial(port);
    raw.socket.write('GET / HTTP/1.0\r\n\r\n');
    assert.equal(await raw.closed, 'ECONNRESET');
  });

  test('an abort before the head resets', async () => {
    const { port } = await listen((one) => one.reply.abort());
    const raw = dial(port);
    raw.socket.write(get());
    assert.equal(await raw.closed, 'ECONNRESET');
  });
});

describe('clients that leave', () => {
  for (const how of ['FIN', 'RST'] as const) {
    test(`${how} while the answer is pending reaches the handler within 100 ms`, async () => {
      const { port, next, server } = await listen(() => {});
      const raw = dial(port);
      raw.socket.write(get());
      const one = await next();
      const gone = new Promise<void>((resolve) => {
        one.onGoneHook = resolve;
      });
      const startMs = performance.now();
      if (how === 'FIN') raw.socket.end();
      else raw.socket.resetAndDestroy();
      await gone;
      assert.ok(performance.now() - startMs < 100);
      one.answer('too late: ignored');
      one.reply.abort();
      assert.deepEqual([server.stats().gone, server.stats().answered], [1, 0]);
    });
  }

  for (const how of ['FIN', 'RST'] as const) {
    test(`${how} of a client whose pipelined bytes wait in the kernel is seen too`, async () => {
      const { port, next } = await listen(() => {}, { pipelineBytesMax: 256 });
      const raw = dial(port);
      raw.socket.write(get());
      const one = await next();
      const gone = new Promise<void>((resolve) => {
        one.onGoneHook = resolve;
      });
      // More than the limit, in two pieces: the second stays unread until the next look.
      await new Promise((resolve) => raw.socket.write(get('/next').repeat(20), resolve));
      await new Promise((resolve) => raw.socket.write(get('/last'), resolve));
      if (how === 'FIN') raw.socket.end();
      else raw.socket.resetAndDestroy();
      await gone;
    });
  }

  test('a client that floods behind its request is cut off, not kept', async () => {
    const { port, next, server } = await listen(() => {}, {
      pipelineBytesMax: 1024,
      pipelineBytesCut: 8 * 1024,
    });
    const raw = dial(port);
    raw.socket.write(get());
    const one = await next();
    const gone = new Promise<void>((resolve) => {
      one.onGoneHook = resolve;
    });
    raw.socket.write(get('/more').repeat(20_000));
    await gone;
    assert.equal(server.stats().gone, 1);
    assert.notEqual(await raw.closed, 'end');
  });

  test('onGone comes once, in the middle of a stream too', async () => {
    const { port, next } = await listen((one) => one.reply.head(200, [], { kind: 'stream' }));
    const raw = dial(port);
    raw.socket.write(get());
    const one = await next();
    let times = 0;
    const gone = new Promise<void>((resolve) => {
      one.onGoneHook = (): void => {
        times += 1;
        setTimeout(resolve, 20);
      };
    });
    one.reply.write(Buffer.from('x'));
    await raw.until('x');
    raw.socket.destroy();
    await gone;
    assert.equal(times, 1);
    assert.equal(one.reply.write(Buffer.from('y')), true, 'a reply to nobody takes all');
  });

  test('a client that closes its side after reading its answer leaves nothing behind', async () => {
    const { port, server } = await listen((one) => one.answer('.'));
    const raw = dial(port);
    raw.socket.write(get());
    await raw.until(`${CRLF2}.`);
    raw.socket.end();
    await raw.closed;
    while (server.stats().connections > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(server.stats().gone, 0);
  });
});

describe('slow clients', () => {
  test('a slow reader stops the writer at high water and starts it again', async () => {
    const limits = { writeHighWaterBytes: 64 * 1024, writeLowWaterBytes: 16 * 1024 };
    const { port, next } = await listen(() => {}, limits);
    const raw = dial(port);
    raw.socket.pause();
    raw.socket.write(get());
    const one = await next();
    const chunk = Buffer.alloc(8 * 1024, 'x');
    const total = 2000;
    let written = 0;
    let blocks = 0;
    one.reply.head(200, [], { kind: 'stream' });
    const fill = (): void => {
      while (written < total) {
        written += 1;
        if (!one.reply.write(chunk)) {
          blocks += 1;
          return;
        }
      }
      one.reply.end();
    };
    one.onDrainHook = fill;
    fill();
    assert.ok(written < total, 'the writer was stopped');
    await new Promise((resolve) => setTimeout(resolve, 50));
    const heldBack = written;
    assert.ok(heldBack * chunk.length < 12_000_000, 'only the kernel holds more than high water');
    raw.socket.removeAllListeners('data');
    let bytesGot = 0;
    let tail = '';
    raw.socket.on('data', (bytes: Buffer) => {
      bytesGot += bytes.length;
      tail = (tail + bytes.toString('latin1')).slice(-7);
      if (tail === '\r\n0\r\n\r\n') raw.socket.destroy();
    });
    raw.socket.resume();
    await raw.closed;
    assert.ok(blocks > 1 && one.drains >= blocks);
    assert.ok(bytesGot > total * chunk.length);
  });

  test('a reader that takes nothing is dropped', async () => {
    const { port, next, server } = await listen(() => {}, { writeStallMs: 60 });
    const raw = dial(port);
    raw.socket.pause();
    raw.socket.write(get());
    const one = await next();
    const gone = new Promise<void>((resolve) => {
      one.onGoneHook = resolve;
    });
    one.reply.head(200, [], { kind: 'stream' });
    while (one.reply.write(Buffer.alloc(64 * 1024)));
    await gone;
    assert.equal(server.stats().stalled, 1);
  });

  const slow: readonly (readonly [name: string, input: string])[] = [
    ['a head', 'GET / HTT'],
    ['fields', 'GET / HTTP/1.1\r\nHost: x\r\nA:'],
    ['a body', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab'],
    ['chunks', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab'],
  ];
  for (const [name, input] of slow) {
    test(`${name} that does not come is answered with 408`, async () => {
      const { port, server } = await listen(() => {}, { headerReadMs: 50, bodyReadMs: 50 });
      const raw = dial(port);
      raw.socket.write(input);
      assert.equal(await raw.closed, 'end');
      assert.match(raw.text(), /^HTTP\/1\.1 408 .*"code":"request_timeout"/s);
      assert.equal(server.stats().bodiesBytes, 0);
    });
  }

  const drips: readonly (readonly [name: string, start: string, drop: string])[] = [
    ['a start line', 'GET /', 'a'],
    ['fields', 'GET / HTTP/1.1\r\nHost: x\r\n', 'A: b\r\n'],
    ['a body', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n', 'x'],
    [
      'chunks',
      'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
      '1;a=b\r\nx\r\n',
    ],
    [
      'trailers',
      'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n',
      'A: b\r\n',
    ],
  ];
  for (const [name, start, drop] of drips) {
    test(`${name} in drops is answered with 408 all the same: no drop buys time`, async () => {
      const { port, server } = await listen(() => {}, { headerReadMs: 150, bodyReadMs: 150 });
      const raw = dial(port);
      raw.socket.write(start);
      const dripping = setInterval(() => raw.socket.write(drop), 10);
      const end = await raw.closed;
      clearInterval(dripping);
      assert.match(raw.text(), /^HTTP\/1\.1 408 .*"code":"request_timeout"/s, end);
      assert.equal(server.stats().bodiesBytes, 0);
    });
  }

  test('connections without a request are closed: new ones and kept ones', async () => {
    const limits = { headerReadMs: 50, keepAliveIdleMs: 50 };
    const { port } = await listen((one) => one.answer('.'), limits);
    const [silent, kept] = [dial(port), dial(port)];
    kept.socket.write(get());
    await Promise.all([silent.closed, kept.closed]);
    assert.equal(silent.text(), '');
  });
});

describe('limits', () => {
  test('a body over the limit is refused before it comes, with 413', async () => {
    const { port, refused } = await listen((one) => one.answer('.'), { requestBodyBytesMax: 10 });
    const fits = dial(port);
    fits.socket.write(post('0123456789'));
    await fits.until(`${CRLF2}.`);
    const raw = dial(port);
    raw.socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n');
    assert.equal(await raw.closed, 'end');
    assert.match(raw.text(), /^HTTP\/1\.1 413 .*connection: close.*"code":"body_too_large"/s);
    assert.deepEqual(refused, ['body_too_large']);
  });

  const chunks = (text: string): string =>
    `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked${CRLF2}${text}`;
  const fill = (count: number): string => 'a'.repeat(count);
  /** Each at its limit, and one past it. */
  const bounds: readonly (readonly [
    name: string,
    limits: Partial<HttpLimits>,
    input: (more: number) => string,
    status: number,
  ])[] = [
    [
      'a start line',
      { startLineBytesMax: 64 },
      (more) => `GET /${fill(50 + more)} HTTP/1.1\r\nHost: x${CRLF2}`,
      431,
    ],
    [
      'a header section',
      { startLineBytesMax: 16, headerSectionBytesMax: 64 },
      (more) => `GET / HTTP/1.1\r\nHost: x\r\nA: ${fill(48 + more)}${CRLF2}`,
      431,
    ],
    [
      'header fields',
      { headerFieldsMax: 3 },
      (more) => `GET / HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(2 + more)}\r\n`,
      431,
    ],
    ['a body', { requestBodyBytesMax: 10 }, (more) => post(fill(10 + more)), 413],
    [
      'a body in chunks',
      { requestBodyBytesMax: 10 },
      (more) => chunks(`5\r\naaaaa\r\n${5 + more}\r\n${fill(5 + more)}\r\n0${CRLF2}`),
      413,
    ],
    [
      'a chunk line',
      { chunkLineBytesMax: 32 },
      (more) => chunks(`1;${fill(31 + more)}\r\na\r\n0${CRLF2}`),
      400,
    ],
    [
      'digits of a chunk size',
      {},
      (more) => chunks(`${'0'.repeat(9 + more)}1\r\na\r\n0${CRLF2}`),
      400,
    ],
    [
      'trailers',
      { trailerBytesMax: 32 },
      (more) => chunks(`0\r\nA: ${fill(25 + more)}${CRLF2}`),
      431,
    ],
    [
      'all bodies',
      { requestBodiesBytesMax: 100, requestBodyBytesMax: 1_000 },
      (more) => post(fill(100 + more)),
      503,
    ],
  ];
  for (const [name, limits, input, status] of bounds) {
    test(`${name} at the limit is taken, one past it is ${status}`, async () => {
      const { port, taken } = await listen((one) => one.answer('.'), limits);
      const fits = dial(port);
      fits.socket.write(input(0));
      await fits.until(`${CRLF2}.`);
      const over = dial(port);
      over.socket.write(input(1));
      assert.equal(await over.closed, 'end');
      assert.match(over.text(), new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.equal(taken.length, 1);
    });
  }

  test('chunks over the limit too, and the limit can be changed at run time', async () => {
    const { port, server } = await listen((one) => one.answer('.'));
    server.setRequestBodyBytesMax(4);
    const head = `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked${CRLF2}`;
    const raw = dial(port);
    raw.socket.write(`${head}3\r\nabc\r\n2\r\nde\r\n`);
    assert.match(await raw.until('body_too_large'), /^HTTP\/1\.1 413/);
    server.setRequestBodyBytesMax(5);
    const again = dial(port);
    again.socket.write(`${head}3\r\nabc\r\n2\r\nde\r\n0${CRLF2}`);
    await again.until(`${CRLF2}.`);
  });

  test('all bodies together are bounded: 503 with Retry-After', async () => {
    const { port, server } = await listen(() => {}, { requestBodiesBytesMax: 30_000 });
    const [first, second] = [dial(port), dial(port)];
    first.socket.write(post('x'.repeat(20_000)));
    while (server.stats().busy === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    second.socket.write(post('x'.repeat(20_000)));
    assert.match(await second.until('overloaded'), /^HTTP\/1\.1 503 .*retry-after: 1\r\n/s);
  });

  test('connections past the limit are told so with 503', async () => {
    const { port, server } = await listen((one) => one.answer('.'), { connectionsMax: 2 });
    const kept = [dial(port), dial(port)];
    for (const raw of kept) {
      raw.socket.write(get());
      await raw.until(`${CRLF2}.`);
    }
    const third = dial(port);
    assert.equal(await third.closed, 'end');
    assert.match(third.text(), /^HTTP\/1\.1 503 .*"code":"overloaded"/s);
    third.socket.end();
    kept[0]?.socket.destroy();
    while (server.stats().connections > 1) await new Promise((resolve) => setTimeout(resolve, 5));
    const fourth = dial(port);
    fourth.socket.write(get());
    await fourth.until(`${CRLF2}.`);
    assert.equal(server.stats().connectionsRefused, 1);
  });

  test('connections of one address are bounded on their own', async () => {
    const { port } = await listen((one) => one.answer('.'), { connectionsPerAddressMax: 1 });
    const first = dial(port);
    first.socket.write(get());
    await first.until(`${CRLF2}.`);
    const second = dial(port);
    assert.equal(await second.closed, 'end');
    assert.match(second.text(), /^HTTP\/1\.1 503 /);
  });
});

describe('refusals', () => {
  const dialects: readonly (readonly [path: string, body: RegExp])[] = [
    ['/v1/messages', /\{"type":"error","error":\{"type":"invalid_request_error","message":"/],
    ['/anthropic/v1/messages?x=1', /\{"type":"error","error":\{"type":"invalid_request_error"/],
    [
      '/v1/messagesX',
      /\{"error":\{"message":".*","type":"invalid_request_error","code":"bad_http"/,
    ],
    ['/v1/chat/completions', /\{"error":\{"message":".*","code":"bad_http","param":null\}\}/],
  ];
  for (const [path, body] of dialects) {
    test(`a fault in the fields of ${path} is told in the dialect of the path`, async () => {
      const { port, taken, server } = await listen(() => {});
      const raw = dial(port);
      raw.socket.write(get(path, 'Bad Name: x\r\n') + get());
      assert.equal(await raw.closed, 'end');
      assert.match(raw.text(), /^HTTP\/1\.1 400 Bad Request\r\n.*connection: close\r\n/s);
      assert.match(raw.text(), body);
      assert.deepEqual([taken.length, server.stats().refused], [0, 1]);
    });
  }

  test('too large a head is 431, and what a client still sends does not reset the answer', async () => {
    const { port } = await listen(() => {});
    const raw = dial(port);
    raw.socket.write(get('/', `X: ${'a'.repeat(500_000)}\r\n`));
    assert.equal(await raw.closed, 'end');
    assert.match(raw.text(), /^HTTP\/1\.1 431 .*"code":"headers_too_large"/s);
  });
});

describe('closing', () => {
  test('idle connections close, a request under way is answered with Connection: close', async () => {
    const { port, server, next } = await listen(() => {});
    const [idle, busy] = [dial(port), dial(port)];
    await once(idle.socket, 'connect');
    busy.socket.write(get());
    const one = await next();
    while (server.stats().connections < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const closing = server.close(5000);
    assert.equal(await idle.closed, 'end');
    idle.socket.end();
    one.answer('last');
    assert.equal(await busy.closed, 'end');
    assert.match(busy.text(), /connection: close\r\n\r\nlast$/);
    busy.socket.end();
    await closing;
    const late = dial(port);
    assert.equal(await late.closed, 'ECONNREFUSED');
  });

  test('what is not done within the grace is broken off, and the handler hears of it', async () => {
    const { port, server, next } = await listen(() => {});
    const raw = dial(port);
    raw.socket.write(get());
    const one = await next();
    await server.close(30);
    assert.equal(one.isGone, true);
    assert.equal(await raw.closed, 'ECONNRESET');
  });

  test('a connection that lingers when the grace is over leaves no handle behind', async () => {
    const { port, server } = await listen((one) => one.answer('.'));
    const raw = dial(port); // Never closes its own side.
    raw.socket.write(get('/', 'Connection: close\r\n'));
    await raw.closed;
    await server.close(0);
    assert.equal(server.stats().connections, 0);
  });

  test('an address in use is a value, not an exception', async () => {
    const { port } = await listen(() => {});
    const second = createHttpServer({ clock, handler: { handle: () => assert.fail() } });
    const bound = await second.listen('127.0.0.1', port);
    assert.equal(bound.ok, false);
  });
});
