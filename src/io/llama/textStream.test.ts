import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Characters, StopFilter, wholeCharacters } from './textStream.ts';

/** Tokens are bytes here. */
function bytesToText(tokens: readonly number[]): string {
  return Buffer.from(tokens).toString('utf8');
}

describe('Characters', () => {
  it('gives a character with its last byte, whatever stands around it', () => {
    const text = 'a退😀b';
    const characters = new Characters(bytesToText);
    const pieces = [...Buffer.from(text)].map((byte) => characters.push(byte));
    assert.deepEqual(
      pieces.filter((piece) => piece !== ''),
      ['a', '退', '😀', 'b'],
    );
    assert.equal(characters.flush(), '');
  });

  it('holds at most 8 tokens of what never becomes a character, and flushes the rest', () => {
    const characters = new Characters(bytesToText);
    const pieces = Array.from({ length: 9 }, () => characters.push(0xff));
    assert.equal(pieces.join('').length, 8);
    assert.equal(characters.flush().length, 1);
  });
});

describe('StopFilter', () => {
  it('finds the first stop sequence however the text is cut, and nothing of it is sent', () => {
    const text = 'one STOP two END three';
    for (let size = 1; size <= text.length; size += 1) {
      const filter = new StopFilter(['END', 'STOP']);
      let sent = '';
      for (let at = 0; at < text.length; at += size) {
        const passed = filter.push(text.slice(at, at + size));
        sent += passed.text;
        if (passed.isStopped) break;
      }
      assert.equal(sent, 'one ', `pieces of ${size}`);
    }
  });

  it('sends what only began like a stop sequence', () => {
    const filter = new StopFilter(['STOP']);
    const first = filter.push('no ST');
    const second = filter.push('AR S');
    assert.equal(first.text + second.text + filter.flush(), 'no STAR S');
    assert.equal(first.text, 'no ');
  });
});

describe('wholeCharacters', () => {
  it('drops half a surrogate pair at the end and nothing else', () => {
    assert.equal(wholeCharacters('a😀'), 'a😀');
    assert.equal(wholeCharacters('a😀'.slice(0, 2)), 'a');
    assert.equal(wholeCharacters(''), '');
  });
});
