import { equal, match } from 'node:assert/strict';
import { test } from 'node:test';

import type { KeysBody } from './controlRoutes.ts';
import { tooEarly } from './keyChanges.ts';

const ASKED = { name: 'shop', dryRun: false, who: '', why: '' };

function created(residency: readonly string[] | null): KeysBody {
  const limits = { requestsPerMinute: 600, tokensPerMinute: null, inFlightMax: null };
  return {
    action: 'create',
    ...ASKED,
    ...limits,
    models: ['*'],
    priority: 'interactive',
    residency,
  };
}

test('KB2: no key is bound or divided before every program in the cluster knows of it', () => {
  const early: readonly KeysBody[] = [
    created(['eu']),
    { action: 'set', ...ASKED, residency: ['eu'] },
    { action: 'allot', ...ASKED, shares: { 'eu-central-1': 60 }, force: true },
  ];
  for (const body of early) {
    const refusal = tooEarly(body, 1);
    equal(refusal?.code, 'feature_level', body.action);
    match(refusal?.message ?? '', /feature level 1: .*"banyan status"/);
    equal(tooEarly(body, 2), null, body.action);
  }
});

test('what an older program understands is done at any level', () => {
  const always: readonly KeysBody[] = [
    created(null),
    { action: 'set', ...ASKED, residency: null },
    { action: 'allot', ...ASKED, shares: null, force: false },
    { action: 'rotate', ...ASKED, graceMs: 0 },
    { action: 'revoke', ...ASKED },
  ];
  for (const body of always) equal(tooEarly(body, 1), null, body.action);
});
