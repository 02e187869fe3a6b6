/** What the gateway of a node is built from: its configuration and the world as ports. */

import type { Clock, Timers, Upstream } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';
import type { NodeConfig } from './config.ts';
import type { ClaimDesk } from './idempotency.ts';
import type { Observer } from './observer.ts';
import type { RegionView } from './regionView.ts';
import type { GatewayProcesses } from './siblings.ts';
import type { Tracer } from './tracing.ts';

export interface GatewayParts {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  readonly upstream: Upstream;
  readonly observer: Observer;
  /** Absent: a node on its own. */
  readonly regions?: RegionView;
  /** Absent: no spans are made. */
  readonly tracer?: Tracer;
  /** Absent: the node is this process alone. */
  readonly processes?: GatewayProcesses;
  /** Absent: `Idempotency-Key` is not looked at. */
  readonly claims?: ClaimDesk | null;
}
