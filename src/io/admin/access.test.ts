import { deepEqual, equal, ok } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { ADMIN_LIMITS } from '../../base/adminLimits.ts';
import { ROLES, type Role } from '../../base/adminRoles.ts';
import { AccessGuard, addressGroup, type AccessRules, type Credentials } from './access.ts';
import { Buckets } from './buckets.ts';

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');
const RULES: AccessRules = {
  keys: ROLES.map((role) => ({ name: role, sha256: hashOf(`secret-${role}`), role })),
  clients: [
    { name: 'alice', match: 'CN:alice', role: 'operator' },
    { name: 'robot', match: 'URI:spiffe://corp/ops', role: 'viewer' },
  ],
  isOpen: false,
};
const OPEN: AccessRules = { ...RULES, isOpen: true };

function guardOf(rules: AccessRules): AccessGuard {
  return new AccessGuard(() => rules);
}

function from(remote: string, more: Partial<Credentials> = {}): Credentials {
  return { remote, authorization: null, certificate: null, ...more };
}

const withKey = (secret: string, remote = '10.0.0.1'): Credentials =>
  from(remote, { authorization: `Bearer ${secret}` });
const withCertificate = (names: readonly string[], problem: string | null = null): Credentials =>
  from('10.0.0.1', { certificate: { names, problem } });

/** The code of the refusal; null: let in. */
function refusal(guard: AccessGuard, asked: Credentials, role: Role, nowMs = 0): string | null {
  const judged = guard.admit(asked, role, nowMs);
  return judged.ok ? null : `${judged.error.status} ${judged.error.code}`;
}

test('each role may do what those before it may, and no more', () => {
  const guard = guardOf(RULES);
  for (const [index, own] of ROLES.entries()) {
    for (const [needs, role] of ROLES.entries()) {
      const expected = needs <= index ? null : '403 role_too_low';
      equal(refusal(guard, withKey(`secret-${own}`), role), expected, `${own} for ${role}`);
    }
  }
});

test('without credentials nobody is let in, but where the rules are open', () => {
  equal(refusal(guardOf(RULES), from('127.0.0.1'), 'viewer'), '401 no_credentials');
  const judged = guardOf(OPEN).admit(from('127.0.0.1'), 'admin', 0);
  ok(judged.ok);
  deepEqual(judged.value, { who: 'local', role: 'admin', from: '127.0.0.1', authorization: null });
});

test('who shows a key is judged by it, where the rules are open too', () => {
  const guard = guardOf(OPEN);
  equal(refusal(guard, withKey('secret-viewer'), 'admin'), '403 role_too_low');
  equal(refusal(guard, withKey('guess'), 'viewer'), '401 wrong_credentials');
  for (const authorization of ['Basic YTpi', 'Bearer', 'Bearer ', 'Bearer a b', 'secret-admin']) {
    const asked = from('10.0.0.9', { authorization });
    equal(refusal(guard, asked, 'viewer'), '401 wrong_credentials', authorization);
  }
});

test('a key is known by its name, never by its secret', () => {
  const judged = guardOf(RULES).admit(withKey('secret-operator'), 'viewer', 0);
  ok(judged.ok);
  equal(judged.value.who, 'key:operator');
});

test('a certificate counts by a name that the rules give a role, once our CA signed it', () => {
  const guard = guardOf(RULES);
  const alice = guard.admit(withCertificate(['CN:alice', 'DNS:a.example']), 'operator', 0);
  ok(alice.ok);
  equal(alice.value.who, 'cert:alice');
  equal(refusal(guard, withCertificate(['URI:spiffe://corp/ops']), 'viewer'), null);
  equal(refusal(guard, withCertificate(['URI:spiffe://corp/ops']), 'admin'), '403 role_too_low');
  equal(refusal(guard, withCertificate(['CN:mallory']), 'viewer'), '403 no_role');
  equal(refusal(guard, withCertificate(['CN:Alice', 'CN:alice ']), 'viewer'), '403 no_role');
  const unsigned = withCertificate(['CN:alice'], 'DEPTH_ZERO_SELF_SIGNED_CERT');
  equal(refusal(guard, unsigned, 'viewer'), '401 wrong_credentials');
});

test(`past ${ADMIN_LIMITS.failuresMax} wrong keys an address is not heard, with a right key too`, () => {
  const guard = guardOf(RULES);
  const { failuresMax, failureForgottenMs } = ADMIN_LIMITS;
  for (let count = 0; count < failuresMax; count += 1) {
    equal(refusal(guard, withKey('secret-viewer'), 'viewer'), null, 'right ones do not count');
    equal(refusal(guard, withKey(`guess-${count}`), 'viewer'), '401 wrong_credentials');
  }
  equal(refusal(guard, withKey('guess'), 'viewer'), '429 too_many_failures');
  const locked = guard.admit(withKey('secret-admin'), 'viewer', 1);
  ok(!locked.ok);
  equal(locked.error.code, 'too_many_failures');
  equal(locked.error.retryAfterMs, failureForgottenMs - 1);
  equal(refusal(guard, withKey('secret-admin', '10.0.0.2'), 'viewer'), null, 'others are heard');
  equal(refusal(guard, withCertificate(['CN:alice']), 'viewer'), null, 'a certificate is proven');
  equal(refusal(guard, withKey('secret-admin'), 'viewer', failureForgottenMs), null);
  equal(refusal(guard, withKey('guess'), 'viewer', failureForgottenMs), '401 wrong_credentials');
  equal(
    refusal(guard, withKey('secret-admin'), 'viewer', failureForgottenMs),
    '429 too_many_failures',
  );
});

test('one key may come so often, from wherever; what has none counts by its address', () => {
  const guard = guardOf(RULES);
  const { burstMax, requestsPerSecondMax } = ADMIN_LIMITS;
  for (let count = 0; count < burstMax; count += 1) {
    equal(refusal(guard, withKey('secret-viewer', `10.0.1.${count % 200}`), 'viewer'), null);
  }
  const asked = withKey('secret-viewer', '10.0.2.1');
  const judged = guard.admit(asked, 'viewer', 0);
  ok(!judged.ok);
  equal(judged.error.code, 'too_many_requests');
  equal(judged.error.retryAfterMs, 1_000 / requestsPerSecondMax);
  equal(refusal(guard, withKey('secret-admin', '10.0.2.1'), 'viewer'), null, 'another key');
  equal(refusal(guard, asked, 'viewer', 1_000 / requestsPerSecondMax), null);
  for (let count = 0; count < burstMax; count += 1) {
    ok(guard.glance(from('10.0.3.1'), 0).ok);
  }
  const probe = guard.glance(from('10.0.3.1'), 0);
  ok(!probe.ok);
  equal(probe.error.status, 429);
});

test('a probe is answered to everybody; only those with a role see more', () => {
  const guard = guardOf(RULES);
  deepEqual(guard.glance(from('10.0.0.1'), 0), { ok: true, value: false });
  deepEqual(guard.glance(withKey('secret-viewer'), 0), { ok: true, value: true });
  deepEqual(guardOf(OPEN).glance(from('10.0.0.1'), 0), { ok: true, value: true });
});

test('an address of IPv6 counts with its network, one of IPv4 alone, however it is written', () => {
  equal(addressGroup('10.0.0.1'), '10.0.0.1');
  equal(addressGroup('2001:DB8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
  equal(addressGroup('2001:db8:1:2::9'), addressGroup('2001:db8:1:2:ffff::'));
  equal(addressGroup('2001:db8::1'), '2001:db8:0:0::/64');
  equal(addressGroup('fe80::1%eth0'), 'fe80:0:0:0::/64');
  equal(addressGroup('::1'), '0:0:0:0::/64');
});

test('buckets are bounded: the one that was not used for longest goes', () => {
  const buckets = new Buckets({ tokensMax: 1, refillMs: 1_000, bucketsMax: 2 });
  equal(buckets.take('a', 0), 0);
  equal(buckets.take('b', 0), 0);
  equal(buckets.take('a', 500), 500, 'known still');
  equal(buckets.take('c', 500), 0, 'the place of a, which took first');
  equal(buckets.waitMs('b', 500), 500);
  equal(buckets.take('a', 500), 0, 'forgotten, and so full');
  equal(buckets.take('c', 1_500), 0);
  equal(buckets.take('c', 1_400), 1_000, 'time that goes back gives nothing');
});
