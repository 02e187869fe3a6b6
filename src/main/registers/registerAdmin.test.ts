import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';

import { ok } from '../../base/result.ts';
import type { Caller } from '../../io/admin/route.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import type { RegisterStore } from '../../replica/registers/port.ts';
import { registerHandlers } from './registerAdmin.ts';

const CALLER: Caller = { who: 'key:ann', role: 'admin', from: '10.0.0.1', authorization: null };

/** Handlers of a store that does what it is asked, and what they leave in the audit log. */
function world(isTaken: boolean) {
  const records: string[] = [];
  const claim = { key: 'job/k', owner: 'o', about: '', place: [1] };
  const store: Pick<RegisterStore, 'claims' | 'names'> = {
    claims: {
      claim: (_key, _owner, _about, done) => done(ok({ kind: 'won', claim })),
      abandon: (_key, _owner, _about, done) => done(ok(null)),
      settle: (_claim, _result, done) => done(ok(null)),
      release: (_claim, done) => done(ok(null)),
      lookup: (_key, done) => done(ok(null)),
      list: () => ({ items: [], next: null }),
    },
    names: {
      take: (_name, _owner, done) =>
        done(ok(isTaken ? { kind: 'taken', owner: 'other' } : { kind: 'yours' })),
      give: (_name, _owner, done) => done(ok(null)),
      ownerOf: (_name, done) => done(ok(null)),
    },
  };
  const engine: Pick<ControlEngine, 'transact'> = {
    transact: ({ audit }) => records.push(`${audit.who} from ${audit.from}: ${audit.what}`),
  };
  const backend = { registers: store as RegisterStore, keepers: () => [] };
  return { handlers: registerHandlers(backend, engine as ControlEngine), records };
}

test('a name that is taken or given back, and a claim that is given back, are in the audit log', async () => {
  const { handlers, records } = world(false);
  const asked = { query: null, caller: CALLER };
  await handlers.changeNames({ ...asked, body: { action: 'take', name: 'n', owner: 'o' } });
  await handlers.changeNames({ ...asked, body: { action: 'give', name: 'n', owner: 'o' } });
  const claimed = { key: 'k', owner: 'o', about: '', place: [1] };
  await handlers.changeClaims({ ...asked, body: { action: 'release', ...claimed } });
  deepEqual(records, [
    'key:ann from 10.0.0.1: name n: take by o',
    'key:ann from 10.0.0.1: name n: give by o',
    'key:ann from 10.0.0.1: claim job/k: release of o',
  ]);
});

test('what changed nothing, and the daily work of claims, is not in the audit log', async () => {
  const { handlers, records } = world(true);
  const asked = { query: null, caller: CALLER };
  await handlers.changeNames({ ...asked, body: { action: 'take', name: 'n', owner: 'o' } });
  const claimed = { key: 'k', owner: 'o', about: '' };
  await handlers.changeClaims({ ...asked, body: { action: 'claim', ...claimed } });
  const settled = { ...claimed, place: [1], result: 'done' };
  await handlers.changeClaims({ ...asked, body: { action: 'settle', ...settled } });
  deepEqual(records, []);
});
