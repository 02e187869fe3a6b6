import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { OBSERVE_LIMITS } from '../../base/limits.ts';
import { FdWriter } from './fdWriter.ts';

const LOG = join(import.meta.dirname, 'log.ts');

/** Runs `body` in a process of its own, with a log whose standard output is a pipe. */
function logging(body: string) {
  const code = `import { createLog } from ${JSON.stringify(LOG)};
    const log = createLog('info', {}, { fd: 1 });
    ${body}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.on('error', () => {}); // It may be gone before it has read.
  return { child, exited: once(child, 'exit') as Promise<[number | null, string | null]> };
}

function sorted(text: string): string {
  return text.split('\n').toSorted().join('\n');
}

test('lines come out whole and in order, by themselves and by a last flush', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'banyan-log-'));
  const file = join(dir, 'log');
  const fd = openSync(file, 'w');
  const writer = new FdWriter(fd);
  const lines = Array.from({ length: 300 }, (_, index) => `${index} ${'退货'.repeat(index)}\n`);
  for (const line of lines.slice(0, 200)) writer.write(line);
  while (readFileSync(file, 'utf8').length < lines.slice(0, 200).join('').length) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  for (const line of lines.slice(200)) {
    writer.write(line);
    await new Promise(setImmediate);
  }
  writer.flushSync();
  const isWhole = (): boolean => readFileSync(file, 'utf8').length === lines.join('').length;
  while (!isWhole()) await new Promise((resolve) => setTimeout(resolve, 1)); // One was under way.
  const text = readFileSync(file, 'utf8');
  assert.ok(text.startsWith(lines.slice(0, 200).join('')), 'in order');
  assert.ok(sorted(text) === sorted(lines.join('')), 'each line is there once, whole');
  assert.equal(writer.dropped, 0);
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

test('past its limit of bytes lines are dropped and counted, and what was taken comes out', () => {
  const dir = mkdtempSync(join(tmpdir(), 'banyan-log-'));
  const file = join(dir, 'log');
  const fd = openSync(file, 'w');
  const writer = new FdWriter(fd);
  const line = `${'x'.repeat(OBSERVE_LIMITS.logBufferBytesMax / 4 - 1)}\n`;
  for (let turn = 0; turn < 4; turn += 1) writer.write(line);
  assert.equal(writer.dropped, 0);
  writer.write('one\ntwo\n');
  assert.equal(writer.dropped, 2);
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

test('a process whose reader is gone ends all the same, with lines that nobody takes', async () => {
  const { child, exited } = logging(`
    process.stdin.once('data', () => {
      log.info('nobody-reads');
      process.exit(7);
    });
    log.error('ready');`);
  await once(child.stdout, 'data');
  child.stdout.destroy();
  await new Promise((resolve) => child.stdout.once('close', resolve));
  child.stdin.end('go');
  const limit = setTimeout(() => child.kill('SIGKILL'), 10_000);
  assert.deepEqual(await exited, [7, null]);
  clearTimeout(limit);
});

test('a full pipe without a reader is waited for to the limit, no longer', () => {
  const dir = mkdtempSync(join(tmpdir(), 'banyan-log-'));
  const fifo = join(dir, 'fifo');
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const writer = new FdWriter(fd);
  for (let line = 0; line < 3_000; line += 1) writer.write(`${'x'.repeat(999)}\n`);
  const startMs = performance.now();
  writer.flushSync();
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs >= OBSERVE_LIMITS.logLastFlushMs - 1, `${tookMs} ms`);
  assert.ok(tookMs < 4 * OBSERVE_LIMITS.logLastFlushMs, `${tookMs} ms`);
  assert.ok(writer.dropped > 2_000, `${writer.dropped} of 3000`);
  closeSync(fd);
  rmSync(dir, { recursive: true });
});
