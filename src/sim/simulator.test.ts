import { deepEqual, equal, notEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { createPrng } from '../base/prng.ts';
import { MachineClock } from './clock.ts';
import { EventQueue } from './eventQueue.ts';
import { Marks, missingMarks, type Mark } from './marks.ts';
import { CALM_NETWORK, SimNetwork } from './network.ts';
import { drawPlan } from './plan.ts';
import { SimProcess } from './process.ts';
import { runPlan } from './run.ts';
import { describeReduction, reducePlan, shrink, WHOLE } from './shrink.ts';

const SEEDS = Number(process.env['SIM_SEEDS'] ?? 300);
const FIRST_SEED = Number(process.env['SIM_SEED'] ?? 1);

test('one seed gives one run, another seed another', () => {
  for (const seed of [3, 14, 27]) {
    const first = runPlan(drawPlan(seed), true);
    const second = runPlan(drawPlan(seed), true);
    equal(first.traceHash, second.traceHash, `seed ${seed}`);
    deepEqual(first.story, second.story);
    deepEqual(first.figures, second.figures);
  }
  notEqual(runPlan(drawPlan(3)).traceHash, runPlan(drawPlan(4)).traceHash);
});

test('telling the story changes nothing', () => {
  equal(runPlan(drawPlan(5), true).traceHash, runPlan(drawPlan(5), false).traceHash);
});

test(`every claim holds in runs full of faults, and every needed mark is met (${SEEDS} seeds)`, () => {
  const marks = new Set<Mark>();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
    const { violation, marks: reached } = runPlan(drawPlan(seed));
    const command = `npm run sim -- --seed ${seed}`;
    equal(violation, null, `${violation?.checker}: ${violation?.text}\nreplay: ${command}`);
    for (const mark of reached.keys()) marks.add(mark);
  }
  if (SEEDS >= 300) deepEqual(missingMarks(marks), []);
});

test('events happen in the order of time; at one time, in a drawn order that is the seed’s', () => {
  const orders = [1, 1, 2].map((seed) => {
    const queue = new EventQueue(createPrng(seed));
    const seen: number[] = [];
    for (let event = 0; event < 50; event += 1) {
      queue.after(event % 5, () => seen.push(event));
    }
    while (queue.step(10));
    deepEqual(
      seen.map((event) => event % 5),
      seen.map((event) => event % 5).toSorted((a, b) => a - b),
    );
    equal(seen.length, 50);
    return seen.join(' ');
  });
  equal(orders[0], orders[1]);
  notEqual(orders[0], orders[2]);
});

test('a cancelled event never happens, and time moves on without it', () => {
  const queue = new EventQueue(createPrng(1));
  let count = 0;
  queue.after(5, () => (count += 1)).cancel();
  queue.after(7, () => (count += 10));
  ok(queue.step(100));
  equal(queue.nowMs, 7);
  ok(!queue.step(100));
  equal(queue.nowMs, 100);
  equal(count, 10);
});

test('timers follow their machine’s clock: fast, frozen, jumped', () => {
  const queue = new EventQueue(createPrng(1));
  const firedAt = (change: (clock: MachineClock) => void): number => {
    const clock = new MachineClock(queue, 1_000, 0);
    const fromMs = queue.nowMs;
    let atMs = Number.NaN;
    clock.after(100, () => {
      atMs = queue.nowMs - fromMs;
    });
    queue.after(20, () => change(clock));
    while (queue.step(queue.nowMs + 2_000));
    return atMs;
  };
  equal(
    firedAt(() => {}),
    100,
  );
  equal(
    firedAt((clock) => clock.setRate(2)),
    60,
  );
  equal(
    firedAt((clock) => clock.jump(50)),
    50,
  );
  equal(
    firedAt((clock) => clock.jump(500)),
    20,
  );
  const thaw = (clock: MachineClock): void => {
    clock.setRate(0);
    queue.after(300, () => clock.setRate(1));
  };
  equal(firedAt(thaw), 400);
});

test('a paused process is called later, a dead one never', () => {
  const queue = new EventQueue(createPrng(1));
  const process = new SimProcess(queue);
  let seen: string[] = [];
  process.isPaused = true;
  process.after(1, () => seen.push('timer'));
  process.enter(() => seen.push('message'));
  while (queue.step(10));
  deepEqual(seen, []);
  process.resume();
  deepEqual(seen, ['message', 'timer']);
  seen = [];
  process.after(1, () => seen.push('too late'));
  process.end();
  process.enter(() => seen.push('too late'));
  while (queue.step(30));
  equal(seen.length, 0);
});

test('the network cuts one way, holds back what is clogged, and loses nothing else when calm', () => {
  const queue = new EventQueue(createPrng(1));
  const seen: string[] = [];
  const network = new SimNetwork(queue, createPrng(2), new Marks(), (from, to) =>
    seen.push(`${from}>${to}@${queue.nowMs >= 500 ? 'late' : 'soon'}`),
  );
  network.rates = CALM_NETWORK;
  network.cut(1, 2);
  network.clog(1, 3, 500);
  for (const [from, to] of [
    [1, 2],
    [2, 1],
    [1, 3],
  ] as const)
    network.send(from, to, new Uint8Array(4));
  while (queue.step(1_000));
  deepEqual(seen, ['2>1@soon', '1>3@late']);
  network.heal();
  network.send(1, 2, new Uint8Array(4));
  while (queue.step(2_000));
  equal(seen.length, 3);
});

test('a corrupted message is caught by the checksum of its frame', () => {
  const queue = new EventQueue(createPrng(1));
  let arrived = 0;
  const network = new SimNetwork(queue, createPrng(2), new Marks(), () => {
    arrived += 1;
  });
  network.rates = { ...CALM_NETWORK, corrupt: 1 };
  for (let count = 0; count < 500; count += 1) network.send(1, 2, new Uint8Array(60).fill(count));
  while (queue.step(1_000));
  // Flips that undo one another leave a frame as it was.
  ok(arrived < 10, `${arrived} of 500 came through`);
});

test('a failing list of faults is made as small as it can be', () => {
  const plan = drawPlan(6, { kinds: ['kill', 'halves'], everyMs: 100 });
  ok(plan.faults.length > 20);
  const needed = [3, 11, 17];
  const found = shrink(plan, (smaller) =>
    needed.every((number) => smaller.faults.some((fault) => fault.number === number)),
  );
  deepEqual(found.faults, needed);
  equal(describeReduction(found).includes('--faults 3,11,17'), true);
  deepEqual(
    reducePlan(plan, found).faults.map(({ number }) => number),
    needed,
  );
  equal(reducePlan(plan, WHOLE).faults.length, plan.faults.length);
});

test('what one fault does is the same without the others', () => {
  const plan = drawPlan(9);
  const [, second] = plan.faults;
  const smaller = reducePlan(plan, { ...WHOLE, faults: [2] });
  deepEqual(smaller.faults, [second]);
});

test('a leader that learns that it must stop waits for nothing (seed 24196)', () => {
  const { violation } = runPlan(drawPlan(24_196));
  deepEqual(violation, null);
});

test('who stays on alone is a quorum of what the last leader knows (seed 30499)', () => {
  const { violation } = runPlan(drawPlan(30_499));
  deepEqual(violation, null);
});

test('no disk is lost that a removal under way will need (seed 33340)', () => {
  const { violation } = runPlan(drawPlan(33_340));
  deepEqual(violation, null);
});

test('a snapshot goes only once the log that names the next one is durable (seed 78910)', () => {
  const { violation } = runPlan(drawPlan(78_910));
  deepEqual(violation, null);
});
