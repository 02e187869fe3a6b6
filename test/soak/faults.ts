/**
 * The faults of the soak: a seeded plan for each cycle, and what carries it out. One seed gives one
 * plan, whatever the machine does.
 */

import type { Prng } from '../../src/base/prng.ts';
import type { Fault } from '../support/fakeUpstream.ts';
import { REGIONS, type ModelServer, type World } from './world.ts';

/** Faults of single requests at one model server. */
const AT_SERVER = [
  'hang',
  'late',
  'slow-drip',
  'reset',
  'close',
  'reset-mid-stream',
  'stall-mid-stream',
  'cut-at-byte',
  'early-end',
  'storm-500',
  'storm-529',
  'storm-429',
  'malformed-head',
  'malformed-chunk',
  'wrong-content-type',
  'redirect',
  'in-band-error',
  'shred',
] as const;
/** Faults of something larger. */
const AT_WORLD = ['kill', 'kill-region', 'cut-link', 'slow-link', 'reload', 'bad-reload'] as const;

type ServerFault = (typeof AT_SERVER)[number];
type WorldFault = (typeof AT_WORLD)[number];

/** One fault of the plan. Times in ms from the beginning of the cycle. */
export interface PlannedFault {
  readonly kind: ServerFault | WorldFault;
  /** The model server that it hits, where it hits one. */
  readonly server: number;
  /** How many requests it hits, of 1. */
  readonly share: number;
  readonly startMs: number;
  readonly endMs: number;
}

/** Faults of a cycle of `cycleMs`: a new one every fifteenth of it, each up to a fifth long. */
export function planFaults(prng: Prng, cycleMs: number, serverCount: number): PlannedFault[] {
  const plan: PlannedFault[] = [];
  for (let part = 0; part < 14; part += 1) {
    const kinds = prng.nextFloat() < 0.65 ? AT_SERVER : AT_WORLD;
    const kind = kinds[prng.nextBelow(kinds.length)] ?? 'hang';
    const server = prng.nextBelow(serverCount);
    const share = 0.2 + prng.nextFloat() * 0.8;
    const startMs = Math.floor((part / 15) * cycleMs);
    const lastMs = Math.floor(cycleMs * (0.03 + prng.nextFloat() * 0.17));
    plan.push({ kind, server, share, startMs, endMs: Math.min(startMs + lastMs, cycleMs - 1) });
  }
  return plan;
}

function isServerFault(kind: ServerFault | WorldFault): kind is ServerFault {
  return AT_SERVER.some((name) => name === kind);
}

/** Carries plans out. */
export class FaultRunner {
  /** How often each kind was begun. */
  readonly counts = new Map<string, number>();
  readonly #prng: Prng;
  readonly #active = new Map<string, Set<PlannedFault>>();
  #variant = 0;

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  /** The fault of one request at `server`. */
  choose(server: ModelServer): Fault {
    const active = this.#active.get(server.name);
    if (active === undefined) return { kind: 'none' };
    for (const { kind, share } of active) {
      if (isServerFault(kind) && this.#prng.nextFloat() < share) return this.#request(kind);
    }
    return { kind: 'none' };
  }

  /** Begins and ends faults as planned; resolves when all are over and undone. */
  async run(world: World, plan: readonly PlannedFault[], signal: AbortSignal): Promise<void> {
    await Promise.all(
      plan.map(async (fault) => {
        if (!(await rest(fault.startMs, signal))) return;
        this.counts.set(fault.kind, (this.counts.get(fault.kind) ?? 0) + 1);
        const undo = await this.#begin(world, fault);
        await rest(fault.endMs - fault.startMs, signal);
        await undo();
      }),
    );
  }

  async #begin(world: World, fault: PlannedFault): Promise<() => Promise<void> | void> {
    const server = world.servers[fault.server];
    if (server === undefined) throw new Error(`no model server ${fault.server}`);
    if (isServerFault(fault.kind)) {
      const active = this.#active.get(server.name) ?? new Set<PlannedFault>();
      this.#active.set(server.name, active);
      active.add(fault);
      return () => void active.delete(fault);
    }
    switch (fault.kind) {
      case 'kill':
        await server.kill();
        return () => server.start();
      case 'kill-region': {
        const region = server.name.split('/')[0];
        const all = world.servers.filter(({ name }) => name.startsWith(`${region}/`));
        for (const one of all) await one.kill();
        return async () => {
          for (const one of all) await one.start();
        };
      }
      case 'cut-link':
        for (const region of REGIONS) {
          await world.nodes[region].fault({ action: 'cut', a: REGIONS[0], b: REGIONS[1] });
        }
        return async () => {
          for (const region of REGIONS) await world.nodes[region].fault({ action: 'heal' });
        };
      case 'slow-link':
        for (const wire of world.wires) wire.setDelayMs(150);
        return () => {
          for (const wire of world.wires) wire.setDelayMs(0);
        };
      case 'reload':
        await this.#reload(world);
        return () => {};
      case 'bad-reload':
        for (const region of REGIONS) await world.nodes[region].rewriteText('models: [{');
        return () => this.#reload(world);
    }
  }

  async #reload(world: World): Promise<void> {
    this.#variant += 1;
    for (const region of REGIONS) {
      await world.nodes[region].rewrite(world.spec(region, this.#variant));
    }
  }

  /** Leaves the configuration as it was at the start. */
  async restore(world: World): Promise<void> {
    if (this.#variant % 2 !== 0 || this.#variant > 0) {
      this.#variant = -1;
      await this.#reload(world);
    }
  }

  #request(kind: ServerFault): Fault {
    const prng = this.#prng;
    const events = prng.nextBelow(10);
    switch (kind) {
      case 'hang':
        return { kind: prng.nextFloat() < 0.5 ? 'stall-before-head' : 'stall-after-head' };
      case 'late':
        return { kind, delayMs: prng.nextBelow(1_500) };
      case 'slow-drip':
        return { kind, gapMs: 5 + prng.nextBelow(40) };
      case 'reset-mid-stream':
        return { kind: 'reset-after-events', events };
      case 'stall-mid-stream':
      case 'early-end':
      case 'malformed-chunk':
      case 'in-band-error':
        return { kind, events };
      case 'cut-at-byte':
        return { kind, bytes: prng.nextBelow(2_000) };
      case 'storm-500':
        return { kind: 'status', status: 500 };
      case 'storm-529':
        return { kind: 'status', status: 529, headers: ['retry-after: 1'] };
      case 'storm-429':
        return { kind: 'status', status: 429, headers: ['retry-after: 1'] };
      case 'redirect':
        return { kind, location: 'http://127.0.0.1:1/' };
      case 'shred':
        return { kind, bytes: 7 + prng.nextBelow(400) };
      case 'reset':
      case 'close':
      case 'malformed-head':
      case 'wrong-content-type':
        return { kind };
    }
  }
}

/** Waits; false: it was told to stop. */
export function rest(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const stop = (): void => {
      clearTimeout(timer);
      resolve(false);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve(true);
    }, ms);
    signal.addEventListener('abort', stop, { once: true });
  });
}
