import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isTraceparent, traceFields } from './traceContext.ts';

const ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = `00-${ID}-00f067aa0ba902b7-01`;

test('a traceparent is taken only as the recommendation writes it', () => {
  assert.ok(isTraceparent(PARENT));
  assert.ok(isTraceparent(PARENT.replace('00-', 'cc-')), 'a later version');
  assert.ok(isTraceparent(`${PARENT.replace('00-', 'cc-')}-more`), 'a later version, longer');
  const wrong = [
    '',
    PARENT.toUpperCase(),
    `${PARENT}-more`,
    `${PARENT} `,
    PARENT.slice(1),
    PARENT.replace('00-', 'ff-'),
    `${PARENT.replace('00-', 'cc-')}more`,
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `00-${ID}-${'0'.repeat(16)}-01`,
    `cc${PARENT.slice(2)}-${'x'.repeat(512)}`,
  ];
  for (const text of wrong) assert.ok(!isTraceparent(text), JSON.stringify(text));
});

test('fields without one good traceparent go on as nothing', () => {
  assert.deepEqual(traceFields(['accept', '*/*']), []);
  assert.deepEqual(traceFields(['tracestate', 'a=1']), []);
  assert.deepEqual(traceFields(['traceparent', 'nonsense', 'tracestate', 'a=1']), []);
  assert.deepEqual(traceFields(['traceparent', PARENT, 'traceparent', PARENT]), []);
});

test('tracestate goes on whole and within its limits, or not at all', () => {
  const state = (...values: string[]) =>
    traceFields(['traceparent', PARENT, ...values.flatMap((value) => ['tracestate', value])])[3];
  assert.equal(state('a=1, t@b=2', 'c=3'), 'a=1,t@b=2,c=3');
  assert.equal(state('a=1,,b=2'), 'a=1,b=2');
  const many = (count: number) => Array.from({ length: count }, (_, i) => `k${i}=v`).join(',');
  assert.equal(state(many(32)), many(32));
  for (const text of ['', 'A=1', 'a', 'a=', 'a=1,a=2', 'a=b=c', many(33), `a=${'x'.repeat(511)}`]) {
    assert.equal(state(text), undefined, text);
  }
});
