/** Nodes with a control state in one process, for tests: calls between them take a turn of the loop. */

import { ok } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { encodeUtf8 } from '../../base/bytes.ts';
import { regionOfPeer } from '../../base/peerName.ts';
import type { ClientEvents, Upstream, UpstreamHandler } from '../../base/ports.ts';
import { createClock, createTimers } from '../../io/clock.ts';
import type { Log } from '../../io/observe/log.ts';
import type { ControlOutcome } from '../../replica/control/engine.ts';
import { ControlSide } from './side.ts';

const clock = createClock();
const timers = createTimers();
const log: Log = {
  isDebug: false,
  isInfo: false,
  debug() {},
  info() {},
  infoLine() {},
  warn() {},
  error() {},
};
const root = await mkdtemp(join(tmpdir(), 'control-'));
const worlds: World[] = [];

/** Nodes in this process; calls between them take a turn of the loop, and none at all while cut. */
export class World {
  readonly sides = new Map<string, ControlSide>();
  readonly cut = new Set<string>();
  readonly #regions: readonly string[];
  readonly #name: string;

  constructor(name: string, regions: readonly string[]) {
    this.#name = name;
    this.#regions = regions;
    worlds.push(this);
  }

  folder(region: string): string {
    return join(root, this.#name, region);
  }

  async start(region: string): Promise<ControlSide> {
    const otherRegions = this.#regions.filter((other) => other !== region);
    const side = new ControlSide({
      folder: this.folder(region),
      cluster: 'test',
      region,
      name: region,
      otherRegions,
      otherPeers: otherRegions,
      priority: 1,
      isWitness: false,
      heartbeatMs: 50,
      electionMs: 300,
      upstream: this.#upstream(region),
      clock,
      timers,
      log,
    });
    this.sides.set(region, side);
    await side.open();
    return side;
  }

  async stop(region: string): Promise<void> {
    const side = this.side(region);
    this.sides.delete(region);
    await side.stop();
  }

  side(region: string): ControlSide {
    return this.sides.get(region) ?? fail(`${region} runs`);
  }

  async startAll(): Promise<void> {
    await Promise.all(this.#regions.map((region) => this.start(region)));
    await until(() => this.leader() !== null, 'a leader');
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.sides.keys()].map((region) => this.stop(region)));
  }

  leader(): string | null {
    for (const [region, { group }] of this.sides) {
      if (group?.status().role === 'leader') return region;
    }
    return null;
  }

  #upstream(from: string): Upstream {
    return {
      start: (call, handler) => {
        const to = call.origin.replace(/^(?:region|node):/, '');
        let events: ClientEvents | null = null;
        let isOver = false;
        setImmediate(() => {
          const side = this.sides.get(to);
          if (isOver) return;
          if (side === undefined || this.cut.has(from) || this.cut.has(to)) return lost(handler);
          events = side.handle(
            {
              method: call.method,
              path: call.path.split('?')[0] ?? '',
              query: call.path.split('?')[1] ?? '',
              headers: [],
              body: call.body,
              keyHash: null,
              receivedMs: 0,
              remote: from,
              forwardedFrom: regionOfPeer(from),
              peer: from,
            },
            {
              head: (status, headers) => isOver || handler.onHead(status, headers),
              write: (chunk) => {
                if (!isOver && !this.cut.has(from) && !this.cut.has(to)) handler.onBody(chunk);
                return true;
              },
              end: (last) => {
                if (isOver) return;
                if (last !== undefined) handler.onBody(last);
                isOver = true;
                handler.onEnd();
              },
              abort: () => isOver || lost(handler),
            },
          );
        });
        const cancel = (): void => {
          isOver = true;
          events?.onGone();
        };
        return { cancel, pause() {}, resume() {} };
      },
    };
  }
}

function lost(handler: UpstreamHandler): void {
  handler.onFailure({ kind: 'link-down', bytesSent: 0, detail: 'cut' });
}

export function fail(message: string): never {
  throw new Error(message);
}

export async function until(isDone: () => boolean, what: string, limitMs = 20_000): Promise<void> {
  const endMs = clock.nowMs() + limitMs;
  while (!isDone()) {
    ok(clock.nowMs() < endMs, `${what} in time`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function put(side: ControlSide, key: string): Promise<ControlOutcome> {
  return new Promise((resolve) => {
    side.engine.transact(
      {
        kind: 'transaction',
        audit: { who: 'test', from: 'here', what: 'put', why: '' },
        compares: [],
        success: [{ kind: 'put', key, type: 'text', value: encodeUtf8(key) }],
        failure: [],
      },
      resolve,
    );
  });
}

export function has(side: ControlSide, key: string): boolean {
  return side.engine.view.get(key) !== null;
}

/** Stops every node and takes all folders away: for `after`. */
export async function endWorlds(): Promise<void> {
  await Promise.all(worlds.map((world) => world.stopAll()));
  await rm(root, { recursive: true, force: true });
}
