import assert from 'node:assert/strict';
import { test } from 'node:test';

import { growthOf, leastSquares, readSample, slope, unaccounted } from './figures.ts';
import { judge, Tally } from './load.ts';

const METRICS = `# HELP banyan_exchanges_total Requests.
banyan_exchanges_total{operation="chat",end="answered",status="200"} 90
banyan_exchanges_total{operation="messages",end="answered",status="200"} 10
banyan_exchanges_total{operation="chat",end="refused",status="401"} 4
banyan_exchanges_total{operation="chat",end="client-gone",status="0"} 2
banyan_exchanges_in_flight 0
banyan_exchanges_forwarded_total{from="near-1"} 30
banyan_http_refused_total{code="bad_http"} 3
banyan_http_connections 5
process_resident_memory_bytes 1.5e8
process_open_fds 31
`;

function tallyOf(more: Partial<Tally['byOutcome']> = {}): Tally {
  const tally = new Tally();
  Object.assign(tally.byOutcome, { answered: 70, error: 4, left: 2, transport: 3, ...more });
  tally.sent = Object.values(tally.byOutcome).reduce((sum, count) => sum + count, 0);
  return tally;
}

test('metrics are read and summed over their labels', () => {
  const sample = readSample(METRICS);
  assert.equal(sample.rssBytes, 150_000_000);
  assert.equal(sample.openFds, 31);
  assert.deepEqual(sample.ends, { answered: 100, refused: 4, failed: 0, 'client-gone': 2 });
  assert.equal(sample.forwarded, 30);
});

test('equal books have nothing unaccounted; one request more or less is told', () => {
  const sample = readSample(METRICS);
  assert.deepEqual(unaccounted(sample, tallyOf()), []);
  assert.match(unaccounted(sample, tallyOf({ answered: 71 })).join(), /in = .*: 76, not 77/);
  assert.match(unaccounted(sample, tallyOf({ transport: 2 })).join(), /transport: 3, not 2/);
  const busy = { ...sample, inFlight: 1 };
  assert.match(unaccounted(busy, tallyOf()).join(), /under way: 1, not 0/);
});

test('a leak of 1 MiB a minute is growth; noise and one outlier are not', () => {
  const minutes = Array.from({ length: 60 }, (_, index) => index + 1);
  const noise = (minute: number): number => ((minute * 7) % 5) * 1e6;
  const flat = minutes.map((minute) => [minute, 160e6 + noise(minute)] as const);
  assert.equal(growthOf(flat).isFlat, true);
  const outlier = flat.map(([minute, bytes]) => [minute, minute === 59 ? 500e6 : bytes] as const);
  assert.equal(growthOf(outlier).isFlat, true);
  const leak = flat.map(([minute, bytes]) => [minute, bytes + minute * 2 ** 20] as const);
  assert.equal(growthOf(leak).isFlat, false);
  assert.equal(growthOf(leak.slice(0, 10)).isJudged, false);
});

test('slopes of a line are its own', () => {
  const line = [0, 1, 2, 5, 9].map((x) => [x, 3 * x + 1] as const);
  assert.equal(slope(line), 3);
  assert.ok(Math.abs(leastSquares(line) - 3) < 1e-9);
});

test('an answer is judged to the letter, and a broken stream must say so', () => {
  const question = { dialect: 'openai', model: 'm', isStream: true } as const;
  const event = (content: string): string =>
    `data: {"choices":[{"delta":{"content":${JSON.stringify(content)}}}]}\n\n`;
  const reply = { status: 200, headers: {}, body: '', end: 'clean', totalMs: 1 } as const;
  const wrongOf = (body: string, end: 'clean' | 'aborted' = 'clean'): string | null =>
    judge('plain', question, 'ab', { ...reply, body, end }).wrong;
  assert.equal(wrongOf(`${event('a')}${event('b')}data: [DONE]\n\n`), null);
  assert.match(String(wrongOf(`${event('a')}data: [DONE]\n\n`)), /another/);
  assert.match(String(wrongOf(event('ab'))), /no end/);
  const error = 'data: {"error":{"code":"stream_broken","type":"x","message":"y"}}\n\n';
  assert.equal(wrongOf(event('a') + error, 'aborted'), null);
  assert.match(String(wrongOf(event('a'), 'aborted')), /no error/);
  assert.match(String(wrongOf(event('x') + error, 'aborted')), /beginning/);
});
