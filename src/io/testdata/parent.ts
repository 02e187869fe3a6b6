/** A parent for tests: starts one child on the port of argv[2], prints its pid once it runs, waits. */
import { join } from 'node:path';

import { createLlamaChildren } from '../llamaChildren.ts';

const children = createLlamaChildren({
  command: ({ port }) => ({
    file: process.execPath,
    args: [join(import.meta.dirname, 'fakeModelServer.mjs'), String(port)],
  }),
  onState: (row) => {
    if (row.state === 'running') process.stdout.write(`${row.pid}\n`);
  },
});
children.apply([
  {
    name: 'a',
    modelFile: '/none',
    port: Number(process.argv[2]),
    threads: 1,
    sequences: 1,
    contextTokens: null,
    tokensPerSecondMax: null,
  },
]);
