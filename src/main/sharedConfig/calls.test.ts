/** A refusal of a node arrives at the one that asked, however much there is to say. */

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { encodeUtf8 } from '../../base/bytes.ts';
import type { ClientReply, Upstream, UpstreamHandler } from '../../base/ports.ts';
import { createTimers } from '../../io/clock.ts';
import type { ConfigProblem } from '../config/document.ts';
import { answerPeer, askPeer } from '../control/peerCalls.ts';
import { CHECK_PATH, problemOf, problemsSchema, shortened } from './calls.ts';

/** What the node that asks reads of these; null: no answer. */
async function arrived(
  problems: readonly ConfigProblem[],
): Promise<readonly ConfigProblem[] | null> {
  const upstream = {
    start: (_request: unknown, handler: UpstreamHandler) => {
      const reply: Pick<ClientReply, 'head' | 'end'> = {
        head: (status) => handler.onHead(status, []),
        end: (bytes) => {
          handler.onBody(bytes ?? encodeUtf8(''));
          handler.onEnd();
        },
      };
      queueMicrotask(() =>
        answerPeer(reply as ClientReply, 200, { problems: shortened(problems) }),
      );
      return { cancel: () => {} };
    },
  } as unknown as Upstream;
  const asked = { text: '' };
  const answer = await askPeer(upstream, createTimers(), 'a', CHECK_PATH, asked, problemsSchema);
  return answer?.value?.problems.map(problemOf) ?? null;
}

function problemsOf(count: number, text: string, more: Partial<ConfigProblem> = {}) {
  return Array.from({ length: count }, (_, index): ConfigProblem => {
    const place = { line: index + 1, column: 1 };
    return { severity: 'error', place, path: text, message: text, file: text, ...more };
  });
}

test('a long refusal in Chinese arrives, as much of it as an answer holds', async () => {
  const heard = await arrived(problemsOf(200, '错'.repeat(5_000)));
  ok(heard !== null, 'it arrives');
  ok(heard.length >= 10, `${heard.length}`);
  equal(heard[0]?.message.length, 400);
  equal(heard[0]?.file?.length, 400);
});

test('what JSON writes longer than UTF-8 does not make it too long', async () => {
  for (const text of ['\u0001', '"', '\ud83c', '🌳']) {
    const heard = await arrived(problemsOf(200, text.repeat(5_000)));
    ok(heard !== null && heard.length >= 5, JSON.stringify(text));
  }
});

test('an error is not lost behind warnings', async () => {
  const warnings = problemsOf(200, '慢'.repeat(5_000), { severity: 'warning' });
  const [heard] = (await arrived([...warnings, ...problemsOf(1, 'no such file')])) ?? [];
  deepEqual(heard, problemsOf(1, 'no such file')[0]);
});

test('a short refusal arrives as it is', async () => {
  const place = { line: 3, column: 5 };
  const plain: ConfigProblem = { severity: 'error', place, path: '', message: '没有这个文件' };
  const problems = [plain, { ...plain, file: '/etc/banyan/节点.yaml' }];
  deepEqual(await arrived(problems), problems);
});
