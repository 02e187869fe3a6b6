/** Faults of processes and clocks, and what operators do to nodes that run. */

import type { FAULT_GROUPS } from './faults.ts';
import type { Hit, Strike } from './nemesis.ts';
import type { SimNode } from './node.ts';
import { between, pickOne } from './streams.ts';
import { LEVEL_MAX } from './world.ts';

type Kind =
  | (typeof FAULT_GROUPS)['process'][number]
  | (typeof FAULT_GROUPS)['clock'][number]
  | (typeof FAULT_GROUPS)['operation'][number];

/** Ends a process; it starts again when the fault is over. */
function crash(hit: Hit, node: SimNode, isPowerLost: boolean, forMs = hit.fault.forMs): void {
  if (node.process === null || hit.world.isHealed) return;
  const { marks } = hit.world;
  marks.reach(isPowerLost ? 'power lost' : 'process killed');
  if (node.state === 'starting' && node.status === null) marks.reach('crash while joining');
  node.kill(isPowerLost);
  hit.after(forMs, () => {
    if (!node.isRetired) node.start();
  });
}

function pause(hit: Hit, node: SimNode): void {
  const { lives } = node;
  hit.tell(`node ${node.id} for ${hit.fault.forMs} ms`);
  hit.world.marks.reach('process paused');
  node.pause();
  hit.after(hit.fault.forMs, () => {
    if (node.lives === lives) node.resume();
  });
}

/** Starts a node again with another program. */
function reinstall(hit: Hit, node: SimNode, levelMax: number): void {
  hit.tell(`node ${node.id} from level ${node.levelMax} to ${levelMax}`);
  node.levelMax = levelMax;
  crash(hit, node, false, 50 + hit.prng.nextBelow(200));
}

export const PROCESS_FAULTS: Readonly<Record<Kind, Strike>> = {
  kill: (hit) => {
    const node = hit.pickRunning();
    if (node === null) return;
    hit.tell(`node ${node.id} for ${hit.fault.forMs} ms`);
    crash(hit, node, false);
  },
  'kill-leader': (hit) => {
    const leader = hit.world.leader();
    if (leader === null) return;
    const isPowerLost = hit.prng.nextBelow(2) === 0;
    hit.tell(`node ${leader.id}${isPowerLost ? ', power and all,' : ''} for ${hit.fault.forMs} ms`);
    crash(hit, leader, isPowerLost);
  },
  power: (hit) => {
    const node = hit.pickRunning();
    if (node === null) return;
    hit.tell(`node ${node.id} for ${hit.fault.forMs} ms`);
    crash(hit, node, true);
  },
  'power-all': (hit) => {
    hit.tell(`all nodes`);
    hit.world.marks.reach('power lost everywhere');
    for (const node of hit.machines()) crash(hit, node, true, 20 + hit.prng.nextBelow(500));
  },
  pause: (hit) => {
    const node = hit.pickRunning();
    if (node !== null && !node.isPaused) pause(hit, node);
  },
  'pause-leader': (hit) => {
    const leader = hit.world.leader();
    if (leader === null) return;
    hit.world.marks.reach('leader paused');
    pause(hit, leader);
  },
  'crash-loop': (hit) => {
    const node = hit.pickRunning();
    if (node === null) return;
    const times = 3 + hit.prng.nextBelow(5);
    hit.tell(`node ${node.id}, ${times} times`);
    hit.world.marks.reach('crash loop');
    for (let time = 0; time < times; time += 1) {
      hit.after(time * (5 + hit.prng.nextBelow(150)), () => {
        crash(hit, node, hit.prng.nextBelow(2) === 0, 1 + hit.prng.nextBelow(40));
      });
    }
  },
  drift: (hit) => {
    const node = pickOne(hit.prng, hit.machines());
    if (node === null) return;
    // Quartz is wrong by 500 ppm at worst; a virtual machine's clock by much more.
    const rate =
      hit.prng.nextBelow(2) === 0
        ? 1 + between(hit.prng, -0.0005, 0.0005)
        : between(hit.prng, 0.5, 2);
    hit.tell(`node ${node.id} runs at ${rate.toFixed(4)} for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('clock drifting');
    node.clock.setRate(rate);
    hit.after(hit.fault.forMs, () => node.clock.setRate(1));
  },
  freeze: (hit) => {
    const node = pickOne(hit.prng, hit.machines());
    if (node === null) return;
    hit.tell(`node ${node.id} for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('clock frozen');
    node.clock.setRate(0);
    hit.after(hit.fault.forMs, () => node.clock.setRate(1));
  },
  jump: (hit) => {
    const node = pickOne(hit.prng, hit.machines());
    if (node === null) return;
    const ms = hit.prng.nextBelow(20_000);
    hit.tell(`node ${node.id} by ${ms} ms`);
    hit.world.marks.reach('clock jumped');
    node.clock.jump(ms);
  },
  step: (hit) => {
    const node = pickOne(hit.prng, hit.machines());
    if (node === null) return;
    const ms = hit.prng.nextBelow(7_200_000) - 3_600_000;
    hit.tell(`node ${node.id} by ${ms} ms`);
    hit.world.marks.reach('wall clock stepped');
    node.clock.stepWall(ms);
  },
  transfer: (hit) => {
    const leader = hit.world.leader();
    const to = pickOne(hit.prng, leader?.status?.conf.voters ?? []);
    if (leader === null || to === null) return;
    hit.tell(`from node ${leader.id} to ${to}`);
    leader.process?.enter(() => leader.group?.transfer(to, () => {}));
  },
  upgrade: (hit) => {
    const old = hit.machines().filter((node) => node.levelMax < LEVEL_MAX);
    const node = pickOne(hit.prng, old);
    if (node !== null) reinstall(hit, node, node.levelMax + 1);
  },
  'raise-level': (hit) => {
    const leader = hit.world.leader();
    if (leader === null) return;
    const level = leader.levelMax;
    hit.tell(`node ${leader.id} to ${level}`);
    leader.process?.enter(() => leader.group?.setLevel(level, () => {}));
  },
  downgrade: (hit) => {
    const node = hit.pickRunning();
    const level = node?.status?.level ?? 0;
    if (node !== null && level > 0) reinstall(hit, node, level - 1);
  },
};
