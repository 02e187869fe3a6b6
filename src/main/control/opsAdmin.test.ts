import { deepEqual, ok } from 'node:assert/strict';
import { after, test } from 'node:test';

import { createClock, createTimers } from '../../io/clock.ts';
import { opsHandlers } from './opsAdmin.ts';
import { endWorlds, until, World } from './sideTestkit.ts';
import { Surveyor } from './survey.ts';

after(endWorlds);

test('four backups are under way at most, also of those that begin at once', async () => {
  const world = new World('backups', ['eu']);
  await world.startAll();
  const side = world.side('eu');
  const clock = createClock();
  const timers = createTimers();
  const upstream = {
    start: (): never => {
      throw new Error('there is nobody else');
    },
  };
  const place = { side, name: 'eu', clock };
  const surveyor = new Surveyor({
    ...place,
    book: { names: [] },
    upstream,
    timers,
  });
  const handlers = opsHandlers({ ...place, surveyor, engine: 'raft' });
  const caller = { who: 'key:ann', role: 'admin', from: 'here', authorization: null } as const;
  const body = { dryRun: false };
  const begun = await Promise.all(
    Array.from({ length: 7 }, async () => handlers.beginBackup({ body, query: null, caller })),
  );
  const codes = begun.map((answer) => (answer.ok ? 'begun' : answer.error.code));
  deepEqual(codes.toSorted(), [
    ...Array.from({ length: 4 }, () => 'begun'),
    ...Array.from({ length: 3 }, () => 'too_many_backups'),
  ]);
  const records = (): readonly string[] =>
    side.engine.view
      .audit(1, 100)
      .filter(({ what }) => /^backup of test-\w+ at revision \d+$/.test(what))
      .map(({ who }) => who);
  await until(() => records().length === 4, 'each that began is in the audit log');
  deepEqual(new Set(records()), new Set(['key:ann']));
  const again = await handlers.beginBackup({ body, query: null, caller });
  ok(!again.ok && again.error.code === 'too_many_backups');
  surveyor.close();
  await world.stopAll();
});
