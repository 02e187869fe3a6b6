/**
 * Listening on one address with many sockets. libuv takes one connection of a listening socket in a
 * turn of the event loop, and under load a turn takes milliseconds: of 256 clients that come at
 * once the last would wait for 256 turns. The kernel deals connections out to all sockets that share
 * a port (SO_REUSEPORT), and each of them gives one a turn.
 *
 * L1: an address that somebody else listens on is an error, though sharing would let us in.
 * L2: where ports cannot be shared there is one socket, and nothing else differs.
 */

import { Server, type AddressInfo, type ListenOptions } from 'node:net';

import { assert } from '../../base/assert.ts';
import { err, ok, type Result } from '../../base/result.ts';

const BACKLOG = 4_096;

/** Where to listen. */
export interface ListenPlan {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  /** Other processes of ours listen there too, and the kernel deals connections out. */
  readonly isShared: boolean;
  readonly sockets: number;
}

/**
 * Makes `first` listen, and up to `plan.sockets - 1` more servers made by `another`, which are put
 * into `more`. The error is Node's (address in use …).
 */
export async function listenWide(
  first: Server,
  another: () => Server,
  more: Server[],
  plan: ListenPlan,
): Promise<Result<AddressInfo, Error>> {
  const { host, port } = plan;
  if (!plan.isShared && port !== 0) {
    const probe = new Server();
    const free = await bind(probe, { host, port });
    if (!free.ok) return free;
    await new Promise((done) => probe.close(done));
  }
  const bound = await bind(first, { host, port, reusePort: true });
  if (!bound.ok) {
    // Not on every system (macOS, Windows); what else is wrong is told by the plain attempt.
    return plan.isShared ? bound : await bind(first, { host, port });
  }
  const { address } = bound.value;
  while (more.length + 1 < plan.sockets) {
    const server = another();
    const next = await bind(server, { host: address, port: bound.value.port, reusePort: true });
    if (!next.ok) break; // Out of descriptors, say: those that listen are enough to serve.
    more.push(server);
  }
  return bound;
}

function bind(server: Server, options: ListenOptions): Promise<Result<AddressInfo, Error>> {
  return new Promise((resolve) => {
    const failed = (cause: Error): void => resolve(err(cause));
    server.once('error', failed);
    server.listen({ ...options, backlog: BACKLOG }, () => {
      server.off('error', failed);
      const address = server.address();
      assert(address !== null && typeof address === 'object', 'a TCP listener has an address');
      resolve(ok(address));
    });
  });
}
