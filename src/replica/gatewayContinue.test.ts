/** Who may go on with an answer whose target died, and how it is told; through a whole gateway. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { UpstreamCall } from '../base/ports.ts';
import type { ContinueRule } from './config.ts';
import {
  ANSWER,
  answerEvents,
  CHAT,
  chatText,
  configOf,
  decode,
  dieAfter,
  encode,
  model,
  open,
  refuse,
  send,
  serve,
  SSE,
  target,
  type Script,
  type World,
} from './testkit.ts';

/** `m` runs at a alone, its fallback at b; a dies in the middle of an answer. */
function fallbackWorld(rule: ContinueRule): World {
  const world = open(
    configOf({
      targets: [target('a'), target('b')],
      models: [{ ...model('m', ['a'], ['other']), continue: rule }, model('other', ['b'])],
    }),
  );
  world.servers.scripts.set('http://a', (call, handler) => {
    world.servers.scripts.set('http://a', refuse);
    dieAfter(1_200)(call, handler);
  });
  return world;
}

test('another model goes on with an answer only if configuration or request asks for it', () => {
  const cases: readonly (readonly [ContinueRule, readonly string[], boolean])[] = [
    ['same-model', [], false],
    ['fallbacks', [], true],
    ['off', [], false],
    ['same-model', ['x-banyan-continue', 'fallbacks'], true],
    ['off', ['x-banyan-continue', 'fallbacks'], true],
    ['fallbacks', ['x-banyan-continue', 'same-model'], false],
    ['fallbacks', ['x-banyan-continue', 'off'], false],
  ];
  for (const [rule, headers, isWhole] of cases) {
    const world = fallbackWorld(rule);
    const client = send(world, { headers });
    world.time.advance(20_000);
    const what = `${rule} ${headers.join(' ')}`;
    assert.equal(client.state, isWhole ? 'ended' : 'aborted', what);
    if (isWhole) assert.equal(chatText(client.body).text, ANSWER, what);
    else assert.match(client.body, /stream_broken/, what);
    assert.equal(world.records[0]?.modelServed, isWhole ? 'other' : 'm', what);
  }
});

interface Body {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly response_format?: unknown;
}

function bodyOf(call: UpstreamCall): Body {
  return JSON.parse(decode(call.body)) as Body;
}

function lastRole(call: UpstreamCall): string {
  return bodyOf(call).messages.at(-1)?.role ?? '';
}

function reject(message: string, code: string | null = null): Script {
  return (_call, handler) => {
    handler.onHead(400, ['content-type', 'application/json']);
    const error = { message, type: 'invalid_request_error', code };
    handler.onBody(encode(JSON.stringify({ error })));
    handler.onEnd();
  };
}

/** Events as a whole body. */
function stream(...events: readonly unknown[]): Script {
  return (_call, handler) => {
    handler.onHead(200, SSE);
    for (const event of events) handler.onBody(encode(`data: ${JSON.stringify(event)}\n\n`));
    handler.onBody(encode('data: [DONE]\n\n'));
    handler.onEnd();
  };
}

function chunk(delta: unknown, reason: string | null = null): unknown {
  const choices = [{ index: 0, delta, finish_reason: reason }];
  return { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 5, model: 'm', choices };
}

/** `a` dies after `bytes` of its first answer; `b` does what `script` says. */
function cutWorld(bytes: number, script: Script, text = ANSWER): World {
  const world = open(configOf({ targets: [target('a'), { ...target('b') }] }));
  world.servers.scripts.set('http://a', (call, handler) => {
    world.servers.scripts.set('http://a', refuse);
    dieAfter(bytes, text)(call, handler);
  });
  world.servers.scripts.set('http://b', (call, handler) => {
    // Whichever is asked first dies.
    if (world.servers.calls.length > 1) script(call, handler);
    else {
      world.servers.scripts.set('http://a', script);
      world.servers.scripts.set('http://b', refuse);
      dieAfter(bytes, text)(call, handler);
    }
  });
  return world;
}

function isUnblamed(world: World): boolean {
  const router = world.gateway.serving.models.get('m')?.router;
  const request = { sessionKey: null, prefixHash: 0, promptTokens: 1, excluded: new Set<never>() };
  const rows = router?.explain(request, world.time.nowMs()) ?? [];
  return rows.some((row) => row.weightEffective === 1);
}

test('a place that refuses a prefill is asked in the next way: by a message, then by repetition', () => {
  const world = cutWorld(1_500, (call, handler) => {
    if (bodyOf(call).messages.length > 1) reject('no such last message')(call, handler);
    else serve(call, handler);
  });
  const client = send(world);
  world.time.advance(20_000);
  assert.equal(client.state, 'ended');
  const seen = chatText(client.body);
  assert.deepEqual([seen.text, seen.ids.size, seen.roles, seen.done], [ANSWER, 1, 1, 1]);
  assert.deepEqual(world.servers.calls.map(lastRole), ['user', 'assistant', 'user', 'user']);
  assert.deepEqual(
    world.records[0]?.tries.map((one) => [one.mode, one.end]),
    [
      [null, 'failed'],
      ['prefill', 'rejected'],
      ['message', 'rejected'],
      ['regenerate', 'answered'],
    ],
  );
  assert.ok(isUnblamed(world));
});

test('a context that is full with what was sent is repeated at once, without a further message', () => {
  const world = cutWorld(1_500, (call, handler) => {
    const isLong = bodyOf(call).messages.length > 1;
    const refusal = reject("This model's maximum context length is 9", 'context_length_exceeded');
    if (isLong) refusal(call, handler);
    else serve(call, handler);
  });
  const client = send(world);
  world.time.advance(20_000);
  assert.equal(chatText(client.body).text, ANSWER);
  assert.deepEqual(
    world.records[0]?.tries.map((one) => one.mode),
    [null, 'prefill', 'regenerate'],
  );
});

test('a repetition that comes out differently is told honestly and blames nobody', () => {
  const world = cutWorld(1_500, (call, handler) => {
    if (bodyOf(call).messages.length > 1) reject('no')(call, handler);
    else
      stream(chunk({ role: 'assistant', content: 'Something else.' }), chunk({}, 'stop'))(
        call,
        handler,
      );
  });
  const client = send(world);
  world.time.advance(60_000);
  assert.equal(client.state, 'aborted');
  assert.match(client.body, /stream_broken/);
  assert.ok(!client.body.includes('Something else'));
  assert.ok(isUnblamed(world));
});

test('a model that thinks anew before it goes on is at work: no deadline of the first byte', () => {
  const world: World = cutWorld(1_500, (call, handler) => {
    handler.onHead(200, SSE);
    const think = (left: number): void => {
      if (left > 0) {
        const thought = chunk({ reasoning_content: 'hmm ' });
        handler.onBody(encode(`data: ${JSON.stringify(thought)}\n\n`));
        world.time.after(1_000, () => think(left - 1));
        return;
      }
      for (const event of answerEvents(call)) handler.onBody(encode(event));
      handler.onEnd();
    };
    think(9);
  });
  const client = send(world);
  world.time.advance(60_000);
  assert.equal(client.state, 'ended');
  assert.equal(chatText(client.body).text, ANSWER);
  assert.ok(!client.body.includes('hmm'), 'reasoning is not shown twice');
  assert.equal(world.records[0]?.attempts, 2);
});

test('reasoning goes to no other target', () => {
  const world = open();
  let asked: Body | null = null;
  for (const origin of ['http://a', 'http://b']) {
    world.servers.scripts.set(origin, (call, handler) => {
      if (world.servers.calls.length > 1) {
        asked = bodyOf(call);
        serve(call, handler);
        return;
      }
      handler.onHead(200, SSE);
      for (const delta of [
        { role: 'assistant', content: '' },
        { reasoning_content: 'The secret thought.' },
        { content: 'Your' },
      ]) {
        handler.onBody(encode(`data: ${JSON.stringify(chunk(delta))}\n\n`));
      }
      handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
    });
  }
  const client = send(world);
  world.time.advance(10_000);
  assert.equal(chatText(client.body).text, ANSWER);
  assert.ok(client.body.includes('The secret thought.'));
  assert.ok(asked !== null && !JSON.stringify(asked).includes('secret'));
});

const JSON_ANSWER =
  '{"order": "A-17", "items": ["kettle", "lid"], "refund": true, "note": "已收到"}';
const JSON_ASK = {
  model: 'm',
  stream: true,
  messages: [{ role: 'user', content: 'as JSON' }],
  response_format: { type: 'json_schema', json_schema: { name: 'n', schema: { type: 'object' } } },
};

test('a structured answer is valid JSON whatever byte its target dies at', () => {
  const goesOn: Script = (call, handler) => {
    handler.onHead(200, SSE);
    for (const event of answerEvents(call, JSON_ANSWER)) handler.onBody(encode(event));
    handler.onEnd();
  };
  // Its grammar begins anew after a prefill, as it does at servers that constrain what they write.
  const beginsAnew: Script = (call, handler) => {
    const own = { ...bodyOf(call), messages: [], stream_options: { include_usage: true } };
    goesOn({ ...call, body: encode(JSON.stringify(own)) }, handler);
  };
  for (const script of [goesOn, beginsAnew]) {
    for (let bytes = 160; bytes < 3_600; bytes += 37) {
      const world = cutWorld(bytes, script, JSON_ANSWER);
      const client = send(world, { body: JSON_ASK });
      world.time.advance(20_000);
      assert.equal(client.state, 'ended', `cut after ${bytes} bytes`);
      assert.equal(chatText(client.body).text, JSON_ANSWER, `cut after ${bytes} bytes`);
    }
  }
});

test('a stop sequence that begins before the cut and ends after it ends the answer', () => {
  const stop = 'today — "tra';
  const begins = ANSWER.indexOf(stop);
  let seams = 0;
  for (let bytes = 200; bytes < 4_000; bytes += 41) {
    const world = cutWorld(bytes, serve);
    const body = {
      model: 'm',
      stream: true,
      stream_options: { include_usage: true },
      stop: ['never', stop],
      messages: [{ role: 'user', content: 'hi' }],
    };
    const client = send(world, { body });
    world.time.advance(20_000);
    const { text, done } = chatText(client.body);
    assert.equal(client.state, 'ended');
    assert.equal(done, 1);
    // The simulated servers know no stop sequences: only those across the seam are the gateway's.
    if (text === ANSWER) continue;
    seams += 1;
    assert.ok(
      ANSWER.startsWith(text) && text.length > begins && text.length < begins + stop.length,
    );
    assert.match(client.body, /"finish_reason":"stop"/);
    assert.match(client.body, /"usage":\{"prompt_tokens"/);
  }
  assert.ok(seams >= 3, `${seams} cuts within the sequence`);
});

test('a whole answer that is cut in its body is asked for again, whole, and the client sees one', () => {
  const world = open();
  for (const origin of ['http://a', 'http://b']) {
    world.servers.scripts.set(origin, (call, handler) => {
      if (world.servers.calls.length > 1) {
        serve(call, handler);
        return;
      }
      handler.onHead(200, ['content-type', 'application/json', 'content-length', '900']);
      handler.onBody(encode('{"id":"chatcmpl-0","choices":[{"mess'));
      handler.onFailure({ kind: 'truncated', bytesSent: 9, detail: '' });
    });
  }
  const body = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };
  const client = send(world, { body });
  world.time.advance(10_000);
  assert.equal(client.status, 200);
  assert.equal(client.header('x-banyan-attempts'), '2');
  assert.equal((JSON.parse(client.body) as { id: string }).id, 'chatcmpl-1');
});

test('a stream whose events carry no id goes on without one, whatever byte it dies at', () => {
  const nameless = (call: UpstreamCall): string =>
    answerEvents(call).join('').replaceAll('"id":"chatcmpl-1",', '');
  const length = nameless({ body: encode(JSON.stringify(CHAT)) } as UpstreamCall).length;
  for (let cut = 0; cut < length; cut += 23) {
    const world = open(configOf({ retryBudgetPercent: 100 }));
    for (const origin of ['http://a', 'http://b']) {
      world.servers.scripts.set(origin, (call, handler) => {
        const isFirst = world.servers.calls.length === 1;
        handler.onHead(200, SSE);
        handler.onBody(encode(isFirst ? nameless(call).slice(0, cut) : nameless(call)));
        if (isFirst) handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
        else handler.onEnd();
      });
    }
    const client = send(world);
    world.time.advance(1_000);
    const seen = chatText(client.body);
    assert.deepEqual([client.state, seen.text, seen.done], ['ended', ANSWER, 1], `cut at ${cut}`);
    assert.ok(![...seen.ids].some((id) => typeof id === 'string' && id !== ''), client.body);
  }
});

interface Metadata {
  readonly attempts: readonly {
    readonly target: string;
    readonly end: string;
    readonly continuation?: string;
    readonly usage: { readonly outputTokens: number } | null;
  }[];
  readonly continued: number;
  readonly usage: { readonly inputTokens: number; readonly outputTokens: number };
}

test('a client that asks is told at the end who went on, how, and what each attempt used', () => {
  const world = cutWorld(1_500, serve);
  const body = { ...JSON_ASK, response_format: undefined, stream_options: { include_usage: true } };
  const client = send(world, { headers: ['x-banyan-metadata', 'on'], body });
  world.time.advance(10_000);
  const [, told = ''] = /\n: banyan-metadata (.*)\n\n$/u.exec(client.body) ?? [];
  const metadata = JSON.parse(told) as Metadata;
  assert.equal(chatText(client.body).text, ANSWER);
  assert.deepEqual(
    metadata.attempts.map((one) => [one.end, one.continuation ?? null]),
    [
      ['failed', null],
      ['answered', 'prefill'],
    ],
  );
  assert.equal(metadata.continued, 1);
  const parts = metadata.attempts.map((one) => one.usage?.outputTokens ?? 0);
  assert.ok(parts.every((tokens) => tokens > 0));
  assert.equal(metadata.usage.outputTokens, (parts[0] ?? 0) + (parts[1] ?? 0), 'added, and apart');
  assert.equal(world.records[0]?.usage?.outputTokens, metadata.usage.outputTokens);
});

test('where another place takes over a comment says how and who, at the seam and nowhere else', () => {
  const world = cutWorld(1_500, serve);
  const client = send(world);
  world.time.advance(10_000);
  const comments = client.body.split('\n\n').filter((event) => event.startsWith(':'));
  const [first, second] = world.records[0]?.tries ?? [];
  assert.deepEqual(comments, [`: x-banyan-continued prefill target=${second?.place.name}`]);
  assert.notEqual(first?.place.name, second?.place.name);
  const [before = '', after = ''] = client.body.split(/: x-banyan-continued .*\n\n/u);
  assert.equal(chatText(before).text + chatText(after).text, ANSWER);
  assert.ok(chatText(before).text !== '' && chatText(after).text !== '');
  const whole = send(open());
  assert.ok(!whole.body.includes('x-banyan-continued'));
});

test('an answer that breaks off tells its attempts before its error, and nobody else is told', () => {
  const world = cutWorld(1_500, refuse);
  const client = send(world, { headers: ['x-banyan-metadata', 'on'] });
  world.time.advance(60_000);
  assert.match(client.body, /\n: banyan-metadata \{.*\}\n\ndata: \{"error"/u);
  const silent = send(cutWorld(1_500, serve));
  assert.ok(!silent.body.includes('banyan-metadata'));
});

test('a whole answer has its metadata in a header field', () => {
  const world = open();
  const body = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };
  const client = send(world, { headers: ['x-banyan-metadata', 'on'], body });
  world.time.advance(1_000);
  const metadata = JSON.parse(client.header('x-banyan-metadata') ?? '{}') as Metadata;
  assert.equal(metadata.attempts.length, 1);
  assert.equal(metadata.usage.outputTokens, 9);
});
