/**
 * Who may call the admin API: bearer keys, of which only hashes are known, and client certificates.
 *
 * AC1: a key is compared with every known hash in constant time. AC2: past the limit of failures an
 * address is refused unheard, with a right key too: else it could go on guessing. A certificate is
 * proven by the handshake and is not part of that. AC3: nobody calls without credentials but where
 * the rules are open.
 */

import { hash, timingSafeEqual } from 'node:crypto';

import { ADMIN_LIMITS } from '../../base/adminLimits.ts';
import { hasRole, type Role } from '../../base/adminRoles.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { Buckets } from './buckets.ts';
import type { AdminRefusal, Caller } from './route.ts';

/** A key, by the SHA-256 of its secret in lower-case hex. */
export interface AdminKey {
  readonly name: string;
  readonly sha256: string;
  readonly role: Role;
}

/** A client certificate, by one of its names: `CN:…`, `DNS:…`, `URI:…` or `email:…`. */
export interface AdminClient {
  readonly name: string;
  readonly match: string;
  readonly role: Role;
}

/** What counts now. */
export interface AccessRules {
  readonly keys: readonly AdminKey[];
  readonly clients: readonly AdminClient[];
  /** True: whoever comes without credentials is let in with every role. */
  readonly isOpen: boolean;
}

/** What a request says of who sent it. */
export interface Credentials {
  /** The address of the other end. */
  readonly remote: string;
  readonly authorization: string | null;
  /** Null: there is no certificate. */
  readonly certificate: ClientCertificate | null;
}

export interface ClientCertificate {
  /** As in `AdminClient.match`. */
  readonly names: readonly string[];
  /** Why it was not taken; null: our CA signed it. */
  readonly problem: string | null;
}

type Judged = Result<Caller, AdminRefusal>;

export class AccessGuard {
  readonly #rules: () => AccessRules;
  readonly #requests = new Buckets({
    tokensMax: ADMIN_LIMITS.burstMax,
    refillMs: 1_000 / ADMIN_LIMITS.requestsPerSecondMax,
    bucketsMax: ADMIN_LIMITS.bucketsMax,
  });
  readonly #failures = new Buckets({
    tokensMax: ADMIN_LIMITS.failuresMax,
    refillMs: ADMIN_LIMITS.failureForgottenMs,
    bucketsMax: ADMIN_LIMITS.bucketsMax,
  });

  constructor(rules: () => AccessRules) {
    this.#rules = rules;
  }

  /** The caller, where it may have what needs `role`. */
  admit(credentials: Credentials, role: Role, nowMs: number): Judged {
    const from = addressGroup(credentials.remote);
    const judged = this.#judge(credentials, from, nowMs);
    const refusal = this.#count(
      judged.ok && isNamed(judged.value) ? judged.value.who : from,
      nowMs,
    );
    if (refusal !== null) return err(refusal);
    if (!judged.ok || hasRole(judged.value.role, role)) return judged;
    const message = `This needs the role ${role}; ${judged.value.who} is ${judged.value.role}.`;
    return err({ status: 403, code: 'role_too_low', message });
  }

  /** Of what everybody may see: whether the caller is one that may see more. */
  glance(credentials: Credentials, nowMs: number): Result<boolean, AdminRefusal> {
    const from = addressGroup(credentials.remote);
    const refusal = this.#count(from, nowMs);
    return refusal === null ? ok(this.#judge(credentials, from, nowMs).ok) : err(refusal);
  }

  /** Null: this request is within the limit of its sender. */
  #count(sender: string, nowMs: number): AdminRefusal | null {
    const wait = this.#requests.take(sender, nowMs);
    return wait > 0 ? tooMany('too_many_requests', 'Too many requests.', wait) : null;
  }

  #judge(credentials: Credentials, from: string, nowMs: number): Judged {
    const { remote, authorization, certificate } = credentials;
    const rules = this.#rules();
    if (authorization !== null) return this.#judgeKey(rules, remote, authorization, from, nowMs);
    if (certificate !== null) return judgeCertificate(rules, remote, certificate);
    if (rules.isOpen) return ok({ who: LOCAL, role: 'admin', from: remote, authorization: null });
    const message = 'This needs an admin key (Authorization: Bearer …) or a client certificate.';
    return err({ status: 401, code: 'no_credentials', message });
  }

  #judgeKey(
    rules: AccessRules,
    remote: string,
    authorization: string,
    from: string,
    nowMs: number,
  ): Judged {
    const wait = this.#failures.waitMs(from, nowMs);
    if (wait > 0) {
      const message = 'Too many wrong keys came from this address; this one was not looked at.';
      return err(tooMany('too_many_failures', message, wait));
    }
    const [, secret] = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization) ?? [];
    const key = secret === undefined ? null : findKey(rules.keys, secret);
    if (key !== null) {
      return ok({ who: `key:${key.name}`, role: key.role, from: remote, authorization });
    }
    this.#failures.take(from, nowMs);
    const message = 'This admin key is not known here: it was revoked, or never made.';
    return err({ status: 401, code: 'wrong_credentials', message });
  }
}

const LOCAL = 'local';

function isNamed({ who }: Caller): boolean {
  return who !== LOCAL;
}

function judgeCertificate(
  rules: AccessRules,
  remote: string,
  { names, problem }: ClientCertificate,
): Judged {
  if (problem !== null) {
    const message = `The client certificate was not taken: ${problem}.`;
    return err({ status: 401, code: 'wrong_credentials', message });
  }
  const client = rules.clients.find(({ match }) => names.includes(match));
  if (client !== undefined) {
    const { name, role } = client;
    return ok({ who: `cert:${name}`, role, from: remote, authorization: null });
  }
  const message = `No role is given to this certificate (${names.join(', ').slice(0, 256)}).`;
  return err({ status: 403, code: 'no_role', message });
}

/** AC1. */
function findKey(keys: readonly AdminKey[], secret: string): AdminKey | null {
  const given = Buffer.from(hash('sha256', secret), 'hex');
  let found: AdminKey | null = null;
  for (const key of keys) {
    if (timingSafeEqual(given, Buffer.from(key.sha256, 'hex'))) found = key;
  }
  return found;
}

function tooMany(code: string, message: string, retryAfterMs: number): AdminRefusal {
  return { status: 429, code, message, retryAfterMs };
}

/** Addresses that are limited together: one of IPv4, the 64 bits of a network of IPv6. */
export function addressGroup(remote: string): string {
  const address = remote.replace(/%.*$/, '');
  if (!address.includes(':')) return address;
  const [head = '', tail = ''] = address.toLowerCase().split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0');
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`;
}
