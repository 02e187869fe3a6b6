import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import type { LoadedConfig } from './build.ts';
import { loadConfig } from './load.ts';
import { createReloader } from './reload.ts';

const TEXT = 'region: a\nkeys: []\ntargets: []\nmodels: []\n';

let folder = '';
let file = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-reload-'));
  file = join(folder, 'banyan.yaml');
  await writeFile(file, TEXT);
});
afterEach(() => rm(folder, { recursive: true }));

async function reloader() {
  const loaded = await loadConfig(file, {});
  assert.ok(loaded.ok);
  const applied: LoadedConfig[] = [];
  const refused: string[] = [];
  let wake = () => {};
  const made = createReloader({
    file,
    env: {},
    current: loaded.value.config,
    apply: (next) => {
      applied.push(next);
      wake();
      return Promise.resolve(null);
    },
    refused: (problems) => {
      refused.push(problems.replaceAll(folder, ''));
      wake();
    },
  });
  const change = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  return { made, applied, refused, change };
}

test('a changed file is applied once; the same content is not applied again', async () => {
  const { made, applied, refused } = await reloader();
  await made.reload();
  assert.equal(applied.length, 0);
  await writeFile(file, `${TEXT}retryBudgetPercent: 20\n`);
  await made.reload();
  await made.reload();
  assert.equal(applied.length, 1);
  assert.equal(applied[0]?.node(new Map()).retryBudgetPercent, 20);
  assert.deepEqual(refused, []);
});

test('a file with an error is refused whole, once, and the next good one is applied', async () => {
  const { made, applied, refused } = await reloader();
  await writeFile(file, `${TEXT}retryBudgetPercent: 20\nwrong: 1\n`);
  await made.reload();
  await made.reload();
  assert.equal(applied.length, 0);
  assert.deepEqual(refused, [
    '/banyan.yaml:6:1: unknown key "wrong"; known here: region, node, role, dataDir, listen, admin, ' +
      'workers, peers, control, keys, targets, models, limits, retryBudgetPercent, tracing, log, demo',
  ]);
  assert.equal(made.refusal()?.replaceAll(folder, ''), refused[0]);
  await writeFile(file, `${TEXT}retryBudgetPercent: 30\n`);
  await made.reload();
  assert.equal(applied.length, 1);
  assert.equal(made.refusal(), null);
});

test('what a running node cannot change is refused by name', async () => {
  const { made, applied, refused } = await reloader();
  const text = TEXT.replace('region: a', 'region: b\nlisten: { api: 127.0.0.1:1 }');
  await writeFile(file, `${text}retryBudgetPercent: 20\n`);
  await made.reload();
  assert.equal(applied.length, 0);
  assert.deepEqual(refused, [
    '/banyan.yaml: a restart is needed to change region, node, listen.api',
  ]);
});

test('a file that vanishes is refused; the old configuration stays', async () => {
  const { made, applied, refused } = await reloader();
  await rm(file);
  await made.reload();
  assert.equal(applied.length, 0);
  assert.match(refused[0] ?? '', /cannot be read: ENOENT/);
});

test('a file that is replaced by rename is noticed', async () => {
  const { made, applied, change } = await reloader();
  made.watch();
  try {
    const next = join(folder, '.banyan.yaml.swp');
    await writeFile(next, `${TEXT}retryBudgetPercent: 40\n`);
    const noticed = change();
    await rename(next, file);
    await noticed;
    assert.equal(applied[0]?.node(new Map()).retryBudgetPercent, 40);
  } finally {
    made.stop();
  }
});

test('reloads that are asked for together are one at a time and end with the newest', async () => {
  const { made, applied } = await reloader();
  const first = made.reload();
  await writeFile(file, `${TEXT}retryBudgetPercent: 50\n`);
  await Promise.all([first, made.reload(), made.reload()]);
  assert.equal(applied.at(-1)?.node(new Map()).retryBudgetPercent, 50);
});
