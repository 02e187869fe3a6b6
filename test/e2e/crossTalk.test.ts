/**
 * Many clients at once, each with a question of its own: whatever is shared inside (read buffers,
 * pools, links between regions) and whatever fails, each gets its own answer or an honest error, and
 * never a byte of another's.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng, type Prng } from '../../src/base/prng.ts';
import { answerText, ask, hasDialectEnd, type Question, type Reply } from '../support/client.ts';
import { startFakeUpstream, type Fault } from '../support/fakeUpstream.ts';
import { atEnd, startRegions, type RegionSpec } from '../support/node.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const COUNT = 800;
const WIDTH = 48;
const KINDS = ['openai', 'anthropic'] as const;
const LETTERS = ['a', 'Z', ' ', '\n', '"', '\\', 'é', '好', '🌳', '{', '}', 'data: ', '</x>'];

const fakes = await Promise.all([1, 2, 3].map((number) => startFakeUpstream(`fake-${number}`)));
for (const fake of fakes) atEnd(() => fake.close());

const NEVER_EJECT = {
  consecutiveFailuresMax: 1_000,
  ejectBaseMs: 0,
  ejectMaxMs: 0,
  ejectedPercentMax: 0,
  panicPercent: 0,
};

/** `local` runs in both regions, `far` only in the second one; over both kinds of provider. */
function specOf(region: string, hasFar: boolean): RegionSpec {
  const targets = KINDS.flatMap((kind) =>
    fakes.map(({ origin }, index) => ({
      name: `${kind}-${index}`,
      kind,
      baseUrl: `${origin}/v1`,
      options: { continuation: 'prefill' },
    })),
  );
  const models = KINDS.flatMap((kind) =>
    ['local', 'far'].map((name) => ({
      name: `${name}-${kind}`,
      targets:
        name === 'local' || hasFar
          ? targets.flatMap((target) => (target.kind === kind ? [target.name] : []))
          : [],
      attemptsMax: 8,
      health: NEVER_EJECT,
      deadlines: { connectMs: 2_000, firstByteMs: 10_000, idleMs: 10_000, totalMs: 30_000 },
    })),
  );
  return { region, targets, models };
}

const [near] = await startRegions([specOf('near-1', false), specOf('far-1', true)]);

function pick<T>(prng: Prng, from: readonly T[]): T {
  const found = from[Math.floor(prng.nextFloat() * from.length)];
  assert.ok(found !== undefined);
  return found;
}

/** A text that no other question has, with all that needs care in JSON and in event streams. */
function textOf(prng: Prng, index: number): string {
  let text = `#${index} `;
  const length = Math.floor(prng.nextFloat() * 120);
  for (let count = 0; count < length; count += 1) text += pick(prng, LETTERS);
  return `${text}.`;
}

/** Asks all questions, `WIDTH` at a time; `check` sees each reply with the text it must be. */
async function askAll(
  prng: Prng,
  check: (reply: Reply, question: Question, text: string) => void,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < COUNT) {
      const index = next;
      next += 1;
      const text = textOf(prng, index);
      const model = `${pick(prng, ['local', 'far'])}-${pick(prng, KINDS)}`;
      const dialect = pick(prng, KINDS);
      const isStream = prng.nextFloat() < 0.8;
      const more = { max_tokens: 1_000 };
      const question = { dialect, model, isStream, text: `say: ${text}`, more };
      check(await ask(near?.apiUrl ?? '', question), question, text);
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
}

function assertOwn(reply: Reply, question: Question, text: string): void {
  const { dialect, isStream, model } = question;
  const about = `seed ${SEED}, ${dialect} over ${model}: ${reply.status} ${reply.body}`;
  assert.equal(reply.status, 200, about);
  assert.equal(reply.end, 'clean', about);
  assert.equal(answerText(dialect, isStream, reply.body), text, about);
  if (isStream) assert.ok(hasDialectEnd(dialect, reply.body), about);
}

test(`${COUNT} answers, torn to pieces on their way, reach those who asked (seed ${SEED})`, async () => {
  const prng = createPrng(SEED);
  for (const fake of fakes) {
    fake.chooseFaults(() => ({ kind: 'shred', bytes: pick(prng, [7, 64, 333, 4_096]) }));
  }
  await askAll(prng, assertOwn);
});

test(`with every third attempt failing each gets its own or an honest error (seed ${SEED})`, async () => {
  const prng = createPrng(SEED + 1);
  const faultOf = (): Fault => {
    const events = 1 + Math.floor(prng.nextFloat() * 12);
    if (prng.nextFloat() > 0.33) return { kind: 'shred', bytes: pick(prng, [7, 64, 333]) };
    return pick<Fault>(prng, [
      { kind: 'reset' },
      { kind: 'close' },
      { kind: 'reset-after-events', events },
      { kind: 'early-end', events },
      { kind: 'malformed-chunk', events },
      { kind: 'in-band-error', events },
      { kind: 'cut-at-byte', bytes: Math.floor(prng.nextFloat() * 1_500) },
      { kind: 'status', status: 500 },
    ]);
  };
  for (const fake of fakes) fake.chooseFaults(faultOf);
  let own = 0;
  await askAll(prng, (reply, question, text) => {
    const { dialect, isStream } = question;
    const about = `seed ${SEED}, ${dialect} over ${question.model}: ${reply.status} ${reply.body}`;
    if (reply.status !== 200) {
      assert.equal(reply.end, 'clean', about);
      assert.ok(reply.status >= 500, about);
    } else if (reply.end === 'aborted') {
      assert.ok(isStream, about);
      assert.equal(hasDialectEnd(dialect, reply.body), false, about);
      assert.ok(text.startsWith(answerText(dialect, isStream, reply.body)), about);
    } else {
      assertOwn(reply, question, text);
      own += 1;
    }
  });
  // Three targets, each failing one time in three: all three fail one time in 27.
  assert.ok(own > COUNT * 0.9, `seed ${SEED}: ${own} of ${COUNT} got their answers`);
});
