/** The admin listener, as the file says it. */

import type { AccessRules } from '../../io/admin/access.ts';
import { isLoopback, type Address } from './address.ts';
import { keyHash } from './keyHash.ts';
import type { AdminEntry } from './schema.ts';

export interface AdminShell {
  readonly address: Address;
  /** PEM files, absolute; null: plain HTTP. */
  readonly tls: {
    readonly cert: string;
    readonly key: string;
    /** Null: clients are not asked for a certificate. */
    readonly clientCa: string | null;
  } | null;
  readonly access: AccessRules;
}

/** `at` makes a path of the file absolute. */
export function adminShell(
  address: Address,
  { keys, tls, clientCa, clients }: AdminEntry,
  at: (name: string) => string,
): AdminShell {
  const ca = clientCa === undefined ? null : at(clientCa);
  return {
    address,
    tls: tls === undefined ? null : { cert: at(tls.cert), key: at(tls.key), clientCa: ca },
    access: {
      keys: keys.map((entry) => ({ name: entry.name, sha256: keyHash(entry), role: entry.role })),
      clients,
      isOpen: isLoopback(address.host) && keys.length === 0 && clients.length === 0,
    },
  };
}
