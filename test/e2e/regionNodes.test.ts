/**
 * Two regions as real processes, one of them with two nodes: the other one sees one region, and loses
 * nothing when either of the two dies.
 */

import assert from 'node:assert/strict';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { answerText, ask, hasDialectEnd, type Question } from '../support/client.ts';
import { DEFAULT_WORDS, startFakeUpstream } from '../support/fakeUpstream.ts';
import {
  atEnd,
  seenState,
  startRegions,
  until,
  type RegionSpec,
  type TestNode,
} from '../support/node.ts';

const US = 'us-east-2';
const EU = 'eu-central-1';
const FURTHER = 'eu-2';
const WHOLE_TEXT = DEFAULT_WORDS.join('');
const SLOW = Array.from({ length: 16 }, () => ({ kind: 'slow-drip', gapMs: 40 }) as const);

const fakes = { [US]: await startFakeUpstream(US), [EU]: await startFakeUpstream(EU) };
for (const fake of Object.values(fakes)) atEnd(() => fake.close());

/** `far` runs in the region of two nodes only, `near` in the other one only. */
function specOf(region: typeof US | typeof EU, further?: string): RegionSpec {
  const { origin } = fakes[region];
  const options = { continuation: 'prefill' };
  const model = region === EU ? 'far' : 'near';
  return {
    region,
    ...(further === undefined ? {} : { further }),
    targets: [{ name: 'one', kind: 'openai', baseUrl: `${origin}/v1`, options }],
    models: [{ name: model, targets: ['one'] }],
  };
}

const [us, eu, eu2] = await startRegions([specOf(US), specOf(EU), specOf(EU, FURTHER)]);
assert.ok(us !== undefined && eu !== undefined && eu2 !== undefined);

interface NodeRow {
  readonly name: string;
  readonly state: string;
  readonly detail: string;
  readonly heardMs: number | null;
}

/** The nodes of the region of two, as the other one sees them. */
async function seenNodes(from: TestNode): Promise<readonly NodeRow[]> {
  const { items } = (await from.admin('/admin/v1/regions')) as {
    items: { region: string; nodes: readonly NodeRow[] }[];
  };
  return items.find(({ region }) => region === EU)?.nodes ?? [];
}

/** Up is whoever has been heard: before that it gets nothing while another one can take it. */
function untilNodes(states: string): Promise<unknown> {
  return until(states, async () => {
    const nodes = await seenNodes(us ?? assert.fail());
    const seen = nodes.map(({ state, heardMs }) => (heardMs === null ? 'down' : state));
    return seen.join() === states;
  });
}

/** How many requests a node says that another region sent to it. */
function served(node: TestNode): number {
  return node.logs().split(`"forwardedFrom":"${US}"`).length - 1;
}

/** Asks `count` times, eight at a time; both dialects, streamed and whole in turn. */
async function load(count: number, asked: (index: number) => void): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      asked(index);
      const dialect = index % 2 === 0 ? 'openai' : 'anthropic';
      const one: Question = { dialect, model: 'far', isStream: index % 4 < 2 };
      const reply = await ask(us?.apiUrl ?? '', one);
      const about = `${reply.status} ${reply.end} ${reply.body}`;
      assert.equal(reply.status, 200, about);
      assert.equal(answerText(dialect, one.isStream, reply.body), WHOLE_TEXT, about);
      if (one.isStream) assert.ok(hasDialectEnd(dialect, reply.body), about);
      assert.equal(reply.headers['x-banyan-region'], EU);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

test('a further node takes clients, and sends on to other regions what does not run in its own', async () => {
  const reply = await ask(eu2.apiUrl, { dialect: 'openai', model: 'near', isStream: true });
  assert.equal(answerText('openai', true, reply.body), WHOLE_TEXT);
  assert.equal(reply.headers['x-banyan-region'], US);
  assert.equal(reply.headers['x-banyan-forwarded-by'], EU);
  await until('it sees both nodes of its region', async () => {
    const rows = await seenNodes(eu2);
    return (
      rows.map(({ name, state }) => `${name} ${state}`).join() === `${EU}/${FURTHER} up,${EU} up`
    );
  });
});

test('either node of a region is killed under load: no request of the other region fails', async () => {
  await untilNodes('up,up');
  let first = eu;
  let further = eu2;
  for (const round of ['further', 'first'] as const) {
    const killed: Promise<void>[] = [];
    const logBefore = us.logs().length;
    await load(160, (index) => {
      // Such that take long are under way when it dies.
      if (index === 50) fakes[EU].queueFaults(SLOW);
      if (index === 60) killed.push((round === 'first' ? first : further).kill9());
    });
    await Promise.all(killed);
    await until('some were under way at the node that died', () => {
      return /"attempts":[2-9]/.test(us.logs().slice(logBefore));
    });
    assert.equal(await seenState(us, EU), 'healthy');
    await untilNodes(round === 'first' ? 'down,up' : 'up,down');
    if (round === 'first') first = await first.again();
    else further = await further.again();
    await untilNodes('up,up');
  }
  const before = [served(first), served(further)];
  await load(16, () => {});
  await until('both serve again', () => {
    return served(first) > (before[0] ?? 0) && served(further) > (before[1] ?? 0);
  });
  await first.kill9();
  await further.kill9();
  await until('the last node takes its region along', async () => {
    return (await seenState(us, EU)) === 'down';
  });
});

test('a further node that shows the certificate of another node is refused', async () => {
  for (const file of ['node.pem', 'node.key']) {
    await copyFile(join(eu.dir, file), join(eu2.dir, file));
  }
  const impostor = await eu2.again();
  const why = 'its certificate is of node eu-central-1-1 of eu-central-1, not of eu-2';
  const row = await until('it is refused', async () => {
    const rows = await seenNodes(us);
    return rows.find(({ detail }) => detail.includes(why)) ?? null;
  });
  assert.deepEqual([row.name, row.state], [`${EU}/${FURTHER}`, 'down']);
  await until('it is refused where it dials, too', () =>
    us.logs().includes(`says it is ${row.name}, but ${why}`),
  );
  const reply = await ask(impostor.apiUrl, { dialect: 'openai', model: 'near', isStream: false });
  assert.equal(reply.status, 404, 'it has no other region');
});
