/** What keeps leases, claims and names for a node, running: our own registers, or an etcd cluster. */

import type { ClientEvents, ClientReply, ClientRequest } from '../../base/ports.ts';
import type { GaugeValues } from '../../io/observe/metrics.ts';
import type { RegisterStore } from '../../replica/registers/port.ts';

export interface RegisterBackend {
  readonly registers: RegisterStore;
  /** Begins; takes part when it can. Rejects where the folder cannot be had at all. */
  open(): Promise<void>;
  stop(): Promise<void>;
  /** The link to a node came up, or went down. */
  linkChanged(peer: string, isUp: boolean): void;
  /** Takes what other nodes ask; null: the request is for somebody else. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null;
  /**
   * Who keeps leases and claims, by peer name, where this node does not; empty: it does, or it is not
   * known yet.
   */
  keepers(): readonly string[];
  /** What an operator should know though requests are served. */
  warnings(): readonly string[];
  gauges(): GaugeValues;
}
