/**
 * A region in a process of its own, for tests that kill or stop it. Arguments: region, folder of
 * certificates, and the peers as `NAME:PORT`. Prints its port; streams a piece every 20 ms.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { startHub, type Taken } from './kit.ts';

const [region = '', dir = '', ...peers] = process.argv.slice(2);
const read = (name: string): string => readFileSync(join(dir, name), 'utf8');

function drip({ reply }: Taken): void {
  reply.head(200, [], { kind: 'stream' });
  const timer = setInterval(() => {
    if (!reply.write(Buffer.from('drop;'))) clearInterval(timer);
  }, 20);
}

const child = await startHub({
  peer: region,
  tls: {
    kind: 'mutual',
    ca: read('ca.pem'),
    cert: read(`${region}.pem`),
    key: read(`${region}.key`),
  },
  peers: Object.fromEntries(
    peers.map((each) => {
      const [name = '', port] = each.split(':');
      return [name, Number(port)];
    }),
  ),
  answer: drip,
  digest: (views) => ({
    region,
    node: `${region}-1`,
    seq: 1,
    models: {},
    inFlight: 0,
    views,
    isDraining: false,
  }),
});
process.stdout.write(`${child.port}\n`);
// The test holds our standard input: when it ends, so do we.
process.stdin.on('end', () => process.exit(0)).resume();
