/** Faults of the network: cuts of every shape, links that flap or clog. */

import type { NodeId } from '../raft/types.ts';
import type { FAULT_GROUPS } from './faults.ts';
import type { Hit, Strike } from './nemesis.ts';
import { shuffled } from './streams.ts';

type Kind = (typeof FAULT_GROUPS)['network'][number];
type Pair = readonly [from: NodeId, to: NodeId];

function idsOf(hit: Hit): readonly NodeId[] {
  return hit.machines().map(({ id }) => id);
}

/** Cuts links for the fault's time. */
function cut(hit: Hit, pairs: readonly Pair[], forMs = hit.fault.forMs): void {
  const { network, isHealed } = hit.world;
  if (isHealed) return;
  for (const [from, to] of pairs) network.cut(from, to);
  hit.after(forMs, () => {
    for (const [from, to] of pairs) network.mend(from, to);
  });
}

function bothWays(pairs: readonly Pair[]): readonly Pair[] {
  return pairs.flatMap(([from, to]): Pair[] => [
    [from, to],
    [to, from],
  ]);
}

/** Every link between the two sides. */
function between(left: readonly NodeId[], right: readonly NodeId[]): readonly Pair[] {
  return left.flatMap((from) => right.map((to): Pair => [from, to]));
}

/** Cuts every link but those for which `stays` holds, in a drawn order of the nodes. */
function keepOnly(hit: Hit, stays: (left: number, right: number, count: number) => boolean): void {
  const order = shuffled(hit.prng, idsOf(hit));
  const pairs: Pair[] = [];
  for (const [left, from] of order.entries()) {
    for (const [right, to] of order.entries()) {
      const isKept = stays(left, right, order.length) || stays(right, left, order.length);
      if (left !== right && !isKept) pairs.push([from, to]);
    }
  }
  hit.tell(`${order.join(' ')} for ${hit.fault.forMs} ms`);
  cut(hit, pairs);
}

function isolate(hit: Hit, id: NodeId, isInOnly: boolean): void {
  const others = idsOf(hit).filter((other) => other !== id);
  const inwards = between(others, [id]);
  cut(hit, isInOnly ? inwards : bothWays(inwards));
}

export const NETWORK_FAULTS: Readonly<Record<Kind, Strike>> = {
  'cut-link': (hit) => {
    const [from, to] = shuffled(hit.prng, idsOf(hit));
    if (from === undefined || to === undefined) return;
    const isOneWay = hit.prng.nextBelow(2) === 0;
    if (isOneWay) hit.world.marks.reach('link cut one way');
    hit.tell(`${from} to ${to}${isOneWay ? '' : ' and back'} for ${hit.fault.forMs} ms`);
    cut(hit, isOneWay ? [[from, to]] : bothWays([[from, to]]));
  },
  halves: (hit) => {
    const order = shuffled(hit.prng, idsOf(hit));
    const size = 1 + hit.prng.nextBelow(Math.max(1, order.length - 1));
    const [left, right] = [order.slice(0, size), order.slice(size)];
    hit.tell(`${left.join(' ')} | ${right.join(' ')} for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('partition in halves');
    const isOneWay = hit.prng.nextBelow(4) === 0;
    const pairs = between(left, right);
    cut(hit, isOneWay ? pairs : bothWays(pairs));
  },
  isolate: (hit) => {
    const node = hit.pickRunning();
    if (node === null) return;
    hit.tell(`node ${node.id} for ${hit.fault.forMs} ms`);
    isolate(hit, node.id, false);
  },
  'cut-leader': (hit) => {
    const leader = hit.world.leader();
    if (leader === null) return;
    hit.tell(`node ${leader.id} for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('leader cut off');
    isolate(hit, leader.id, false);
  },
  'deaf-leader': (hit) => {
    const leader = hit.world.leader();
    if (leader === null) return;
    hit.tell(`node ${leader.id} for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('leader deaf');
    isolate(hit, leader.id, true);
  },
  // Cut off, and for it time hardly passes: it goes on believing that it leads.
  'lag-leader': (hit) => {
    const leader = hit.world.leader();
    if (leader === null) return;
    hit.tell(`node ${leader.id} for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('leader cut off with a slow clock');
    leader.clock.setRate(0.05 + hit.prng.nextFloat() * 0.3);
    isolate(hit, leader.id, false);
    hit.after(hit.fault.forMs, () => leader.clock.setRate(1));
  },
  // Two halves that only the first node joins.
  bridge: (hit) => {
    hit.world.marks.reach('partition with a bridge');
    keepOnly(hit, (left, right, count) => {
      const half = Math.ceil(count / 2);
      return left === 0 || left < half === right < half;
    });
  },
  chain: (hit) => {
    hit.world.marks.reach('partition into a chain');
    keepOnly(hit, (left, right) => right === left + 1);
  },
  // Every node hears a majority, and no two hear the same one.
  ring: (hit) => {
    hit.world.marks.reach('partition into a ring');
    keepOnly(hit, (left, right, count) => {
      const apart = (right - left + count) % count;
      return apart <= Math.floor(count / 4) + 1;
    });
  },
  flap: (hit) => {
    const [from, to] = shuffled(hit.prng, idsOf(hit));
    if (from === undefined || to === undefined) return;
    hit.tell(`${from} and ${to} for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('link flapping');
    const turns = 3 + hit.prng.nextBelow(8);
    const turnMs = hit.fault.forMs / turns;
    for (let turn = 0; turn < turns; turn += 1) {
      hit.after(turn * turnMs, () => cut(hit, bothWays([[from, to]]), turnMs / 2));
    }
  },
  clog: (hit) => {
    const [from, to] = shuffled(hit.prng, idsOf(hit));
    if (from === undefined || to === undefined) return;
    hit.tell(`${from} to ${to} for ${hit.fault.forMs} ms`);
    hit.world.network.clog(from, to, hit.world.queue.nowMs + hit.fault.forMs);
  },
  // FoundationDB's: a random set is clogged one by one, and unclogged in another order.
  swizzle: (hit) => {
    const ids = shuffled(hit.prng, idsOf(hit)).slice(0, 1 + hit.prng.nextBelow(4));
    hit.tell(`${ids.join(' ')} for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('swizzle clog');
    const all = idsOf(hit);
    for (const id of ids) {
      const fromMs = hit.prng.nextFloat() * hit.fault.forMs * 0.5;
      const untilMs = hit.fault.forMs * (0.5 + hit.prng.nextFloat());
      hit.after(fromMs, () => {
        if (hit.world.isHealed) return;
        const endMs = hit.world.queue.nowMs + untilMs - fromMs;
        for (const other of all) {
          if (other === id) continue;
          hit.world.network.clog(id, other, endMs);
          hit.world.network.clog(other, id, endMs);
        }
      });
    }
  },
};
