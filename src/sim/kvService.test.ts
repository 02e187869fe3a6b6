import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { headerValue, type HeaderList } from '../base/headers.ts';
import type { ClientReply } from '../base/ports.ts';
import { GroupAdmin } from '../replica/group/admin.ts';
import { KvService } from '../replica/kv/service.ts';
import { THREE, three, type World } from './groupTestkit.ts';

class Reply implements ClientReply {
  status = 0;
  headers: HeaderList = [];
  text = '';
  isDone = false;
  head(status: number, headers: HeaderList): void {
    this.status = status;
    this.headers = headers;
  }
  write(chunk: Uint8Array): boolean {
    this.text += decodeUtf8(chunk);
    return true;
  }
  end(last?: Uint8Array): void {
    if (last !== undefined) this.text += decodeUtf8(last);
    this.isDone = true;
  }
  abort(): void {}
}

function ask(
  world: World,
  id: number,
  line: string,
  body = '',
  headers: HeaderList = [],
): Reply & { version: number } {
  const node = world.node(id);
  ok(node.group !== null);
  const [method = '', target = ''] = line.split(' ');
  const [path = '', query = ''] = target.split('?');
  const reply = new Reply();
  const request = {
    method,
    path,
    query,
    headers,
    body: encodeUtf8(body),
    keyHash: null,
    receivedMs: 0,
    remote: '',
    forwardedFrom: null,
  };
  const admin = new GroupAdmin(node.group, THREE, () => ({}));
  if (!admin.handle(request, reply)) new KvService(node.group, node.kv).handle(request, reply);
  world.until(() => reply.isDone);
  const version = Number(headerValue(reply.headers, 'banyan-version') ?? 0);
  return Object.assign(reply, { version });
}

function inSession(session: number, seq: number, unacked: number): HeaderList {
  return ['banyan-session', `${session}`, 'banyan-seq', `${seq}`, 'banyan-unacked', `${unacked}`];
}

test('a key is written, read, compared, appended to and removed at any member', () => {
  const world = three();
  world.leader();
  equal(ask(world, 1, 'GET /v1/kv/k').status, 404);
  const put = ask(world, 1, 'PUT /v1/kv/k', 'one');
  deepEqual([put.status, put.version > 0], [200, true]);
  const got = ask(world, 2, 'GET /v1/kv/k');
  deepEqual([got.status, got.text, got.version], [200, 'one', put.version]);
  const lost = ask(world, 3, 'PUT /v1/kv/k?version=0', 'two');
  deepEqual([lost.status, lost.version], [409, put.version]);
  equal(ask(world, 3, `PUT /v1/kv/k?version=${put.version}`, 'two').status, 200);
  equal(ask(world, 1, 'POST /v1/kv/k', ' three').status, 200);
  equal(ask(world, 2, 'GET /v1/kv/k').text, 'two three');
  world.time.advance(200);
  equal(ask(world, 3, 'GET /v1/kv/k?read=local').text, 'two three');
  equal(ask(world, 1, 'DELETE /v1/kv/k').status, 200);
  equal(ask(world, 1, 'DELETE /v1/kv/k').status, 404);
});

test('a call of a session runs once; one that was acknowledged is forgotten', () => {
  const world = three();
  world.leader();
  const { session } = JSON.parse(ask(world, 1, 'POST /v1/sessions').text) as { session: number };
  const first = ask(world, 1, 'POST /v1/kv/k', 'x', inSession(session, 1, 1));
  const again = ask(world, 2, 'POST /v1/kv/k', 'x', inSession(session, 1, 1));
  deepEqual([first.status, again.status, again.version], [200, 200, first.version]);
  equal(ask(world, 2, 'POST /v1/kv/k', 'y', inSession(session, 2, 2)).status, 200);
  const old = ask(world, 3, 'POST /v1/kv/k', 'x', inSession(session, 1, 1));
  deepEqual([old.status, old.text], [410, '{"error":"session-forgotten"}']);
  equal(ask(world, 3, 'GET /v1/kv/k').text, 'xy');
  equal(ask(world, 1, 'POST /v1/kv/k', 'z', inSession(session, 5_000, 2)).status, 429);
  equal(ask(world, 1, `DELETE /v1/sessions/${session}`).status, 200);
  const ended = ask(world, 1, 'POST /v1/kv/k', 'z', inSession(session, 3, 3));
  deepEqual([ended.status, ended.text], [410, '{"error":"session-expired"}']);
  equal(ask(world, 3, 'GET /v1/kv/k').text, 'xy');
});

test('requests that mean nothing are refused and change nothing', () => {
  const world = three();
  world.leader();
  ask(world, 1, 'PUT /v1/kv/k', 'one');
  const statuses = [
    ask(world, 1, 'PUT /v1/kv/%zz', 'x'),
    ask(world, 1, 'PUT /v1/kv/', 'x'),
    ask(world, 1, 'PUT /v1/kv/k?version=-1', 'x'),
    ask(world, 1, 'PUT /v1/kv/k?version=99999999999999999', 'x'),
    ask(world, 1, 'PUT /v1/kv/k?else=1', 'x'),
    ask(world, 1, 'PATCH /v1/kv/k', 'x'),
    ask(world, 1, 'PUT /v1/kv/k', 'x', ['banyan-session', '3']),
    ask(world, 1, 'PUT /v1/kv/k', 'x', inSession(3, 1, 2)),
    ask(world, 1, 'PUT /v1/kv/k', 'x', inSession(3, 0, 0)),
    ask(world, 1, 'PUT /v1/kv/k', 'x'.repeat(100_000)),
    ask(world, 1, 'DELETE /v1/sessions/x'),
    ask(world, 1, 'GET /v1/else'),
  ].map(({ status }) => status);
  deepEqual(statuses, [400, 413, 400, 400, 400, 400, 400, 400, 400, 413, 400, 404]);
  equal(ask(world, 1, 'GET /v1/kv/k').text, 'one');
});

test('a refusal says whether it is definite', () => {
  const world = three();
  const leader = world.leader();
  const { id } = leader.status();
  for (const other of THREE) if (other.id !== id) world.crash(other.id);
  const lost = ask(world, id, 'PUT /v1/kv/k', 'x');
  equal(lost.status, 504);
  equal((JSON.parse(lost.text) as { definite: boolean }).definite, false);
  world.until(() => leader.status().leader === 0);
  const refused = ask(world, id, 'PUT /v1/kv/k', 'x');
  equal(refused.status, 503);
  equal((JSON.parse(refused.text) as { error: string }).error, 'no-leader');
});

test('an operator sees a member, moves the leader, and removes and adds members', () => {
  const world = three();
  const leader = world.leader();
  const { id } = leader.status();
  const status = JSON.parse(ask(world, id, 'GET /v1/status').text) as Record<string, unknown>;
  equal(status['role'], 'leader');
  equal(typeof status['hash'], 'number');
  const other = THREE.find((one) => one.id !== id)?.id ?? 0;
  equal(ask(world, other, `DELETE /v1/members/${other}`).status, 503);
  equal(ask(world, id, `POST /v1/leader/${other}`).status, 200);
  world.until(() => world.node(other).group?.status().role === 'leader');
  world.leader();
  equal(ask(world, other, `DELETE /v1/members/${id}`).status, 200);
  deepEqual(world.node(other).group?.status().conf.voters.includes(id), false);
  equal(ask(world, other, 'POST /v1/members/77').status, 404);
  equal(ask(world, other, `POST /v1/members/${id}`).status, 503); // Numbers are never used twice.
  equal(ask(world, other, `GET /v1/members/${id}`).status, 405);
});
