/** A wire between two regions that a test can make slow, or cut: bytes go through later, or not. */

import { connect, createServer, type Socket } from 'node:net';

/** One running wire. */
export interface LinkProxy {
  readonly port: number;
  /** How much later bytes arrive, each way, ms. */
  setDelayMs(delayMs: number): void;
  /** True: what is open breaks off, and what comes is turned away, until it is false again. */
  setCut(isCut: boolean): void;
  close(): Promise<void>;
}

/** Starts a wire from a free port to `targetPort`, both on the loopback. */
export async function startLinkProxy(targetPort: number): Promise<LinkProxy> {
  let delayMs = 0;
  let isCut = false;
  const sockets = new Set<Socket>();
  const pass = (from: Socket, to: Socket): void => {
    sockets.add(from);
    from.setNoDelay(true);
    // One after another: a later piece with a shorter delay must not overtake.
    let dueMs = 0;
    const later = (run: () => void): void => {
      dueMs = Math.max(dueMs, performance.now() + delayMs);
      setTimeout(run, Math.max(0, dueMs - performance.now()));
    };
    from.on('data', (chunk: Buffer) => later(() => void to.write(chunk)));
    from.on('end', () => later(() => void to.end()));
    from.on('error', () => to.destroy());
    from.on('close', () => {
      sockets.delete(from);
      to.destroy();
    });
  };
  const server = createServer((socket) => {
    if (isCut) {
      socket.destroy();
      return;
    }
    const onward = connect({ host: '127.0.0.1', port: targetPort });
    pass(socket, onward);
    pass(onward, socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    setDelayMs: (next) => {
      delayMs = next;
    },
    setCut: (next) => {
      isCut = next;
      if (isCut) for (const socket of sockets) socket.destroy();
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
