import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { decodeCommand, decodeReply, encodeCommand, encodeReply } from './codec.ts';
import { AUDIT, driverOf } from './controlTestkit.ts';
import { ControlMachine } from './machine.ts';
import {
  keyOf,
  type Compare,
  type ControlCommand,
  type ControlReply,
  type Operation,
} from './types.ts';
import { WatchHub } from './watch.ts';

const KEYS = ['/a', '/a/1', '/a/2', '/b', '/b/1'] as const;
const key = fc.constantFrom(...KEYS);
const PLAIN = { noNullPrototype: true } as const;
const value = fc.constantFrom('x', 'y', '').map((text) => encodeUtf8(text));

const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({ kind: fc.constant('absent' as const), key }, PLAIN),
  fc.record({ kind: fc.constant('value' as const), key, value }, PLAIN),
  fc.record(
    {
      kind: fc.constant('number' as const),
      key,
      field: fc.constantFrom('version' as const, 'createRevision' as const, 'modRevision' as const),
      relation: fc.constantFrom(
        'equal' as const,
        'notEqual' as const,
        'less' as const,
        'greater' as const,
      ),
      number: fc.nat(4),
    },
    PLAIN,
  ),
);

const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record(
    {
      kind: fc.constant('put' as const),
      key,
      type: fc.constantFrom('text', 'text', 'text', 'number'),
      value,
    },
    PLAIN,
  ),
  fc.record({ kind: fc.constant('delete' as const), key }, PLAIN),
  fc.record(
    {
      kind: fc.constant('range' as const),
      prefix: fc.constantFrom('', '/a', '/a/', '/b', '/c'),
      after: fc.constantFrom('', '/a', '/a/1', '/b'),
      keysMax: fc.integer({ min: 1, max: 4 }),
    },
    PLAIN,
  ),
);

const operations = fc.array(operation, { maxLength: 4 });
const command: fc.Arbitrary<ControlCommand> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record(
      {
        kind: fc.constant('transaction' as const),
        audit: fc.constant(AUDIT),
        compares: fc.array(compare, { maxLength: 2 }),
        success: operations,
        failure: operations,
      },
      PLAIN,
    ),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('compact' as const), revision: fc.nat(30) }, PLAIN),
  },
);
const commands = fc.array(command, { maxLength: 60 });

interface ModelItem {
  type: string;
  value: string;
  create: number;
  mod: number;
  version: number;
}

/** The simplest thing that can be right: copies the whole map for each transaction. */
class Model {
  items = new Map<string, ModelItem>();
  revision = 0;
  compacted = 0;
  events: (readonly [revision: number, text: string])[] = [];

  run(given: ControlCommand): string {
    if (given.kind === 'compact') {
      if (given.revision > this.revision) return 'refused future-revision';
      this.compacted = Math.max(this.compacted, given.revision);
      return `oldest ${this.compacted + 1}`;
    }
    for (const branch of [given.success, given.failure]) {
      const changed = branch.flatMap((each) => (each.kind === 'range' ? [] : [each.key]));
      if (new Set(changed).size < changed.length) return 'refused duplicate-key';
    }
    const isSuccess = given.compares.every((each) => this.#holds(each));
    const before = new Map(this.items);
    const revision = this.revision + 1;
    const events: string[] = [];
    const results: string[] = [];
    for (const each of isSuccess ? given.success : given.failure) {
      const result = this.#step(each, revision, events);
      if (result === null) {
        this.items = before;
        return 'refused type-changed';
      }
      results.push(result);
    }
    if (events.length > 0) this.revision = revision;
    this.events.push(...events.map((text) => [revision, text] as const));
    return [`${isSuccess} ${this.revision}`, ...results].join('; ');
  }

  #holds(each: Compare): boolean {
    const item = this.items.get(each.key);
    if (each.kind === 'absent') return item === undefined;
    if (each.kind === 'value') return item?.value === decodeUtf8(each.value);
    const fields = { version: item?.version, createRevision: item?.create, modRevision: item?.mod };
    const number = fields[each.field] ?? 0;
    if (each.relation === 'equal') return number === each.number;
    if (each.relation === 'notEqual') return number !== each.number;
    return each.relation === 'less' ? number < each.number : number > each.number;
  }

  #step(each: Operation, revision: number, events: string[]): string | null {
    if (each.kind === 'range') {
      const found = [...this.items.keys()]
        .filter((name) => name.startsWith(each.prefix) && name > each.after)
        .toSorted();
      const page = found.slice(0, each.keysMax);
      const next = found.length > page.length ? page.at(-1) : null;
      const shown = page.map((name) => `${name}=${this.items.get(name)?.value}`).join(',');
      return `range ${shown} next ${next}`;
    }
    const before = this.items.get(each.key);
    if (each.kind === 'delete') {
      this.items.delete(each.key);
      if (before !== undefined) events.push(`delete ${each.key}`);
      return `delete ${before !== undefined}`;
    }
    if (before !== undefined && before.type !== each.type) return null;
    const text = decodeUtf8(each.value);
    this.items.set(each.key, {
      type: each.type,
      value: text,
      create: before?.create ?? revision,
      mod: revision,
      version: (before?.version ?? 0) + 1,
    });
    events.push(`put ${each.key}=${text}`);
    return `put ${(before?.version ?? 0) + 1}`;
  }
}

function show(reply: ControlReply): string {
  if (reply.kind === 'refused') return `refused ${reply.error}`;
  if (reply.kind === 'compacted') return `oldest ${reply.oldest}`;
  const results = reply.results.map((result) => {
    if (result.kind === 'put') return `put ${result.version}`;
    if (result.kind === 'delete') return `delete ${result.isFound}`;
    const shown = result.items.map((item) => `${item.key}=${decodeUtf8(item.value)}`).join(',');
    return `range ${shown} next ${result.next}`;
  });
  return [`${reply.isSuccess} ${reply.revision}`, ...results].join('; ');
}

test('the machine answers, holds and tells what a simple model says', () => {
  fc.assert(
    fc.property(commands, (list) => {
      const machine = new ControlMachine();
      const drive = driverOf(machine);
      const model = new Model();
      const hub = new WatchHub(machine);
      const opened = hub.open('', 1);
      assert.ok(opened.ok);
      const heard: (readonly [number, string])[] = [];
      for (const each of list) {
        assert.equal(show(drive(each)), model.run(each));
        assert.equal(machine.compactedTo, model.compacted);
        const took = hub.take(opened.value);
        assert.ok(took.kind !== 'compacted', 'it takes before each compaction');
        if (took.kind === 'nothing') continue;
        for (const { revision, events } of took.changes) {
          for (const event of events) {
            const text = event.kind === 'put' ? `=${decodeUtf8(event.item.value)}` : '';
            heard.push([revision, `${event.kind} ${keyOf(event)}${text}`]);
          }
        }
      }
      assert.deepEqual(heard, model.events);
      const held = machine.range({ prefix: '', after: '', keysMax: 100 }).items.map((item) => {
        const { type, createRevision: create, modRevision: mod, version } = item;
        return [item.key, { type, value: decodeUtf8(item.value), create, mod, version }];
      });
      assert.deepEqual(
        held,
        [...model.items].toSorted(([left], [right]) => (left < right ? -1 : 1)),
      );
      const records = machine.audit(1, 100);
      assert.deepEqual(
        records.flatMap(({ revision, changes }) =>
          changes.map(({ key: name }) => [revision, name]),
        ),
        model.events.map(([revision, text]) => [revision, /\/[^=]*/.exec(text)?.[0]]),
      );
    }),
    { numRuns: 1_000 },
  );
});

test('two machines with one log are equal to the byte; a snapshot at any place changes nothing', () => {
  fc.assert(
    fc.property(commands, fc.nat(60), (list, at) => {
      const [a, b] = [new ControlMachine(), new ControlMachine()];
      list.forEach((each, place) => {
        const bytes = encodeCommand(each);
        if (place === at) assert.equal(b.restore(b.snapshot()), true);
        assert.deepEqual(a.apply(place + 1, place, bytes), b.apply(place + 1, place, bytes));
        assert.equal(a.hash(), b.hash());
      });
      assert.deepEqual(a.snapshot(), b.snapshot());
      const c = new ControlMachine();
      assert.equal(c.restore(a.snapshot()), true);
      assert.equal(c.hash(), a.hash());
      assert.deepEqual(c.snapshot(), a.snapshot());
    }),
    { numRuns: 300 },
  );
});

test('machines with different contents have different hashes', () => {
  fc.assert(
    fc.property(commands, commands, (left, right) => {
      const machines = [left, right].map((list) => {
        const machine = new ControlMachine();
        const drive = driverOf(machine);
        for (const each of list) drive(each);
        return machine;
      });
      const [a, b] = machines;
      assert.ok(a !== undefined && b !== undefined);
      const areEqual = Buffer.compare(a.snapshot(), b.snapshot()) === 0;
      assert.equal(a.hash() === b.hash(), areEqual);
    }),
    { numRuns: 300 },
  );
});

test('commands and replies come back from their bytes, and every shorter or longer one is refused', () => {
  fc.assert(
    fc.property(commands, (list) => {
      const drive = driverOf(new ControlMachine());
      for (const each of list) {
        const bytes = encodeCommand(each);
        assert.deepEqual(decodeCommand(bytes), each);
        assert.equal(decodeCommand(bytes.slice(0, -1)), null);
        assert.equal(decodeCommand(Uint8Array.of(...bytes, 0)), null);
        const reply = drive(each);
        const encoded = encodeReply(reply);
        assert.deepEqual(decodeReply(encoded), reply);
        assert.equal(decodeReply(encoded.slice(0, -1)), null);
        assert.equal(decodeReply(Uint8Array.of(...encoded, 0)), null);
      }
    }),
    { numRuns: 200 },
  );
});

test('any bytes are a command or are refused, and both leave a machine that can be saved', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc.tuple(command, fc.nat(200), fc.nat(255)).map(([each, at, byte]) => {
      const damaged = encodeCommand(each);
      damaged[at % damaged.length] = byte;
      return damaged;
    }),
  );
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 20 }), (list) => {
      const machine = new ControlMachine();
      list.forEach((each, at) => {
        assert.notEqual(decodeReply(machine.apply(at + 1, at, each)), null);
      });
      assert.equal(new ControlMachine().restore(machine.snapshot()), true);
    }),
    { numRuns: 1_000 },
  );
});

test('a damaged snapshot is refused or has the same state, and a refused one changes nothing', () => {
  fc.assert(
    fc.property(commands, fc.nat(), fc.integer({ min: 1, max: 255 }), (list, at, flip) => {
      const machine = new ControlMachine();
      const drive = driverOf(machine);
      for (const each of list) drive(each);
      const before = machine.snapshot();
      const damaged = before.slice();
      damaged[at % damaged.length] = (damaged[at % damaged.length] ?? 0) ^ flip;
      assert.equal(machine.restore(damaged), false);
      assert.deepEqual(machine.snapshot(), before);
      assert.equal(machine.restore(before.slice(0, at % before.length)), false);
    }),
    { numRuns: 500 },
  );
});
