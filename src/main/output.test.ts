import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EXIT, EXIT_MEANINGS } from './exitCodes.ts';
import { CONTROL_MESSAGES } from './control/messages.ts';
import { OPS_MESSAGES } from './control/opsMessages.ts';
import { REGION_MESSAGES } from './control/regionMessages.ts';
import { SHARED_CONFIG_MESSAGES } from './sharedConfig/messages.ts';
import { languageOf, MESSAGES, text } from './messages.ts';
import { TOP_MESSAGES } from './top/messages.ts';
import { DEMO_MESSAGES } from './up/messages.ts';
import { printable, renderDuration, renderTable, textColumns } from './output.ts';

test('wide characters take two columns, combining ones none', () => {
  assert.equal(textColumns('region'), 6);
  assert.equal(textColumns('区域'), 4);
  assert.equal(textColumns('。ｆ한カ'), 8);
  assert.equal(textColumns('e\u0301'), 1);
  assert.equal(textColumns('🌳'), 2);
});

test('columns line up with Chinese in them, and no line ends in spaces', () => {
  const table = renderTable(
    ['区域', 'STATE'],
    [
      ['us-east-2', '正常'],
      ['eu', null],
      ['', 0],
    ],
  );
  assert.equal(table, '区域       STATE\nus-east-2  正常\neu         -\n-          0\n');
});

test('control characters of a server never reach the terminal', () => {
  assert.equal(printable('a\u001b[31mb\nc\u009b'), 'a [31mb c ');
  assert.equal(renderTable(['x'], [['\u001b]0;title\u0007']]), 'x\n ]0;title\n');
});

test('durations for people', () => {
  const shown = [0, 999, 1_500, 61_000, 3_599_999, 7_265_000, 90_000_000].map(renderDuration);
  assert.deepEqual(shown, [
    '0 ms',
    '999 ms',
    '1.5 s',
    '1 min 1 s',
    '1 h 0 min',
    '2 h 1 min',
    '1 d 1 h',
  ]);
});

test('the first locale variable that is set decides the language', () => {
  assert.equal(languageOf({}), 'en');
  assert.equal(languageOf({ LANG: 'zh_CN.UTF-8' }), 'zh');
  assert.equal(languageOf({ LANG: 'zh_CN.UTF-8', LC_MESSAGES: 'C' }), 'en');
  assert.equal(languageOf({ LC_ALL: '', LC_MESSAGES: 'zh_TW', LANG: 'en_US' }), 'zh');
  assert.equal(languageOf({ LC_ALL: 'de_DE', LANG: 'zh_CN' }), 'en');
});

test('every message is there in both languages with the same values', () => {
  const values = (sentence: string) => (sentence.match(/\{\w+\}/g) ?? []).toSorted();
  for (const [key, { en, zh }] of Object.entries(MESSAGES)) {
    assert.ok(Math.min(en.length, zh.length) > 0, key);
    assert.deepEqual(values(en), values(zh), key);
  }
  assert.equal(text('en', 'config.bad', { count: 3 }), '3 problems.');
  assert.equal(text('zh', 'config.bad', { count: 3 }), '共 3 处问题。');
});

test('exit codes differ and each has its meaning', () => {
  const codes = Object.values(EXIT);
  assert.equal(new Set(codes).size, codes.length);
  assert.deepEqual(Object.keys(EXIT_MEANINGS), Object.keys(EXIT));
});

test('no part of the catalogue writes over another one', () => {
  const parts = [
    DEMO_MESSAGES,
    TOP_MESSAGES,
    CONTROL_MESSAGES,
    SHARED_CONFIG_MESSAGES,
    OPS_MESSAGES,
    REGION_MESSAGES,
  ];
  const names = parts.flatMap((part) => Object.keys(part));
  assert.equal(new Set(names).size, names.length);
  for (const part of parts) {
    for (const [key, value] of Object.entries(part)) {
      assert.equal(Object.entries(MESSAGES).find(([name]) => name === key)?.[1], value, key);
    }
  }
});
