import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { createClock, createTimers } from './clock.ts';

test('the monotonic clock never goes back, and wall time is Unix time', () => {
  const clock = createClock();
  let last = clock.nowMs();
  for (let index = 0; index < 1_000; index += 1) {
    const now = clock.nowMs();
    assert.ok(now >= last);
    last = now;
  }
  assert.ok(Math.abs(clock.wallMs() - Date.now()) < 1_000);
});

test('a timer fires once after its delay, not inside the call, and not once cancelled', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  try {
    const timers = createTimers();
    const fired: string[] = [];
    timers.after(0, () => fired.push('now'));
    const handle = timers.after(10, () => fired.push('cancelled'));
    timers.after(20, () => fired.push('later'));
    assert.deepEqual(fired, []);
    handle.cancel();
    mock.timers.tick(20);
    handle.cancel();
    mock.timers.tick(100);
    assert.deepEqual(fired, ['now', 'later']);
  } finally {
    mock.timers.reset();
  }
});

test('a delay that Node would silently shorten is refused', () => {
  assert.throws(() => createTimers().after(2 ** 31, () => {}));
});
