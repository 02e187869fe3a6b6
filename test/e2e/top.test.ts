/** `banyan top` against a real node: what it prints is what clients did. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { BARE_ENV } from '../support/env.ts';
import { ask, dig } from '../support/client.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, startNode } from '../support/node.ts';

const CLI = join(dirname(dirname(import.meta.dirname)), 'src', 'main', 'cli.ts');

async function top(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, 'top', ...args], {
    env: { ...BARE_ENV, NODE_NO_WARNINGS: '1', ...env },
  });
  return stdout;
}

test('top -o json counts requests, errors, tokens and first tokens of a node under traffic', async () => {
  const fake = await startFakeUpstream();
  atEnd(() => fake.close());
  const node = await startNode({
    targets: [{ name: 'fake', kind: 'openai', baseUrl: `${fake.origin}/v1` }],
    models: [{ name: 'one', targets: ['fake'] }],
  });
  let isOver = false;
  const traffic = (async () => {
    while (!isOver) {
      await ask(node.apiUrl, { dialect: 'openai', model: 'one', isStream: true });
      await ask(node.apiUrl, { dialect: 'openai', model: 'none', isStream: false });
    }
  })();
  const report: unknown = JSON.parse(
    await top(['-o', 'json', '--interval', '1'], { BANYAN_SERVER: node.adminUrl }),
  );
  isOver = true;
  await traffic;
  for (const place of ['total', ['regions', 0], ['models', 0], ['targets', 0]].map((at) =>
    [at].flat(),
  )) {
    for (const field of ['requestsPerSecond', 'outputTokensPerSecond', 'firstTokenMsP50']) {
      const value = dig(report, ...place, field);
      assert.ok(
        typeof value === 'number' && value > 0,
        `${place.join('.')}.${field}: ${String(value)}`,
      );
    }
  }
  const errors = dig(report, 'total', 'errorsPerSecond');
  assert.ok(typeof errors === 'number' && errors > 0);
  assert.equal(dig(report, 'targets', 0, 'errorsPerSecond'), 0);
  assert.equal(dig(report, 'nodes', 0, 'state'), 'ready');
});

test('top prints once where nobody watches, and ends with 3 where nobody answers', async () => {
  const node = await startNode({
    targets: [{ name: 'gone', kind: 'openai', baseUrl: 'http://127.0.0.1:1/v1' }],
    models: [{ name: 'one', targets: ['gone'] }],
  });
  const servers = ['--server', `${node.adminUrl},http://127.0.0.1:1`, '--interval', '0.2'];
  const shown = await top(servers, { LANG: 'zh_CN.UTF-8' });
  assert.match(shown, /^没有响应：http:\/\/127\.0\.0\.1:1$/m);
  assert.match(shown, /^us-east-2\/gone +healthy/m);
  // oxlint-disable-next-line no-control-regex
  assert.doesNotMatch(shown, /\u001b/);
  await assert.rejects(top(['--server', 'http://127.0.0.1:1']), { code: 3 });
  await assert.rejects(top(['--interval', '0']), { code: 2 });
});
