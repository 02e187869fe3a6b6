import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { merged, SilenceWatch, type TestEvent } from './testLanes.ts';

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

/** What a lane says of a file that begins, and of one that ends. */
function ofFile(type: 'test:dequeue' | 'test:complete', file: string): TestEvent {
  return { type, data: { file, name: file } };
}

test('files that are under way when nothing comes any more are told, others are not', async () => {
  const silent = new Promise<readonly string[]>((resolve) => {
    const watch = new SilenceWatch(50, resolve);
    for (const file of ['well', 'busy']) watch.heard(ofFile('test:dequeue', file));
    watch.heard({ type: 'test:complete', data: { file: 'busy', name: 'a test of it' } });
    watch.heard(ofFile('test:complete', 'well'));
  });
  assert.deepEqual(await silent, ['busy']);
});

test('lanes that tell something, or have ended, are not silent', async () => {
  const told: string[] = [];
  const watch = new SilenceWatch(200, () => told.push('silent'));
  for (let turn = 0; turn < 10; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 40));
    watch.heard(ofFile('test:dequeue', 'well'));
  }
  watch.close();
  await new Promise((resolve) => setTimeout(resolve, 250));
  assert.deepEqual(told, []);
});

test('what comes of any lane is heard', async () => {
  const heard: TestEvent[] = [];
  const lanes = [lane('a', 1, 0), lane('b', 1, 0)].map((events) => Readable.from(events));
  for await (const _ of merged(
    lanes,
    () => {},
    (event) => heard.push(event),
  ));
  assert.equal(heard.length, 12);
});

test('a file that leaves in the middle of its tests has failed, whatever its exit code', async () => {
  const { isGood, events } = await toldOf([
    lane('a', 3, 0),
    [{ type: 'test:pass', data: { file: 'b', name: 'b' } }, ...lane('c', 1, 0)],
  ]);
  assert.equal(isGood, false);
  assert.ok(events.some(({ data }) => data.message?.startsWith('b ended before its tests')));
});
