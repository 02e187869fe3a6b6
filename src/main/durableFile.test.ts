import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { z } from 'zod';

import { makeFolderDurably, readWritten, writeDurably } from './durableFile.ts';

const root = await mkdtemp(join(tmpdir(), 'banyan-durable-'));
after(() => rm(root, { recursive: true }));
const schema = z.strictObject({ id: z.int() });

test('what was written is read, nothing half written is left, and a missing file is none', async () => {
  const file = join(root, 'one.json');
  assert.deepEqual(await readWritten(file, schema, ''), { ok: true, value: null });
  await writeDurably(file, { id: 7 });
  assert.deepEqual(await readWritten(file, schema, ''), { ok: true, value: { id: 7 } });
  assert.deepEqual(await readdir(root), ['one.json']);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
});

test('a file that is not what it should be is refused by name, with what to do', async () => {
  const file = join(root, 'bad.json');
  for (const text of ['{', '{"id":"x"}', '{"id":1,"more":2}']) {
    await writeFile(file, text);
    const read = await readWritten(file, schema, 'take it away');
    assert.ok(!read.ok && read.error.startsWith(`${file}: `), text);
    if (text === '{') assert.match(read.error, /it is no JSON; take it away$/);
  }
  const folder = await readWritten(root, schema, '');
  assert.ok(!folder.ok && /EISDIR/.test(folder.error));
});

test('folders are made as deep as needed, for their owner alone, and may be there already', async () => {
  const deep = join(root, 'a', 'b', 'c');
  await makeFolderDurably(deep);
  await makeFolderDurably(deep);
  assert.equal((await stat(deep)).mode & 0o777, 0o700);
});
