/** Nodes with a control state in one process, for tests: calls between them take a turn of the loop. */

import { ok } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { encodeUtf8 } from '../../base/bytes.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { peerOrigin, regionOfPeer } from '../../base/peerName.ts';
import type { ClientEvents, Upstream, UpstreamHandler } from '../../base/ports.ts';
import { createClock, createTimers } from '../../io/clock.ts';
import type { Log } from '../../io/observe/log.ts';
import type { ControlOutcome } from '../../replica/control/engine.ts';
import { FEATURE_LEVEL_MAX } from '../../replica/control/features.ts';
import { listPeers } from '../../replica/control/peers.ts';
import { PeerBook } from './peerBook.ts';
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

/**
 * Nodes in this process, by their names as peers; calls between them take a turn of the loop. There
 * is no way while one of the two is cut, or does not know the other.
 */
export class World {
  readonly sides = new Map<string, ControlSide>();
  readonly cut = new Set<string>();
  readonly #books = new Map<string, PeerBook>();
  readonly #names: readonly string[];
  readonly #name: string;
  readonly #takeOverMs: number;

  /** `names` are in the file of every node. */
  constructor(name: string, names: readonly string[], takeOverMs = CONTROL_LIMITS.takeOverMs) {
    this.#name = name;
    this.#names = names;
    this.#takeOverMs = takeOverMs;
    worlds.push(this);
  }

  folder(name: string): string {
    return join(root, this.#name, name.replace('/', '+'));
  }

  /** `listed` are the names in its file, which may be others than in the rest. */
  async start(
    name: string,
    listed: readonly string[] = this.#names,
    levelMax = FEATURE_LEVEL_MAX,
  ): Promise<ControlSide> {
    const others = listed.filter((other) => other !== name);
    const places = others.map((peer) => ({ peer, host: 'h', port: 1, delayMs: 0 }));
    const book = new PeerBook(name, places, () => {});
    this.#books.set(name, book);
    const side = new ControlSide({
      folder: this.folder(name),
      cluster: 'test',
      name,
      book,
      priority: 1,
      isWitness: false,
      heartbeatMs: 50,
      electionMs: 300,
      takeOverMs: this.#takeOverMs,
      levelMax,
      upstream: this.#upstream(name),
      clock,
      timers,
      log,
    });
    side.engine.onMoved(() => book.setRecorded(listPeers(side.engine.view)));
    this.sides.set(name, side);
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
    await Promise.all(this.#names.map((name) => this.start(name)));
    await until(() => this.leader() !== null, 'a leader');
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.sides.keys()].map((region) => this.stop(region)));
  }

  /** Where a node knows the others to be. */
  book(name: string): PeerBook {
    return this.#books.get(name) ?? fail(`${name} was started`);
  }

  leader(): string | null {
    for (const [region, { group }] of this.sides) {
      if (group?.status().role === 'leader') return region;
    }
    return null;
  }

  #isLinked(from: string, to: string): boolean {
    const knows = (one: string, other: string): boolean =>
      this.#books.get(one)?.names.includes(other) === true;
    return !this.cut.has(from) && !this.cut.has(to) && knows(from, to) && knows(to, from);
  }

  #upstream(from: string): Upstream {
    return {
      start: (call, handler) => {
        const to = peerOrigin(call.origin)?.name ?? '';
        let events: ClientEvents | null = null;
        let isOver = false;
        setImmediate(() => {
          const side = this.sides.get(to);
          if (isOver) return;
          if (side === undefined || !this.#isLinked(from, to)) return lost(handler);
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
                if (!isOver && this.#isLinked(from, to)) handler.onBody(chunk);
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
