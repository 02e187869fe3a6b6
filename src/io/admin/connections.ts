/** Connections of one address to the admin listener: past their limit new ones are broken at once. */

import type { Server } from 'node:net';

import { addressGroup } from './access.ts';

/** Whoever holds connections open holds no more than his own. */
export function limitConnections(server: Server, perAddressMax: number): void {
  const open = new Map<string, number>();
  server.on('connection', (socket) => {
    const from = addressGroup((socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/i, ''));
    const count = (open.get(from) ?? 0) + 1;
    if (count > perAddressMax) return void socket.destroy();
    open.set(from, count);
    socket.once('close', () => {
      const left = (open.get(from) ?? 1) - 1;
      if (left === 0) open.delete(from);
      else open.set(from, left);
    });
  });
}
