import assert from 'node:assert/strict';
import { copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import { makeCerts, until, type TestCerts } from '../io/peer/testdata/kit.ts';
import { createClock, createTimers } from '../io/clock.ts';
import { createLog } from '../io/observe/log.ts';
import { nodeOfPeer, regionOfPeer } from '../base/peerName.ts';
import { createPrng } from '../base/prng.ts';
import type { UpstreamFailure } from '../base/ports.ts';
import { certFile } from '../io/certs.ts';
import { parseConfig } from './config/load.ts';
import { openPeers } from './peerSide.ts';
import type { PeerSide } from './platform.ts';

let certs: TestCerts;
let others: TestCerts;
before(async () => {
  certs = await makeCerts(['a', 'a/2', 'b', 'b/2']);
  others = await makeCerts(['b']);
});
after(async () => {
  await certs.remove();
  await others.remove();
});

const open = new Map<PeerSide, string>();
after(async () => {
  await Promise.all([...open.keys()].map((side) => side.close()));
});

/** The peer side of a node whose file names nobody; every request is answered by its name. */
async function sideOf(peer: string, from = certs): Promise<PeerSide> {
  const [region, node] = [regionOfPeer(peer), nodeOfPeer(peer)];
  const file = certFile({ region, node: node ?? '', isFurther: node !== null });
  const text = `
region: ${region}
${node === null ? '' : `node: "${node}"\nrole: further`}
peers:
  cluster: test
  listen: 127.0.0.1:0
  tls: { ca: ca.pem, cert: ${file}.pem, key: ${file}.key }
  regions: []
`;
  const parsed = parseConfig(text, `${from.dir}/banyan.yaml`, {});
  assert.ok(parsed.ok, JSON.stringify(parsed));
  const { shell, ...loaded } = parsed.value.config;
  assert.ok(shell.peers !== null);
  const side = await openPeers(
    {
      shell: shell.peers,
      config: loaded.node(new Map()),
      handler: {
        handle: (_request, reply) => {
          const body = Buffer.from(peer);
          reply.head(200, [], { kind: 'length', bytes: body.length });
          reply.end(body);
          return { onGone: () => {}, onDrain: () => {} };
        },
      },
      serving: () => null,
      inFlight: () => 1,
      isReady: () => true,
      onLink: () => {},
      onLost: () => {},
      log: createLog('silent', {}, { write: () => {} }),
    },
    createClock(),
    createTimers(),
    createPrng(process.pid + open.size),
  );
  open.set(side, peer);
  return side;
}

/** Tells each of them of all others. */
function acquaint(sides: readonly PeerSide[]): void {
  for (const side of sides) {
    const known = sides.filter((other) => other !== side);
    side.setPeers(
      known.map((other) => {
        return { peer: open.get(other) ?? '', host: '127.0.0.1', port: other.port, delayMs: 0 };
      }),
    );
  }
}

function call(side: PeerSide, origin: string): Promise<string> {
  return new Promise((resolve) => {
    let body = '';
    const request = { method: 'GET', path: '/', headers: [], body: new Uint8Array(0) };
    side.upstream.start(
      { ...request, origin, connectMs: 1_000 },
      {
        onHead: () => {},
        onBody: (chunk) => {
          body += Buffer.from(chunk).toString();
        },
        onEnd: () => resolve(body),
        onFailure: ({ kind }: UpstreamFailure) => resolve(kind),
      },
    );
  });
}

const isHealthy = (side: PeerSide, region: string) => (): boolean => {
  return side.others().some((row) => row.region === region && row.state === 'healthy');
};
const linked = (side: PeerSide): readonly string[] => {
  return side.nodes().flatMap(({ peer, link }) => (link.kind === 'up' ? [peer] : []));
};

test('nodes and regions come and go while all others run', async () => {
  const [a, a2, b] = await Promise.all(['a', 'a/2', 'b'].map((peer) => sideOf(peer)));
  assert.ok(a !== undefined && a2 !== undefined && b !== undefined);
  assert.deepEqual(a.others(), []);
  assert.equal(await call(a, 'region:b'), 'unresolved');
  acquaint([a, a2, b]);
  await until(isHealthy(a, 'b'), 'a region that no file names');
  await until(isHealthy(a2, 'b'), 'a further node has the other regions, too');
  assert.deepEqual(
    a.others().map(({ region }) => region),
    ['b'],
    'a node of our own region is none',
  );
  assert.equal(await call(a, 'region:b'), 'b');
  assert.equal(await call(a, 'node:a/2'), 'a/2');
  const b2 = await sideOf('b/2');
  acquaint([a, a2, b, b2]);
  await until(() => linked(a).length === 3 && linked(b).length === 3, 'one more node');
  await until(() => a.others()[0]?.inFlight === 2, 'its load is that of its region');
  const answers = new Set<string>();
  for (let count = 0; count < 4; count += 1) answers.add(await call(a, 'region:b'));
  assert.deepEqual([...answers].toSorted(), ['b', 'b/2']);
  acquaint([a, a2, b2]);
  await until(() => linked(a).join() === 'a/2,b/2', 'one less');
  assert.equal(await call(a, 'region:b'), 'b/2');
  assert.equal(isHealthy(a, 'b')(), true, 'the region stays as long as it has a node');
  acquaint([a, a2]);
  assert.deepEqual(a.others(), []);
  assert.equal(await call(a, 'region:b'), 'unresolved');
});

test('who is named by address only, and has no certificate of our CA, stays out', async () => {
  const [a, b] = await Promise.all([sideOf('a'), sideOf('b', others)]);
  acquaint([a, b]);
  const detail = (): string => {
    const link = a.nodes()[0]?.link;
    return link?.kind === 'down' && link.cause === 'rejected' ? link.detail : '';
  };
  await until(() => detail() !== '', 'it is refused');
  assert.match(detail(), /not signed by our CA|does not know the CA/);
  assert.equal(await call(a, 'region:b'), 'link-down');
});

test('certificates that are read again count for new links; what does not fit changes nothing', async () => {
  const [old, next] = [await makeCerts(['a', 'b']), await makeCerts(['a', 'b'])];
  const [a, b] = [await sideOf('a', old), await sideOf('b', old)];
  acquaint([a, b]);
  await until(isHealthy(a, 'b'), 'they are linked');
  const key = await readFile(`${old.dir}/a.key`, 'utf8');
  await writeFile(`${old.dir}/a.key`, 'no key');
  assert.match((await a.reloadTls()) ?? '', /^peers: /);
  await writeFile(`${old.dir}/a.key`, key);
  for (const file of await readdir(next.dir)) {
    await copyFile(`${next.dir}/${file}`, `${old.dir}/${file}`);
  }
  assert.equal(await a.reloadTls(), null);
  assert.deepEqual(linked(a), ['b'], 'a link goes on as it is');
  assert.ok(a.cut('b'));
  a.heal();
  await until(() => b.others().some(({ state }) => state !== 'healthy'), 'it is made anew');
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.deepEqual(linked(a), [], 'of another CA than the other side');
  assert.equal(await b.reloadTls(), null);
  await until(isHealthy(a, 'b'), 'of one CA again');
  await Promise.all([old.remove(), next.remove()]);
});
