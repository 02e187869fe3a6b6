/**
 * Regions as real processes that are killed, stopped and cut off from one another, seen through real
 * links by a real directory: each trouble gets its own name, within a bound.
 */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import {
  addresses,
  makeCerts,
  startHub,
  until,
  type TestCerts,
  type TestHub,
} from '../../src/io/peer/testdata/kit.ts';
import { decodeDigest } from '../../src/protocol/peer/digest.ts';
import { RegionDirectory } from '../../src/regions/directory.ts';

const CHILD = fileURLToPath(new URL('../../src/io/peer/testdata/peerChild.ts', import.meta.url));

let certs: TestCerts;
before(async () => {
  certs = await makeCerts();
});
after(async () => {
  await certs.remove();
});

interface Region {
  readonly process: ChildProcess;
  readonly port: number;
}

async function spawnRegion(region: string, peers: readonly string[]): Promise<Region> {
  const child = spawn(process.execPath, [CHILD, region, certs.dir, ...peers], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the region ended with ${code}`)));
    child.stdout?.once('data', (line: Buffer) => resolve(Number(line.toString())));
  });
  return { process: child, port };
}

/** This process as region `a`, with a directory over its hub. */
interface Watcher {
  readonly a: TestHub;
  readonly directory: RegionDirectory;
  readonly seen: string[];
  readonly health: (region: string) => string | undefined;
  readonly stop: () => Promise<void>;
}

async function watch(peers: readonly string[]): Promise<Watcher> {
  const directory = new RegionDirectory({ region: 'a', peers }, performance.now());
  const seen: string[] = [];
  const a = await startHub({
    peer: 'a',
    tls: certs.tls('a'),
    // Known from the start, so that they may come in before their ports are known here.
    peers: Object.fromEntries(peers.map((name) => [name, 9])),
    watch: {
      onDigest: (region, bytes) => {
        const digest = decodeDigest(bytes);
        assert.ok(digest !== null);
        directory.onDigest(region, digest, performance.now());
      },
      linkChanged: (region, state) => directory.onLink(region, state, performance.now()),
      rttMeasured: (region, rttMs) => directory.onRtt(region, rttMs, performance.now()),
      probed: (region, result) => directory.onProbe(region, result),
    },
  });
  const ticking = setInterval(() => {
    for (const change of directory.tick(performance.now())) {
      seen.push(`${change.region}: ${change.to}`);
    }
  }, 50);
  return {
    a,
    directory,
    seen,
    health: (region) => directory.view(region, performance.now())?.health,
    stop: async () => {
      clearInterval(ticking);
      await a.hub.close(0);
    },
  };
}

async function startTriangle(): Promise<Watcher & { b: Region; c: Region }> {
  const watcher = await watch(['b', 'c']);
  const { a } = watcher;
  // `c` waits for `b` to dial it: a port of `b` is not known yet.
  const c = await spawnRegion('c', [`a:${a.port}`, 'b:9']);
  const b = await spawnRegion('b', [`a:${a.port}`, `c:${c.port}`]);
  a.hub.setPeers(addresses({ b: b.port, c: c.port }));
  await until(
    () => watcher.health('b') === 'healthy' && watcher.health('c') === 'healthy',
    'all are healthy',
    20_000,
  );
  const hears = (by: string, of: string): boolean =>
    watcher.directory.view(by, performance.now())?.digest?.views[of]?.state === 'up';
  await until(() => hears('b', 'c') && hears('c', 'b'), 'b and c are linked', 20_000);
  watcher.seen.length = 0;
  return { ...watcher, b, c };
}

function end(...regions: readonly Region[]): void {
  for (const { process: child } of regions) {
    child.kill('SIGCONT');
    child.kill('SIGKILL');
  }
}

test('kill -9 of a region fails its streams within 1 s, and it is down, never cut or paused', async () => {
  const { a, b, c, seen, health, stop } = await startTriangle();
  const { seen: call } = a.call('b');
  await until(() => call.chunks.length > 2, 'the stream runs');
  const killedMs = performance.now();
  b.process.kill('SIGKILL');
  await until(() => call.failure !== null, 'the stream failed');
  assert.ok((call.doneMs ?? 0) - killedMs < 1_000);
  assert.equal(call.failure?.kind, 'reset');
  await until(() => health('b') === 'down', 'b is down', 10_000);
  assert.ok(performance.now() - killedMs < 6_000, 'within 6 s on a busy machine');
  assert.deepEqual(
    seen.filter((line) => line.startsWith('b') && !/suspect|down/.test(line)),
    [],
  );
  assert.equal(health('c'), 'healthy');
  end(b, c);
  await stop();
});

test('a stopped process is paused within 5 s, never down or cut; it wakes up healthy', async () => {
  const { a, b, c, seen, health, stop } = await startTriangle();
  b.process.kill('SIGSTOP');
  const stoppedMs = performance.now();
  await until(() => health('b') === 'paused', 'b is paused', 10_000);
  assert.ok(performance.now() - stoppedMs < 5_000);
  // Its link is given up after a while; the machine still accepts, so it is still paused.
  await until(() => a.state('b')?.kind === 'down', 'the silent link is closed', 20_000);
  await until(
    () => {
      const state = a.state('b');
      return state?.kind === 'down' && state.cause === 'silent' && a.states.length > 4;
    },
    'a new attempt met silence',
    20_000,
  );
  assert.equal(health('b'), 'paused');
  b.process.kill('SIGCONT');
  await until(() => health('b') === 'healthy', 'b woke up', 20_000);
  assert.deepEqual(
    seen.filter((line) => /^b: (down|cut)/.test(line)),
    [],
  );
  end(b, c);
  await stop();
});

test('a cut link is cut, never down, while the third region hears the other side; it heals', async () => {
  const { a, b, c, seen, health, stop } = await startTriangle();
  a.hub.setCut('b', true);
  const cutMs = performance.now();
  await until(() => health('b') === 'cut', 'b is cut off', 10_000);
  assert.ok(performance.now() - cutMs < 6_000);
  assert.match(a.hub.status().find(({ peer }) => peer === 'b')?.address ?? '', /127/);
  a.hub.setCut('b', false);
  await until(() => health('b') === 'healthy', 'it heals', 20_000);
  assert.deepEqual(
    seen.filter((line) => /^b: (down|paused)/.test(line) || line.startsWith('c')),
    [],
  );
  end(b, c);
  await stop();
});
