import assert from 'node:assert/strict';
import { test } from 'node:test';

import { concatBytes, decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { createPrng, type Prng } from '../base/prng.ts';
import { parseRequest } from '../protocol/request.ts';
import { Continuation } from './continuation.ts';

const parsed = parseRequest('chat', [], encodeUtf8('{"model":"m","messages":[],"stream":true}'));
assert.ok(parsed.ok);
const request = parsed.value;

/** One event in one of the ways in which servers write it. */
function event(prng: Prng, style: number, hasTool: boolean): string {
  const words = ['a', ' token', '"tool_calls"', '退货', 'tool_calls\\":[{', ''];
  const content = JSON.stringify(words[prng.nextBelow(words.length)]);
  const calls = hasTool ? '[{"index":0}]' : style === 1 ? '[]' : 'null';
  const isNamed = hasTool || style !== 0;
  const tool = isNamed ? `"tool_calls":${prng.nextBelow(9) === 0 ? ' ' : ''}${calls},` : '';
  const end = style === 3 ? '\r\n\r\n' : '\n\n';
  return `data: {"id":"x","choices":[{"delta":{${tool}"content":${content}},"finish_reason":null}]}${end}`;
}

test('what tells of a tool call is held from its event on, whatever came before (600 seeds)', () => {
  for (let seed = 1; seed <= 600; seed += 1) {
    const prng = createPrng(seed);
    const style = prng.nextBelow(4);
    const toolAt = prng.nextBelow(40);
    const events = Array.from({ length: 40 }, (_, index) => event(prng, style, index === toolAt));
    const kept = new Continuation(request, [], { bytes: 0, bytesMax: Infinity });
    const passed: Uint8Array[] = [];
    for (let at = 0; at < events.length;) {
      const count = 1 + prng.nextBelow(6);
      const piece = encodeUtf8(events.slice(at, at + count).join(''));
      passed.push(kept.pass(piece).slice());
      at += count;
    }
    const before = events.slice(0, toolAt).join('');
    assert.equal(decodeUtf8(concatBytes(passed)), before, `seed ${seed}`);
    const rest = decodeUtf8(kept.release());
    assert.equal(rest, events.slice(toolAt).join(''), `seed ${seed}`);
  }
});
