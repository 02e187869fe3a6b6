/**
 * What clients see of model servers that fail: a table, one row a fault, over both dialects of
 * client and provider, streamed and whole, alone and with a second, healthy target. The node is a
 * real process; only the model servers are fakes, because real ones do not fail on demand.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, test } from 'node:test';

import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import { anthropicTypeOf } from '../../src/protocol/errorBody.ts';
import {
  answerText,
  ask,
  dig,
  errorOf,
  hasDialectEnd,
  questionBody,
  sseEvents,
  textAt,
  type ClientDialect,
  type Reply,
} from '../support/client.ts';
import {
  DEFAULT_WORDS,
  startFakeUpstream,
  wholeAnswer,
  type Fault,
} from '../support/fakeUpstream.ts';
import { atEnd, startNode, TEST_KEY, until, type NodeSpec } from '../support/node.ts';
import { freePorts } from '../support/ports.ts';

/** What a client sees: the whole answer, an error in place of one, or an answer that breaks off. */
type Sight =
  | { readonly kind: 'perfect' }
  | { readonly kind: 'error'; readonly code: ErrorCode; readonly status: number }
  | { readonly kind: 'broken' };

const perfect: Sight = { kind: 'perfect' };
const broken: Sight = { kind: 'broken' };
type ErrorSight = Extract<Sight, { kind: 'error' }>;
const failed = (code: ErrorCode, status: number = ERRORS[code].status): ErrorSight => ({
  kind: 'error',
  code,
  status,
});

/** One row: the fault, and what is seen of it without another target. */
interface Row {
  readonly fault: Fault | 'refuse';
  readonly stream: Sight;
  readonly whole: Sight;
  /** The client's own doing: another target is not asked. */
  readonly isFinal?: true;
  /** Seconds that `Retry-After` says; absent: the field is absent. */
  readonly retryAfter?: number;
}

const unreachable = failed('upstream_unreachable');
const serverFailed = failed('upstream_failed');
const timedOut = failed('upstream_timeout');
const malformed = failed('upstream_malformed');
const busy = failed('upstream_failed', 503);
const limited = failed('upstream_rate_limited');
const status = (code: number, headers: readonly string[] = []): Fault => ({
  kind: 'status',
  status: code,
  headers,
});
/** Enough for lifecycle events only, in either dialect; and enough for some words. */
const BEFORE = 1;
const AFTER = 4;

const TABLE: Readonly<Record<string, Row>> = {
  refuse: { fault: 'refuse', stream: unreachable, whole: unreachable },
  reset: { fault: { kind: 'reset' }, stream: serverFailed, whole: serverFailed },
  close: { fault: { kind: 'close' }, stream: serverFailed, whole: serverFailed },
  'stall-before-head': { fault: { kind: 'stall-before-head' }, stream: timedOut, whole: timedOut },
  'stall-after-head': { fault: { kind: 'stall-after-head' }, stream: timedOut, whole: timedOut },
  'stall-before-content': {
    fault: { kind: 'stall-mid-stream', events: BEFORE },
    stream: timedOut,
    whole: timedOut,
  },
  'stall-after-content': {
    fault: { kind: 'stall-mid-stream', events: AFTER },
    stream: broken,
    whole: timedOut,
  },
  'reset-before-content': {
    fault: { kind: 'reset-after-events', events: BEFORE },
    stream: serverFailed,
    whole: serverFailed,
  },
  'reset-after-content': {
    fault: { kind: 'reset-after-events', events: AFTER },
    stream: broken,
    whole: serverFailed,
  },
  'malformed-chunk-before-content': {
    fault: { kind: 'malformed-chunk', events: BEFORE },
    stream: malformed,
    whole: malformed,
  },
  'malformed-chunk-after-content': {
    fault: { kind: 'malformed-chunk', events: AFTER },
    stream: broken,
    whole: malformed,
  },
  'malformed-head': { fault: { kind: 'malformed-head' }, stream: malformed, whole: malformed },
  'wrong-content-type': {
    fault: { kind: 'wrong-content-type' },
    stream: malformed,
    whole: malformed,
  },
  redirect: {
    fault: { kind: 'redirect', location: 'http://127.0.0.1:1/' },
    stream: malformed,
    whole: malformed,
  },
  'status-400': {
    fault: status(400),
    stream: failed('upstream_rejected'),
    whole: failed('upstream_rejected'),
    isFinal: true,
  },
  'status-401': {
    fault: status(401),
    stream: failed('upstream_unauthorized'),
    whole: failed('upstream_unauthorized'),
  },
  'status-404': { fault: status(404), stream: serverFailed, whole: serverFailed },
  'status-429': { fault: status(429), stream: limited, whole: limited },
  'status-429-retry-after': {
    fault: status(429, ['retry-after: 7']),
    stream: limited,
    whole: limited,
    retryAfter: 7,
  },
  'status-500': { fault: status(500), stream: serverFailed, whole: serverFailed },
  'status-500-retry-after': {
    fault: status(500, ['retry-after: 7']),
    stream: serverFailed,
    whole: serverFailed,
    retryAfter: 7,
  },
  'status-529': { fault: status(529), stream: busy, whole: busy },
  'status-529-retry-after': {
    fault: status(529, ['retry-after: 7']),
    stream: busy,
    whole: busy,
    retryAfter: 7,
  },
  'slow-drip': { fault: { kind: 'slow-drip', gapMs: 40 }, stream: perfect, whole: perfect },
  'early-end-before-content': {
    fault: { kind: 'early-end', events: BEFORE },
    stream: serverFailed,
    whole: malformed,
  },
  'early-end-after-content': {
    fault: { kind: 'early-end', events: AFTER },
    stream: broken,
    whole: malformed,
  },
};

/** In-band errors: the class is told by the provider's own type, so they differ by provider. */
const IN_BAND: Readonly<Record<ClientDialect, Sight>> = { openai: serverFailed, anthropic: busy };

const DIALECTS = ['openai', 'anthropic'] as const;
const SETUPS = ['alone', 'backed'] as const;
type Setup = (typeof SETUPS)[number];

/** One cell of the table: a model of its own, so that health of other cells does not matter. */
interface Cell {
  readonly model: string;
  readonly client: ClientDialect;
  readonly provider: ClientDialect;
  readonly isStream: boolean;
  readonly setup: Setup;
}

function cellsOf(row: string): readonly Cell[] {
  const cells: Cell[] = [];
  for (const client of DIALECTS) {
    for (const provider of DIALECTS) {
      for (const isStream of [true, false]) {
        for (const setup of SETUPS) {
          const mode = isStream ? 'stream' : 'whole';
          const model = [row, client, provider, mode, setup].join('.');
          cells.push({ model, client, provider, isStream, setup });
        }
      }
    }
  }
  return cells;
}

const bad = await startFakeUpstream('fake');
const good = await startFakeUpstream('fake');
atEnd(() => bad.close());
atEnd(() => good.close());
const [gonePort = 0] = await freePorts(1);

const DEADLINES = { connectMs: 800, firstByteMs: 800, idleMs: 800, totalMs: 2_400 };
const HEALTH = {
  consecutiveFailuresMax: 1_000,
  ejectBaseMs: 0,
  ejectMaxMs: 0,
  ejectedPercentMax: 0,
};

function target(name: string, kind: ClientDialect, port: number): object {
  return { name: `${name}-${kind}`, kind, baseUrl: `http://127.0.0.1:${port}/v1` };
}

/** A model whose first target is `first`, with or without a healthy one behind it. */
function modelOf(name: string, first: string, backup: string | null, more: object = {}): object {
  const targets = [
    { target: first, priority: 0 },
    ...(backup === null ? [] : [{ target: backup, priority: 1 }]),
  ];
  const attemptsMax = backup === null ? 1 : 3;
  return { name, targets, attemptsMax, deadlines: DEADLINES, health: HEALTH, ...more };
}

const IN_BAND_ROWS = ['in-band-error-before-content', 'in-band-error-after-content'] as const;
const ROW_NAMES = [...Object.keys(TABLE), ...IN_BAND_ROWS];
const MODES = ['prefill', 'message', 'regenerate', 'none'] as const;
const PAIRS = DIALECTS.flatMap((first) => DIALECTS.map((second) => [first, second] as const));
const WORKERS = 6;
const CUT_KINDS = ['stream', 'whole'] as const;

function spec(): NodeSpec {
  const models: object[] = [];
  for (const row of ROW_NAMES) {
    const first = row === 'refuse' ? 'gone' : 'bad';
    for (const { model, provider, setup } of cellsOf(row)) {
      const backup = setup === 'backed' ? `good-${provider}` : null;
      models.push(modelOf(model, `${first}-${provider}`, backup));
    }
  }
  for (const dialect of DIALECTS) {
    for (const setup of SETUPS) {
      for (const kind of CUT_KINDS) {
        for (let worker = 0; worker < WORKERS; worker += 1) {
          const backup = setup === 'backed' ? `good-${dialect}` : null;
          models.push(
            modelOf(`cut.${dialect}.${kind}.${setup}.${worker}`, `bad-${dialect}`, backup),
          );
        }
      }
    }
    for (const [first, second] of PAIRS) {
      for (const mode of MODES) {
        for (const name of AFTER_FAULTS.keys()) {
          const model = goOnModel(dialect, first, second, mode, name);
          models.push(modelOf(model, `bad-${first}`, `${mode}-${second}`));
        }
      }
    }
    const patient = { connectMs: 2_000, firstByteMs: 13_000, idleMs: 13_000, totalMs: 40_000 };
    for (const name of ['late', 'never', 'left', 'flood', 'tools']) {
      const backup = name === 'tools' ? `good-${dialect}` : null;
      models.push(modelOf(`${name}.${dialect}`, `bad-${dialect}`, backup, { deadlines: patient }));
    }
  }
  return {
    targets: DIALECTS.flatMap((kind) => [
      target('bad', kind, bad.port),
      target('good', kind, good.port),
      target('gone', kind, gonePort),
      ...MODES.map((mode) => ({
        ...target(mode, kind, good.port),
        options: { continuation: mode },
      })),
    ]),
    models,
  };
}

/** Faults after some words; by the name of their row. */
const AFTER_FAULTS: ReadonlyMap<string, Fault> = new Map([
  ['reset', { kind: 'reset-after-events', events: AFTER }],
  ['stall', { kind: 'stall-mid-stream', events: AFTER }],
  ['malformed-chunk', { kind: 'malformed-chunk', events: AFTER }],
  ['early-end', { kind: 'early-end', events: AFTER }],
  ['in-band-error', { kind: 'in-band-error', events: AFTER }],
] as const);

const node = await startNode(spec());
const WHOLE_TEXT = DEFAULT_WORDS.join('');

function assertPerfect(reply: Reply, cell: Cell, text = WHOLE_TEXT): void {
  const { client, isStream, model } = cell;
  const about = `${model}: ${reply.status} ${reply.end} ${reply.body}`;
  assert.equal(reply.status, 200, about);
  assert.equal(reply.end, 'clean', about);
  assert.equal(answerText(client, isStream, reply.body), text, about);
  if (isStream) assert.ok(hasDialectEnd(client, reply.body), about);
}

function assertError(reply: Reply, cell: Cell, sight: ErrorSight): void {
  const { client, model } = cell;
  const about = `${model}: ${reply.status} ${reply.end} ${reply.body}`;
  assert.equal(reply.status, sight.status, about);
  assert.equal(reply.end, 'clean', about);
  assert.equal(reply.headers['content-type'], 'application/json', about);
  assert.match(String(reply.headers['x-request-id']), /^\S{8,}$/, about);
  const error = errorOf(reply.body);
  assert.ok(error !== null, about);
  if (client === 'openai') {
    assert.equal(error.code, sight.code, about);
  } else {
    const entry = ERRORS[sight.code];
    const isPassedOn = sight.status !== entry.status || sight.code === 'upstream_rejected';
    const type = isPassedOn ? anthropicTypeOf(sight.status) : entry.anthropicType;
    assert.equal(error.type, type, about);
  }
}

/** The answer breaks off: what came is a beginning, an error event ends it, the connection aborts. */
function assertBroken(reply: Reply, cell: Cell, text = WHOLE_TEXT): void {
  const { client, model } = cell;
  const about = `${model}: ${reply.status} ${reply.end} ${reply.body}`;
  assert.equal(reply.status, 200, about);
  assert.equal(reply.end, 'aborted', about);
  assert.equal(hasDialectEnd(client, reply.body), false, about);
  const said = answerText(client, true, reply.body);
  assert.ok(said !== '' && text.startsWith(said), about);
  const error = errorOf(reply.body);
  assert.ok(error !== null, about);
  if (client === 'openai') assert.equal(error.code, 'stream_broken', about);
  else assert.equal(error.type, 'api_error', about);
}

function askCell(cell: Cell, headers: Record<string, string>, more: object = {}): Promise<Reply> {
  const { client: dialect, model, isStream } = cell;
  return ask(node.apiUrl, { dialect, model, isStream, headers, more });
}

const NO_CONTINUATION = { 'x-banyan-continue': 'off' };

async function checkCell(row: Row, cell: Cell): Promise<void> {
  const alone = cell.isStream ? row.stream : row.whole;
  const isMoved = cell.setup === 'backed' && row.isFinal !== true && alone.kind === 'error';
  const reply = await askCell(cell, NO_CONTINUATION);
  const sight = isMoved ? perfect : alone;
  switch (sight.kind) {
    case 'perfect':
      assertPerfect(reply, cell);
      break;
    case 'broken':
      assertBroken(reply, cell);
      break;
    case 'error': {
      assertError(reply, cell, sight);
      const seconds = row.retryAfter === undefined ? undefined : String(row.retryAfter);
      assert.equal(reply.headers['retry-after'], seconds, cell.model);
    }
  }
  if (!isMoved) return;
  assert.equal(reply.headers['x-banyan-target'], `good-${cell.provider}`, cell.model);
  assert.equal(reply.headers['x-banyan-attempts'], '2', cell.model);
}

describe(
  'each fault is seen as documented, alone and with a second target',
  { concurrency: 8 },
  () => {
    for (const [name, row] of Object.entries(TABLE)) {
      test(`${name}: streamed ${sightName(row.stream)}, whole ${sightName(row.whole)}`, async () => {
        const { fault } = row;
        const cells = cellsOf(name);
        if (fault !== 'refuse') for (const { model } of cells) bad.setFaultOf(model, fault);
        await Promise.all(cells.map((cell) => checkCell(row, cell)));
      });
    }

    for (const name of IN_BAND_ROWS) {
      test(`${name}: the class is the provider's own word`, async () => {
        const isBefore = name === 'in-band-error-before-content';
        const fault: Fault = { kind: 'in-band-error', events: isBefore ? BEFORE : AFTER };
        const cells = cellsOf(name);
        for (const { model } of cells) bad.setFaultOf(model, fault);
        await Promise.all(
          cells.map((cell) => {
            const sight = IN_BAND[cell.provider];
            return checkCell({ fault, stream: isBefore ? sight : broken, whole: sight }, cell);
          }),
        );
      });
    }
  },
);

function sightName(sight: Sight): string {
  return sight.kind === 'error' ? `${sight.status} ${sight.code}` : sight.kind;
}

/** Asks once for every cut of a stream or whole answer; the models share out the bytes. */
async function cutEverywhere(
  dialect: ClientDialect,
  kind: (typeof CUT_KINDS)[number],
  setup: Setup,
  headers: Record<string, string>,
  check: (reply: Reply, cell: Cell) => void,
): Promise<number> {
  const isStream = kind === 'stream';
  const ranges = Array.from({ length: WORKERS }, async (_, worker) => {
    const model = `cut.${dialect}.${kind}.${setup}.${worker}`;
    const cell: Cell = { model, client: dialect, provider: dialect, isStream, setup };
    const length = await answerLength(cell);
    let count = 0;
    for (let bytes = worker; bytes < length; bytes += WORKERS) {
      bad.setFaultOf(model, { kind: 'cut-at-byte', bytes });
      check(await askCell(cell, headers), cell);
      count += 1;
    }
    return count;
  });
  return (await Promise.all(ranges)).reduce((sum, count) => sum + count, 0);
}

/** Bytes of the proper answer to this cell's question. */
async function answerLength(cell: Cell): Promise<number> {
  bad.setFaultOf(cell.model, { kind: 'none' });
  assertPerfect(await askCell(cell, {}), cell);
  const request = bad.seen.findLast(({ body }) => body.includes(`"${cell.model}"`));
  assert.ok(request !== undefined, cell.model);
  return wholeAnswer(request).length;
}

describe('a cut at every byte', () => {
  for (const dialect of DIALECTS) {
    test(`${dialect}: alone, a cut stream never ends cleanly without its dialect's end`, async () => {
      let whole = 0;
      const count = await cutEverywhere(
        dialect,
        'stream',
        'alone',
        NO_CONTINUATION,
        (reply, cell) => {
          if (reply.status === 200 && hasDialectEnd(dialect, reply.body)) {
            assertPerfect(reply, cell); // Only the transport's own end was cut.
            whole += 1;
          } else if (reply.status === 200) assertBroken(reply, cell);
          else assertError(reply, cell, serverFailed);
        },
      );
      assert.ok(count > 900, `${count} cuts`);
      assert.ok(whole < 10, `${whole} cuts were after the dialect's end`);
    });

    test(`${dialect}: with a second target every cut stream becomes whole, byte by byte`, async () => {
      await cutEverywhere(dialect, 'stream', 'backed', {}, assertPerfect);
    });

    test(`${dialect}: a cut whole answer is an error alone, and whole with a second target`, async () => {
      await cutEverywhere(dialect, 'whole', 'alone', {}, (reply, cell) =>
        assertError(reply, cell, serverFailed),
      );
      await cutEverywhere(dialect, 'whole', 'backed', {}, assertPerfect);
    });
  }
});

/** What must be one in one answer: ids, starts, reasons to stop. */
function envelopeOf(dialect: ClientDialect, body: string): object {
  const ids = new Set<unknown>();
  const created = new Set<unknown>();
  const blocks: string[] = [];
  let starts = 0;
  let finishes = 0;
  let usages = 0;
  for (const { data } of sseEvents(body)) {
    if (dialect === 'openai') {
      if (typeof data !== 'object') continue;
      ids.add(dig(data, 'id'));
      created.add(dig(data, 'created'));
      if (dig(data, 'choices', 0, 'delta', 'role') !== undefined) starts += 1;
      if (textAt(data, 'choices', 0, 'finish_reason') !== '') finishes += 1;
      if (dig(data, 'usage', 'total_tokens') !== undefined) usages += 1;
    } else {
      const type = textAt(data, 'type');
      if (type === 'message_start') starts += 1;
      if (type === 'message_start') ids.add(dig(data, 'message', 'id'));
      if (type === 'message_delta') finishes += 1;
      if (type === 'message_delta' && dig(data, 'usage') !== undefined) usages += 1;
      if (type.startsWith('content_block_st')) blocks.push(`${type} ${String(dig(data, 'index'))}`);
    }
  }
  return { ids: ids.size, created: created.size, starts, finishes, usages, blocks };
}

describe(
  'an answer whose target dies goes on at another in the same envelope',
  { concurrency: 8 },
  () => {
    for (const mode of MODES) {
      for (const [name, fault] of AFTER_FAULTS) {
        const outcome = mode === 'none' ? 'an honest error' : 'the whole answer';
        test(`${name} after content, next target takes ${mode}: ${outcome}`, async () => {
          await Promise.all(
            DIALECTS.flatMap((client) =>
              PAIRS.map(([first, second]) =>
                checkGoOn({ client, first, second, mode, name, fault }),
              ),
            ),
          );
        });
      }
    }

    test('x-banyan-continue: off turns it off', async () => {
      for (const client of DIALECTS) {
        const model = goOnModel(client, client, client, 'prefill', 'reset');
        bad.setFaultOf(model, { kind: 'reset-after-events', events: AFTER });
        const cell: Cell = { model, client, provider: client, isStream: true, setup: 'backed' };
        assertBroken(await askCell(cell, NO_CONTINUATION), cell);
      }
    });

    for (const client of DIALECTS) {
      test(`${client}: tool calls cut in the middle come whole and once`, async () => {
        const model = `tools.${client}`;
        const cell: Cell = { model, client, provider: client, isStream: true, setup: 'backed' };
        const more = { tools: toolsOf(client), ...(client === 'openai' ? USAGE_WANTED : {}) };
        bad.setFaultOf(model, { kind: 'none' });
        const expected = await askCell(cell, {}, more);
        const events = sseEvents(expected.body).length;
        for (let count = 1; count < events; count += 1) {
          bad.setFaultOf(model, { kind: 'reset-after-events', events: count });
          const reply = await askCell(cell, {}, more);
          const about = `${count} events, then a reset: ${reply.body}`;
          assert.equal(reply.end, 'clean', about);
          assert.deepEqual(toolCalls(client, reply.body), toolCalls(client, expected.body), about);
          assert.deepEqual(
            envelopeOf(client, reply.body),
            envelopeOf(client, expected.body),
            about,
          );
        }
      });
    }
  },
);

const USAGE_WANTED = { stream_options: { include_usage: true } };

/** A model for each: the rests and failures of one say nothing of another. */
function goOnModel(...parts: readonly string[]): string {
  return ['go-on', ...parts].join('.');
}

interface GoOn {
  readonly client: ClientDialect;
  readonly first: ClientDialect;
  readonly second: ClientDialect;
  readonly mode: (typeof MODES)[number];
  readonly name: string;
  readonly fault: Fault;
}

async function checkGoOn({ client, first, second, mode, name, fault }: GoOn): Promise<void> {
  const model = goOnModel(client, first, second, mode, name);
  const cell: Cell = { model, client, provider: first, isStream: true, setup: 'backed' };
  const more = client === 'openai' ? USAGE_WANTED : {};
  bad.setFaultOf(model, { kind: 'none' });
  const expected = await askCell(cell, {}, more);
  assertPerfect(expected, cell);
  bad.setFaultOf(model, fault);
  const reply = await askCell(cell, {}, more);
  if (mode === 'none') {
    assertBroken(reply, cell);
    return;
  }
  assertPerfect(reply, cell);
  const about = `${client} over ${first}, then ${second}: ${reply.body}`;
  assert.deepEqual(envelopeOf(client, reply.body), envelopeOf(client, expected.body), about);
}

function toolsOf(dialect: ClientDialect): readonly object[] {
  const schema = { type: 'object', properties: { city: { type: 'string' } } };
  return ['weather', 'time'].map((name) =>
    dialect === 'openai'
      ? { type: 'function', function: { name, parameters: schema } }
      : { name, input_schema: schema },
  );
}

/** Names and arguments of the tool calls of a stream, in order. */
function toolCalls(dialect: ClientDialect, body: string): readonly object[] {
  const calls: { name: string; json: string }[] = [];
  for (const { data } of sseEvents(body)) {
    const call = dig(data, 'choices', 0, 'delta', 'tool_calls', 0, 'function');
    const name =
      dialect === 'openai' ? textAt(call, 'name') : textAt(data, 'content_block', 'name');
    const json =
      dialect === 'openai' ? textAt(call, 'arguments') : textAt(data, 'delta', 'partial_json');
    if (name !== '') calls.push({ name, json: '' });
    const last = calls.at(-1);
    if (last !== undefined) last.json += json;
  }
  return calls;
}

describe('clients that leave, wait and read slowly', { concurrency: 8 }, () => {
  for (const dialect of DIALECTS) {
    test(`${dialect}: a client that leaves cancels upstream within 100 ms`, async () => {
      const model = `left.${dialect}`;
      const faults: readonly Fault[] = [
        { kind: 'stall-before-head' },
        { kind: 'stall-after-head' },
        { kind: 'stall-mid-stream', events: AFTER },
      ];
      const delays: number[] = [];
      for (let round = 0; round < 3; round += 1) {
        for (const fault of faults) delays.push(await leave(dialect, model, fault));
      }
      // A quarter of them must do: what is measured shares the machine with other tests.
      const [quick = Infinity] = delays.toSorted((a, b) => a - b).slice(delays.length / 4);
      assert.ok(quick < 100, `${delays.map(Math.round).join(', ')} ms`);
      await until('all of them are in the log', () => {
        const lines = node
          .logs()
          .split('\n')
          .filter((line) => line.includes(`"${model}"`));
        return lines.filter((line) => line.includes('"client-gone"')).length === delays.length;
      });
    });

    test(`${dialect}: a stream is kept awake while the model thinks`, async () => {
      const model = `late.${dialect}`;
      bad.setFaultOf(model, { kind: 'late', delayMs: 10_500 });
      const cell: Cell = {
        model,
        client: dialect,
        provider: dialect,
        isStream: true,
        setup: 'alone',
      };
      const reply = await askCell(cell, {});
      assertPerfect(reply, cell);
      assert.ok(reply.body.startsWith(AWAKE[dialect]), reply.body);
    });

    test(`${dialect}: a model that never says anything is an error in the stream by then`, async () => {
      const model = `never.${dialect}`;
      bad.setFaultOf(model, { kind: 'stall-after-head' });
      const reply = await ask(node.apiUrl, { dialect, model, isStream: true });
      assert.equal(reply.status, 200);
      assert.equal(reply.end, 'aborted');
      assert.ok(reply.body.startsWith(AWAKE[dialect]), reply.body);
      const error = errorOf(reply.body);
      if (dialect === 'openai') assert.equal(error?.code, 'upstream_timeout');
      else assert.equal(error?.type, 'timeout_error');
    });
  }

  const skip = process.platform === 'linux' ? false : 'memory is read from /proc';
  test(
    'a client that does not read holds the model server back, not memory',
    { skip },
    async () => {
      const model = 'flood.openai';
      const bytes = 96 * 1024 * 1024;
      bad.setFaultOf(model, { kind: 'flood', bytes });
      const beforeBytes = residentBytes(node.pid);
      const slow = await openSlow(model);
      let last = -1;
      await until('the model server is held back', async () => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        const isStill = bad.floodedBytes > 0 && bad.floodedBytes === last;
        last = bad.floodedBytes;
        return isStill;
      });
      const grownBytes = residentBytes(node.pid) - beforeBytes;
      assert.ok(last < bytes / 2, `${last} bytes are on their way`);
      assert.ok(grownBytes < 48 * 1024 * 1024, `memory grew by ${grownBytes} bytes`);
      const received = await slow.readAll();
      // The node frames chunks anew, so that a few of the bytes are not seen again.
      assert.ok(received > bytes * 0.9, `${received} bytes of ${bytes} came through in the end`);
    },
  );
});

const AWAKE: Readonly<Record<ClientDialect, string>> = {
  openai: ': keep-alive\n\n',
  anthropic: 'event: ping\n',
};

/** Asks, leaves once the model server has the request, and gives the ms until that was told so. */
async function leave(dialect: ClientDialect, model: string, fault: Fault): Promise<number> {
  bad.setFaultOf(model, fault);
  const seenBefore = countSeen(model);
  const abortsBefore = bad.aborts.length;
  const controller = new AbortController();
  const { signal } = controller;
  const gone = ask(node.apiUrl, { dialect, model, isStream: true, signal }).catch(() => null);
  await until('the model server has the request', () => countSeen(model) > seenBefore);
  // Another test's stall may end in between: the first abort after ours is the one.
  const leftMs = performance.now();
  controller.abort();
  const abortMs = await until('the model server is told', () => {
    const after = bad.aborts.slice(abortsBefore).find((ms) => ms >= leftMs);
    return after ?? null;
  });
  await gone;
  return abortMs - leftMs;
}

function countSeen(model: string): number {
  return bad.seen.filter(({ body }) => body.includes(`"${model}"`)).length;
}

function residentBytes(pid: number): number {
  const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}

/** A client that sends its request and reads nothing until it is told to. */
async function openSlow(model: string): Promise<{ readAll(): Promise<number> }> {
  const { hostname, port } = new URL(node.apiUrl);
  const socket = connect({ host: hostname, port: Number(port) });
  atEnd(() => void socket.destroy());
  socket.pause();
  const body = questionBody({ dialect: 'openai', model, isStream: true });
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n` +
      `authorization: Bearer ${TEST_KEY}\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  return {
    readAll: async () => {
      let received = 0;
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      socket.resume();
      await once(socket, 'end');
      return received;
    },
  };
}
