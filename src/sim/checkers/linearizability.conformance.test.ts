/**
 * The histories of anishathalye/porcupine with their verdicts: a register with compare-and-set as
 * etcd served it under Jepsen, and a key-value store with put and append. They are read from a
 * folder beside the project and not copied; without it the tests are skipped and say so.
 */

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Operation, Outcome } from './history.ts';
import { KV_MODEL, type KvInput, type KvOutput } from './kvModel.ts';
import { checkLinearizability, describeRefusal } from './linearizability.ts';

const FOLDER = join(import.meta.dirname, '../../../../shared/conformance/linearizability');
const skip = existsSync(FOLDER) ? false : 'the folder ../shared/conformance is absent';
/** Each history has a minute; the slowest takes a few milliseconds (docs/internals/verification.md). */
const TIME_MAX_MS = 60_000;

type KvOperation = Operation<KvInput, KvOutput>;

/** One line of a history: a client asks, or hears how it went. */
interface Line {
  readonly client: string;
  readonly type: string;
  readonly input: KvInput;
  readonly output: KvOutput;
}

/** Joins calls and answers; the line's number is its time. A call without an answer is unknown. */
function joinLines(lines: readonly Line[]): readonly KvOperation[] {
  const calls = new Map<string, { readonly line: Line; readonly calledAtMs: number }>();
  const history: KvOperation[] = [];
  const end = (client: string, outcome: Outcome<KvOutput>): void => {
    const call = calls.get(client);
    assert.ok(call !== undefined, `client ${client} hears of what it did not ask`);
    calls.delete(client);
    history.push({ client, input: call.line.input, calledAtMs: call.calledAtMs, outcome });
  };
  lines.forEach((line, atMs) => {
    if (line.type === 'invoke') {
      assert.ok(!calls.has(line.client), `client ${line.client} asks one thing at a time`);
      calls.set(line.client, { line, calledAtMs: atMs });
    } else if (line.type === 'info') {
      end(line.client, { kind: 'unknown' });
    } else {
      end(line.client, { kind: 'answered', atMs, output: line.output });
    }
  });
  for (const client of calls.keys()) end(client, { kind: 'unknown' });
  return history;
}

/** `INFO  jepsen.util - 2 :invoke :cas [3 0]`; a failed compare-and-set found another value. */
function readRegister(text: string): readonly KvOperation[] {
  const lines = text.split('\n').flatMap((row): readonly Line[] => {
    const match = /(\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(.*)$/.exec(row);
    if (match === null) return [];
    const [, client = '', ending = '', name = '', value = ''] = match;
    // A read that timed out is written as failed, everything else as unknown.
    const type = value === ':timed-out' ? 'info' : ending;
    const [first = '', second = ''] = value.match(/\d+/g) ?? [];
    if (name === 'cas') {
      const input: KvInput = { kind: 'cas', key: 'x', expected: first, value: second };
      return [{ client, type, input, output: { kind: 'swapped', isSwapped: type === 'ok' } }];
    }
    if (name === 'write') {
      assert.notEqual(type, 'fail', 'no write fails in these histories');
      const input: KvInput = { kind: 'put', key: 'x', value: first };
      return [{ client, type, input, output: { kind: 'done' } }];
    }
    const found = value === 'nil' ? null : first;
    const input: KvInput = { kind: 'get', key: 'x' };
    return [{ client, type, input, output: { kind: 'value', value: found } }];
  });
  return joinLines(lines);
}

/** `{:process 0, :type :ok, :f :get, :key "7", :value ""}`; a key that holds nothing reads "". */
function readKv(text: string): readonly KvOperation[] {
  const lines = text.split('\n').flatMap((row): readonly Line[] => {
    const match =
      /^\{:process (\d+), :type :(\w+), :f :(\w+), :key "(.*)", :value (?:nil|"(.*)")\}/.exec(row);
    if (match === null) return [];
    const [, client = '', type = '', name = '', key = '', value = ''] = match;
    if (name === 'get') {
      const found = value === '' ? null : value;
      const input: KvInput = { kind: 'get', key };
      return [{ client, type, input, output: { kind: 'value', value: found } }];
    }
    const input: KvInput = { kind: name === 'put' ? 'put' : 'append', key, value };
    return [{ client, type, input, output: { kind: 'done' } }];
  });
  return joinLines(lines);
}

function verdictOf(history: readonly KvOperation[]): string {
  const startMs = performance.now();
  const verdict = checkLinearizability(KV_MODEL, history, {
    time: () => performance.now() - startMs > TIME_MAX_MS,
  });
  if (verdict.kind !== 'refused') return verdict.kind;
  const text = describeRefusal(KV_MODEL, verdict.refusal);
  assert.match(text, /in no order can this one have its answer:\n {2}\[\d+, \d+\]/);
  return 'not-linearizable';
}

function read(file: string): string {
  return readFileSync(join(FOLDER, file), 'utf8');
}

const verdicts = new Map(
  (skip === false ? read('verdicts.txt') : '')
    .split('\n')
    .filter((row) => row !== '' && !row.startsWith('#'))
    .map((row) => row.split(/\s+/) as [file: string, verdict: string]),
);

test('each register history has its verdict', { skip }, () => {
  assert.ok(verdicts.size > 0);
  for (const [file, verdict] of verdicts) {
    const history = readRegister(read(file));
    assert.ok(history.length > 20, file);
    assert.equal(verdictOf(history), verdict, file);
  }
});

test('no register history is without a verdict', { skip }, () => {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.log'));
  assert.deepEqual(files.toSorted(), [...verdicts.keys()].toSorted());
});

const kvFiles =
  skip === false ? readdirSync(FOLDER).filter((file) => /^kv-.*\.txt$/.test(file)) : [];
test('the folder holds key-value histories', { skip }, () => assert.ok(kvFiles.length > 0));
for (const file of kvFiles) {
  test(`${file} has its verdict`, () => {
    const history = readKv(read(file));
    assert.ok(history.length > 20);
    assert.equal(verdictOf(history), file.includes('-ok') ? 'linearizable' : 'not-linearizable');
  });
}
