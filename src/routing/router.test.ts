/** Eligibility, panic, reloads, and the failure modes that balancers for LLMs are known for. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createPrng, type Prng } from '../base/prng.ts';
import { ALGORITHM_NAMES } from './algorithms/registry.ts';
import type { AttemptOutcome } from './outcome.ts';
import { ModelRouter, type HealthEvent } from './router.ts';
import { request, routeSpec, target, targetName } from './testkit.ts';

const BROKEN: AttemptOutcome = { kind: 'failed', phase: 'before-content' };
const REFUSED: AttemptOutcome = { kind: 'failed', phase: 'connect' };
const ANSWERED: AttemptOutcome = { kind: 'answered' };

/** Runs one attempt of 1 ms at `name`. */
function attempt(router: ModelRouter, name: string, outcome: AttemptOutcome, nowMs: number): void {
  router.finished(router.started(targetName(name), 1, nowMs), outcome, nowMs + 1);
}

function fail(router: ModelRouter, name: string, times: number, nowMs = 0, as = BROKEN): void {
  for (let count = 0; count < times; count += 1) attempt(router, name, as, nowMs);
}

/** Targets picked in `count` picks without load. */
function picked(router: ModelRouter, count: number, nowMs: number, prng: Prng): Set<string> {
  const names = new Set<string>();
  for (let index = 0; index < count; index += 1) {
    const pick = router.pick(request({ sessionKey: `s${index}` }), nowMs, prng);
    if (pick !== null) names.add(pick.isPanic ? `${pick.target}!` : pick.target);
  }
  return names;
}

describe('panic', () => {
  test('a pool of one is ejected, still serves in panic, and says so', () => {
    const router = new ModelRouter(routeSpec(['only']));
    fail(router, 'only', 5);
    assert.equal(router.isAvailable(10), false);
    const pick = router.pick(request(), 10, createPrng(1));
    assert.deepEqual([pick?.target, pick?.isPanic], ['only', true]);
    attempt(router, 'only', ANSWERED, 20);
    attempt(router, 'only', ANSWERED, 30); // Answers in panic are as good as trials.
    assert.equal(router.isAvailable(40), true);
  });

  test('of a pool of two the healthy one serves alone', () => {
    const router = new ModelRouter(routeSpec(['a', 'b']));
    fail(router, 'a', 5);
    assert.deepEqual(picked(router, 50, 10, createPrng(1)), new Set(['b']));
  });

  test('with both of two ejected both serve in panic', () => {
    const router = new ModelRouter(routeSpec(['a', 'b']));
    fail(router, 'a', 5);
    fail(router, 'b', 5);
    assert.deepEqual(picked(router, 50, 10, createPrng(1)), new Set(['a!', 'b!']));
  });

  test('1 of 4 healthy: the 3 ejected for bad answers help, flagged', () => {
    const router = new ModelRouter(routeSpec(['a', 'b', 'c', 'd'], 'weighted-random'));
    for (const name of ['a', 'b', 'c']) fail(router, name, 5);
    assert.deepEqual(picked(router, 400, 10, createPrng(1)), new Set(['a!', 'b!', 'c!', 'd']));
  });

  test('1 of 4 healthy: unreachable ones do not help, a refused connection is no doubt', () => {
    const router = new ModelRouter(routeSpec(['a', 'b', 'c', 'd'], 'weighted-random'));
    for (const name of ['a', 'b', 'c']) fail(router, name, 5, 0, REFUSED);
    assert.deepEqual(picked(router, 400, 10, createPrng(1)), new Set(['d']));
  });

  test('all out: those that answer badly come before the unreachable', () => {
    const router = new ModelRouter(routeSpec(['bad', 'gone']));
    fail(router, 'bad', 5);
    fail(router, 'gone', 5, 0, REFUSED);
    assert.deepEqual(picked(router, 20, 10, createPrng(1)), new Set(['bad!']));
    const last = router.pick(request({ excluded: ['bad'] }), 10, createPrng(1));
    assert.deepEqual([last?.target, last?.isPanic], ['gone', true]);
  });

  test('a panic percent of 0 refuses rather than tries', () => {
    const router = new ModelRouter(routeSpec(['a'], 'least-tokens', { panicPercent: 0 }));
    fail(router, 'a', 5);
    assert.equal(router.pick(request(), 10, createPrng(1)), null);
    assert.equal(router.earliestRetryMs(0), 10_001);
  });

  test('a lower tier with a healthy target comes before panic', () => {
    const spec = routeSpec([target('own', { priority: 0 }), target('paid', { priority: 1 })]);
    const router = new ModelRouter(spec);
    fail(router, 'own', 5);
    assert.deepEqual(picked(router, 20, 10, createPrng(1)), new Set(['paid']));
    attempt(router, 'own', ANSWERED, 20_000);
    attempt(router, 'own', ANSWERED, 20_010);
    assert.deepEqual(picked(router, 20, 20_020, createPrng(1)), new Set(['own']));
  });
});

describe('rest and blame', () => {
  test('a 429 rests one target until its Retry-After, and nobody is ejected', () => {
    const router = new ModelRouter(routeSpec(['a', 'b']));
    for (let count = 0; count < 20; count += 1) {
      attempt(router, 'a', { kind: 'rate-limited', retryAfterMs: 3_000 }, 0);
    }
    assert.deepEqual(picked(router, 30, 2_000, createPrng(1)), new Set(['b']));
    assert.deepEqual(picked(router, 60, 3_001, createPrng(1)), new Set(['a', 'b']));
  });

  test('all over their limits: nothing is picked and Retry-After is the earliest', () => {
    const router = new ModelRouter(routeSpec(['a', 'b']));
    attempt(router, 'a', { kind: 'rate-limited', retryAfterMs: 9_000 }, 0);
    attempt(router, 'b', { kind: 'rate-limited', retryAfterMs: 4_000 }, 0);
    assert.equal(router.pick(request(), 1_000, createPrng(1)), null);
    assert.equal(router.earliestRetryMs(1), 4_000);
  });

  test('an overload without a time is avoided, but a lone target is still tried', () => {
    const router = new ModelRouter(routeSpec(['a', 'b']));
    attempt(router, 'a', { kind: 'overloaded', retryAfterMs: null }, 0);
    assert.deepEqual(picked(router, 20, 10, createPrng(1)), new Set(['b']));
    attempt(router, 'b', { kind: 'overloaded', retryAfterMs: null }, 20);
    const pick = router.pick(request(), 30, createPrng(1));
    assert.equal(pick?.isPanic, false);
  });

  test('client faults and cancellations blame nobody', () => {
    const router = new ModelRouter(routeSpec(['a']));
    fail(router, 'a', 4);
    for (let count = 0; count < 50; count += 1) {
      attempt(router, 'a', { kind: 'cancelled' }, 5);
    }
    assert.equal(router.explain(request(), 10)[0]?.state, 'healthy');
    attempt(router, 'a', { kind: 'rejected' }, 10);
    fail(router, 'a', 4, 20);
    assert.equal(router.explain(request(), 30)[0]?.state, 'healthy');
  });
});

describe('reload, operator, probes, figures', () => {
  test('targets that stay keep load, ejection and hold; newcomers start slowly', () => {
    const first = new ModelRouter(routeSpec(['a', 'b', 'c']));
    const token = first.started(targetName('b'), 70, 0);
    fail(first, 'a', 5);
    first.hold(targetName('c'), true, 1);
    const second = new ModelRouter(routeSpec(['a', 'b', 'c', 'd']), first, 100);
    const rows = new Map(second.explain(request(), 101).map((row) => [row.target as string, row]));
    assert.equal(rows.get('a')?.state, 'ejected');
    assert.equal(rows.get('b')?.inFlight, 1);
    assert.equal(rows.get('b')?.queuedTokens, 70);
    assert.equal(rows.get('c')?.state, 'held');
    assert.equal(rows.get('d')?.state, 'slow-start');
    first.finished(token, ANSWERED, 200); // An exchange ends with the router that it began with.
    assert.equal(second.digest(200).inFlight, 0);
  });

  test('at the start all targets are equally cold and none starts slowly', () => {
    const rows = new ModelRouter(routeSpec(['a', 'b'])).explain(request(), 0);
    assert.ok(rows.every((row) => row.state === 'healthy'));
  });

  test('every change of health is told once, with its reason', () => {
    const events: HealthEvent[] = [];
    const spec = routeSpec(['a', 'b']);
    const router = new ModelRouter(spec, undefined, 0, (event) => events.push(event));
    fail(router, 'a', 7);
    router.digest(10_001);
    attempt(router, 'a', ANSWERED, 10_010);
    attempt(router, 'a', ANSWERED, 10_020);
    router.digest(50_000);
    const states = events.map((event) => event.state);
    assert.deepEqual(states, ['ejected', 'half-open', 'slow-start', 'healthy']);
    assert.equal(events[0]?.reason, '5 failures in a row (before-content)');
  });

  test('explain gives every target a state, and each excluded one its reason', () => {
    const spec = routeSpec([
      'ok',
      target('zero', { weight: 0 }),
      target('full', { inFlightMax: 1 }),
      target('next', { priority: 3 }),
      'tried',
      'held',
      'gone',
      'quiet',
    ]);
    const router = new ModelRouter(spec);
    router.started(targetName('full'), 5, 0);
    router.hold(targetName('held'), true, 0);
    fail(router, 'gone', 5, 0, REFUSED);
    attempt(router, 'quiet', { kind: 'rate-limited', retryAfterMs: 5_000 }, 0);
    const rows = router.explain(request({ excluded: ['tried'] }), 10);
    const why = Object.fromEntries(rows.map((row) => [row.target, row.excluded]));
    assert.deepEqual(why, {
      ok: null,
      zero: 'its weight is 0',
      full: 'at its limit of 1 in flight',
      next: 'a tier before it serves',
      tried: 'tried already',
      held: 'held by the operator',
      gone: 'unreachable: 5 failures in a row (connect)',
      quiet: 'resting: it asked for rest (5000 ms)',
    });
    assert.deepEqual([rows[0]?.target, rows[0]?.rank], ['ok', 1]);
  });

  test('explain changes nothing: the next pick is the same with and without it', () => {
    for (const algorithm of ALGORITHM_NAMES) {
      const run = (isAsked: boolean): string => {
        const router = new ModelRouter(routeSpec(['a', 'b', 'c'], algorithm));
        const prng = createPrng(2);
        return Array.from({ length: 30 }, (_, index) => {
          const ask = request({ sessionKey: `s${index % 7}`, prefixHash: index % 3 });
          if (isAsked) router.explain(ask, index);
          return router.pick(ask, index, prng)?.target;
        }).join();
      };
      assert.equal(run(true), run(false), algorithm);
    }
  });

  test('the digest counts what can serve, and the room that is left', () => {
    const spec = routeSpec([
      target('a', { inFlightMax: 4 }),
      target('b', { inFlightMax: 4 }),
      target('c', { inFlightMax: 4 }),
    ]);
    const router = new ModelRouter(spec);
    fail(router, 'c', 5);
    const token = router.started(targetName('a'), 300, 0);
    assert.deepEqual(
      { ...router.digest(10) },
      {
        healthy: 2,
        total: 3,
        inFlight: 1,
        queuedTokens: 300,
        roomCount: 7,
        prefillTokensPerMs: null,
        ttftMeanMs: null,
      },
    );
    router.firstContent(token, 100);
    const after = router.digest(100);
    assert.deepEqual([after.queuedTokens, after.prefillTokensPerMs, after.ttftMeanMs], [0, 3, 100]);
  });

  test('probes of two nodes do not march in step, and come about once an interval', () => {
    const count = (seed: number): number[] => {
      const router = new ModelRouter(routeSpec(['a', 'b']));
      const prng = createPrng(seed);
      const times: number[] = [];
      for (let nowMs = 0; nowMs < 60_000; nowMs += 50) {
        for (const name of router.probesDue(nowMs, prng)) if (name === 'a') times.push(nowMs);
      }
      return times;
    };
    const [one, two] = [count(1), count(2)];
    assert.ok(one.length >= 10 && one.length <= 14, `${one.length} probes in 60 s`);
    assert.notDeepEqual(one, two);
  });

  test('failed probes take a target out before any request meets it', () => {
    const router = new ModelRouter(routeSpec(['a', 'b']));
    router.setProbe(targetName('a'), false, 0);
    router.setProbe(targetName('a'), false, 1);
    assert.deepEqual(picked(router, 20, 10, createPrng(1)), new Set(['b']));
    router.setProbe(targetName('unknown'), false, 1);
  });

  test('an error rate far above the others ejects, without 5 failures in a row', () => {
    const told: string[] = [];
    const spec = routeSpec(['a', 'b', 'c', 'd']);
    const router = new ModelRouter(spec, undefined, 0, (event) => {
      told.push(`${event.target} ${event.state}: ${event.reason}`);
    });
    for (let index = 0; index < 30; index += 1) {
      for (const name of ['b', 'c', 'd']) attempt(router, name, ANSWERED, index);
      if (told.length === 0) attempt(router, 'a', index % 2 === 0 ? BROKEN : ANSWERED, index);
    }
    assert.equal(told[0], 'a ejected: 52 % failures: an outlier');
  });

  test('three equally bad of ten are outliers, and 20 % of the pool may be out for it', () => {
    const names = Array.from({ length: 10 }, (_, index) => `t${index}`);
    const router = new ModelRouter(routeSpec(names, 'least-tokens', { ejectedPercentMax: 20 }));
    for (let index = 0; index < 60; index += 1) {
      for (const row of router.explain(request(), index)) {
        const isBad = ['t0', 't1', 't2'].includes(row.target) && index % 2 === 0;
        if (row.state !== 'ejected') attempt(router, row.target, isBad ? BROKEN : ANSWERED, index);
      }
    }
    const out = router.explain(request(), 100).filter((row) => row.state === 'ejected');
    assert.equal(out.length, 2);
  });
});

/** A world of targets with a fixed answer time each; returns picks per target. */
function simulate(
  router: ModelRouter,
  count: number,
  stepMs: number,
  behave: (name: string, nowMs: number) => { readonly ms: number; readonly isGood: boolean },
  seed: number,
  startMs = 0,
): Map<string, number> {
  const prng = createPrng(seed);
  const shares = new Map<string, number>();
  let underWay: { endMs: number; end: () => void }[] = [];
  for (let index = 0; index < count; index += 1) {
    const nowMs = startMs + index * stepMs;
    for (const each of underWay) if (each.endMs <= nowMs) each.end();
    underWay = underWay.filter((each) => each.endMs > nowMs);
    const pick = router.pick(request({ sessionKey: `s${index}` }), nowMs, prng);
    if (pick === null) continue;
    shares.set(pick.target, (shares.get(pick.target) ?? 0) + 1);
    const { ms, isGood } = behave(pick.target, nowMs);
    const token = router.started(pick.target, pick.prefillTokens, nowMs);
    underWay.push({
      endMs: nowMs + ms,
      end: () => router.finished(token, isGood ? ANSWERED : BROKEN, nowMs + ms),
    });
  }
  return shares;
}

describe('known failure modes', () => {
  for (const algorithm of ALGORITHM_NAMES) {
    test(`(f) a replica that fails in 5 ms gets few requests: ${algorithm}`, () => {
      const router = new ModelRouter(routeSpec(['a', 'b', 'c', 'bad'], algorithm));
      const behave = (name: string): { ms: number; isGood: boolean } =>
        name === 'bad' ? { ms: 5, isGood: false } : { ms: 400, isGood: true };
      const shares = simulate(router, 1_000, 20, behave, 1); // 20 s.
      assert.ok((shares.get('bad') ?? 0) <= 10, `bad got ${shares.get('bad')} of 1000`);
    });

    test(`(f) one that fails half of its requests in 5 ms does not win: ${algorithm}`, () => {
      const router = new ModelRouter(routeSpec(['a', 'b', 'c', 'bad'], algorithm));
      let turn = 0;
      const behave = (name: string): { ms: number; isGood: boolean } => {
        if (name !== 'bad') return { ms: 400, isGood: true };
        turn += 1;
        return turn % 2 === 0 ? { ms: 5, isGood: false } : { ms: 100, isGood: true };
      };
      const shares = simulate(router, 3_000, 20, behave, 1); // 60 s.
      assert.ok((shares.get('bad') ?? 0) <= 300, `bad got ${shares.get('bad')} of 3000`);
    });

    test(`(e) a target that comes back is not flooded: ${algorithm}`, () => {
      const router = new ModelRouter(routeSpec(['a', 'b', 'c'], algorithm));
      const behave = (): { ms: number; isGood: boolean } => ({ ms: 600, isGood: true });
      for (let count = 0; count < 5; count += 1) attempt(router, 'c', REFUSED, 0);
      simulate(router, 200, 20, behave, 2, 1);
      router.setProbe(targetName('c'), true, 4_000); // It listens again: slow start.
      const shares = simulate(router, 150, 20, behave, 3, 4_001); // The next 3 s.
      assert.ok((shares.get('c') ?? 0) <= 35, `c got ${shares.get('c')} of the first 150`);
      const later = simulate(router, 300, 20, behave, 4, 40_000);
      assert.ok((later.get('c') ?? 0) >= 60, `c got ${later.get('c')} of 300 after its ramp`);
    });
  }

  test('(b) one system prompt everywhere heats no target: least tokens', () => {
    const names = Array.from({ length: 8 }, (_, index) => `t${index}`);
    const router = new ModelRouter(routeSpec(names));
    const prng = createPrng(1);
    const shares = new Map<string, number>();
    for (let index = 0; index < 2_000; index += 1) {
      const pick = router.pick(request({ prefixHash: 42 }), index * 10, prng);
      assert.ok(pick !== null);
      shares.set(pick.target, (shares.get(pick.target) ?? 0) + 1);
      const token = router.started(pick.target, 100, index * 10);
      router.firstContent(token, index * 10 + 5);
      if (index % 8 === 7) continue; // Some stay in flight.
      router.finished(token, ANSWERED, index * 10 + 9);
    }
    const most = Math.max(...shares.values());
    assert.ok(most <= 2 * (2_000 / 8), `the hottest got ${most} of 2000`);
  });

  test('(c) short prompts do not queue behind an 85,000-token one: least tokens', () => {
    const router = new ModelRouter(routeSpec(['a', 'b', 'c']));
    const prng = createPrng(1);
    router.started(targetName('a'), 85_000, 0);
    for (let count = 0; count < 20; count += 1) {
      const pick = router.pick(request({ promptTokens: 500 }), 1, prng);
      assert.ok(pick !== null && pick.target !== 'a');
      router.started(pick.target, 500, 1);
    }
  });

  test('(d) a target full of long answers is avoided though it has nothing queued', () => {
    const router = new ModelRouter(routeSpec(['decoding', 'free']));
    const prng = createPrng(1);
    for (let count = 0; count < 30; count += 1) {
      router.firstContent(router.started(targetName('decoding'), 200, 0), 10);
    }
    for (let count = 0; count < 10; count += 1) {
      const pick = router.pick(request({ promptTokens: 300 }), 20, prng);
      assert.equal(pick?.target, 'free');
      if (pick !== null) router.firstContent(router.started(pick.target, 300, 20), 21);
    }
  });

  test('a gray replica (5x slower) gets less than its share: least tokens', () => {
    const router = new ModelRouter(routeSpec(['a', 'b', 'c', 'gray']));
    const behave = (name: string): { ms: number; isGood: boolean } => ({
      ms: name === 'gray' ? 2_000 : 400,
      isGood: true,
    });
    const shares = simulate(router, 2_000, 20, behave, 1);
    assert.ok((shares.get('gray') ?? 0) < 250, `gray got ${shares.get('gray')} of 2000`);
  });
});
