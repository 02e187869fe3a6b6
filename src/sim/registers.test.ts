import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng } from '../base/prng.ts';
import { REGISTER_LIMITS } from '../base/registerLimits.ts';
import { PERMANENT_BUCKET } from '../caspaxos/control.ts';
import type { Page } from '../replica/registers/page.ts';
import type { ClaimAnswer, ClaimView, NameAnswer, WonClaim } from '../replica/registers/port.ts';
import { RegisterWorld } from './registersTestkit.ts';

/** The first page of a list. */
const PAGE = { after: '', limit: 10 };

function claim(world: RegisterWorld, place: number, key: string, owner: string): ClaimAnswer {
  const { claims } = world.registers(place);
  const answer = world.ask<ClaimAnswer>((done) => claims.claim(key, owner, 'digest', done));
  ok(answer.ok, JSON.stringify(answer));
  return answer.value;
}

function won(answer: ClaimAnswer): WonClaim {
  ok(answer.kind === 'won', JSON.stringify(answer));
  return answer.claim;
}

test('the first claim wins in all regions, its result is told, and a freed one is claimed again', () => {
  const world = new RegisterWorld(3);
  const first = won(claim(world, 0, 'k', 'a'));
  const pending = { key: 'k', owner: 'a', about: 'digest', result: null };
  deepEqual(claim(world, 1, 'k', 'b'), { kind: 'taken', claim: pending });
  ok(world.ask((done) => world.registers(0).claims.settle(first, 'done', done)).ok);
  const taken = { kind: 'taken', claim: { ...pending, result: 'done' } } as const;
  deepEqual(claim(world, 2, 'k', 'c'), taken);
  const looked = world.ask((done) => world.registers(1).claims.lookup('k', done));
  deepEqual(looked, { ok: true, value: taken.claim });
  deepEqual(world.registers(2).claims.list(PAGE).items, [taken.claim]);

  const other = won(claim(world, 0, 'other', 'a'));
  ok(world.ask((done) => world.registers(0).claims.release(other, done)).ok);
  won(claim(world, 1, 'other', 'b'));
  equal(claim(world, 2, 'other', 'c').kind, 'taken');
});

test('lists of claims and leases come in pages, over all generations, in the order of names', () => {
  const claimMs = 60_000;
  const world = new RegisterWorld(1, claimMs);
  for (let at = 0; at < 30; at += 1) won(claim(world, 0, `k${at + 10}`, 'old'));
  const opened = world.registers(0).host?.control?.openTo ?? 0;
  world.until(() => (world.registers(0).host?.control?.openTo ?? 0) > opened);
  for (let at = 0; at < 30; at += 1) claim(world, 0, `k${at + 25}`, 'new');
  const given = won(claim(world, 0, 'k00', 'new'));
  ok(world.ask((done) => world.registers(0).claims.release(given, done)).ok);
  const owners: string[] = [];
  for (let after: string | null = '', pages = 0; after !== null; pages += 1) {
    ok(pages < 10);
    const page: Page<ClaimView> = world.registers(0).claims.list({ after, limit: 7 });
    owners.push(...page.items.map(({ key, owner }) => `${key} ${owner}`));
    after = page.next;
  }
  const expected = Array.from({ length: 45 }, (_, at) => `k${at + 10} ${at < 30 ? 'old' : 'new'}`);
  deepEqual(owners, expected);
  world.registers(0).leases.hold('boss', 10_000, { held: () => {}, lost: () => {} });
  world.run(1_000);
  const first = world.registers(0).leases.list({ after: '', limit: 1 });
  deepEqual([first.items[0]?.name, first.next], ['boss', 'boss']);
  const second = world.registers(0).leases.list({ after: 'boss', limit: 1 });
  deepEqual([second.items[0]?.name, second.next], ['registers/generations', null]);
});

test('claims outlive a loss of power of all three regions at once', () => {
  const world = new RegisterWorld(3);
  for (let at = 0; at < 20; at += 1) won(claim(world, at % 3, `k${at}`, 'a'));
  for (const place of [0, 1, 2]) world.crash(place, 'power');
  for (const place of [0, 1, 2]) ok(world.start(place).ok);
  world.until(() => world.nodes.every(({ registers }) => registers?.host?.isReady === true));
  for (let at = 0; at < 20; at += 1) equal(claim(world, at % 3, `k${at}`, 'b').kind, 'taken');
});

test('any one region dies: claims go on in the others at once', () => {
  for (const dead of [0, 1, 2]) {
    const world = new RegisterWorld(3);
    won(claim(world, dead, 'k', 'a'));
    world.crash(dead);
    const alive = [0, 1, 2].filter((place) => place !== dead);
    for (const place of alive) {
      const beginMs = world.time.nowMs();
      equal(claim(world, place, 'k', 'b').kind, 'taken');
      won(claim(world, place, `new-${place}`, 'b'));
      const tookMs = world.time.nowMs() - beginMs;
      ok(tookMs < 200, `${tookMs} ms`);
    }
  }
});

test('without a quorum a claim fails in time, and says whether it may have been made', () => {
  const world = new RegisterWorld(3);
  world.crash(1);
  world.crash(2);
  const { claims } = world.registers(0);
  const beginMs = world.time.nowMs();
  const answer = world.ask<ClaimAnswer>((done) => claims.claim('k', 'a', 'digest', done));
  ok(!answer.ok && answer.error.kind === 'unavailable', JSON.stringify(answer));
  ok(world.time.nowMs() - beginMs < REGISTER_LIMITS.answerMs + REGISTER_LIMITS.requestMs + 100);
});

test('without the control state claims and leases go on', () => {
  const world = new RegisterWorld(3);
  world.log.isDown = true;
  won(claim(world, 0, 'k', 'a'));
  equal(claim(world, 1, 'k', 'b').kind, 'taken');
});

test('a lost disk comes back under a new number and is filled: then another may be lost', () => {
  const world = new RegisterWorld(3);
  for (let at = 0; at < 200; at += 1) won(claim(world, 0, `k${at}`, 'a'));
  const before = world.node(2).own.id;
  world.crash(2);
  world.node(2).disk.wipe();
  world.join(2);
  const { id } = world.node(2).own;
  ok(id > before);
  world.until(() => {
    const control = world.registers(0).host?.control;
    const isEnded = control?.acceptorsNext.length === 0;
    return isEnded && control?.acceptors.some((one) => one.id === id) === true;
  });
  world.run(1_000);
  world.crash(1);
  for (let at = 0; at < 200; at += 1) equal(claim(world, 2, `k${at}`, 'b').kind, 'taken');
});

test('a claim stands for its time at least, for half of it more at most, and then the key is free', () => {
  const claimMs = 40_000;
  // Generations change in a moment of their own: claims are made at several distances from it.
  for (const afterMs of [100, 9_000, 18_000]) {
    const world = new RegisterWorld(3, claimMs);
    world.run(claimMs * 2 + afterMs);
    won(claim(world, 0, 'k', 'a'));
    world.run(claimMs - 100);
    equal(claim(world, 1, 'k', 'b').kind, 'taken', 'its own time is not over');
    world.run(claimMs / 2 + 5 * REGISTER_LIMITS.careMs);
    won(claim(world, 2, 'k', 'c'));
    const control = world.registers(0).host?.control;
    ok((control?.openTo ?? 0) - (control?.floor ?? 0) <= 3, 'older generations are gone');
  }
});

test('a key that is asked for again and again is free once its time is over all the same', () => {
  const claimMs = 60_000;
  const world = new RegisterWorld(3, claimMs);
  world.run(claimMs / 2);
  won(claim(world, 0, 'k', 'a'));
  const beginMs = world.time.nowMs();
  let tries = 0;
  for (;;) {
    world.run(claimMs / 20);
    tries += 1;
    const answer = claim(world, tries % 3, 'k', `again-${tries}`);
    const tookMs = world.time.nowMs() - beginMs;
    ok(tookMs < claimMs * 1.6, `${JSON.stringify(answer)} after ${tookMs} ms`);
    if (answer.kind === 'won') break;
    equal(answer.claim.owner, 'a', 'who has it is told');
  }
  ok(world.time.nowMs() - beginMs >= claimMs);
});

test('of claims of a key one wins, also while generations change and a node is behind', () => {
  const claimMs = 4_000;
  let [races, looked] = [0, 0];
  for (let seed = 1; seed <= Number(process.env['REGISTERS_SEEDS'] ?? 12); seed += 1) {
    const prng = createPrng(seed);
    const further = seed % 2 === 0 ? ['r0/two', 'r2/two'] : [];
    const world = new RegisterWorld(3, claimMs, seed, further);
    const count = world.nodes.length;
    for (let round = 0; round < 25; round += 1) {
      const behind = world.node(prng.nextBelow(count)).engine;
      behind.isDeaf = prng.nextBelow(2) === 0;
      world.run(prng.nextBelow(400));
      const openTo = new Set(world.nodes.map(({ registers }) => registers?.host?.control?.openTo));
      if (openTo.size > 1) races += 1;
      const winners: string[] = [];
      let [open, wonMs] = [0, 0];
      for (let who = 0; who < 4; who += 1) {
        const place = prng.nextBelow(count);
        const owner = `${round}-${who}`;
        open += 1;
        world.time.after(prng.nextBelow(120), () => {
          world.registers(place).claims.claim(`k${round}`, owner, '', (answer) => {
            open -= 1;
            if (!answer.ok || answer.value.kind !== 'won') return;
            winners.push(owner);
            wonMs = world.time.nowMs();
          });
        });
      }
      if (prng.nextBelow(3) === 0) {
        world.time.after(prng.nextBelow(200), () => {
          behind.isDeaf = false;
        });
      }
      world.until(() => open === 0);
      behind.isDeaf = false;
      ok(winners.length <= 1, `seed ${seed}, round ${round}: ${winners.join(' and ')} won`);
      const [winner] = winners;
      const { claims } = world.registers(prng.nextBelow(count));
      const told = world.ask<ClaimView | null>((done) => claims.lookup(`k${round}`, done));
      // Where others went on asking for long it may be gone by now.
      if (winner === undefined || world.time.nowMs() - wonMs >= claimMs) continue;
      looked += 1;
      ok(told.ok, JSON.stringify(told));
      equal(told.value?.owner, winner, `seed ${seed}, round ${round}: who is told of (G2)`);
    }
  }
  ok(races > 5, `nodes were of different minds in ${races} rounds`);
  ok(looked > 100, `a winner was looked for in ${looked} rounds`);
});

test('an owner that asks twice wins no more than once asked, also while generations change', () => {
  const claimMs = 4_000;
  let races = 0;
  for (let seed = 1; seed <= Number(process.env['REGISTERS_SEEDS'] ?? 12); seed += 1) {
    const prng = createPrng(seed);
    const world = new RegisterWorld(3, claimMs, seed);
    for (let round = 0; round < 25; round += 1) {
      const behind = world.node(prng.nextBelow(3)).engine;
      behind.isDeaf = prng.nextBelow(2) === 0;
      world.run(prng.nextBelow(400));
      const winners = new Map<string, number>();
      let open = 0;
      for (let who = 0; who < 6; who += 1) {
        const { claims } = world.registers(prng.nextBelow(3));
        const owner = `${round}-${who % 3}`;
        open += 1;
        world.time.after(prng.nextBelow(200), () => {
          claims.claim(`k${round}`, owner, '', (answer) => {
            open -= 1;
            const isWon = answer.ok && answer.value.kind === 'won';
            if (isWon && !winners.has(owner)) winners.set(owner, world.time.nowMs());
          });
        });
      }
      if (prng.nextBelow(3) === 0) {
        world.time.after(prng.nextBelow(200), () => {
          behind.isDeaf = false;
        });
      }
      world.until(() => open === 0);
      behind.isDeaf = false;
      const [winner, another] = winners.keys();
      if (winner === undefined) continue;
      // Whoever asked for longer than a claim stands may win after the other one's time.
      const apartMs = (winners.get(another ?? '') ?? Infinity) - (winners.get(winner) ?? 0);
      ok(apartMs >= claimMs, `seed ${seed}, round ${round}: ${another} beside ${winner}`);
      if (another !== undefined) continue;
      world.run(300);
      const { claims } = world.registers(prng.nextBelow(3));
      const late = world.ask<ClaimAnswer>((done) => claims.claim(`k${round}`, 'late', '', done));
      const agoMs = world.time.nowMs() - (winners.get(winner) ?? 0);
      if (agoMs >= claimMs) continue;
      races += 1;
      const isFree = late.ok && late.value.kind === 'won';
      equal(isFree, false, `seed ${seed}, round ${round}: ${winner} had won ${agoMs} ms before`);
    }
  }
  ok(races > 100, `a winner was challenged in ${races} rounds`);
});

test('what an earlier call gives back does not take what its owner has won since (G4)', () => {
  const world = new RegisterWorld(3, 60_000);
  const other = won(claim(world, 1, 'k', 'other'));
  world.until(() => world.registers(0).host?.control?.openTo === 2);
  world.run(1_000);
  equal(claim(world, 0, 'k', 'mine').kind, 'taken');
  // What that call has put into the newer generation is not given back before the cut ends.
  world.cut(0);
  ok(world.ask((done) => world.registers(1).claims.release(other, done)).ok);
  const mine = won(claim(world, 2, 'k', 'mine'));
  world.cuts.clear();
  world.run(5_000);
  equal(claim(world, 1, 'k', 'late').kind, 'taken');
  const settled = world.ask((done) => world.registers(2).claims.settle(mine, 'done', done));
  ok(settled.ok, JSON.stringify(settled));
});

test("a claim is settled where one of its generations has gone; another claim's place is refused", () => {
  const world = new RegisterWorld(3, 60_000);
  const { claims } = world.registers(0);
  won(claim(world, 0, 'k', 'mine'));
  world.until(() => world.registers(0).host?.control?.openTo === 2);
  world.run(500);
  const mine = won(claim(world, 0, 'k', 'mine'));
  world.until(() => world.registers(0).host?.control?.openTo === 4);
  world.run(500);
  const settled = world.ask((done) => claims.settle(mine, 'done', done));
  ok(settled.ok, JSON.stringify(settled));
  const [one, two] = [won(claim(world, 0, 'one', 'ann')), won(claim(world, 0, 'two', 'bob'))];
  const mixed = [
    { ...one, owner: 'bob' },
    { ...one, place: two.place },
    { ...one, place: [] },
    { ...one, place: [0, 0] },
    { ...one, place: one.place.map((each, at) => (at === 1 ? each + 1 : each)) },
  ];
  for (const each of mixed) {
    for (const end of ['settle', 'release'] as const) {
      const told = world.ask<null>((done) => {
        if (end === 'settle') claims.settle(each, 'r', done);
        else claims.release(each, done);
      });
      ok(!told.ok && told.error.kind === 'not-yours', `${end} ${JSON.stringify(each)}`);
    }
  }
});

test('acceptors change though claims are full and clients go on asking for new keys (G5)', () => {
  // A region comes; or one that has missed all of them is back, and another loses its disk.
  for (const isNew of [true, false]) {
    const world = new RegisterWorld(isNew ? 2 : 3, 60_000, 1, [], { keysMax: 60 });
    const control = () => world.registers(0).host?.control ?? null;
    if (isNew) {
      world.node(1).isMember = false;
      world.until(() => control()?.acceptors.length === 1);
      world.run(3_000);
    } else {
      world.run(1_000);
      world.crash(1);
    }
    for (let at = 0; at < 60; at += 1) won(claim(world, 0, `k${at}`, 'o'));
    let [asked, full] = [0, 0];
    let isOver = false;
    const ask = (): void => {
      if (isOver) return;
      asked += 1;
      const { claims } = world.registers(0);
      claims.claim(`new${asked}`, 'c', '', (answer) => {
        if (!answer.ok && answer.error.kind === 'full') full += 1;
      });
      world.time.after(50, ask);
    };
    const lost = isNew ? 1 : 2;
    if (!isNew) {
      world.start(1);
      world.until(() => world.registers(1).host?.isReady === true);
    }
    ask();
    world.run(4_000);
    const before = JSON.stringify(control()?.acceptors);
    world.crash(lost);
    world.node(lost).disk.wipe();
    if (!isNew) {
      const { claims } = world.registers(0);
      const told = world.ask<ClaimView | null>((done) => claims.lookup('k5', done));
      ok(told.ok && told.value?.owner === 'o', JSON.stringify(told));
    }
    world.node(lost).isMember = true;
    world.join(lost);
    world.run(60_000);
    const after = control();
    ok(after !== null && after.acceptorsNext.length === 0, JSON.stringify(after));
    ok(JSON.stringify(after.acceptors) !== before, 'they have changed');
    ok(full > 50, `${full} of ${asked} were told that there is no room`);
    const fills = [0, lost].map((place) => world.registers(place).host?.status().fill ?? 0);
    for (const fill of fills) ok(fill <= 2, `${fills.join(' and ')} full`);
    isOver = true;
    // The time of all that was claimed is over: there is room again.
    world.run(120_000);
    won(claim(world, 0, isNew ? 'room' : 'again', 'o'));
  }
});

/** Claims them all at once; nothing is said of those that are refused. */
function claimMany(world: RegisterWorld, place: number, keys: readonly string[]): void {
  let left = keys.length;
  for (const key of keys) {
    world.registers(place).claims.claim(key, 'o', '', () => {
      left -= 1;
    });
  }
  world.until(() => left === 0);
}

function numbered(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, at) => `${prefix}${at}`);
}

test('acceptors change where each has missed another part of more keys than one may keep (A6)', () => {
  const world = new RegisterWorld(3, 240_000, 1, [], { keysMax: 60 });
  world.run(1_000);
  for (const dead of [2, 0, 1]) {
    world.crash(dead);
    claimMany(world, (dead + 1) % 3, numbered(`without${dead}-`, 30));
    world.start(dead);
    world.until(() => world.registers(dead).host?.isReady === true);
  }
  world.crash(2);
  world.node(2).disk.wipe();
  world.join(2);
  world.run(100_000);
  const control = world.registers(0).host?.control;
  equal(control?.acceptorsNext.length, 0, JSON.stringify(control));
});

test('acceptors change where those that have room were asked for the new keys of a full store (A6)', () => {
  const world = new RegisterWorld(3, 240_000, 1, [], { keysMax: 200 });
  world.run(1_000);
  world.crash(1);
  for (const part of ['a', 'b']) claimMany(world, 0, numbered(part, 100));
  world.start(1);
  world.until(() => world.registers(1).host?.isReady === true);
  world.crash(2);
  world.node(2).disk.wipe();
  world.join(2);
  for (let round = 0; round < 50; round += 1) {
    claimMany(world, 1, numbered(`new${round}-`, 20));
    world.run(200);
  }
  world.run(60_000);
  const control = world.registers(0).host?.control;
  equal(control?.acceptorsNext.length, 0, JSON.stringify(control));
});

test('names that are refused for lack of room hold no change of acceptors up (A6)', () => {
  const world = new RegisterWorld(3, 60_000, 1, [], { permanentKeysMax: 40 });
  const take = (place: number, name: string) =>
    world.ask<NameAnswer>((done) => world.registers(place).names.take(name, 'o', done));
  world.run(1_000);
  world.crash(1);
  let count = 0;
  while (take(0, `name${count}`).ok) count += 1;
  world.start(1);
  world.until(() => world.registers(1).host?.isReady === true);
  for (let at = 0; at < 60; at += 1) equal(take(0, `more${at}`).ok, false);
  world.crash(2);
  world.node(2).disk.wipe();
  world.join(2);
  world.run(60_000);
  const control = world.registers(0).host?.control;
  equal(control?.acceptorsNext.length, 0, JSON.stringify(control));
  deepEqual(take(2, 'name0'), { ok: true, value: { kind: 'yours' } });
});

test('a node that is behind tells nothing of what it saw before it heard of newer generations', () => {
  for (const isSettled of [true, false]) {
    const world = new RegisterWorld(3, 20_000);
    const behind = world.node(0).engine;
    behind.isDeaf = true;
    world.until(() => world.registers(1).host?.control?.openTo === 2);
    world.run(300);
    const first = won(claim(world, 1, 'k', 'a'));
    const { claims } = world.registers(0);
    if (isSettled) {
      ok(world.ask((done) => world.registers(1).claims.settle(first, 'r', done)).ok);
      const told: ClaimAnswer[] = [];
      for (const owner of ['x', 'y', 'a']) {
        claims.claim('k', owner, '', (answer) => {
          ok(answer.ok, JSON.stringify(answer));
          told.push(answer.value);
        });
      }
      world.run(1_000);
      behind.isDeaf = false;
      world.until(() => told.length === 3);
      const view = { key: 'k', owner: 'a', about: 'digest', result: 'r' };
      for (const each of told) deepEqual(each, { kind: 'taken', claim: view });
    } else {
      let isOver = false;
      claims.abandon('k', 'a', '', (answer) => {
        ok(answer.ok, JSON.stringify(answer));
        isOver = true;
      });
      world.run(1_000);
      behind.isDeaf = false;
      world.until(() => isOver);
      won(claim(world, 2, 'k', 'b'));
    }
  }
});

test('an earlier answer ends what its owner was told of since; a full store keeps nobody from it', () => {
  const world = new RegisterWorld(3, 40_000, 1, [], { keysMax: 10 });
  const [first] = numbered('k', 10).map((key) => won(claim(world, 0, key, 'a')));
  ok(first !== undefined);
  world.until(() => world.registers(0).host?.control?.openTo === 2);
  world.run(500);
  const { claims } = world.registers(1);
  const again = world.ask<ClaimAnswer>((done) => claims.claim('k0', 'a', '', done));
  ok(!again.ok && again.error.kind === 'unknown', 'it stands, and cannot be moved on');
  ok(world.ask((done) => claims.abandon('k0', 'a', '', done)).ok);
  deepEqual(
    world.ask((done) => claims.lookup('k0', done)),
    { ok: true, value: null },
  );

  const roomy = new RegisterWorld(3, 60_000);
  const old = won(claim(roomy, 0, 'k', 'a'));
  roomy.until(() => roomy.registers(0).host?.control?.openTo === 2);
  roomy.run(500);
  won(claim(roomy, 0, 'k', 'a'));
  const ends = roomy.registers(0).claims;
  const late = roomy.ask((done) => ends.release(old, done));
  ok(!late.ok && late.error.kind === 'not-yours', JSON.stringify(late));
  ok(roomy.ask((done) => ends.settle(old, 'r', done)).ok);
  roomy.until(() => roomy.registers(0).host?.control?.openTo === 4);
  roomy.run(500);
  const told = roomy.ask<ClaimView | null>((done) => ends.lookup('k', done));
  ok(told.ok && told.value?.result === 'r', JSON.stringify(told));
});

test('who was cut off for many times to live has the lease again once it is free', () => {
  const world = new RegisterWorld(3);
  const quiet = { held: () => {}, lost: () => {} };
  const mine = world.registers(0).leases.hold('boss', 2_000, quiet);
  world.until(() => mine.fence() !== null);
  const theirs = world.registers(1).leases.hold('boss', 2_000, quiet);
  world.run(1_000);
  world.cut(0);
  world.run(12_000);
  ok(mine.fence() === null && theirs.fence() !== null);
  world.cuts.clear();
  world.run(5_000);
  theirs.close();
  world.run(10_000);
  ok(mine.fence() !== null, 'it is had by who wants it');
});

test('two nodes of one region ask at once: one wins, and either goes on without the other', () => {
  const world = new RegisterWorld(3, 3_600_000, 1, ['r0/two']);
  equal(world.registers(0).host?.control?.acceptors.length, 3, 'one acceptor a region');
  const answers: ClaimAnswer[] = [];
  for (const place of [0, 3]) {
    world.registers(place).claims.claim('k', `at-${place}`, '', (answer) => {
      ok(answer.ok, JSON.stringify(answer));
      answers.push(answer.value);
    });
  }
  world.until(() => answers.length === 2);
  deepEqual(answers.map(({ kind }) => kind).toSorted(), ['taken', 'won']);
  world.crash(3, 'power');
  won(claim(world, 0, 'without the further one', 'a'));
  ok(world.start(3).ok);
  world.until(() => world.registers(3).host?.isReady === true);
  world.crash(0);
  won(claim(world, 3, 'without the first one', 'a'));
  equal(claim(world, 3, 'without the further one', 'b').kind, 'taken');
});

test('the vote of a region moves: its acceptor follows, and the node of before may go for good', () => {
  const world = new RegisterWorld(3, 3_600_000, 1, ['r0/two']);
  for (let at = 0; at < 100; at += 1) won(claim(world, at % 4, `k${at}`, 'a'));
  const [before, after] = [world.node(0).own.id, world.node(3).own.id];
  const acceptors = () => world.registers(1).host?.control?.acceptors.map(({ id }) => id) ?? [];
  ok(acceptors().includes(before) && !acceptors().includes(after));
  world.node(0).isVoter = false;
  world.node(3).isVoter = true;
  world.until(() => acceptors().includes(after) && !acceptors().includes(before));
  world.node(0).isMember = false;
  world.crash(0);
  world.until(() => world.node(1).engine.view.get('registers/nodes/r0') === null);
  equal(world.node(1).engine.view.get('registers/proposers/r0'), null);
  ok(world.node(1).engine.view.get('registers/nodes/r0/two') !== null);
  world.crash(2);
  for (let at = 0; at < 100; at += 1) equal(claim(world, 3, `k${at}`, 'b').kind, 'taken');
});

test('a lease names the node that holds it, and goes to the other node of the same region', () => {
  const world = new RegisterWorld(3, 3_600_000, 1, ['r0/two']);
  const quiet = { held: () => {}, lost: () => {} };
  const first = world.registers(3).leases.hold('boss', 2_000, quiet);
  world.until(() => first.fence() !== null);
  const holder = () =>
    world
      .registers(0)
      .leases.list(PAGE)
      .items.find(({ name }) => name === 'boss')?.holder ?? '';
  world.run(1_000);
  match(holder(), /^r0\/two\/\d+\/\d+$/);
  const number = first.fence() ?? 0;
  const second = world.registers(0).leases.hold('boss', 2_000, quiet);
  world.run(5_000);
  equal(second.fence(), null, 'the nodes of a region are two holders');
  world.crash(3);
  world.until(() => second.fence() !== null);
  ok((second.fence() ?? 0) > number);
  match(holder(), /^r0\/\d+\/\d+$/);
});

test('a lease goes to another when its holder dies, with a higher number; freed by force too', () => {
  const world = new RegisterWorld(3);
  const fences: number[][] = [[], [], []];
  const handles = [0, 1, 2].map((place) =>
    world.registers(place).leases.hold('boss', 2_000, {
      held: (fence) => fences[place]?.push(fence),
      lost: () => {},
    }),
  );
  const holder = (): number => handles.findIndex((handle) => handle.fence() !== null);
  world.until(() => holder() >= 0);
  const first = holder();
  const number = handles[first]?.fence() ?? 0;
  world.run(10_000);
  equal(handles[first]?.fence(), number, 'it is renewed and keeps its number');
  world.crash(first);
  handles.splice(first, 1, { fence: () => null, close: () => {} });
  world.until(() => holder() >= 0);
  const second = handles[holder()]?.fence() ?? 0;
  ok(second > number, `${second} after ${number}`);
  const rows = world.registers(holder()).leases.list(PAGE).items;
  const row = rows.find(({ name }) => name === 'boss');
  deepEqual([row?.name, row?.fence, row?.isFree], ['boss', second, false]);
  const freed = world.ask((done) => world.registers(holder()).leases.free('boss', done));
  deepEqual(freed, { ok: true, value: true });
  world.until(() => holder() >= 0 && (handles[holder()]?.fence() ?? 0) > second);
});

test('a lease that is given back is free at once', () => {
  const world = new RegisterWorld(3);
  const quiet = { held: () => {}, lost: () => {} };
  const mine = world.registers(0).leases.hold('boss', 600_000, quiet);
  world.until(() => mine.fence() !== null);
  mine.close();
  world.run(200);
  const theirs = world.registers(1).leases.hold('boss', 600_000, quiet);
  const beginMs = world.time.nowMs();
  world.until(() => theirs.fence() !== null);
  ok(world.time.nowMs() - beginMs < 1_000);
});

test('a name has one owner in all regions, until that one gives it back', () => {
  const world = new RegisterWorld(3);
  const take = (place: number, owner: string) =>
    world.ask((done) => world.registers(place).names.take('shop', owner, done));
  deepEqual(take(0, 'ann'), { ok: true, value: { kind: 'yours' } });
  deepEqual(take(0, 'ann'), { ok: true, value: { kind: 'yours' } });
  deepEqual(take(1, 'bob'), { ok: true, value: { kind: 'taken', owner: 'ann' } });
  ok(world.ask((done) => world.registers(1).names.give('shop', 'bob', done)).ok);
  deepEqual(take(2, 'bob'), { ok: true, value: { kind: 'taken', owner: 'ann' } });
  ok(world.ask((done) => world.registers(2).names.give('shop', 'ann', done)).ok);
  deepEqual(take(1, 'bob'), { ok: true, value: { kind: 'yours' } });
  const owner = world.ask((done) => world.registers(0).names.ownerOf('shop', done));
  deepEqual(owner, { ok: true, value: 'bob' });
});

test('a long log is shortened while claims go on, and what was there before is there after', () => {
  const world = new RegisterWorld(1);
  const count = REGISTER_LIMITS.digestSlotsMin;
  const winners: WonClaim[] = [];
  let asked = 0;
  const claimMore = (upTo: number, widthMax: number): void => {
    for (; asked < upTo; asked += 1) {
      world.registers(0).claims.claim(`k${asked}`, 'a', '', (answer) => {
        ok(answer.ok);
        winners.push(won(answer.value));
      });
      if (asked - winners.length >= widthMax) world.until(() => asked - winners.length < 100);
    }
    world.until(() => winners.length === upTo);
  };
  claimMore(count / 2, 1_000);
  const { disk } = world.node(0);
  const isShortened = (): boolean => {
    return disk.names.paths().some((path) => path.endsWith('.snapshot'));
  };
  // A claim is two slots: now it begins. Old keys change and new ones come in between its slices.
  ok(!isShortened());
  let settled = 0;
  while (!isShortened()) {
    const old = winners[settled * 7];
    ok(old !== undefined);
    ok(world.ask((done) => world.registers(0).claims.settle(old, 'done', done)).ok);
    settled += 1;
    claimMore(asked + 3, 1_000);
  }
  ok(settled > 3, `${settled} were settled meanwhile`);
  world.crash(0, 'power');
  ok(world.start(0).ok);
  world.until(() => world.registers(0).host?.isReady === true);
  const rows = world.registers(0).claims.list({ after: '', limit: asked + 1 }).items;
  equal(rows.length, asked);
  equal(rows.filter(({ result }) => result === 'done').length, settled);
});

test('without room new keys are refused at once, known ones told; a generation that ends makes room', () => {
  const claimMs = 40_000;
  const world = new RegisterWorld(3, claimMs, 1, [], { keysMax: 30 });
  const wonFirst = won(claim(world, 0, 'k0', 'a'));
  for (let at = 1; at < 30; at += 1) won(claim(world, at % 3, `k${at}`, 'a'));
  equal(world.registers(1).host?.status().fill, 1);
  const beginMs = world.time.nowMs();
  for (const place of [0, 1, 2]) {
    const { claims } = world.registers(place);
    const refused = world.ask<ClaimAnswer>((done) => claims.claim(`new-${place}`, 'a', '', done));
    ok(!refused.ok && refused.error.kind === 'full', JSON.stringify(refused));
    // The first generation takes claims for half of the time, and stands for its whole then.
    const { roomInMs } = refused.error;
    ok(roomInMs > claimMs && roomInMs <= claimMs * 1.5, `room in ${roomInMs} ms`);
  }
  ok(world.time.nowMs() - beginMs < 1_000, 'nobody waits for a refusal');
  equal(claim(world, 2, 'k7', 'b').kind, 'taken');
  ok(world.ask((done) => world.registers(0).claims.settle(wonFirst, 'done', done)).ok);
  const { names } = world.registers(1);
  ok(world.ask((done) => names.take('shop', 'ann', done)).ok, 'names have room of their own');
  world.run(claimMs * 1.5 + 4 * REGISTER_LIMITS.careMs);
  won(claim(world, 1, 'new-0', 'a'));
  won(claim(world, 0, 'k7', 'b'));
});

test('a full disk takes nothing, a small log is shortened in the space that is kept, and it goes on', () => {
  const world = new RegisterWorld(1);
  const { disk } = world.node(0);
  won(claim(world, 0, 'first', 'a'));
  world.run(1_000); // The next segment and the space for this very moment are made.
  disk.faults.capacityBytes = disk.usedBytes();
  const { host, claims } = world.registers(0);
  ok(host !== null);
  // One register again and again: the log grows, what it stands for does not.
  const value = new Uint8Array(32 * 1024);
  const key = { bucket: PERMANENT_BUCKET, name: 'grows' };
  let version = 0;
  const grow = (): string => {
    const change = { expect: version, value, requestId: `${version}`, isRetry: false };
    const reply = world.ask<string>((done) => {
      host.change(key, change, ({ kind }) => done({ ok: true, value: kind }));
    });
    if (reply.ok && reply.value === 'changed') version += 1;
    return reply.ok ? reply.value : '';
  };
  while (host.status().disk === 'ok') {
    grow();
    ok(version < 1_000, 'the disk is full at some time');
  }
  const seen = world.ask<ClaimView | null>((done) => claims.lookup('first', done));
  ok(seen.ok && seen.value?.owner === 'a', 'what is there can be read');
  world.until(() => host.status().disk === 'ok');
  equal(grow(), 'changed');
  world.crash(0, 'power');
  ok(world.start(0).ok);
  world.until(() => world.registers(0).host?.isReady === true);
  equal(claim(world, 0, 'first', 'b').kind, 'taken');
  equal(
    world.registers(0).host?.kept.get(PERMANENT_BUCKET)?.get('grows')?.register.version,
    version,
  );
});

test('a damaged log does not open: its number takes part no more', () => {
  const world = new RegisterWorld(3);
  for (let at = 0; at < 10; at += 1) won(claim(world, 0, `k${at}`, 'a'));
  world.run(2_000);
  world.crash(0);
  const { disk } = world.node(0);
  const segment = disk.files().find(({ path }) => path.endsWith('.log'));
  ok(segment !== undefined);
  disk.flip(segment.path, 700, 0x10);
  const opened = world.start(0);
  ok(!opened.ok && opened.error.kind === 'damaged', JSON.stringify(opened));
});
