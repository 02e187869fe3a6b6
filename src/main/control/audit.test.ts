import { equal } from 'node:assert/strict';
import { test } from 'node:test';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { auditOf } from './audit.ts';

const CALLER = { who: 'key:ops', role: 'operator', from: '10.0.0.1', authorization: null } as const;

test('what is proven stands first; what is claimed cannot pass for it', () => {
  const who = (claimed: string) => auditOf(CALLER, { who: claimed, why: '' }, 'keys create a').who;
  equal(who('alice'), 'key:ops (alice)');
  equal(who('unknown'), 'key:ops');
  equal(who('alice) key:root ('), 'key:ops (alice key:root )');
  equal(who('x'.repeat(CONTROL_LIMITS.auditCharsMax)).length, CONTROL_LIMITS.auditCharsMax);
});
