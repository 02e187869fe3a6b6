/**
 * Ports of this machine for tests. Each process that asks has a block of its own, so that files which
 * run beside each other never give out the same port between a look at it and its use, nor take one
 * whose server is just being restarted. All lie below the ephemeral range: no outgoing connection of
 * another test takes one before its server listens.
 */

import { createServer, type Server } from 'node:net';

const FIRST = 20_000;
const BLOCK = 128;
const BLOCKS = 93;

let first = 0;
let given = BLOCK;

/** Ports that nothing listens on; this process gives none of them out again soon. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = await next();
    const server = await listen(port);
    if (server === null) continue;
    await close(server);
    ports.push(port);
  }
  return ports;
}

/** The first of so many free ports that follow each other, at most 127. */
export async function freePortsInRow(count: number): Promise<number> {
  for (;;) {
    await takeBlock();
    const ports = Array.from({ length: count }, (_, at) => first + 1 + at);
    given = 1 + count;
    const servers = await Promise.all(ports.map(listen));
    const free = servers.filter((server) => server !== null);
    await Promise.all(free.map(close));
    if (free.length === count) return first + 1;
  }
}

async function next(): Promise<number> {
  if (given === BLOCK) await takeBlock();
  given += 1;
  return first + given - 1;
}

/** The first port of a block is listened on as long as the process lives: that makes it ours. */
async function takeBlock(): Promise<void> {
  for (;;) {
    const base = FIRST + BLOCK * Math.floor(Math.random() * BLOCKS);
    const guard = await listen(base);
    if (guard === null) continue;
    guard.unref();
    [first, given] = [base, 1];
    return;
  }
}

/** Null: somebody else listens there. */
function listen(port: number): Promise<Server | null> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => void server.close(() => resolve()));
}
