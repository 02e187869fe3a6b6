/** The soak itself, for a few seconds: the long command keeps working, and its books balance. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

const ROOT = dirname(dirname(import.meta.dirname));
const SOAK = join(ROOT, 'test', 'soak', 'soak.ts');
const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);

/** Runs the command to its end. */
function soak(args: readonly string[]): Promise<{ code: number | string | null; out: string }> {
  const argv = ['--disable-warning=ExperimentalWarning', SOAK, ...args];
  return new Promise((resolve) => {
    execFile(process.execPath, argv, { timeout: 90_000 }, (failure, stdout, stderr) => {
      resolve({ code: failure === null ? 0 : (failure.code ?? null), out: stdout || stderr });
    });
  });
}

test(`seconds of load with faults leave nothing unaccounted, nothing wrong (seed ${SEED})`, async () => {
  const { code, out } = await soak(
    ['--minutes', '0.12', '--rate', '40', '--seed', String(SEED)].concat(['-o', 'json']),
  );
  assert.equal(code, 0, out);
  const result = JSON.parse(out) as {
    problems: string[];
    wrongCount: number;
    clients: Record<string, { sent: number; byOutcome: Record<string, number> }>;
  };
  assert.deepEqual(result.problems, []);
  assert.equal(result.wrongCount, 0);
  let sentCount = 0;
  for (const { sent, byOutcome } of Object.values(result.clients)) {
    sentCount += sent;
    assert.equal(
      Object.values(byOutcome).reduce((sum, count) => sum + count, 0),
      sent,
    );
  }
  assert.ok(sentCount > 100, `${sentCount} requests were sent`);
});

test('a wrong command line is told, with exit code 2', async () => {
  const { code, out } = await soak(['--minutes', 'many']);
  assert.equal(code, 2);
  assert.match(out, /--minutes: 0\.1 to 100000\nusage: npm run soak/);
});
