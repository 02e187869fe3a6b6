import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createPrng } from '../../base/prng.ts';
import { checkCausal, LEVELS } from './causal.ts';
import { readHistory, type Numbered, type Session, type TransactionStep } from './transactions.ts';

function read(key: string, value: string | null): TransactionStep {
  return { kind: 'read', key, value };
}

function write(key: string, value: string): TransactionStep {
  return { kind: 'write', key, value };
}

/** Committed transactions of one step each. */
function session(...steps: readonly TransactionStep[]): Session {
  return steps.map((step) => ({ steps: [step], outcome: 'committed' }));
}

test('who saw an answer sees what it answers to, or causality is broken', () => {
  const asks = session(write('ask', '1'));
  const answers = session(read('ask', '1'), write('answer', '1'));
  const good = session(read('answer', '1'), read('ask', '1'));
  assert.deepEqual(checkCausal([asks, answers, good]), { level: 'causal', violation: null });
  const bad = session(read('answer', '1'), read('ask', null));
  const { level, violation } = checkCausal([asks, answers, bad]);
  assert.equal(level, 'read-atomic');
  assert.equal(
    violation?.text,
    'the beginning comes before 0.0: of one session\n' +
      '0.0 comes before the beginning: both wrote ask, and 2.1, ' +
      'which knew of 0.0, read that of the beginning',
  );
});

test('what no level allows is named with its transaction', () => {
  const kinds = (sessions: readonly Session[]): string | undefined => {
    const { level, violation } = checkCausal(sessions);
    assert.equal(level, null);
    return violation?.why.kind === 'anomaly' ? violation.why.anomaly.kind : undefined;
  };
  const one = (...steps: TransactionStep[]): Session => [{ steps, outcome: 'committed' }];
  assert.equal(kinds([one(read('x', '1'))]), 'thin-air');
  const aborted: Session = [{ steps: [write('x', '1')], outcome: 'aborted' }];
  assert.equal(kinds([aborted, one(read('x', '1'))]), 'aborted');
  assert.equal(kinds([one(write('x', '1'), write('x', '2')), one(read('x', '1'))]), 'intermediate');
  assert.equal(kinds([one(write('x', '1'), read('x', null))]), 'own-write');
  assert.equal(kinds([one(read('x', '1'), write('x', '1'))]), 'future');
  assert.equal(kinds([one(write('x', '1')), one(write('x', '1'))]), 'ambiguous');
});

test('a transaction of unknown outcome counts only if somebody saw it', () => {
  const unknown: Session = [{ steps: [write('x', '1')], outcome: 'unknown' }];
  assert.equal(checkCausal([unknown, session(read('x', null))]).level, 'causal');
  assert.equal(checkCausal([unknown, session(read('x', '1'))]).level, 'causal');
  const back = session(read('x', '1'), read('x', null));
  assert.equal(checkCausal([unknown, back]).level, 'read-atomic');
});

/** Small histories: every read is of a value that somebody wrote, or of nothing. */
function randomHistory(seed: number, sessionCount: number): readonly Session[] {
  const prng = createPrng(seed);
  const keyCount = 1 + prng.nextBelow(3);
  const values = Array.from({ length: keyCount }, () => 0);
  const written: { key: number; value: string }[] = [];
  const shape = Array.from({ length: sessionCount }, () =>
    Array.from({ length: 1 + prng.nextBelow(2) }, () =>
      Array.from({ length: 1 + prng.nextBelow(3) }, () => {
        const key = prng.nextBelow(keyCount);
        if (prng.nextBelow(2) === 0) return { key, value: null };
        values[key] = (values[key] ?? 0) + 1;
        const value = String(values[key]);
        written.push({ key, value });
        return { key, value };
      }),
    ),
  );
  return shape.map((transactions) =>
    transactions.map((steps) => ({
      outcome: 'committed' as const,
      steps: steps.map(({ key, value }) => {
        if (value !== null) return write(`k${key}`, value);
        const options = written.filter((other) => other.key === key);
        const chosen = options[prng.nextBelow(options.length + 1)];
        return read(`k${key}`, chosen?.value ?? null);
      }),
    })),
  );
}

/** All orders of `ids`. */
function* permutations(ids: readonly number[]): Generator<readonly number[]> {
  if (ids.length === 0) yield [];
  for (const id of ids) {
    for (const rest of permutations(ids.filter((other) => other !== id))) yield [id, ...rest];
  }
}

/** The definitions of Biswas and Enea, over every order in which transactions may have committed. */
function levelByForce(transactions: readonly Numbered[]): string | null {
  const count = transactions.length;
  const sees = transactions.map(() => new Set<number>());
  for (const { id, previous, reads } of transactions) {
    if (previous !== null) sees[id]?.add(previous);
    for (const { from } of reads) sees[id]?.add(from);
  }
  const happened = sees.map((direct) => new Set(direct));
  const before = transactions.map(() => new Set<number>());
  for (const { id, session: own } of transactions) {
    for (const other of transactions) {
      if (other.id === 0 ? id !== 0 : other.session === own && other.id < id)
        before[id]?.add(other.id);
    }
  }
  for (let round = 0; round < count; round += 1) {
    for (const known of happened) {
      for (const id of known) for (const further of happened[id] ?? []) known.add(further);
    }
  }
  /** Whether `writer` must come before whom `reader` read `key` from, at its step `at`. */
  const binds = (level: string, writer: number, reader: Numbered, at: number): boolean => {
    switch (level) {
      case 'read-committed':
        return reader.reads.slice(0, at).some((earlier) => earlier.from === writer);
      case 'read-atomic':
        return (
          before[reader.id]?.has(writer) === true ||
          reader.reads.some((other) => other.from === writer)
        );
      default:
        return happened[reader.id]?.has(writer) === true;
    }
  };
  const orders = [...permutations(transactions.map(({ id }) => id))]
    .map((order) => {
      const place = new Map(order.map((id, index) => [id, index]));
      return (left: number, right: number) => (place.get(left) ?? 0) < (place.get(right) ?? 0);
    })
    .filter((isBefore) =>
      transactions.every(({ id }) => [...(sees[id] ?? [])].every((other) => isBefore(other, id))),
    );
  const holds = (level: string): boolean =>
    orders.some((isBefore) =>
      transactions.every((reader) =>
        reader.reads.every(({ key, from }, at) =>
          transactions.every(
            ({ id, writes }) =>
              id === from ||
              !writes.has(key) ||
              !binds(level, id, reader, at) ||
              isBefore(id, from),
          ),
        ),
      ),
    );
  return LEVELS.filter((level) => holds(level)).at(-1) ?? null;
}

test('on small histories the level is that of the definitions over every order', () => {
  const counts = new Map<string, number>();
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 3 }), (seed, sessionCount) => {
      const sessions = randomHistory(seed, sessionCount);
      const { level } = checkCausal(sessions);
      const numbered = readHistory(sessions);
      const expected = numbered.ok ? levelByForce(numbered.value) : null;
      const name = `${numbered.ok ? '' : 'anomaly '}${expected}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
      assert.equal(level, expected);
    }),
    { numRuns: 1_000 },
  );
  for (const name of ['causal', 'read-atomic', 'read-committed', 'null', 'anomaly null']) {
    assert.ok((counts.get(name) ?? 0) > 0, `${name}: ${JSON.stringify([...counts])}`);
  }
});

/**
 * A store of replicas that is causal by construction: each session writes to a log of its own and
 * sees of every other log a prefix; what a transaction depends on comes along.
 */
function runReplicas(seed: number, sessionCount: number, each: number): Session[] {
  const prng = createPrng(seed);
  type Entry = { readonly writes: ReadonlyMap<string, [string, number]>; readonly seen: number[] };
  const logs: Entry[][] = Array.from({ length: sessionCount }, () => []);
  const seen = logs.map(() => logs.map(() => 0));
  const views = logs.map(() => new Map<string, [value: string, time: number]>());
  const sessions: { steps: TransactionStep[]; outcome: 'committed' }[][] = logs.map(() => []);
  const learn = (own: number, other: number, upTo: number): void => {
    const known = seen[own]!;
    while (known[other]! < upTo) {
      const entry = logs[other]![known[other]!]!;
      known[other]! += 1;
      entry.seen.forEach((count, from) => learn(own, from, count));
      for (const [key, [value, time]] of entry.writes) {
        if (time > (views[own]!.get(key)?.[1] ?? -1)) views[own]!.set(key, [value, time]);
      }
    }
  };
  for (let round = 0; round < each * sessionCount; round += 1) {
    const own = prng.nextBelow(sessionCount);
    const other = prng.nextBelow(sessionCount);
    learn(
      own,
      other,
      seen[own]![other]! + prng.nextBelow(1 + logs[other]!.length - seen[own]![other]!),
    );
    const writes = new Map<string, [string, number]>();
    const steps = Array.from({ length: 1 + prng.nextBelow(5) }, (_, step): TransactionStep => {
      const key = `k${prng.nextBelow(20)}`;
      if (prng.nextBelow(3) > 0)
        return read(key, (writes.get(key) ?? views[own]!.get(key))?.[0] ?? null);
      if (writes.has(key)) return read(key, writes.get(key)![0]);
      // The later one wins everywhere; a total order of times that causality agrees with.
      writes.set(key, [`${own}.${round}.${step}`, round]);
      return write(key, `${own}.${round}.${step}`);
    });
    logs[own]!.push({ writes, seen: [...seen[own]!] });
    learn(own, own, logs[own]!.length);
    sessions[own]!.push({ steps, outcome: 'committed' });
  }
  return sessions;
}

test('a causal store of replicas passes, and one stale read in it is refused (3,000 transactions)', () => {
  for (let seed = 0; seed < 3; seed += 1) {
    const sessions = runReplicas(seed, 6, 500);
    assert.deepEqual(checkCausal(sessions), { level: 'causal', violation: null });
    // A late reader that knows all there is, and yet finds nothing under a key that was written.
    const written = sessions[0]!
      .flatMap(({ steps }) => steps)
      .findLast(({ kind }) => kind === 'write');
    assert.ok(written !== undefined && written.value !== null);
    const late = session(read(written.key, written.value), read(written.key, null));
    assert.notEqual(checkCausal([...sessions, late]).level, 'causal');
  }
});
