/**
 * What every `ControlEngine` does, as cases that a test runs against each one: our own group and an
 * etcd cluster, in virtual time and on real processes. Pure. A world has three nodes, 0 to 2.
 */

import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import type { ControlEngine, ControlFailure, ControlOutcome } from './engine.ts';
import type { Compare, Operation, Transaction } from './types.ts';
import { WatchHub, type WatchId } from './watch.ts';

export interface EngineWorld {
  /** Of a node that runs. */
  engine(node: number): ControlEngine;
  /** A node whose transactions go through another one, or through a store outside. */
  follower(): Promise<number>;
  /** What the node asks for arrives, and the answers do not. */
  loseAnswers(node: number, isLost: boolean): void;
  /** Whoever leads dies. Gives nodes that still run. */
  killLeader(): Promise<readonly number[]>;
  /** Nobody has a quorum any more; node 2 runs on. */
  loseQuorum(): Promise<void>;
  /** Ends a node as an accident would, and starts it again from its disk. */
  crash(node: number): Promise<void>;
  restart(node: number): Promise<void>;
  /** Whoever does not listen now has to be given the whole state later. */
  forgetHistory(): Promise<void>;
  /** Everything runs, and all hear one another. */
  heal(): Promise<void>;
  sleep(ms: number): Promise<void>;
  nowMs(): number;
}

export interface EngineCase {
  readonly name: string;
  /** Throws, or rejects, where the engine breaks the claim. The state of the world is empty. */
  readonly run: (world: EngineWorld) => Promise<void>;
}

const NODES = [0, 1, 2];
const AUDIT = { who: 'ann', from: 'here', what: 'test', why: 'because' };
const UNTIL_MS = 30_000;

function put(key: string, text: string, type = 'text'): Operation {
  return { kind: 'put', key, type, value: encodeUtf8(text) };
}

function transactionOf(
  success: readonly Operation[],
  compares: readonly Compare[] = [],
  failure: readonly Operation[] = [],
): Transaction {
  return { kind: 'transaction', audit: AUDIT, compares, success, failure };
}

/** Puts `key` only where it is absent: a second run of the same transaction would fail. */
function create(key: string, text: string): Transaction {
  return transactionOf([put(key, text)], [{ kind: 'absent', key }]);
}

function transact(engine: ControlEngine, transaction: Transaction): Promise<ControlOutcome> {
  let isInside = true;
  let count = 0;
  const outcome = new Promise<ControlOutcome>((resolve) => {
    engine.transact(transaction, (told) => {
      count += 1;
      check(!isInside, 'an engine never calls back inside the call (P1)');
      check(count === 1, 'a transaction is answered once');
      resolve(told);
    });
  });
  isInside = false;
  return outcome;
}

function confirmed(engine: ControlEngine): Promise<number | ControlFailure> {
  return new Promise((resolve) => {
    engine.confirm((result) => resolve(result.ok ? result.value : result.error));
  });
}

function check(isTrue: boolean, claim: string): asserts isTrue {
  if (!isTrue) throw new Error(claim);
}

function same(actual: unknown, expected: unknown, claim: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${claim}: got ${a}, expected ${b}`);
}

async function until(world: EngineWorld, claim: string, isSo: () => boolean): Promise<void> {
  const endMs = world.nowMs() + UNTIL_MS;
  while (!isSo()) {
    check(world.nowMs() < endMs, `in time: ${claim}`);
    await world.sleep(5);
  }
}

function textOf(engine: ControlEngine, key: string): string | null {
  const item = engine.view.get(key);
  return item === null ? null : decodeUtf8(item.value);
}

function isCreated(outcome: ControlOutcome): boolean {
  return outcome.ok && outcome.value.isSuccess;
}

async function mustCreate(world: EngineWorld, node: number, key: string): Promise<void> {
  const outcome = await transact(world.engine(node), create(key, key));
  check(isCreated(outcome), `${key} is created: ${JSON.stringify(outcome)}`);
}

/** Waits until all these nodes have the newest state. */
async function together(world: EngineWorld, nodes: readonly number[] = NODES): Promise<void> {
  for (const node of nodes) {
    const revision = await confirmed(world.engine(node));
    check(typeof revision === 'number', `confirmed at node ${node}: ${JSON.stringify(revision)}`);
  }
}

function contents(engine: ControlEngine): readonly string[] {
  const { items } = engine.view.range({ prefix: '', after: '', keysMax: 1_000 });
  return items.map(({ key, value, version, createRevision, modRevision }) => {
    return `${key}=${decodeUtf8(value)} ${version} ${createRevision} ${modRevision}`;
  });
}

/** A copy of the state that is kept by a watch alone. */
class Copy {
  readonly revisions: number[] = [];
  lists = 0;
  bookmark = 0;
  #items = new Map<string, string>();
  #engine: ControlEngine;
  #hub: WatchHub;
  #id: WatchId | null;

  constructor(engine: ControlEngine) {
    this.#engine = engine;
    this.#hub = new WatchHub(engine.view);
    this.#id = this.#open();
  }

  /** Goes on from its bookmark at another node, or at the same one after a restart. */
  moveTo(engine: ControlEngine): void {
    this.#engine = engine;
    this.#hub = new WatchHub(engine.view);
    this.#id = this.#open();
  }

  take(): void {
    if (this.#id === null) this.#list();
    for (let isMore = true; isMore && this.#id !== null;) {
      const taken = this.#hub.take(this.#id, true);
      if (taken.kind === 'compacted') this.#list();
      isMore = taken.kind === 'changes';
      if (taken.kind !== 'changes') continue;
      for (const { revision, events } of taken.changes) {
        check(revision > (this.revisions.at(-1) ?? 0), 'changes come in order, none twice');
        this.revisions.push(revision);
        for (const event of events) {
          if (event.kind === 'delete') this.#items.delete(event.key);
          else this.#items.set(event.item.key, decodeUtf8(event.item.value));
        }
      }
      check(taken.bookmark >= this.bookmark, 'bookmarks go forward');
      this.bookmark = taken.bookmark;
    }
  }

  contents(): readonly string[] {
    return [...this.#items].map(([key, value]) => `${key}=${value}`).toSorted();
  }

  #open(): WatchId | null {
    const opened = this.#hub.open('', this.bookmark + 1);
    return opened.ok ? opened.value : null;
  }

  #list(): void {
    const page = this.#engine.view.range({ prefix: '', after: '', keysMax: 1_000 });
    check(page.revision >= this.bookmark, 'a list is not older than what was heard');
    this.#items = new Map(page.items.map(({ key, value }) => [key, decodeUtf8(value)]));
    this.bookmark = page.revision;
    this.lists += 1;
    this.#id = this.#open();
  }
}

export const ENGINE_CASES: readonly EngineCase[] = [
  {
    name: 'a transaction from any node is done everywhere, whole, and listeners are told',
    async run(world) {
      let moved = 0;
      const stop = world.engine(2).onMoved(() => {
        moved += 1;
      });
      for (const node of NODES) {
        const both = transactionOf([put(`a${node}`, '1'), put(`b${node}`, '2')]);
        const outcome = await transact(world.engine(node), both);
        check(outcome.ok, JSON.stringify(outcome));
        const { revision, results } = outcome.value;
        same([revision, results.length], [node + 1, 2], 'one revision for all of it');
      }
      await together(world);
      for (const node of NODES)
        same(contents(world.engine(node)), contents(world.engine(0)), 'all');
      same(world.engine(2).view.revision, 3, 'one revision for each');
      check(moved >= 1, 'a listener is told');
      stop();
    },
  },
  {
    name: 'compares decide between two branches, by value, presence and each of the numbers',
    async run(world) {
      const engine = world.engine(0);
      await transact(engine, transactionOf([put('a', 'x')]));
      await transact(engine, transactionOf([put('a', 'y')]));
      const item = engine.view.get('a');
      same([item?.createRevision, item?.modRevision, item?.version], [1, 2, 2], 'its numbers');
      const number = (
        field: 'version' | 'createRevision' | 'modRevision',
        equal: number,
      ): Compare => {
        return { kind: 'number', key: 'a', field, relation: 'equal', number: equal };
      };
      const cases: readonly (readonly [Compare, boolean])[] = [
        [{ kind: 'absent', key: 'a' }, false],
        [{ kind: 'absent', key: 'b' }, true],
        [{ kind: 'value', key: 'a', value: encodeUtf8('y') }, true],
        [{ kind: 'value', key: 'a', value: encodeUtf8('x') }, false],
        [number('version', 2), true],
        [number('createRevision', 1), true],
        [number('modRevision', 1), false],
        [{ ...number('modRevision', 1), relation: 'greater' } as Compare, true],
      ];
      for (const [compare, isSuccess] of cases) {
        const range: Operation = { kind: 'range', prefix: 'a', after: '', keysMax: 1 };
        const outcome = await transact(engine, transactionOf([range], [compare], []));
        check(outcome.ok, JSON.stringify(outcome));
        same(outcome.value.isSuccess, isSuccess, JSON.stringify(compare));
        same(outcome.value.results.length, isSuccess ? 1 : 0, 'the branch that ran');
        same(outcome.value.revision, 2, 'what changes nothing has no revision');
      }
    },
  },
  {
    name: 'what the state does not take is refused, and leaves no trace',
    async run(world) {
      const engine = world.engine(1);
      await transact(engine, transactionOf([put('a', 'x')]));
      const many = Array.from({ length: CONTROL_LIMITS.operationsMax + 1 }, (_, at) =>
        put(`k${at}`, ''),
      );
      const refused = [
        [transactionOf([put('b', '1'), put('a', '2', 'number')]), 'type-changed'],
        [transactionOf(many), 'too-many-operations'],
        [transactionOf([put('b', '1'), put('b', '2')]), 'duplicate-key'],
        [transactionOf([put('b c', '1')]), 'malformed-key'],
      ] as const;
      for (const [transaction, error] of refused) {
        const outcome = await transact(engine, transaction);
        same(outcome, { ok: false, error: { kind: 'refused', error } }, error);
      }
      await together(world);
      for (const node of NODES) same(contents(world.engine(node)), ['a=x 1 1 1'], 'no trace');
    },
  },
  {
    name: 'of many that create the same key at once in all nodes, one succeeds',
    async run(world) {
      const all = await Promise.all(
        Array.from({ length: 12 }, (_, at) =>
          transact(world.engine(at % 3), create('one', `${at}`)),
        ),
      );
      for (const outcome of all) check(outcome.ok, JSON.stringify(outcome));
      same(all.filter(isCreated).length, 1, 'one of them');
      await together(world);
      for (const node of NODES) {
        same(textOf(world.engine(node), 'one'), String(all.findIndex(isCreated)), 'that one');
      }
    },
  },
  {
    name: 'answers that get lost are asked for again, and nothing runs twice (CE1)',
    async run(world) {
      await mustCreate(world, 0, 'first');
      const node = await world.follower();
      world.loseAnswers(node, true);
      const pending = ['second', 'third'].map((key) =>
        transact(world.engine(node), create(key, key)),
      );
      await world.sleep(3_000);
      world.loseAnswers(node, false);
      for (const outcome of await Promise.all(pending)) {
        check(isCreated(outcome), `a second run would find it there: ${JSON.stringify(outcome)}`);
      }
      await together(world);
      for (const each of NODES) same(world.engine(each).view.revision, 3, 'once each');
    },
  },
  {
    name: 'who did what, from where and why is kept with its revision, the same in all nodes',
    async run(world) {
      await mustCreate(world, 0, 'a');
      await transact(world.engine(1), transactionOf([put('b', '1'), { kind: 'delete', key: 'a' }]));
      await together(world);
      for (const node of NODES) {
        const records = world.engine(node).view.audit(1, 10);
        same(
          records.map(({ revision, changes }) => [revision, changes]),
          [
            [1, [{ kind: 'put', key: 'a' }]],
            [
              2,
              [
                { kind: 'put', key: 'b' },
                { kind: 'delete', key: 'a' },
              ],
            ],
          ],
          'revision and keys',
        );
        const [first, second] = records;
        same([first?.who, first?.from, first?.what, first?.why], Object.values(AUDIT), 'who');
        check((first?.timeMs ?? 0) > 0, 'when');
        check((second?.timeMs ?? 0) >= (first?.timeMs ?? 0), 'times do not go back');
        same(world.engine(node).view.audit(2, 10).length, 1, 'from a revision on');
      }
    },
  },
  {
    name: 'a watch hears each change once and in order, and goes on at another node from its bookmark',
    async run(world) {
      const copy = new Copy(world.engine(0));
      for (let at = 0; at < 24; at += 1) {
        const key = `k${at % 5}`;
        const change = at % 7 === 6 ? { kind: 'delete' as const, key } : put(key, `${at}`);
        await transact(world.engine(at % 3), transactionOf([change]));
        copy.take();
        if (at % 8 === 7) copy.moveTo(world.engine((at + 1) % 3));
      }
      await together(world);
      copy.take();
      const { view } = world.engine(0);
      const expected = Array.from({ length: view.revision }, (_, at) => at + 1);
      same(copy.revisions, expected, 'each revision');
      same([copy.bookmark, copy.lists], [view.revision, 0], 'the bookmark, and no list');
    },
  },
  {
    name: 'whoever was away while the history was forgotten is whole again, and its watchers are told',
    async run(world) {
      const copy = new Copy(world.engine(2));
      await mustCreate(world, 0, 'before');
      await together(world);
      copy.take();
      await world.crash(2);
      for (let at = 0; at < 50; at += 1) {
        await transact(world.engine(at % 2), transactionOf([put(`k${at % 7}`, `${at}`)]));
      }
      await transact(world.engine(0), transactionOf([{ kind: 'delete', key: 'before' }]));
      await world.forgetHistory();
      await mustCreate(world, 1, 'after');
      await world.restart(2);
      await together(world);
      same(contents(world.engine(2)), contents(world.engine(0)), 'the state');
      same(world.engine(2).view.audit(1, 99).length, 53, 'all records');
      copy.moveTo(world.engine(2));
      await mustCreate(world, 2, 'later');
      await together(world, [2]);
      copy.take();
      const { items } = world.engine(2).view.range({ prefix: '', after: '', keysMax: 99 });
      const expected = items.map(({ key, value }) => `${key}=${decodeUtf8(value)}`);
      same(copy.contents(), expected, 'a copy that only watches');
    },
  },
  {
    name: 'confirm sees what another node has done before',
    async run(world) {
      for (let at = 0; at < 6; at += 1) {
        await mustCreate(world, at % 3, `k${at}`);
        const reader = world.engine((at + 1) % 3);
        const revision = await confirmed(reader);
        check(typeof revision === 'number' && revision >= at + 1, JSON.stringify(revision));
        same(textOf(reader, `k${at}`), `k${at}`, 'read after confirm');
      }
    },
  },
  {
    name: 'the leader dies under transactions: each is done once or told as what it is (CE2)',
    async run(world) {
      await mustCreate(world, 0, 'first');
      const outcomes = new Map<string, ControlOutcome>();
      const sent: Promise<void>[] = [];
      const send = (node: number, count: number): void => {
        for (let at = 0; at < count; at += 1) {
          const key = `k${node}-${at}`;
          sent.push(
            transact(world.engine(node), create(key, key)).then((outcome) => {
              outcomes.set(key, outcome);
            }),
          );
        }
      };
      const node = await world.follower();
      send(node, 12);
      await world.sleep(10);
      const alive = await world.killLeader();
      check(alive.includes(node), 'who asks still runs');
      await Promise.all(sent);
      await world.heal();
      await together(world);
      for (const [key, outcome] of outcomes) {
        const found = textOf(world.engine(node), key);
        if (outcome.ok) same([outcome.value.isSuccess, found], [true, key], key);
        else if (outcome.error.kind !== 'unknown') same(found, null, `${key} was not done`);
      }
      check([...outcomes.values()].filter(isCreated).length > 0, 'some are done');
    },
  },
  {
    name: 'without a quorum reads go on, after a restart too, and nothing is said to be done (CE3)',
    async run(world) {
      await mustCreate(world, 0, 'kept');
      await together(world);
      const before = contents(world.engine(2));
      await world.loseQuorum();
      const outcome = await transact(world.engine(2), create('lost', 'x'));
      check(!outcome.ok && outcome.error.kind !== 'refused', JSON.stringify(outcome));
      const read = await confirmed(world.engine(2));
      check(typeof read !== 'number' && read.kind === 'unavailable', JSON.stringify(read));
      same(contents(world.engine(2)), before, 'reads go on');
      await world.crash(2);
      await world.restart(2);
      await until(
        world,
        'the state is on the disk',
        () => textOf(world.engine(2), 'kept') !== null,
      );
      same(contents(world.engine(2)), before, 'after a restart');
      same(world.engine(2).view.audit(1, 10).length, 1, 'the records too');
      await world.heal();
      await together(world);
      const isDone = textOf(world.engine(0), 'lost') !== null;
      check(!isDone || outcome.error.kind === 'unknown', 'unavailable never takes effect');
      await mustCreate(world, 2, 'again');
    },
  },
  {
    name: 'counters that all nodes raise by compare lose nothing and count nothing twice',
    async run(world) {
      await transact(world.engine(0), transactionOf([put('count', '0')]));
      await together(world);
      let [done, unknown] = [0, 0];
      const raise = async (node: number): Promise<void> => {
        for (let turn = 0; turn < 12; turn += 1) {
          const engine = world.engine(node);
          const item = engine.view.get('count');
          const next = Number(textOf(engine, 'count')) + 1;
          const outcome = await transact(
            engine,
            transactionOf(
              [put('count', `${next}`)],
              [
                {
                  kind: 'number',
                  key: 'count',
                  field: 'modRevision',
                  relation: 'equal',
                  number: item?.modRevision ?? 0,
                },
              ],
            ),
          );
          if (isCreated(outcome)) done += 1;
          else if (!outcome.ok && outcome.error.kind === 'unknown') unknown += 1;
          await world.sleep(1 + node);
        }
      };
      await Promise.all(NODES.map(raise));
      await together(world);
      const count = Number(textOf(world.engine(1), 'count'));
      check(count >= done && count <= done + unknown, `${count} of ${done} and ${unknown} unknown`);
      check(done >= 12, `${done} done`);
    },
  },
];
