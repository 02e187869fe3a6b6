import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { PeerCall } from './outgoing.ts';
import { addresses, echo, makeCerts, startHub, until } from './testdata/kit.ts';
import type { Taken, TestCerts, TestHub } from './testdata/kit.ts';

let certs: TestCerts;
before(async () => {
  certs = await makeCerts(['a', 'a/2', 'b', 'b/2', 'b/3']);
});
after(async () => {
  await certs.remove();
});

/** `a`, a further node beside it, and two nodes of `b`, all linked. */
async function startFour(
  answer: ((taken: Taken) => void) | null = echo,
  avoided = new Set<string>(),
) {
  const names = ['a', 'a/2', 'b', 'b/2'] as const;
  const hubs = await Promise.all(
    names.map((peer) => {
      const isAvoided = (other: string, { path }: PeerCall): boolean =>
        avoided.has(other) || avoided.has(`${other}${path}`);
      return startHub({ peer, tls: certs.tls(peer), answer, isAvoided });
    }),
  );
  for (const hub of hubs) {
    const others = hubs.filter((other) => other !== hub);
    hub.hub.setPeers(addresses(Object.fromEntries(others.map(({ peer, port }) => [peer, port]))));
  }
  const isLinked = (hub: TestHub): boolean => {
    return names.every((name) => name === hub.peer || hub.isUp(name));
  };
  await until(() => hubs.every(isLinked), 'all are linked');
  const [a, a2, b, b2] = hubs;
  assert.ok(a !== undefined && a2 !== undefined && b !== undefined && b2 !== undefined);
  const close = async (): Promise<void> => {
    await Promise.all(hubs.map(({ hub }) => hub.close(0)));
  };
  return { a, a2, b, b2, close };
}

test('a call says which node it is of, and that is its region and its proved name', async () => {
  const { a2, b, b2, close } = await startFour();
  for (const to of [b, b2]) {
    const { seen } = a2.call('', { origin: `node:${to.peer}` });
    await until(() => seen.isDone, 'done');
    assert.equal(seen.status, 200);
    const request = to.handler.taken[0]?.request;
    assert.deepEqual([request?.forwardedFrom, request?.peer], ['a', 'a/2']);
  }
  const { seen } = b.call('', { origin: 'node:a/3' });
  await until(() => seen.isDone, 'there is none of that name');
  assert.equal(seen.failure?.kind, 'unresolved');
  await close();
});

test('calls to a region take turns between its nodes, and go where fewer are under way', async () => {
  const { a, b, b2, close } = await startFour(null);
  const calls = Array.from({ length: 10 }, () => a.call('b'));
  await until(() => b.handler.taken.length + b2.handler.taken.length === 10, 'all came');
  assert.deepEqual([b.handler.taken.length, b2.handler.taken.length], [5, 5]);
  // Four of one node are over: the next four go there.
  for (const taken of b2.handler.taken.slice(0, 4)) echo(taken);
  await until(() => calls.filter(({ seen }) => seen.isDone).length === 4, 'four are over');
  for (let count = 0; count < 4; count += 1) calls.push(a.call('b'));
  await until(() => b2.handler.taken.length === 9, 'all four went to the idler one');
  assert.equal(b.handler.taken.length, 5);
  await close();
});

test('calls to a region never go to a node whose link is down, while another one is up', async () => {
  const { a, b, b2, close } = await startFour();
  assert.equal(a.hub.setCut('b/2', true), true);
  const calls = Array.from({ length: 6 }, () => a.call('b'));
  await until(() => calls.every(({ seen }) => seen.isDone), 'all are done');
  assert.ok(calls.every(({ seen }) => seen.status === 200));
  assert.deepEqual([b.handler.taken.length, b2.handler.taken.length], [6, 0]);
  assert.equal(a.hub.setCut('b', true), true, 'a region: all of its nodes');
  const { seen } = a.call('b');
  await until(() => seen.isDone, 'none is left');
  assert.equal(seen.failure?.kind, 'link-down');
  assert.equal(a.isUp('a/2'), true);
  a.hub.setCut('b', false);
  await until(() => a.isUp('b') && a.isUp('b/2'), 'both heal');
  assert.equal(a.hub.setCut('b/9', true), false);
  await close();
});

test('a node that is to be avoided gets nothing while another one can take it', async () => {
  const avoided = new Set(['b']);
  const { a, b, b2, close } = await startFour(echo, avoided);
  const calls = Array.from({ length: 4 }, () => a.call('b'));
  await until(() => calls.every(({ seen }) => seen.isDone), 'all are done');
  assert.deepEqual([b.handler.taken.length, b2.handler.taken.length], [0, 4]);
  avoided.delete('b');
  avoided.add('b/2/v1/messages');
  const messages = Array.from({ length: 4 }, () => a.call('b', { path: '/v1/messages' }));
  await until(() => messages.every(({ seen }) => seen.isDone), 'all are done');
  assert.deepEqual([b.handler.taken.length, b2.handler.taken.length], [4, 4], 'it is of the call');
  avoided.add('b');
  a.hub.setCut('b/2', true);
  const { seen } = a.call('b');
  await until(() => seen.isDone, 'nobody else is there');
  assert.equal(seen.status, 200);
  await close();
});

/** Dials `b` as `peer` with the certificate of `shown`; why it was refused on both sides. */
async function refusal(peer: string, shown: string): Promise<readonly string[]> {
  const b = await startHub({ peer: 'b', tls: certs.tls('b'), peers: { a: 9, 'a/2': 9, 'b/2': 9 } });
  const from = await startHub({ peer, tls: certs.tls(shown), peers: { b: b.port } });
  await until(() => b.refusals.length > 0, 'it is refused');
  await until(() => from.states.some(([, { kind }]) => kind === 'down'), 'it knows');
  const told = from.state('b');
  await Promise.all([b.hub.close(0), from.hub.close(0)]);
  return [told?.kind === 'down' ? told.detail : 'up', ...b.refusals];
}

test('a further node whose certificate is that of another node is refused', async () => {
  const [dialer, listener] = await refusal('a/2', 'a');
  assert.match(
    listener ?? '',
    /says it is a\/2, but its certificate is of node a-1 of a, not of 2/,
  );
  assert.match(dialer ?? '', /not of 2/);
  const [, other] = await refusal('b/2', 'b/3');
  assert.match(other ?? '', /certificate is of node 3 of b, not of 2/);
});

test('a further node cannot pass for the first one', async () => {
  const [, listener] = await refusal('a', 'a/2');
  assert.match(listener ?? '', /says it is a, but its certificate is that of a\/2/);
});

test('a further node cannot pass for the first one to who dials it, nor to its namesake', async () => {
  const posing = await startHub({ peer: 'b', tls: certs.tls('b/2'), peers: { a: 9, 'b/2': 9 } });
  const a = await startHub({
    peer: 'a',
    tls: certs.tls('a'),
    peers: { b: posing.port, 'b/2': 9 },
  });
  const b2 = await startHub({ peer: 'b/2', tls: certs.tls('b/2'), peers: { b: posing.port } });
  for (const hub of [a, b2]) {
    const cause = (): string => {
      const state = hub.state('b');
      return state?.kind === 'down' ? state.detail : '';
    };
    await until(() => cause().includes('certificate'), `${hub.peer} refuses it`);
    assert.match(cause(), /says it is b, but its certificate is that of b\/2/);
  }
  await Promise.all([a, b2, posing].map(({ hub }) => hub.close(0)));
});

test('who is dialled as one node and is another is refused', async () => {
  const b3 = await startHub({ peer: 'b/3', tls: certs.tls('b/3'), peers: { a: 9 } });
  const a = await startHub({ peer: 'a', tls: certs.tls('a'), peers: { 'b/2': b3.port } });
  const cause = (): string => {
    const state = a.state('b/2');
    return state?.kind === 'down' ? state.detail : '';
  };
  await until(() => cause().includes('certificate'), 'it is refused');
  assert.match(cause(), /of node 3 of b, not of 2/);
  await Promise.all([a.hub.close(0), b3.hub.close(0)]);
});
