/** What a simulated machine sees of the world that it stands in. */

import type { Alarm, Index, NodeId, RaftStatus } from '../raft/types.ts';
import type { GroupDrops, GroupOpenFailure, GroupStep } from '../replica/group/types.ts';
import type { LogDiskState } from '../storage/types.ts';
import type { Checkers } from './checkers/all.ts';
import type { EventQueue } from './eventQueue.ts';
import type { Marks } from './marks.ts';
import type { SimNetwork } from './network.ts';
import type { SimNode } from './node.ts';
import type { Plan } from './plan.ts';
import type { Story } from './story.ts';
import type { Trace } from './trace.ts';

export interface Site {
  readonly plan: Plan;
  readonly queue: EventQueue;
  readonly network: SimNetwork;
  readonly checkers: Checkers;
  readonly marks: Marks;
  readonly story: Story;
  readonly trace: Trace;
  onStarted(node: SimNode, status: RaftStatus): void;
  /** Its process has ended; null: it was no member yet. */
  onEnded(node: SimNode, drops: GroupDrops | null): void;
  /** Its folder was not opened. */
  onRefused(node: SimNode, failure: GroupOpenFailure): void;
  /** After a step; `status` is the new one, `node.status` still the one before. */
  onStep(node: SimNode, step: GroupStep, status: RaftStatus): void;
  onAlarm(node: SimNode, alarm: Alarm, about: NodeId, index: Index): void;
  onDisk(node: SimNode, state: LogDiskState, detail: string): void;
  restartSoon(node: SimNode): void;
}
