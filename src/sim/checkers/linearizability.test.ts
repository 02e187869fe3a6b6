import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createPrng, type Prng } from '../../base/prng.ts';
import type { LinearizabilityModel, Operation } from './history.ts';
import { KV_MODEL, type KvInput, type KvOutput } from './kvModel.ts';
import { checkLinearizability, describeRefusal } from './linearizability.ts';

type KvOperation = Operation<KvInput, KvOutput>;

const done: KvOutput = { kind: 'done' };

function put(client: string, value: string, calledAtMs: number, atMs: number | null): KvOperation {
  const outcome =
    atMs === null
      ? ({ kind: 'unknown' } as const)
      : ({ kind: 'answered', atMs, output: done } as const);
  return { client, input: { kind: 'put', key: 'x', value }, calledAtMs, outcome };
}

function get(client: string, value: string | null, calledAtMs: number, atMs: number): KvOperation {
  const outcome = { kind: 'answered', atMs, output: { kind: 'value', value } } as const;
  return { client, input: { kind: 'get', key: 'x' }, calledAtMs, outcome };
}

function kindOf(history: readonly KvOperation[]): string {
  return checkLinearizability(KV_MODEL, history).kind;
}

test('a read may see a write that overlaps it, or not', () => {
  assert.equal(kindOf([put('a', '1', 0, 10), get('b', '1', 5, 6)]), 'linearizable');
  assert.equal(kindOf([put('a', '1', 0, 10), get('b', null, 5, 6)]), 'linearizable');
});

test('a stale read is refused, and the report names key, prefix and read', () => {
  const history = [put('a', '1', 0, 1), put('a', '2', 2, 3), get('b', '1', 4, 5)];
  const verdict = checkLinearizability(KV_MODEL, history);
  assert.ok(verdict.kind === 'refused');
  assert.equal(
    describeRefusal(KV_MODEL, verdict.refusal),
    [
      'not linearizable: part x',
      'an order of effects of 2 operations, at its end:',
      '  [0, 1] a: put x "1" = done',
      '  [2, 3] a: put x "2" = done',
      'in no order can this one have its answer:',
      '  [4, 5] b: get x = "1"',
      'the state when it was tried last: "2"',
    ].join('\n'),
  );
});

test('two readers that see two overlapping writes in opposite orders are refused', () => {
  const writes = [put('a', '1', 0, 20), put('b', '2', 0, 20)];
  const same = [get('c', '1', 1, 2), get('c', '2', 3, 4), get('d', '1', 1, 2), get('d', '2', 3, 4)];
  const opposite = [...same.slice(0, 2), get('d', '2', 1, 2), get('d', '1', 3, 4)];
  assert.equal(kindOf([...writes, ...same]), 'linearizable');
  assert.equal(kindOf([...writes, ...opposite]), 'refused');
});

test('an unanswered write may take effect late, once, or never, but not before its call', () => {
  const late = [put('a', '1', 0, null), put('b', '2', 1, 2), get('c', '2', 3, 4)];
  assert.equal(kindOf(late), 'linearizable');
  assert.equal(kindOf([...late, get('c', '1', 90, 91)]), 'linearizable');
  const twice = [...late, get('c', '1', 5, 6), put('b', '3', 7, 8), get('c', '1', 9, 10)];
  assert.equal(kindOf(twice), 'refused');
  assert.equal(kindOf([get('c', '1', 0, 1), put('a', '1', 2, null)]), 'refused');
});

test('a write that was refused for certain must not be seen', () => {
  const refused: KvOperation = { ...put('a', '1', 0, null), outcome: { kind: 'refused' } };
  assert.equal(kindOf([refused, get('b', null, 1, 2)]), 'linearizable');
  assert.equal(kindOf([refused, get('b', '1', 1, 2)]), 'refused');
});

test('a limit of steps, time or memory gives "unknown" and says which', () => {
  const writes = Array.from({ length: 12 }, (_, index) => put(`c${index}`, String(index), 0, 100));
  const history = [...writes, get('r', 'none of them', 50, 90)];
  assert.equal(kindOf(history), 'refused');
  for (const limits of [{ steps: 50 }, { configurations: 50 }, { time: () => true }]) {
    const verdict = checkLinearizability(KV_MODEL, history, limits);
    assert.ok(verdict.kind === 'unknown');
    assert.deepEqual([verdict.limit], Object.keys(limits));
  }
});

/** A store that may forget its value at any write: more than one state may follow. */
const FORGETFUL: LinearizabilityModel<string | null, KvInput, KvOutput> = {
  ...KV_MODEL,
  step: (state, input, output) => {
    const after = KV_MODEL.step(state, input, output);
    return input.kind === 'put' && after.length > 0 ? [...after, null] : after;
  },
};

test('a model may leave more than one state, and each is tried', () => {
  const history = [put('a', '1', 0, 1), get('b', null, 2, 3), put('a', '2', 4, 5)];
  const verdictOf = (last: KvOperation): string =>
    checkLinearizability(FORGETFUL, [...history, last]).kind;
  assert.equal(kindOf([...history, get('b', '2', 6, 7)]), 'refused');
  assert.equal(verdictOf(get('b', '2', 6, 7)), 'linearizable');
  assert.equal(verdictOf(get('b', null, 6, 7)), 'linearizable');
  assert.equal(verdictOf(get('b', '1', 6, 7)), 'refused');
});

/** How a generated history looks. */
interface Shape {
  readonly operationCount: number;
  readonly clientCount: number;
  readonly keyCount: number;
  readonly valueCount: number;
  readonly unknownShare: number;
}

function randomInput(prng: Prng, shape: Shape): KvInput {
  const key = `k${prng.nextBelow(shape.keyCount)}`;
  const value = `v${prng.nextBelow(shape.valueCount)}`;
  const roll = prng.nextBelow(10);
  if (roll < 4) return { kind: 'get', key };
  if (roll < 7) return { kind: 'put', key, value };
  if (roll < 8) return { kind: 'delete', key };
  const old = prng.nextBelow(4);
  const expected = old === 0 ? null : `v${prng.nextBelow(shape.valueCount)}`;
  return { kind: 'cas', key, expected, value };
}

/** What a real store would answer, and the state it would be in. */
function effect(state: string | null, input: KvInput): readonly [string | null, KvOutput] {
  switch (input.kind) {
    case 'get':
      return [state, { kind: 'value', value: state }];
    case 'cas': {
      const isSwapped = state === input.expected;
      return [isSwapped ? input.value : state, { kind: 'swapped', isSwapped }];
    }
    case 'append':
      return [(state ?? '') + input.value, done];
    default:
      return [input.kind === 'put' ? input.value : null, done];
  }
}

/**
 * A store runs one operation after the other, one every 10 ms; each client's call comes before that
 * and its answer after it, at random, so that operations of different clients overlap.
 */
function runReal(seed: number, shape: Shape): KvOperation[] {
  const prng = createPrng(seed);
  const store = new Map<string, string | null>();
  const freeAtMs = Array.from({ length: shape.clientCount }, () => 0);
  const roundMs = 10 * shape.clientCount;
  return Array.from({ length: shape.operationCount }, (_, index): KvOperation => {
    const effectAtMs = 10 * (index + 1);
    const client = index % shape.clientCount;
    const input = randomInput(prng, shape);
    const isUnknown = prng.nextFloat() < shape.unknownShare;
    const calledAtMs = Math.max(freeAtMs[client] ?? 0, effectAtMs - prng.nextBelow(roundMs));
    const atMs = effectAtMs + prng.nextBelow(roundMs - 9);
    freeAtMs[client] = atMs;
    const [state, output] = effect(store.get(input.key) ?? null, input);
    if (!isUnknown || prng.nextBelow(2) === 0) store.set(input.key, state);
    const outcome = isUnknown
      ? ({ kind: 'unknown' } as const)
      : ({ kind: 'answered', atMs, output } as const);
    return { client: `c${client}`, input, calledAtMs, outcome };
  });
}

/** Changes the answer of one get, if there is one. */
function corrupt(prng: Prng, history: readonly KvOperation[], value: string): KvOperation[] {
  const gets = [...history.keys()].filter(
    (index) => history[index]?.input.kind === 'get' && history[index].outcome.kind === 'answered',
  );
  const chosen = gets[prng.nextBelow(Math.max(1, gets.length))];
  return history.map((operation, index) => {
    if (index !== chosen || operation.outcome.kind !== 'answered') return operation;
    return { ...operation, outcome: { ...operation.outcome, output: { kind: 'value', value } } };
  });
}

/** Every order there is, one operation after the other. For histories of one key, and short. */
function isLinearizableByForce(
  history: readonly KvOperation[],
  state: string | null = null,
): boolean {
  const endOf = ({ outcome }: KvOperation): number =>
    outcome.kind === 'answered' ? outcome.atMs : Infinity;
  if (history.every((operation) => operation.outcome.kind === 'unknown')) return true;
  const firstEndMs = Math.min(...history.map(endOf));
  return history.some((operation, index) => {
    if (operation.calledAtMs > firstEndMs) return false;
    const { outcome, input } = operation;
    const output = outcome.kind === 'answered' ? outcome.output : undefined;
    const rest = history.toSpliced(index, 1);
    return KV_MODEL.step(state, input, output).some((next) => isLinearizableByForce(rest, next));
  });
}

const smallShape = fc.record({
  operationCount: fc.integer({ min: 1, max: 9 }),
  clientCount: fc.integer({ min: 2, max: 4 }),
  keyCount: fc.constant(1),
  valueCount: fc.integer({ min: 1, max: 3 }),
  unknownShare: fc.constantFrom(0, 0.2, 0.5),
});

test('on short histories, true and corrupted, the verdict is that of trying every order', () => {
  const counts = { linearizable: 0, refused: 0 };
  fc.assert(
    fc.property(fc.nat(), smallShape, fc.nat(4), (seed, shape, corruptions) => {
      const prng = createPrng(seed + 1);
      let history = runReal(seed, shape);
      for (let count = 0; count < corruptions; count += 1) {
        history = corrupt(prng, history, `v${prng.nextBelow(shape.valueCount)}`);
      }
      const expected = isLinearizableByForce(history) ? 'linearizable' : 'refused';
      counts[expected] += 1;
      assert.equal(kindOf(history), expected);
    }),
    { numRuns: 2_000 },
  );
  assert.ok(counts.linearizable > 100 && counts.refused > 100, JSON.stringify(counts));
});

/** L1: the order explains every answer, and puts nothing before what had ended when it began. */
function assertWitness(history: readonly KvOperation[]): void {
  const verdict = checkLinearizability(KV_MODEL, history);
  assert.ok(
    verdict.kind === 'linearizable',
    verdict.kind === 'refused' ? describeRefusal(KV_MODEL, verdict.refusal) : verdict.kind,
  );
  const placed = new Set<KvOperation>();
  for (const order of verdict.orders.values()) {
    let states: readonly (string | null)[] = [null];
    let calledAtMsMax = -Infinity;
    for (const operation of order) {
      const { input, outcome, calledAtMs } = operation;
      const output = outcome.kind === 'answered' ? outcome.output : undefined;
      states = states.flatMap((state) => KV_MODEL.step(state, input, output));
      assert.ok(states.length > 0);
      calledAtMsMax = Math.max(calledAtMsMax, calledAtMs);
      if (outcome.kind === 'answered') assert.ok(outcome.atMs >= calledAtMsMax);
      assert.ok(!placed.has(operation));
      placed.add(operation);
    }
  }
  for (const operation of history) {
    assert.ok(operation.outcome.kind !== 'answered' || placed.has(operation));
  }
}

test('a history of a real run is linearizable, and its order of effects can be replayed', () => {
  const shape = fc.record({
    operationCount: fc.integer({ min: 20, max: 400 }),
    clientCount: fc.integer({ min: 2, max: 6 }),
    keyCount: fc.integer({ min: 1, max: 4 }),
    valueCount: fc.constantFrom(2, 5, 1_000_000),
    unknownShare: fc.constantFrom(0, 0.02, 0.1),
  });
  fc.assert(
    fc.property(fc.nat(), shape, (seed, given) => assertWitness(runReal(seed, given))),
    { numRuns: 150 },
  );
});

const LONG: Shape = {
  operationCount: 20_000,
  clientCount: 5,
  keyCount: 10,
  valueCount: 1_000_000,
  unknownShare: 0.02,
};

test('20,000 operations of 5 clients on 10 keys, 2% unanswered, are judged', () => {
  const history = runReal(1, LONG);
  assertWitness(history);
  const corrupted = corrupt(createPrng(2), history, 'what nobody wrote');
  const verdict = checkLinearizability(KV_MODEL, corrupted);
  assert.ok(verdict.kind === 'refused');
  const { blocked, prefix } = verdict.refusal;
  assert.match(JSON.stringify(blocked), /what nobody wrote/);
  assert.ok(prefix.length > 0);
});

test('few values and many unanswered operations: a wrong read is refused all the same', () => {
  const history = runReal(1, { ...LONG, operationCount: 5_000, keyCount: 1, valueCount: 5 });
  const corrupted = corrupt(createPrng(2), history, 'what nobody wrote');
  assert.equal(kindOf(corrupted), 'refused');
});
