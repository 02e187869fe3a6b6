/**
 * The histories of lassemoldrup/AWDIT. The folder that a history is in names the strongest level
 * that it has. They are read from a folder beside the project and not copied; without it the test
 * is skipped and says so.
 */

import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkCausal } from './causal.ts';
import type { Session, TransactionStep } from './transactions.ts';

const FOLDER = join(import.meta.dirname, '../../../../shared/conformance/causal');
const skip = existsSync(FOLDER) ? false : 'the folder ../shared/conformance is absent';
const files: readonly string[] =
  skip === false ? globSync('**/*.txt', { cwd: FOLDER }).toSorted() : [];

/** A line a step (`r key value`), `-----` between transactions, `=====` between sessions. */
function readSessions(text: string): readonly Session[] {
  return text.split('=====').map((session) =>
    session.split('-----').map((transaction) => ({
      outcome: 'committed' as const,
      steps: [...transaction.matchAll(/^([rw]) (\d+) (\d+)$/gm)].map(
        ([, kind = '', key = '', value = '']): TransactionStep =>
          kind === 'r' ? { kind: 'read', key, value } : { kind: 'write', key, value },
      ),
    })),
  );
}

test('the folder holds histories of every level', { skip }, () => {
  const levels = new Set(files.map((file) => file.split('/')[0]));
  assert.deepEqual([...levels], ['causal', 'none', 'read-atomic', 'read-committed']);
});

for (const file of files) {
  test(`${file} has the level of its folder and no stronger one`, () => {
    const sessions = readSessions(readFileSync(join(FOLDER, file), 'utf8'));
    const { level, violation } = checkCausal(sessions);
    assert.equal(level ?? 'none', file.split('/')[0], violation?.text ?? '');
    assert.equal(violation === null, level === 'causal');
    if (violation !== null) assert.notEqual(violation.text, '');
  });
}
