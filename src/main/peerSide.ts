/** The other nodes, joined: links of `io/peer`, knowledge of `regions/`, prices of `routing/`. */

import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';

import { headerValue } from '../base/headers.ts';
import { PEER_LIMITS } from '../base/limits.ts';
import type { Clock, TimerHandle, Timers } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';
import type { PeerHub, PeerObserver } from '../io/peer/contract.ts';
import type { PeerTls } from '../io/peer/identity.ts';
import type { PeerAddress } from '../io/peer/slots.ts';
import { createPeerHub } from '../io/peer/hub.ts';
import { decodeDigest, encodeDigest } from '../protocol/peer/digest.ts';
import { RegionDirectory, type RegionView as KnownRegion } from '../regions/directory.ts';
import type { RegionHealth } from '../regions/health.ts';
import { RegionNodes } from '../regions/nodes.ts';
import { MODEL_FIELD } from '../replica/namesToTry.ts';
import { createRegionView, ownDigest } from '../replica/knownRegions.ts';
import type { PeerOptions, PeerSide } from './platform.ts';
import type { OtherRegion } from './views.ts';

/** Running streams of peers get this long when the node stops, ms: the drain is over by then. */
const CLOSE_MS = 1_000;

type MutualTls = Extract<PeerTls, { readonly kind: 'mutual' }>;

/** Verdicts that say that whoever waits for the region waits in vain. */
const LOST: ReadonlySet<RegionHealth> = new Set(['cut', 'paused', 'down']);

/** Opens the peer listener and the links. Rejects where the address or a file cannot be had. */
export async function openPeers(
  options: PeerOptions,
  clock: Clock,
  timers: Timers,
  prng: Prng,
): Promise<PeerSide> {
  const { shell, config } = options;
  const tls = await readTls(shell.tls);
  const peers = shell.regions.map(({ peer, address, delayMs }) => ({ peer, ...address, delayMs }));
  const directory = new RegionDirectory({ region: config.region, peers: [] }, clock.nowMs());
  const nodes = new RegionNodes(config.region, directory);
  const hub = createPeerHub({
    config: { cluster: shell.cluster, name: config.peer, node: config.node, peers: [] },
    tls,
    clock,
    timers,
    prng,
    handler: options.handler,
    localDigest: digestWriter(options, directory, clock),
    onDigest: (peer, bytes) => {
      const digest = decodeDigest(bytes);
      if (digest !== null) nodes.onDigest(peer, digest, clock.nowMs());
    },
    observer: observerOf(options, nodes, clock),
    isAvoided: (peer, { headers }) => nodes.isAvoided(peer, headerValue(headers, MODEL_FIELD)),
  });
  const setPeers = (all: readonly PeerAddress[]): void => {
    hub.setPeers(all);
    const names = all.map(({ peer }) => peer);
    nodes.setPeers(names, clock.nowMs());
  };
  setPeers(peers);
  const listening = await hub.listen(shell.listen);
  if (!listening.ok) {
    await hub.close(0);
    throw new Error(listening.error);
  }
  const stopTicks = startTicks(options, directory, clock, timers);
  return {
    port: listening.value ?? 0,
    upstream: hub,
    regions: createRegionView(directory),
    others: () => directory.views(clock.nowMs()).map(otherRegion),
    nodes: () => nodes.views(clock.nowMs()),
    known: () => directory.views(clock.nowMs()),
    setPeers,
    reloadTls: async () => {
      try {
        const next = await readTls(shell.tls);
        createSecureContext(next); // Throws where they do not fit.
        hub.setTls(next);
        return null;
      } catch (cause) {
        return `peers: ${String(cause)}`; // The old ones stay.
      }
    },
    cut: (name) => hub.setCut(name, true),
    heal: () => healAll(hub),
    close: async () => {
      stopTicks();
      await hub.close(CLOSE_MS);
    },
  };
}

async function readTls(files: PeerOptions['shell']['tls']): Promise<MutualTls> {
  const read = (file: string): Promise<string> => readFile(file, 'utf8');
  const [ca, cert, key] = [await read(files.ca), await read(files.cert), await read(files.key)];
  return { kind: 'mutual', ca, cert, key };
}

/** Writes the digest that every heartbeat carries; an empty one before there is a gateway. */
function digestWriter(
  options: PeerOptions,
  directory: RegionDirectory,
  clock: Clock,
): () => Uint8Array {
  let seq = 0;
  return () => {
    seq += 1;
    const serving = options.serving() ?? {
      config: options.config,
      targets: new Map<never, never>(),
      models: new Map<never, never>(),
    };
    const digest = ownDigest(serving, directory, {
      seq,
      inFlight: options.inFlight(),
      isDraining: !options.isReady(),
      nowMs: clock.nowMs(),
    });
    return encodeDigest(digest);
  };
}

function observerOf({ log, onLink }: PeerOptions, nodes: RegionNodes, clock: Clock): PeerObserver {
  const told = new Map<string, string>();
  return {
    linkChanged(peer, state) {
      nodes.onLink(peer, state, clock.nowMs());
      onLink(peer, state.kind === 'up');
      const word = state.kind === 'up' ? 'up' : `down: ${state.cause}`;
      if (told.get(peer) === word) return; // A redial that failed for the same cause again.
      told.set(peer, word);
      const detail = state.kind === 'up' ? `node ${state.node}` : state.detail;
      log.info('link', { peer, state: word, detail });
    },
    rttMeasured: (peer, rttMs) => nodes.onRtt(peer, rttMs, clock.nowMs()),
    probed: (peer, result) => nodes.onProbe(peer, result),
    refused: (remote, detail) => log.warn('peer-refused', { remote, detail }),
  };
}

/** Draws the verdicts every heartbeat; the result stops it. */
function startTicks(
  { log, onLost }: PeerOptions,
  directory: RegionDirectory,
  clock: Clock,
  timers: Timers,
): () => void {
  let timer: TimerHandle | null = null;
  const again = (): void => {
    timer = timers.after(PEER_LIMITS.heartbeatMs, () => {
      for (const { region, from, to, reason } of directory.tick(clock.nowMs())) {
        log.warn('region-health', { peer: region, from, to, reason });
        if (LOST.has(to)) onLost(region);
      }
      again();
    });
  };
  again();
  return () => timer?.cancel();
}

function healAll(hub: PeerHub): void {
  for (const { peer, isCut } of hub.status()) if (isCut) hub.setCut(peer, false);
}

function otherRegion(view: KnownRegion): OtherRegion {
  const models = Object.values(view.digest?.models ?? {});
  const most = (figure: (model: (typeof models)[number]) => number): number | null =>
    models.length === 0 ? null : Math.max(...models.map(figure));
  return {
    region: view.region,
    state: view.health,
    reason: view.reason,
    phi: Number.isFinite(view.phi) ? view.phi : null,
    rttMs: view.rttMs,
    heardMs: view.heardMs,
    inFlight: view.digest?.inFlight ?? null,
    // A region tells of models, not of targets; the model with the most of them is the best guess.
    targetsHealthy: most(({ healthy }) => healthy),
    targetsCount: most(({ total }) => total),
  };
}
