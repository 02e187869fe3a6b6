import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encodeUtf8 } from '../base/bytes.ts';
import { createPrng } from '../base/prng.ts';
import type { ParsedRequest } from './adapter.ts';
import { parseRequest } from './request.ts';
import { readSent, resumeRequest, stopsOf, type ResumeWay, type SentAnswer } from './resume.ts';
import { Seam } from './seam.ts';

const PREFILL: ResumeWay = { mode: 'prefill', isTrimmed: false };
const TRIMMED: ResumeWay = { mode: 'prefill', isTrimmed: true };
const MESSAGE: ResumeWay = { mode: 'message', isTrimmed: false };
const REGENERATE: ResumeWay = { mode: 'regenerate', isTrimmed: false };
const TEXT = 'One, two,  three — 四五六 and so on until the end of the story. END and more';

function request(more: object = {}): ParsedRequest {
  const body = { model: 'm', stream: true, messages: [{ role: 'user', content: 'hi' }], ...more };
  const parsed = parseRequest('chat', [], encodeUtf8(JSON.stringify(body)));
  assert.ok(parsed.ok);
  return parsed.value;
}

function sentOf(
  pieces: readonly string[],
  usage: Parameters<typeof readSent>[2] = null,
): SentAnswer {
  let bytes = '';
  for (const content of pieces) {
    const choices = [{ index: 0, delta: { content }, finish_reason: null }];
    bytes += `data: ${JSON.stringify({ id: 'c', created: 1, model: 'm', choices })}\n\n`;
  }
  const sent = readSent(request(), encodeUtf8(bytes), usage);
  assert.ok(sent !== null);
  return sent;
}

/** Pushes `rest` in random pieces; what is shown, and how it ended. */
function shown(seam: Seam, rest: string, seed: number): { text: string; end: string } {
  const prng = createPrng(seed);
  let text = '';
  for (let at = 0; at < rest.length;) {
    const length = 1 + Math.floor(prng.nextFloat() * 6);
    const step = seam.push(rest.slice(at, at + length));
    at += length;
    if (step.kind === 'text') text += step.text;
    else if (step.kind !== 'wait')
      return { text, end: step.kind === 'stop' ? step.stop : step.kind };
  }
  const step = seam.end('stop');
  if (step.kind === 'text') text += step.text;
  return { text, end: step.kind === 'stop' ? step.stop : step.kind === 'differs' ? 'differs' : '' };
}

test('what is shown is the rest, in every way, wherever the cut is', () => {
  for (let cut = 1; cut < TEXT.length; cut += 1) {
    const sent = sentOf([TEXT.slice(0, cut)]);
    const rest = TEXT.slice(cut);
    const spaced = TEXT.slice(TEXT.slice(0, cut).trimEnd().length);
    for (const [way, text] of [
      [PREFILL, rest],
      [TRIMMED, spaced],
      [MESSAGE, rest],
      [REGENERATE, TEXT],
    ] as const) {
      const seen = shown(new Seam(sent, way, ['never'], false), text, cut);
      assert.deepEqual(seen, { text: rest, end: '' }, `${way.mode} after ${cut}`);
    }
  }
});

test('a stop sequence across the seam ends the answer, whatever byte the cut falls on', () => {
  const stop = 'END';
  const at = TEXT.indexOf(stop);
  for (let cut = at + 1; cut < at + stop.length; cut += 1) {
    for (const way of [PREFILL, TRIMMED]) {
      const sent = sentOf([TEXT.slice(0, cut)]);
      const seam = new Seam(sent, way, ['never', 'END'], false);
      assert.deepEqual(shown(seam, TEXT.slice(cut), cut), { text: '', end: 'END' });
    }
  }
});

test('text that only begins like a stop sequence is shown once it is known not to be one', () => {
  const sent = sentOf(['a sto']);
  const seam = new Seam(sent, PREFILL, ['stop here'], false);
  assert.equal(seam.push('p').kind, 'wait');
  assert.equal(seam.push(' he').kind, 'wait');
  assert.deepEqual(seam.push('at'), { kind: 'text', text: 'p heat' });
  const last = new Seam(sent, PREFILL, ['stop here'], false);
  assert.equal(last.push('p').kind, 'wait');
  assert.deepEqual(last.end('stop'), { kind: 'text', text: 'p' });
});

test('of two stop sequences across the seam the one that ends first counts', () => {
  const seam = new Seam(sentOf(['xx ab']), PREFILL, ['abcdef', 'bcd'], false);
  assert.equal(seam.push('c').kind, 'wait');
  assert.deepEqual(seam.push('def'), { kind: 'stop', stop: 'bcd' });
});

test('a repeated answer that was stopped where the client has the beginning of the stop ends well', () => {
  const seam = new Seam(sentOf(['so far EN']), REGENERATE, ['END'], false);
  assert.equal(seam.push('so far ').kind, 'wait');
  assert.equal(seam.end('stop').kind, 'wait');
  const other = new Seam(sentOf(['so far EN']), REGENERATE, [], false);
  assert.equal(other.push('so far ').kind, 'wait');
  assert.equal(other.end('stop').kind, 'differs');
});

test('stop sequences are read in both dialects and forms', () => {
  assert.deepEqual(stopsOf({ stop: 'a' }), ['a']);
  assert.deepEqual(stopsOf({ stop: ['a', '', 'b'] }), ['a', 'b']);
  assert.deepEqual(stopsOf({ stop_sequences: ['c'] }), ['c']);
  assert.deepEqual(stopsOf({ stop: null }), []);
});

test('the rest of JSON is shown whole and valid, or not at all', () => {
  const sent = sentOf(['{"a": [1, ']);
  const good = new Seam(sent, PREFILL, [], true);
  assert.equal(good.push('2], "b"').kind, 'wait');
  assert.equal(good.push(': 3}').kind, 'wait');
  assert.deepEqual(good.end('stop'), { kind: 'text', text: '2], "b": 3}' });
  const anew = new Seam(sent, PREFILL, [], true);
  assert.equal(anew.push('{"a": [1, 2]}').kind, 'wait');
  assert.equal(anew.end('stop').kind, 'differs');
  const limited = new Seam(sent, PREFILL, [], true);
  assert.equal(limited.push('2, 3').kind, 'wait');
  assert.equal(limited.end('length').kind, 'text', 'the limit of tokens cut it, not we');
});

test('tokens of what was sent: those counted, else one a piece, else one for four bytes', () => {
  const exact = {
    inputTokens: 9,
    outputTokens: 30,
    cachedInputTokens: 0,
    cacheWriteTokens: 0,
    reasoningTokens: 20,
    isExact: true,
  };
  assert.equal(sentOf(['ab', 'cd'], exact).tokens, 30);
  assert.equal(sentOf(['ab', 'cd'], { ...exact, isExact: false }).tokens, 2);
  assert.equal(sentOf(['ab', 'cd', ' three']).tokens, 3);
  assert.equal(sentOf(['x'.repeat(100), 'y'.repeat(100)]).tokens, 50);
});

test('what is left of the limit of tokens is asked for, and nothing where none is left', () => {
  const limited = request({ max_tokens: 10, max_completion_tokens: 12 });
  const sent = sentOf(Array.from({ length: 7 }, () => 'word'));
  const json = resumeRequest(limited, sent, PREFILL, [])?.json();
  assert.deepEqual([json?.['max_tokens'], json?.['max_completion_tokens']], [3, 5]);
  const full = sentOf(Array.from({ length: 10 }, () => 'word'));
  assert.equal(resumeRequest(limited, full, PREFILL, []), null);
});
