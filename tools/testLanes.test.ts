import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { merged, type TestEvent } from './testLanes.ts';

function lane(file: string, passed: number, failed: number): TestEvent[] {
  const counts = { tests: passed + failed, passed, failed, topLevel: passed + failed };
  const success = failed === 0;
  return [
    { type: 'test:pass', data: { file } },
    { type: 'test:diagnostic', data: { file } },
    { type: 'test:summary', data: { file, success, counts } },
    { type: 'test:plan', data: {} },
    { type: 'test:diagnostic', data: {} },
    { type: 'test:summary', data: { success, counts } },
  ];
}

async function toldOf(lanes: readonly TestEvent[][]) {
  let isGood = false;
  const events: TestEvent[] = [];
  const streams = lanes.map((events) => Readable.from(events));
  for await (const event of merged(streams, (good) => (isGood = good))) {
    events.push(event as TestEvent);
  }
  return { isGood, events };
}

test('two lanes are told as one: what is of a file passes, one summary has the sums', async () => {
  const { isGood, events } = await toldOf([lane('a', 3, 0), lane('b', 4, 0)]);
  assert.equal(isGood, true);
  const ofFiles = events.filter(({ data }) => data.file !== undefined);
  assert.deepEqual(ofFiles.map(({ data }) => data.file ?? '').toSorted(), [
    'a',
    'a',
    'a',
    'b',
    'b',
    'b',
  ]);
  const summaries = events.filter(({ type, data }) => type === 'test:summary' && !data.file);
  assert.equal(summaries.length, 1);
  assert.deepEqual(summaries[0]?.data.counts, {
    topLevel: 7,
    tests: 7,
    suites: 0,
    passed: 7,
    failed: 0,
    cancelled: 0,
    skipped: 0,
    todo: 0,
  });
});

test('one failure in one lane is a failure of all', async () => {
  const { isGood, events } = await toldOf([lane('a', 3, 0), lane('b', 4, 1)]);
  assert.equal(isGood, false);
  assert.equal(events.at(-1)?.data.success, false);
});

test('a lane that ends without a summary of its own has failed', async () => {
  const [cut] = lane('b', 4, 0);
  assert.ok(cut !== undefined);
  const { isGood } = await toldOf([lane('a', 3, 0), [cut]]);
  assert.equal(isGood, false);
});
