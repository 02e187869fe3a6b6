import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { LlamaRuntime } from './runtime.ts';
import { buildPrompt, templateOf, type ChatMessage } from './template.ts';

/** Tokens are UTF-16 codes; role marks have ids of their own. */
function runtimeOf(chatTemplate: string, marks: Readonly<Record<string, number>>): LlamaRuntime {
  return {
    name: null,
    chatTemplate,
    contextTokens: 100,
    sequences: [],
    tokenize: (text) => text.split('').map((unit) => unit.charCodeAt(0)),
    special: (text) => marks[text] ?? null,
    detokenize: () => '',
    isEnd: () => false,
  };
}

const ROLES = runtimeOf('<|user|>', { '<|user|>': 1, '<|assistant|>': 2, '<|im_end|>': 3 });
const CHATML = runtimeOf('<|im_start|>', { '<|im_start|>': 4, '<|im_end|>': 3 });

function promptOf(runtime: LlamaRuntime, messages: readonly ChatMessage[]) {
  const template = templateOf(runtime);
  assert.ok(template !== null);
  return buildPrompt(template, runtime.contextTokens, messages);
}

function shown(tokens: readonly number[]): string {
  const marks = ['', '<U>', '<A>', '<E>', '<S>'];
  return tokens.map((token) => marks[token] ?? String.fromCharCode(token)).join('');
}

describe('buildPrompt', () => {
  it('writes role marks, drops system messages, and leaves an answer begun open', () => {
    const built = promptOf(ROLES, [
      { role: 'system', content: 'x' },
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: 'you' },
    ]);
    assert.ok(built.ok);
    assert.equal(shown(built.value.tokens), '<U>hi<E><A>');
    assert.equal(built.value.begun, 'you');
  });

  it('writes ChatML for models that were trained with it, system messages included', () => {
    const built = promptOf(CHATML, [
      { role: 'system', content: 'x' },
      { role: 'user', content: 'hi' },
    ]);
    assert.ok(built.ok);
    assert.equal(shown(built.value.tokens), '<S>system\nx<E>\n<S>user\nhi<E>\n<S>assistant\n');
  });

  it('drops the oldest turns past half of the context, never an answer without its question', () => {
    const turns: ChatMessage[] = Array.from({ length: 20 }, (_, index) => ({
      role: index % 2 === 0 ? 'user' : 'assistant',
      content: `turn ${index}`,
    }));
    const built = promptOf(ROLES, [...turns, { role: 'user', content: 'last' }]);
    assert.ok(built.ok);
    assert.ok(built.value.tokens.length <= 50);
    assert.match(shown(built.value.tokens), /^<U>turn 1[468]<E>/);
    assert.match(shown(built.value.tokens), /<U>last<E><A>$/);
  });

  it('refuses one question that is too long, and a conversation without a question', () => {
    const long = promptOf(ROLES, [{ role: 'user', content: 'x'.repeat(90) }]);
    assert.deepEqual(long, { ok: false, error: { kind: 'too-long', tokens: 93, tokensMax: 84 } });
    const none = promptOf(ROLES, [{ role: 'assistant', content: 'x' }]);
    assert.deepEqual(none, { ok: false, error: { kind: 'no-user-message' } });
  });

  it('knows no template where the role marks are missing', () => {
    assert.equal(templateOf(runtimeOf('[INST]', {})), null);
  });
});
