/**
 * Micro-benchmarks of the HTTP/1.1 codec: `node bench/http1.ts [head|echo]`.
 *
 * head: nanoseconds to parse one request head. echo: requests a second of an echo handler, ours against
 * node:http, in interleaved rounds over loopback; the client is a raw socket loop, the same for both,
 * in a process of its own. One machine, so the ratio counts and not the figures.
 */

import { fork, type ChildProcess } from 'node:child_process';
import { createServer } from 'node:http';
import { connect } from 'node:net';

import type { RequestHandler } from '../src/base/ports.ts';
import { HeadParser } from '../src/io/http1/parser.ts';
import { createHttpServer } from '../src/io/http1/server.ts';

const ROUNDS = 5;
const ROUND_MS = 1500;
const CONNECTIONS = 64;
const BODY_BYTES = 2048;
const ANSWER_BYTES = 1024;

const HEAD =
  'POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8101\r\nAccept: application/json\r\n' +
  'Content-Type: application/json\r\nUser-Agent: OpenAI/JS 7.57.0\r\n' +
  'X-Stainless-Lang: js\r\nX-Stainless-Package-Version: 7.57.0\r\nX-Stainless-OS: Linux\r\n' +
  'X-Stainless-Arch: x64\r\nX-Stainless-Runtime: node\r\nX-Stainless-Runtime-Version: v26.10.0\r\n' +
  'X-Stainless-Retry-Count: 0\r\nAuthorization: Bearer banyan-demo\r\n' +
  `Connection: keep-alive\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`;

const ANSWER = Buffer.alloc(ANSWER_BYTES, 'x');
const NO_EVENTS = { onGone(): void {}, onDrain(): void {} };

const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };

function benchHead(): void {
  const bytes = Buffer.from(HEAD, 'latin1');
  const parser = new HeadParser('request');
  const heads = 200_000;
  let bestNs = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const startNs = process.hrtime.bigint();
    for (let index = 0; index < heads; index += 1) {
      parser.reset();
      if (parser.push(bytes, 0, bytes.length) !== bytes.length) throw new Error('not parsed');
    }
    bestNs = Math.min(bestNs, Number(process.hrtime.bigint() - startNs) / heads);
  }
  console.log(`head of ${bytes.length} bytes, 14 fields: ${bestNs.toFixed(0)} ns`);
}

const echo: RequestHandler = {
  handle(_request, reply) {
    reply.head(200, ['content-type', 'application/json'], { kind: 'length', bytes: ANSWER_BYTES });
    reply.end(ANSWER);
    return NO_EVENTS;
  },
};

async function serveOurs(): Promise<void> {
  const server = createHttpServer({ handler: echo, clock });
  const address = await server.listen('127.0.0.1', 0);
  if (!address.ok) throw address.error;
  tellCpu();
  process.send?.(address.value.port);
}

/** Answers any message with the CPU time used so far, µs: the figure that other load cannot spoil. */
function tellCpu(): void {
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send?.(user + system);
  });
}

function serveNode(): void {
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      Buffer.concat(pieces);
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': ANSWER_BYTES,
      });
      response.end(ANSWER);
    });
  });
  tellCpu();
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    if (address !== null && typeof address === 'object') process.send?.(address.port);
  });
}

/** Answers a second over `CONNECTIONS` connections, each with one request under way. */
function load(port: number): Promise<number> {
  const request = Buffer.concat([Buffer.from(HEAD, 'latin1'), Buffer.alloc(BODY_BYTES, 'y')]);
  const buffer = Buffer.alloc(64 * 1024);
  return new Promise((resolve) => {
    let answers = 0;
    const sockets = Array.from({ length: CONNECTIONS }, () => {
      let got = 0;
      let expected = 0;
      const socket = connect({
        port,
        host: '127.0.0.1',
        noDelay: true,
        onread: {
          buffer,
          callback(bytesRead: number): boolean {
            if (expected === 0) expected = buffer.indexOf('\r\n\r\n') + 4 + ANSWER_BYTES;
            got += bytesRead;
            if (got < expected) return true;
            got = 0;
            answers += 1;
            socket.write(request);
            return true;
          },
        },
      });
      socket.on('error', () => {});
      socket.on('connect', () => socket.write(request));
      return socket;
    });
    setTimeout(() => {
      for (const socket of sockets) socket.destroy();
      resolve(answers / (ROUND_MS / 1000));
    }, ROUND_MS);
  });
}

/** A server in a process of its own. */
interface Contender {
  readonly name: string;
  readonly child: ChildProcess;
  readonly port: number;
  readonly perSecond: number[];
  readonly cpuMicros: number[];
}

async function startServer(name: string): Promise<Contender> {
  const child = fork(import.meta.filename, [`serve-${name}`]);
  const port = await nextNumber(child);
  return { name, child, port, perSecond: [], cpuMicros: [] };
}

function nextNumber(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once('message', (value) => resolve(Number(value)));
  });
}

function cpuOf(child: ChildProcess): Promise<number> {
  const answer = nextNumber(child);
  child.send('cpu');
  return answer;
}

async function runRound(contender: Contender): Promise<void> {
  const before = await cpuOf(contender.child);
  const perSecond = await load(contender.port);
  const after = await cpuOf(contender.child);
  contender.perSecond.push(perSecond);
  contender.cpuMicros.push((after - before) / (perSecond * (ROUND_MS / 1000)));
}

async function benchEcho(): Promise<void> {
  const [ours, node] = [await startServer('ours'), await startServer('node')];
  await load(ours.port);
  await load(node.port);
  for (let round = 0; round < ROUNDS; round += 1) {
    await runRound(ours);
    await runRound(node);
  }
  console.log(`echo, 2 KB in, 1 KB out, ${CONNECTIONS} connections, median of ${ROUNDS}:`);
  for (const { name, child, perSecond, cpuMicros } of [ours, node]) {
    const [rate, cpu] = [median(perSecond).toFixed(0), median(cpuMicros).toFixed(1)];
    console.log(
      `  ${name.padEnd(5)} ${rate.padStart(7)} requests/s ${cpu.padStart(6)} µs of CPU each`,
    );
    child.kill();
  }
  const rates = median(ours.perSecond) / median(node.perSecond);
  const cpus = median(node.cpuMicros) / median(ours.cpuMicros);
  console.log(`  ratio ${rates.toFixed(2)} in requests/s, ${cpus.toFixed(2)} in CPU`);
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}

const mode = process.argv[2] ?? 'all';
if (mode === 'serve-ours') await serveOurs();
else if (mode === 'serve-node') serveNode();
else {
  if (mode !== 'echo') benchHead();
  if (mode !== 'head') await benchEcho();
}
