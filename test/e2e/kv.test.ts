import { deepEqual, equal, match, notEqual, ok } from 'node:assert/strict';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { runChaos } from '../chaos/run.ts';
import {
  createKvCluster,
  eventually,
  type KvCluster,
  type KvClusterOptions,
  type KvMember,
} from '../support/kvCluster.ts';

/** A cluster that lasts as long as the test. */
async function started(t: TestContext, options: KvClusterOptions = {}): Promise<KvCluster> {
  const cluster = await createKvCluster(options);
  t.after(() => cluster.close());
  const initial = cluster.members.slice(0, 3);
  const made = await Promise.all(initial.map((member) => member.init()));
  for (const { code, output } of made) equal(code, 0, output);
  await Promise.all(initial.map((member) => member.start()));
  return cluster;
}

test('three processes replicate over mutual TLS, and a leader killed at once loses nothing', async (t) => {
  const cluster = await started(t);
  const leader = await cluster.leader();
  const put = await leader.ask('PUT', '/v1/kv/a%20key', 'one');
  equal(put?.status, 200);
  for (const member of cluster.members.slice(0, 3)) {
    equal((await member.ask('GET', '/v1/kv/a%20key'))?.text, 'one');
  }
  equal((await leader.ask('PUT', '/v1/kv/a%20key?version=1', 'two'))?.status, 409);
  equal((await leader.ask('PUT', `/v1/kv/a%20key?version=${put?.version}`, 'two'))?.status, 200);
  await leader.kill9();
  const next = await cluster.leader();
  equal((await next.ask('GET', '/v1/kv/a%20key'))?.text, 'two');
  await leader.start();
  await cluster.converged([1, 2, 3]);
});

test('a call that is sent again runs once, whoever takes it', async (t) => {
  const cluster = await started(t, { hasTls: false });
  await cluster.leader();
  const opened = await cluster.member(1).ask('POST', '/v1/sessions');
  const { session } = JSON.parse(opened?.text ?? '{}') as { session: number };
  ok(session > 0);
  for (const member of [1, 2, 3, 1].map((id) => cluster.member(id))) {
    const headers = { 'banyan-session': `${session}`, 'banyan-seq': '1', 'banyan-unacked': '1' };
    const answer = await eventually('an answer', 20_000, async () => {
      const said = await member.ask('POST', '/v1/kv/list', 'x', 5_000, headers);
      return said?.status === 200 ? said : null;
    });
    ok(answer.version > 0);
  }
  equal((await cluster.member(2).ask('GET', '/v1/kv/list'))?.text, 'x');
});

/** Flips one bit in the middle of what the log holds. */
async function damage(member: KvMember): Promise<string> {
  const file = join(member.data, 'log', '0000000000000001.log');
  const bytes = await readFile(file);
  const at = 3_000;
  bytes[at] = (bytes[at] ?? 0) ^ 0x10;
  await writeFile(file, bytes);
  return file;
}

test('a damaged log stops its member with a clear error; a new number takes its place', async (t) => {
  const cluster = await started(t, { hasTls: false });
  const leader = await cluster.leader();
  const written = Array.from({ length: 60 }, (_, at) => `k${at % 10}`);
  for (const key of written) {
    equal((await leader.ask('PUT', `/v1/kv/${key}`, 'x'.repeat(200)))?.status, 200);
  }
  const broken = cluster.members.find(({ id }) => id !== leader.id && id <= 3);
  ok(broken !== undefined);
  await broken.kill9();
  const file = await damage(broken);
  const before = await readFile(file);
  const end = await broken.startAndEnd();
  notEqual(end.code, 0);
  match(end.output, /the log is damaged .*0000000000000001\.log/);
  match(end.output, /remove its number, and add a new number with an empty folder/);
  deepEqual(await readFile(file), before);
  // It cannot be made new under its old number either.
  match((await broken.init()).output, /not-empty/);

  const fourth = cluster.member(4);
  equal((await fourth.init()).code, 0, fourth.output());
  await fourth.start();
  const changed = async (method: string, id: number): Promise<void> => {
    await eventually(`${method} ${id}`, 20_000, async () => {
      const now = await cluster.leader();
      const answer = await now.ask(method, `/v1/members/${id}`);
      return answer?.status === 200 ? answer : null;
    });
  };
  await changed('POST', 4);
  await eventually('a voter', 20_000, async () => {
    const status = await leader.status();
    return status?.conf.voters.includes(4) === true ? status : null;
  });
  await changed('DELETE', broken.id);
  const ids = [1, 2, 3, 4].filter((id) => id !== broken.id);
  await cluster.converged(ids);
  equal((await fourth.ask('GET', '/v1/kv/k3'))?.text, 'x'.repeat(200));
});

test('folders and files that are not a member’s own are refused, and stay as they are', async (t) => {
  const cluster = await started(t, { hasTls: false, config: { state: 'sqlite' } });
  const leader = await cluster.leader();
  equal((await leader.ask('PUT', '/v1/kv/a', 'one'))?.status, 200);
  await cluster.converged([1, 2, 3]);
  for (const member of cluster.members.slice(0, 3)) equal(await member.stop(), 0);
  const [one] = cluster.members;
  ok(one !== undefined);
  const own = await readFile(one.configFile, 'utf8');
  const refusedWith = async (change: (text: string) => string, words: RegExp): Promise<void> => {
    await writeFile(one.configFile, change(own));
    const end = await one.startAndEnd();
    notEqual(end.code, 0);
    match(end.output, words);
  };
  const other = cluster.member(2).data;
  await refusedWith((text) => text.replace(one.data, other), /state of node 2/);
  await refusedWith((text) => text.replace('kv-test', 'kv-else'), /of cluster kv-test/);
  await rename(join(one.data, 'state.db'), join(one.data, 'kept.db'));
  await rename(join(other, 'state.db'), join(other, 'kept.db'));
  await refusedWith((text) => text.replace(one.data, other), /wrong-node/);
  await rm(join(other, 'state.db'));
  await rename(join(other, 'kept.db'), join(other, 'state.db'));
  await refusedWith((text) => text.replace('kv-test', 'kv-else'), /wrong-cluster/);
  await refusedWith((text) => text.replace('"id": 1', '"id": 9'), /must name this member/);
  await refusedWith((text) => `${text}}`, /JSON/);
  await writeFile(one.configFile, own);
  await rm(join(one.data, 'state.db'), { force: true });
  await Promise.all(cluster.members.slice(0, 3).map((member) => member.start()));
  await cluster.leader();
  await cluster.converged([1, 2, 3]);
  equal((await one.ask('GET', '/v1/kv/a'))?.text, 'one');
});

test('a damaged database is made again from the log', async (t) => {
  const cluster = await started(t, { hasTls: false, config: { state: 'sqlite' } });
  const leader = await cluster.leader();
  for (let at = 0; at < 50; at += 1) {
    equal((await leader.ask('PUT', `/v1/kv/k${at}`, 'x'.repeat(1_000)))?.status, 200);
  }
  await cluster.converged([1, 2, 3]);
  equal(await leader.stop(), 0);
  const file = join(leader.data, 'state.db');
  const bytes = await readFile(file);
  bytes.fill(0xa5, 4_096);
  await writeFile(file, bytes);
  await leader.start();
  match(leader.output(), /state-rebuilt/);
  await cluster.leader();
  await cluster.converged([1, 2, 3]);
});

test('under kills, pauses, cut links, full disks and clock steps the history is linearizable', async (t) => {
  const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 100_000);
  t.diagnostic(`CHAOS_SEED=${seed}`);
  const log = (line: string): void => t.diagnostic(line);
  const result = await runChaos({ seed, durationMs: 10_000, log });
  for (const line of result.skipped) t.diagnostic(`not done here: ${line}`);
  equal(result.refusal, null);
  ok(result.answered > 100, `${result.answered} answered`);
});
