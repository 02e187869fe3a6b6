import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  createLlamaChildren,
  modelServeArgs,
  type LlamaChildRow,
  type LlamaChildSpec,
  type LlamaChildState,
} from './llamaChildren.ts';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  server.close();
  await once(server, 'close');
  return address.port;
}

function specOf(name: string, port: number): LlamaChildSpec {
  return {
    name,
    modelFile: '/none.gguf',
    port,
    threads: 1,
    sequences: 2,
    contextTokens: null,
    tokensPerSecondMax: null,
  };
}

/** Children whose states can be waited for. */
function watched(file = process.execPath) {
  const seen: LlamaChildRow[] = [];
  let wake = () => {};
  const children = createLlamaChildren({
    command: ({ port }) => ({
      file,
      args: [join(import.meta.dirname, 'testdata/fakeModelServer.mjs'), String(port)],
    }),
    onState: (row) => {
      seen.push(row);
      wake();
    },
  });
  /** The next row in `state` after the first `from` changes. */
  async function until(state: LlamaChildState, from = 0): Promise<LlamaChildRow> {
    for (;;) {
      const row = seen.slice(from).find((each) => each.state === state);
      if (row !== undefined) return row;
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      await promise;
    }
  }
  return { children, seen, until };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits for a process that is not our child to be gone. */
async function gone(pid: number): Promise<void> {
  const untilMs = performance.now() + 10_000;
  while (isAlive(pid)) {
    assert.ok(performance.now() < untilMs, `process ${pid} is gone within 10 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('a child that crashes starts again; one that a fault killed stays down until restart', async () => {
  const { children, seen, until } = watched();
  const port = await freePort();
  try {
    children.apply([specOf('a', port)]);
    const first = await until('running');
    await fetch(`http://127.0.0.1:${port}/crash`).catch(() => {});
    const crashed = await until('backing-off');
    assert.equal(crashed.lastEnd, 'exit 7');
    const second = await until('running', seen.indexOf(crashed));
    assert.notEqual(second.pid, first.pid);
    assert.equal(second.restarts, 1);

    assert.ok(children.fault('a', 'kill').ok);
    const held = await until('held');
    assert.equal(held.lastEnd, 'SIGKILL');
    assert.equal(held.pid, null);
    assert.deepEqual(children.fault('a', 'pause'), { ok: false, error: 'not-running' });
    assert.ok(children.fault('a', 'restart').ok);
    await until('running', seen.indexOf(held));
    assert.deepEqual(children.fault('b', 'kill'), { ok: false, error: 'unknown-target' });
  } finally {
    await children.stop();
  }
  assert.deepEqual(children.rows(), []);
});

test('a paused child answers again after resume, and stop ends a paused one', async () => {
  const { children, seen, until } = watched();
  const port = await freePort();
  try {
    children.apply([specOf('a', port)]);
    const { pid } = await until('running');
    assert.ok(pid !== null);
    assert.ok(children.fault('a', 'pause').ok);
    const paused = await until('paused');
    assert.ok(children.fault('a', 'resume').ok);
    assert.equal((await until('running', seen.indexOf(paused))).pid, pid);
    assert.ok(children.fault('a', 'pause').ok);
    const startedMs = performance.now();
    await children.stop();
    assert.ok(!isAlive(pid));
    assert.ok(performance.now() - startedMs < 2_500, 'without waiting for SIGKILL');
  } finally {
    await children.stop();
  }
});

test('apply starts the new, stops the gone and leaves what did not change', async () => {
  const { children, seen, until } = watched();
  const [portA, portB] = [await freePort(), await freePort()];
  try {
    children.apply([specOf('a', portA)]);
    const a = await until('running');
    children.apply([specOf('a', portA), specOf('b', portB)]);
    const b = await until('running', seen.indexOf(a) + 1);
    assert.equal(b.name, 'b');
    assert.deepEqual(
      children.rows().map(({ name, pid }) => [name, pid]),
      [
        ['a', a.pid],
        ['b', b.pid],
      ],
    );
    children.apply([specOf('b', portB)]);
    assert.equal((await until('stopped')).name, 'a');
  } finally {
    await children.stop();
  }
});

test('a command that cannot be started backs off and tells why', async () => {
  const { children, until } = watched('/no/such/program');
  children.apply([specOf('a', 1)]);
  const row = await until('backing-off');
  assert.equal(row.lastEnd, 'ENOENT');
  assert.ok(children.fault('a', 'kill').ok);
  assert.equal(children.rows()[0]?.state, 'held');
  await children.stop();
});

test('no child outlives its parent, even when that is killed by SIGKILL', async () => {
  const parent = spawn(
    process.execPath,
    [join(import.meta.dirname, 'testdata/parent.ts'), String(await freePort())],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  assert.ok(isAlive(pid));
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  await gone(pid);
});

test('the command line of a child says all that its configuration says', () => {
  const spec = { ...specOf('llama-a', 8301), contextTokens: 512, tokensPerSecondMax: 40 };
  const line = modelServeArgs('/x/cli.ts', spec).join(' ');
  assert.ok(
    line.endsWith(
      '/x/cli.ts model serve --model-file /none.gguf --name llama-a --port 8301 --threads 1 ' +
        '--sequences 2 --stop-with-stdin --context-tokens 512 --tokens-per-second-max 40',
    ),
    line,
  );
});
