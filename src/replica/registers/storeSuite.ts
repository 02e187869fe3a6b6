/**
 * What every `RegisterStore` does, as cases that a test runs against each one: our own registers and
 * an etcd cluster, in virtual time and on real servers. Pure. A world has three nodes, 0 to 2.
 */

import type { Prng } from '../../base/prng.ts';
import type { Result } from '../../base/result.ts';
import type {
  ClaimAnswer,
  ClaimView,
  LeaseHandle,
  NameAnswer,
  RegisterStore,
  StoreDone,
  StoreFailure,
  WonClaim,
} from './port.ts';

export interface StoreWorld {
  /** Of a node that runs. */
  store(node: number): RegisterStore;
  /** Ends a node as an accident would. */
  crash(node: number): Promise<void>;
  /** What the node asks for arrives, and the answers do not. */
  loseAnswers(node: number, isLost: boolean): void;
  /** Nobody has a quorum any more; node 0 runs on. */
  loseQuorum(): Promise<void>;
  sleep(ms: number): Promise<void>;
  nowMs(): number;
}

export interface StoreCase {
  readonly name: string;
  /** Throws, or rejects, where the store breaks the claim. The store is empty. */
  readonly run: (world: StoreWorld) => Promise<void>;
}

const UNTIL_MS = 30_000;
const TTL_MS = 3_000;
/** The first page of a list. */
const PAGE = { after: '', limit: 10 };

function check(isTrue: boolean, claim: string): asserts isTrue {
  if (!isTrue) throw new Error(claim);
}

function same(actual: unknown, expected: unknown, claim: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${claim}: got ${a}, expected ${b}`);
}

async function until(world: StoreWorld, claim: string, isSo: () => boolean): Promise<void> {
  const endMs = world.nowMs() + UNTIL_MS;
  while (!isSo()) {
    check(world.nowMs() < endMs, `in time: ${claim}`);
    await world.sleep(5);
  }
}

/** The answer to one call; asserts P1 and that it comes once. */
function ask<T>(call: (done: StoreDone<T>) => void): Promise<Result<T, StoreFailure>> {
  let isInside = true;
  let count = 0;
  const answer = new Promise<Result<T, StoreFailure>>((resolve) => {
    call((result) => {
      count += 1;
      check(!isInside, 'a store never calls back inside the call');
      check(count === 1, 'a call is answered once');
      resolve(result);
    });
  });
  isInside = false;
  return answer;
}

async function claim(
  world: StoreWorld,
  node: number,
  key: string,
  owner: string,
): Promise<ClaimAnswer> {
  const { claims } = world.store(node);
  const answer = await ask<ClaimAnswer>((done) => claims.claim(key, owner, 'digest', done));
  check(answer.ok, `${key} for ${owner}: ${JSON.stringify(answer)}`);
  return answer.value;
}

function won(answer: ClaimAnswer): WonClaim {
  check(answer.kind === 'won', JSON.stringify(answer));
  return answer.claim;
}

/**
 * Races for claims and for one lease from all nodes until the time is over, under faults that the
 * caller brings about. Throws where two win, where two hold, or where a number does not rise.
 */
export async function raceUnderFaults(
  world: StoreWorld,
  prng: Prng,
  untilMs: number,
): Promise<{ readonly won: number; readonly holders: number }> {
  const handles = NODES.map((node) => world.store(node).leases.hold('race', TTL_MS, QUIET));
  const fences: number[] = [];
  let isOver = false;
  const watchLease = async (): Promise<void> => {
    while (!isOver) {
      const held = handles.map((handle) => handle.fence()).filter((fence) => fence !== null);
      check(held.length <= 1, `${held.join(' and ')} are held at once`);
      const [fence] = held;
      const last = fences.at(-1) ?? 0;
      check(fence === undefined || fence >= last, `${fence} after ${last}`);
      if (fence !== undefined && fence > last) fences.push(fence);
      await world.sleep(5);
    }
  };
  let wonCount = 0;
  const claimAll = async (): Promise<void> => {
    for (let round = 0; world.nowMs() < untilMs; round += 1) {
      const winners = await race(world, `race-${round}`, prng);
      check(winners.length <= 1, `${winners.join(' and ')} won in round ${round}`);
      wonCount += winners.length;
      await world.sleep(prng.nextBelow(300));
    }
  };
  const claimed = claimAll().finally(() => {
    isOver = true;
  });
  await Promise.all([watchLease(), claimed]);
  for (const handle of handles) handle.close();
  return { won: wonCount, holders: fences.length };
}

/** Four claim a key at about the same time; whoever is not told asks again. */
async function race(world: StoreWorld, key: string, prng: Prng): Promise<readonly string[]> {
  const winners: string[] = [];
  const unknown: string[] = [];
  const claimant = async (at: number): Promise<void> => {
    const owner = `${key}-${at}`;
    const { claims } = world.store(at % 3);
    await world.sleep(prng.nextBelow(40));
    for (let turn = 0; turn < 3; turn += 1) {
      const answer = await ask<ClaimAnswer>((done) => claims.claim(key, owner, '', done));
      if (answer.ok && answer.value.kind === 'won') winners.push(owner);
      if (answer.ok || answer.error.kind !== 'unknown') return;
    }
    unknown.push(owner);
  };
  await Promise.all([0, 1, 2, 3].map(claimant));
  const { claims } = world.store(0);
  const found = await ask<ClaimView | null>((done) => claims.lookup(key, done));
  const owner = found.ok ? (found.value?.owner ?? null) : null;
  const isTold = owner === null || winners.includes(owner) || unknown.includes(owner);
  check(isTold, `${owner} was told that nothing was changed, and has ${key}`);
  return winners;
}

const NODES = [0, 1, 2];
const QUIET = { held: () => {}, lost: () => {} };

export const STORE_CASES: readonly StoreCase[] = [
  {
    name: 'the first claim wins in all regions, and what it came to is told to all who come later',
    async run(world) {
      const first = won(await claim(world, 0, 'k', 'a'));
      const pending = { key: 'k', owner: 'a', about: 'digest', result: null };
      same(await claim(world, 1, 'k', 'b'), { kind: 'taken', claim: pending }, 'under way');
      won(await claim(world, 2, 'k', 'a'));
      const settled = await ask((done) => world.store(0).claims.settle(first, 'done', done));
      check(settled.ok, JSON.stringify(settled));
      const taken = { kind: 'taken', claim: { ...pending, result: 'done' } };
      same(await claim(world, 2, 'k', 'c'), taken, 'done');
      const looked = await ask((done) => world.store(1).claims.lookup('k', done));
      same(looked, { ok: true, value: taken.claim }, 'looked up');
      const absent = await ask((done) => world.store(1).claims.lookup('other', done));
      same(absent, { ok: true, value: null }, 'nobody claimed it');
      await until(world, 'it is in the list', () => {
        const { items: rows } = world.store(0).claims.list(PAGE);
        return rows.some(({ key, result }) => key === 'k' && result === 'done');
      });
    },
  },
  {
    name: 'a claim that is given back is free, and what is another’s is not settled',
    async run(world) {
      const mine = won(await claim(world, 0, 'k', 'a'));
      const released = await ask((done) => world.store(0).claims.release(mine, done));
      check(released.ok, JSON.stringify(released));
      won(await claim(world, 1, 'k', 'b'));
      const settled = await ask((done) => world.store(0).claims.settle(mine, 'late', done));
      check(!settled.ok && settled.error.kind === 'not-yours', JSON.stringify(settled));
      same((await claim(world, 2, 'k', 'c')).kind, 'taken', 'it stays the other’s');
    },
  },
  {
    name: 'an owner that asks again is not told of what was its own and is no more',
    async run(world) {
      const mine = won(await claim(world, 0, 'k', 'a'));
      check((await ask((done) => world.store(0).claims.release(mine, done))).ok, 'given back');
      const theirs = won(await claim(world, 1, 'k', 'b'));
      const pending = { key: 'k', owner: 'b', about: 'digest', result: null };
      same(await claim(world, 0, 'k', 'a'), { kind: 'taken', claim: pending }, 'another’s by now');
      check((await ask((done) => world.store(1).claims.settle(theirs, 'r', done))).ok, 'settled');
      const over = { kind: 'taken', claim: { ...pending, result: 'r' } };
      same(await claim(world, 1, 'k', 'b'), over, 'its own work is over');
      const take = (node: number, owner: string) =>
        ask<NameAnswer>((done) => world.store(node).names.take('shop', owner, done));
      same(await take(0, 'ann'), { ok: true, value: { kind: 'yours' } }, 'free');
      check((await ask((done) => world.store(0).names.give('shop', 'ann', done))).ok, 'given');
      same(await take(1, 'bob'), { ok: true, value: { kind: 'yours' } }, 'free again');
      const taken = { ok: true, value: { kind: 'taken', owner: 'bob' } };
      same(await take(0, 'ann'), taken, 'not hers any more');
    },
  },
  {
    name: 'what an owner has asked for again is not given back by what an earlier call was told',
    async run(world) {
      const first = won(await claim(world, 0, 'k', 'a'));
      won(await claim(world, 2, 'k', 'a'));
      const late = await ask((done) => world.store(0).claims.release(first, done));
      check(!late.ok && late.error.kind === 'not-yours', JSON.stringify(late));
      same((await claim(world, 1, 'k', 'b')).kind, 'taken', 'it stands');
    },
  },
  {
    name: 'a result is told once more where its answer was lost, and never replaced',
    async run(world) {
      const mine = won(await claim(world, 0, 'k', 'a'));
      const settle = (node: number, result: string) =>
        ask((done) => world.store(node).claims.settle(mine, result, done));
      check((await settle(0, 'r')).ok, 'settled');
      check((await settle(1, 'r')).ok, 'settled so already');
      const other = await settle(2, 'other');
      check(!other.ok && other.error.kind === 'not-yours', JSON.stringify(other));
      const told = await ask<ClaimView | null>((done) => world.store(1).claims.lookup('k', done));
      check(told.ok && told.value?.result === 'r', JSON.stringify(told));
    },
  },
  {
    name: 'what an owner gives up is free, whether it had it or not',
    async run(world) {
      const abandon = (owner: string) =>
        ask((done) => world.store(1).claims.abandon('k', owner, 'digest', done));
      check((await abandon('a')).ok, 'never claimed');
      won(await claim(world, 0, 'k', 'a'));
      check((await abandon('b')).ok, 'another’s');
      same((await claim(world, 2, 'k', 'b')).kind, 'taken', 'and stays so');
      check((await abandon('a')).ok, 'its own');
      won(await claim(world, 2, 'k', 'b'));
    },
  },
  {
    name: 'of many claims of a key at once in all regions, one wins',
    async run(world) {
      const all = await Promise.all(
        Array.from({ length: 12 }, (_, at) => claim(world, at % 3, 'k', `owner-${at}`)),
      );
      const winners = all.filter(({ kind }) => kind === 'won');
      check(winners.length === 1, `${winners.length} won`);
      const [winner] = winners;
      for (const answer of all) same(answer.claim.owner, winner?.claim.owner, 'all are told who');
    },
  },
  {
    name: 'an answer that is lost leaves one claim, which its owner finds',
    async run(world) {
      won(await claim(world, 1, 'before', 'a'));
      world.loseAnswers(1, true);
      const { claims } = world.store(1);
      const pending = ask<ClaimAnswer>((done) => claims.claim('k', 'a', 'digest', done));
      await world.sleep(1_500);
      world.loseAnswers(1, false);
      const answer = await pending;
      check(answer.ok || answer.error.kind === 'unknown', JSON.stringify(answer));
      if (answer.ok) won(answer.value);
      else won(await claim(world, 2, 'k', 'a'));
      same((await claim(world, 0, 'k', 'b')).kind, 'taken', 'nobody else has it');
    },
  },
  {
    name: 'a lease is renewed with its number, and goes to another with a higher one',
    async run(world) {
      const handles = new Map<number, LeaseHandle>();
      for (const node of [0, 1, 2]) {
        handles.set(node, world.store(node).leases.hold('boss', TTL_MS, QUIET));
      }
      const holders = (): readonly number[] =>
        [...handles].flatMap(([node, handle]) => (handle.fence() === null ? [] : [node]));
      await until(world, 'somebody holds it', () => holders().length > 0);
      const [first = 0] = holders();
      const fence = handles.get(first)?.fence() ?? 0;
      for (let at = 0; at < 20; at += 1) {
        await world.sleep(TTL_MS / 8);
        same(holders(), [first], 'one holds it');
        same(handles.get(first)?.fence(), fence, 'and keeps its number');
      }
      await world.crash(first);
      handles.delete(first);
      await until(world, 'another holds it', () => holders().length > 0);
      const [second = 0] = holders();
      const next = handles.get(second)?.fence() ?? 0;
      check(next > fence, `${next} after ${fence}`);
      await until(world, 'the list says so', () => {
        const { items: rows } = world.store(second).leases.list(PAGE);
        return rows.some((row) => row.name === 'boss' && row.fence === next && !row.isFree);
      });
      handles.get(second)?.close();
      handles.delete(second);
      await until(world, 'the last one holds it', () => holders().length > 0);
      const [third = 0] = holders();
      check((handles.get(third)?.fence() ?? 0) > next, 'with a higher number again');
      handles.get(third)?.close();
    },
  },
  {
    name: 'a lease that is freed by force is lost, and its next number is higher',
    async run(world) {
      let lost = 0;
      const mine = world.store(0).leases.hold('boss', TTL_MS, {
        held: () => {},
        lost: (fence) => {
          lost = fence;
        },
      });
      await until(world, 'it is held', () => mine.fence() !== null);
      const fence = mine.fence() ?? 0;
      const freed = await ask((done) => world.store(1).leases.free('boss', done));
      same(freed, { ok: true, value: true }, 'freed');
      await until(world, 'its holder has a higher one', () => (mine.fence() ?? 0) > fence);
      same(lost, fence, 'and was told of the loss');
      const nobody = await ask((done) => world.store(1).leases.free('nobodys', done));
      same(nobody, { ok: true, value: false }, 'nobody holds it');
      mine.close();
    },
  },
  {
    name: 'a holder that is cut off loses its lease before another has it',
    async run(world) {
      const mine = world.store(1).leases.hold('boss', TTL_MS, QUIET);
      await until(world, 'it is held', () => mine.fence() !== null);
      const theirs = world.store(2).leases.hold('boss', TTL_MS, QUIET);
      world.loseAnswers(1, true);
      await until(world, 'it is lost', () => mine.fence() === null);
      world.loseAnswers(1, false);
      mine.close();
      await until(world, 'the other has it', () => theirs.fence() !== null);
      theirs.close();
    },
  },
  {
    name: 'a name has one owner in all regions, until that one gives it back',
    async run(world) {
      const take = (node: number, owner: string) =>
        ask<NameAnswer>((done) => world.store(node).names.take('shop', owner, done));
      const give = (node: number, owner: string) =>
        ask((done) => world.store(node).names.give('shop', owner, done));
      same(await take(0, 'ann'), { ok: true, value: { kind: 'yours' } }, 'free');
      same(await take(1, 'ann'), { ok: true, value: { kind: 'yours' } }, 'hers already');
      const taken = { ok: true, value: { kind: 'taken', owner: 'ann' } };
      same(await take(1, 'bob'), taken, 'taken');
      check((await give(1, 'bob')).ok, 'not his to give');
      same(await take(2, 'bob'), taken, 'still taken');
      check((await give(2, 'ann')).ok, 'hers to give');
      same(await take(1, 'bob'), { ok: true, value: { kind: 'yours' } }, 'free again');
      const owner = await ask((done) => world.store(0).names.ownerOf('shop', done));
      same(owner, { ok: true, value: 'bob' }, 'looked up');
    },
  },
  {
    name: 'without a quorum a claim fails in time, and a lease is nobody’s once its time is over',
    async run(world) {
      const mine = world.store(0).leases.hold('boss', TTL_MS, QUIET);
      await until(world, 'it is held', () => mine.fence() !== null);
      await world.loseQuorum();
      const beginMs = world.nowMs();
      const { claims } = world.store(0);
      const answer = await ask<ClaimAnswer>((done) => claims.claim('k', 'a', 'digest', done));
      check(!answer.ok && answer.error.kind !== 'not-yours', JSON.stringify(answer));
      const tookMs = world.nowMs() - beginMs;
      check(tookMs < 15_000, `${tookMs} ms`);
      await until(world, 'it is lost', () => mine.fence() === null);
      mine.close();
    },
  },
];
