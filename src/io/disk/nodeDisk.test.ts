import { ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DiskLock } from '../../base/disk.ts';
import { DISK_CASES, diskCall, diskValue } from '../../base/diskSuite.ts';
import { NodeDisk } from './nodeDisk.ts';

function temporaryFolder(): { readonly path: string; [Symbol.dispose]: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'banyan-disk-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

for (const suiteCase of DISK_CASES) {
  test(`real disk: ${suiteCase.name}`, async () => {
    using folder = temporaryFolder();
    await suiteCase.run(new NodeDisk(folder.path));
  });
}

test('a folder that another process holds is locked until that process is killed', async () => {
  using folder = temporaryFolder();
  const program = `
    import { NodeDisk } from ${JSON.stringify(join(import.meta.dirname, 'nodeDisk.ts'))};
    new NodeDisk(${JSON.stringify(folder.path)}).lockFolder('', (taken) => {
      console.log(taken.ok ? 'held' : taken.error.kind);
      setInterval(() => taken, 1000);
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [said] = await once(child.stdout, 'data');
    ok(String(said).includes('held'), String(said));
    const disk = new NodeDisk(folder.path);
    const refused = await diskCall((done) => disk.lockFolder('', done));
    ok(!refused.ok && refused.error.kind === 'locked', 'held by a live process');
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    const lock = await diskValue<DiskLock>((done) => disk.lockFolder('', done));
    await diskValue((done) => lock.close(done));
  } finally {
    child.kill('SIGKILL');
  }
});
