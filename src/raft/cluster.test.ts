import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeSessionCommand } from './sessions.ts';
import { TestCluster, testMember } from './testkit.ts';

const THREE = [1, 2, 3].map((id) => testMember(id));

test('a cluster elects one leader and commits (n=3)', () => {
  const cluster = new TestCluster({ seed: 1, members: THREE });
  const leader = cluster.elect();
  const request = cluster.propose(leader.id, encodeSessionCommand({ kind: 'open' }));
  cluster.run(200);
  assert.equal(cluster.replyTo(leader.id, request)?.kind, 'committed');
  for (const id of [1, 2, 3]) {
    assert.equal(cluster.raft(id).status().commit, cluster.raft(leader.id).status().commit);
  }
});
