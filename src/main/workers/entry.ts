/** A worker as a child process: its channel is Node's, its end is the channel's end. */

import type { FromWorker, ToWorker } from './messages.ts';
import { createWorker } from './worker.ts';

// The first process decides what a signal to the group means.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
// It died, however: nobody is left to lease limits or to start us again.
process.on('disconnect', () => process.exit(1));

let onTheWay = 0;
let isEnding = false;

function send(message: FromWorker): void {
  if (!process.connected) return;
  onTheWay += 1;
  process.send?.(message, undefined, undefined, () => {
    onTheWay -= 1;
    if (isEnding && onTheWay === 0) process.exit(0);
  });
}

const came = createWorker({
  send,
  end: () => {
    isEnding = true;
    if (onTheWay === 0) process.exit(0);
  },
});
process.on('message', (message) => {
  came(message as ToWorker); // The other end is ours, of the same version.
});
