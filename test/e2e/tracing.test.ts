/** Spans of real nodes at a collector: two regions in one trace, and a collector that fails. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ask } from '../support/client.ts';
import { startFakeCollector, type FakeCollector } from '../support/fakeCollector.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, startNode, startRegions, until, type TestNode } from '../support/node.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER = '00f067aa0ba902b7';
const PARENT = `00-${TRACE}-${CALLER}-01`;
/** What a collector's operator hands out. */
const TOKEN = 'otlp-token-of-this-test';

const fake = await startFakeUpstream('fake-model');
atEnd(() => fake.close());

function tracing(collector: FakeCollector, more: object = {}): object {
  const headers = { authorization: 'Bearer ${OTLP_TOKEN}' };
  return { otlp: { endpoint: collector.origin, headers, ...more } };
}

const target = (name: string, origin = fake.origin): object => ({
  name,
  kind: 'openai',
  baseUrl: `${origin}/v1`,
});

async function spanCount(node: TestNode, result: string): Promise<number> {
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  const line = new RegExp(`^banyan_trace_spans_total\\{result="${result}"\\} (\\d+)$`, 'mu');
  return Number(line.exec(text)?.[1] ?? Number.NaN);
}

test("two regions' spans join the trace of the client", async () => {
  const collector = await startFakeCollector();
  // Nobody listens at the target of the first region: its requests go to the second.
  const common = { tracing: tracing(collector), env: { OTLP_TOKEN: TOKEN } };
  const [first] = await startRegions([
    {
      ...common,
      region: 'eu-central-1',
      targets: [target('gone', 'http://127.0.0.1:9')],
      models: [{ name: 'm', targets: ['gone'] }],
    },
    {
      ...common,
      region: 'us-east-2',
      targets: [target('fake')],
      models: [{ name: 'm', targets: [{ target: 'fake', model: 'fake-model' }] }],
    },
  ]);
  const reply = await ask(first?.apiUrl ?? '', {
    dialect: 'openai',
    model: 'm',
    isStream: true,
    text: 'a secret question',
    headers: { traceparent: PARENT, tracestate: 'a=1' },
  });
  assert.equal(reply.status, 200);
  assert.equal(reply.headers['x-banyan-region'], 'us-east-2');
  await until('both regions have sent their spans', () => collector.spans.length >= 5);

  const all = collector.spans;
  assert.deepEqual([...new Set(all.map(({ traceId }) => traceId))], [TRACE]);
  const only = (region: string, name: string) => {
    const [span, ...more] = all.filter((one) => one.region === region && one.name === name);
    assert.equal(more.length, 0, `one span ${name} of ${region}`);
    return span ?? assert.fail(`no span ${name} of ${region}`);
  };
  const root = only('eu-central-1', 'POST /v1/chat/completions');
  const refused = only('eu-central-1', 'chat m');
  const hop = only('eu-central-1', 'forward us-east-2');
  const remote = only('us-east-2', 'POST /v1/chat/completions');
  const served = only('us-east-2', 'chat fake-model');
  assert.equal(root.parentSpanId, CALLER);
  assert.equal(refused.parentSpanId, root.spanId);
  assert.equal(refused.attributes['error.type'], 'refused');
  assert.equal(hop.parentSpanId, root.spanId);
  assert.deepEqual(root.events, ['banyan.failover']);
  assert.equal(remote.parentSpanId, hop.spanId);
  assert.equal(served.parentSpanId, remote.spanId);
  const sent = fake.seen.at(-1)?.headers.get('traceparent');
  assert.equal(sent, `00-${TRACE}-${served.spanId}-01`);
  assert.ok(collector.calls.every(({ path }) => path === '/v1/traces'));
  assert.ok(collector.calls.every(({ headers }) => headers.authorization === `Bearer ${TOKEN}`));
  assert.ok(collector.bodies.every((body) => !body.includes('secret question')));
});

test('a collector that refuses or is silent: requests are answered, spans counted', async () => {
  const collector = await startFakeCollector();
  collector.setAnswer(400);
  const spec = {
    tracing: tracing(collector, { sampleRatio: 1 }),
    env: { OTLP_TOKEN: TOKEN },
    targets: [target('fake')],
    models: [{ name: 'm', targets: [{ target: 'fake', model: 'fake-model' }] }],
  };
  const node = await startNode(spec);
  const asked = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index += 1) {
      const reply = await ask(node.apiUrl, { dialect: 'anthropic', model: 'm', isStream: true });
      assert.equal(reply.status, 200);
      assert.equal(reply.end, 'clean');
    }
  };
  await asked(3);
  await until('they are counted as refused', async () => (await spanCount(node, 'refused')) === 6);
  assert.equal(await spanCount(node, 'exported'), 0);
  collector.setAnswer('silent');
  await asked(3);
  await until('the collector holds a call', () => collector.calls.length >= 2);
  await asked(20); // Nobody waits for it.
  assert.ok((await node.admin('/admin/v1/status'))['inFlight'] === 0);
  // A stop gives up on it: the process ends well before the call would.
  assert.equal(await node.stop(), 0);
});

test('without tracing in the configuration a trace is passed through as it came', async () => {
  const node = await startNode({
    targets: [target('fake')],
    models: [{ name: 'm', targets: [{ target: 'fake', model: 'fake-model' }] }],
  });
  const headers = { traceparent: PARENT };
  await ask(node.apiUrl, { dialect: 'openai', model: 'm', isStream: false, headers });
  assert.equal(fake.seen.at(-1)?.headers.get('traceparent'), PARENT);
  assert.ok(Number.isNaN(await spanCount(node, 'exported')));
});

test('the sample ratio can be changed while the node runs', async () => {
  const collector = await startFakeCollector();
  const spec = (sampleRatio: number) => ({
    tracing: tracing(collector, { sampleRatio }),
    env: { OTLP_TOKEN: TOKEN },
    targets: [target('fake')],
    models: [{ name: 'm', targets: [{ target: 'fake', model: 'fake-model' }] }],
  });
  const node = await startNode(spec(0));
  await ask(node.apiUrl, { dialect: 'openai', model: 'm', isStream: false });
  const before = (await node.admin('/admin/v1/status'))['configRevision'];
  await node.rewrite(spec(1));
  await until('it is in force', async () => {
    return (await node.admin('/admin/v1/status'))['configRevision'] !== before;
  });
  await ask(node.apiUrl, { dialect: 'openai', model: 'm', isStream: false });
  await until('the second request has been sent', () => collector.spans.length > 0);
  assert.equal(collector.spans.filter(({ kind }) => kind === 2).length, 1);
});
