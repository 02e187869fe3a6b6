/** What keeps the control state of a node, running: our own group, or a store outside. */

import type { ClientEvents, ClientReply, ClientRequest } from '../../base/ports.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import type { GroupMember } from '../../replica/group/types.ts';
import type { Beats } from '../../replica/sharedConfig/beats.ts';
import type { RegisterBackend } from '../registers/registerBackend.ts';
import type { GroupAnswer } from './controlRoutes.ts';
import type { Operated, Operation } from './members.ts';

/** What an operator sees of it. */
export type ControlState =
  | { readonly kind: 'opening' | 'stopped' }
  /** Not in a group yet. */
  | { readonly kind: 'seeking'; readonly detail: string }
  | { readonly kind: 'member' }
  /** A person must look: `detail` says at what. */
  | { readonly kind: 'failed'; readonly detail: string };

/** What only an etcd cluster has. */
export interface EtcdPart {
  /** What an operator should know though requests are served. */
  warnings(): readonly string[];
  /** Reads the certificates for it again; null, or why the old ones stay. */
  reloadTls(): Promise<string | null>;
  members(): Promise<GroupAnswer>;
  /** Nodes for which the feature level does not rise to what this program supports. */
  heldBackBy(): readonly string[];
  /** `unknown`: no member has this name. `isDry`: only looks. */
  moveLeader(name: string, isDry: boolean): Promise<Operated | 'unknown'>;
  /** Leases, claims and names in the same cluster, for the node of this name. */
  registers(name: string, claimMs: number): RegisterBackend;
  /** What nodes tell again and again beside the state, for the node of this name. */
  beats(name: string): Beats;
}

export interface ControlBackend {
  readonly engine: ControlEngine;
  readonly state: ControlState;
  readonly cluster: string | null;
  /** Our own member of the group; null: there is none (yet). */
  readonly group: GroupMember | null;
  /** The etcd cluster that keeps it; null: our own group does. */
  readonly etcd: EtcdPart | null;
  /** As far as this node knows, the state can be changed now. */
  readonly hasLeader: boolean;
  /** Opens what the disk holds. Rejects where the folder cannot be had at all. */
  open(): Promise<void>;
  stop(): Promise<void>;
  /** The link to a region came up, or went down. */
  linkChanged(region: string, isUp: boolean): void;
  /** Takes what other nodes ask; null: the request is for somebody else. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null;
  /** Carries an operation on the members out, wherever it has to be done. */
  operate(operation: Operation): Promise<Operated>;
  /** What `operate` would refuse now, without doing it; null: nothing is known against it. */
  judge(operation: Operation): Promise<Operated | 'leader-not-asked' | null>;
}
