import { equal, ok } from 'node:assert/strict';
import { after, test } from 'node:test';

import { createKvCluster, eventually, KvCluster } from '../support/kvCluster.ts';

const open: KvCluster[] = [];
after(async () => {
  for (const cluster of open) await cluster.close();
});

async function started(options: Parameters<typeof createKvCluster>[0] = {}): Promise<KvCluster> {
  const cluster = await createKvCluster(options);
  open.push(cluster);
  const initial = cluster.members.slice(0, 3);
  for (const member of initial) equal((await member.init()).code, 0, member.output());
  await Promise.all(initial.map((member) => member.start()));
  return cluster;
}

test('three processes replicate over mutual TLS, and a leader killed at once loses nothing', async () => {
  const cluster = await started();
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

test('a call that is sent again runs once, whoever takes it', async () => {
  const cluster = await started({ hasTls: false });
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
