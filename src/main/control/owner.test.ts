import { deepEqual } from 'node:assert/strict';
import { chown, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { asOwner } from './owner.ts';

const OTHER = 12_345;

test("what root writes into another user's folder is that user's, folders on the way too", async (t) => {
  if (process.getuid?.() !== 0) {
    t.skip('only root can give files away');
    return;
  }
  const home = await mkdtemp(join(tmpdir(), 'banyan-owner-'));
  t.after(() => rm(home, { recursive: true, force: true }));
  await chown(home, OTHER, OTHER);
  const folder = join(home, 'data', 'control');
  await asOwner(folder, async () => {
    await mkdir(join(folder, 'log'), { recursive: true });
    await writeFile(join(folder, 'log', 'segment'), 'x');
    await writeFile(join(folder, 'member.json'), '{}');
  });
  for (const path of [
    'data',
    'data/control',
    'data/control/log/segment',
    'data/control/member.json',
  ]) {
    const { uid, gid } = await stat(join(home, path));
    deepEqual([path, uid, gid], [path, OTHER, OTHER]);
  }
});
