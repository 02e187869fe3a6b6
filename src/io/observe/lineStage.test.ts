import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OBSERVE_LIMITS } from '../../base/limits.ts';
import { LineStage } from './lineStage.ts';

test('lines of any length and script come out whole and in order', () => {
  const written: string[] = [];
  const stage = new LineStage((text) => written.push(text));
  const lines = Array.from({ length: 400 }, (_, index) => {
    const long = index % 97 === 0 ? OBSERVE_LIMITS.logWriteBytesMin * 5 : index % 50;
    return `{"line":${index},"text":"${'退货 ok '.repeat(1 + long / 6)}"}\n`;
  });
  for (const line of lines) stage.push(line);
  stage.flush();
  assert.equal(written.join(''), lines.join(''));
});

test('short lines are handed over many at a time', () => {
  let writes = 0;
  const stage = new LineStage(() => {
    writes += 1;
  });
  const line = `{"text":"${'x'.repeat(500)}"}\n`;
  const count = 10 * Math.ceil(OBSERVE_LIMITS.logWriteBytesMin / line.length);
  for (let index = 0; index < count; index += 1) stage.push(line);
  assert.equal(writes, 10);
  stage.flush();
  stage.flush();
  assert.equal(writes, 10, 'nothing is left, and nothing is written for it');
});

test('a line alone is handed over after the limit of time', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const written: string[] = [];
  const stage = new LineStage((text) => written.push(text));
  stage.push('one\n');
  context.mock.timers.tick(OBSERVE_LIMITS.logFlushMs - 1);
  assert.deepEqual(written, []);
  context.mock.timers.tick(1);
  assert.deepEqual(written, ['one\n']);
});
