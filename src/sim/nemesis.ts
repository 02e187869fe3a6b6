/**
 * Carries out the faults of a plan: whom a fault hits is drawn from its own number when its time has
 * come. A fault that finds nothing to hit, or would exceed the atlas, does nothing.
 */

import type { Prng } from '../base/prng.ts';
import { createPrng } from '../base/prng.ts';
import type { Fault, FaultKind } from './faults.ts';
import { DISK_FAULTS } from './nemesisDisk.ts';
import { MEMBER_FAULTS } from './nemesisMembers.ts';
import { NETWORK_FAULTS } from './nemesisNetwork.ts';
import { PROCESS_FAULTS } from './nemesisProcess.ts';
import type { SimNode } from './node.ts';
import type { Operator } from './operator.ts';
import { pickOne } from './streams.ts';
import type { World } from './world.ts';

/** One fault at its time. */
export class Hit {
  readonly world: World;
  readonly operator: Operator;
  readonly fault: Fault;
  readonly prng: Prng;

  constructor(world: World, operator: Operator, fault: Fault) {
    this.world = world;
    this.operator = operator;
    this.fault = fault;
    this.prng = createPrng(fault.draw);
  }

  /** A later part of the fault, such as its end. */
  after(ms: number, run: () => void): void {
    this.world.queue.after(ms, run);
  }

  tell(text: string): void {
    this.world.story.tell(`#${this.fault.number} ${this.fault.kind}: ${text}`);
  }

  /** Machines in use. */
  machines(): readonly SimNode[] {
    return [...this.world.nodes.values()].filter((node) => !node.isRetired);
  }

  /** One whose process runs. */
  pickRunning(): SimNode | null {
    return pickOne(
      this.prng,
      this.machines().filter((node) => node.process !== null),
    );
  }
}

/** What a fault does; nothing where it finds nothing to hit. */
export type Strike = (hit: Hit) => void;

const STRIKES: Readonly<Record<FaultKind, Strike>> = {
  ...NETWORK_FAULTS,
  ...PROCESS_FAULTS,
  ...DISK_FAULTS,
  ...MEMBER_FAULTS,
};

/** Puts the faults of the plan on the queue. */
export function scheduleFaults(world: World, operator: Operator): void {
  for (const fault of world.plan.faults) {
    world.queue.at(fault.atMs, () => STRIKES[fault.kind](new Hit(world, operator, fault)));
  }
}
