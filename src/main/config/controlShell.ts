/** `control` of a checked file as the shell around the node takes it. */

import type { ControlEntry } from './controlSchema.ts';

/** Leases, claims and names. */
export interface RegisterShell {
  readonly claimMs: number;
  /** Requests with `Idempotency-Key` are claimed. */
  readonly idempotency: boolean;
}

/** The etcd cluster that keeps the control state. */
export interface EtcdShell {
  /** `http://host:port` or `https://host:port`. */
  readonly endpoints: readonly string[];
  readonly prefix: string;
  /** PEM files, absolute; null: those of the system, and no certificate of our own. */
  readonly tls: {
    readonly ca: string | null;
    readonly cert: string | null;
    readonly key: string | null;
    readonly serverName: string | null;
  } | null;
  readonly user: { readonly name: string; readonly password: string } | null;
}

/** The control state of this node. */
export interface ControlShell {
  /** Null: our own group keeps it. */
  readonly etcd: EtcdShell | null;
  readonly priority: number;
  readonly isWitness: boolean;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  /** Null: no leases, claims and names. */
  readonly registers: RegisterShell | null;
}

/** `at` makes paths absolute. */
export function controlShell(entry: ControlEntry, at: (name: string) => string): ControlShell {
  const { engine, endpoints = [], prefix = 'banyan', tls, username, password, ...rest } = entry;
  const group = { ...rest, registers: rest.registers ?? null };
  if (engine === 'raft') return { ...group, etcd: null };
  const pem = (name: string | undefined) => (name === undefined ? null : at(name));
  return {
    ...group,
    etcd: {
      endpoints,
      prefix,
      tls:
        tls === undefined
          ? null
          : {
              ca: pem(tls.ca),
              cert: pem(tls.cert),
              key: pem(tls.key),
              serverName: tls.serverName ?? null,
            },
      user: username === undefined ? null : { name: username, password: password ?? '' },
    },
  };
}
