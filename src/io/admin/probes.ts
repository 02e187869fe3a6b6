/** Paths of the admin listener that answer text: probes of load balancers, and metrics. */

import type { Role } from '../../base/adminRoles.ts';

/** One of them. */
export interface Probe {
  readonly path: string;
  readonly shows: 'live' | 'ready' | 'metrics';
  /** Null: whoever reaches the listener; what it tells is whether requests are taken. */
  readonly role: Role | null;
  readonly summary: string;
}

/** Liveness: the process answers. Readiness: it takes new requests. LiteLLM's names beside ours. */
export const PROBES: readonly Probe[] = [
  { path: '/livez', shows: 'live', role: null, summary: 'The process answers' },
  { path: '/readyz', shows: 'ready', role: null, summary: 'The node takes new requests' },
  { path: '/health/liveliness', shows: 'live', role: null, summary: 'As /livez' },
  { path: '/health/readiness', shows: 'ready', role: null, summary: 'As /readyz' },
  { path: '/metrics', shows: 'metrics', role: 'viewer', summary: 'Metrics, for Prometheus' },
];
