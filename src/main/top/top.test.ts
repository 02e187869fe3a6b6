import assert from 'node:assert/strict';
import { test } from 'node:test';

import { textColumns } from '../output.ts';
import type { TopFigures } from './figures.ts';
import { History, runLoop, type Terminal } from './loop.ts';
import { parsePromText, quantileOf, sumOf } from './promText.ts';
import { cutText, renderScreen, type ScreenOptions } from './screen.ts';
import type { Snapshot } from './snapshot.ts';

const PLAIN: ScreenOptions = {
  language: 'en',
  columns: null,
  rows: null,
  isColoured: false,
  footer: '',
};

/** A look at one node whose counters stand at `count` at `nowMs`. */
function lookAt(nowMs: number, count: number): Snapshot {
  const genAi = 'gen_ai_request_model="模型/m"';
  const metrics = parsePromText(
    [
      '# HELP x y',
      `gen_ai_server_request_duration_seconds_count{${genAi},error_type=""} ${count}`,
      `gen_ai_server_request_duration_seconds_count{${genAi},error_type="no_target"} ${count / 10}`,
      `gen_ai_client_token_usage_sum{${genAi},gen_ai_token_type="output"} ${count * 40}`,
      `gen_ai_client_token_usage_sum{${genAi},gen_ai_token_type="input"} ${count * 900}`,
      `gen_ai_server_time_to_first_token_seconds_bucket{${genAi},le="0.1"} ${count / 2}`,
      `gen_ai_server_time_to_first_token_seconds_bucket{${genAi},le="0.2"} ${count}`,
      `gen_ai_server_time_to_first_token_seconds_bucket{${genAi},le="+Inf"} ${count}`,
      `banyan_attempts_total{target="vllm",region="eu",end="failed",reason="reset"} ${count / 5}`,
      `banyan_attempts_total{target="vllm",region="eu",end="answered",reason=""} ${count}`,
      `banyan_attempts_total{target="",region="us",end="answered",reason=""} 99`,
      'process_resident_memory_bytes 104857600',
      `process_cpu_seconds_total ${nowMs / 4000}`,
      'banyan_loop_lag_seconds 0.012',
      'banyan_exchanges_in_flight 3',
    ].join('\n'),
  );
  const status = { kind: 'node', region: 'eu', node: 'eu-1', state: 'ready', inFlight: 3 };
  const target = { target: 'vllm', kind: 'openai', state: 'ejected', reason: 'reset', inFlight: 2 };
  const node = {
    url: 'http://127.0.0.1:1',
    region: 'eu',
    node: 'eu-1',
    status: { ...status, uptimeMs: 61_000 },
    targets: [target],
    models: [{ model: '模型/m', targets: ['vllm', 'b'], targetsHealthy: 1 }],
    regions: [],
    metrics,
  };
  const seen = { by: 'us', state: 'healthy', rttMs: 104.4 };
  const region = {
    region: 'eu',
    state: 'healthy',
    inFlight: 3,
    targetsHealthy: 1,
    targetsCount: 2,
  };
  return {
    nowMs,
    wallMs: Date.UTC(2026, 0, 2, 3, 4, 5),
    nodes: [node],
    regions: [{ ...region, sightings: [seen] }],
    unreachable: [],
  };
}

function figures(): TopFigures {
  const history = new History();
  history.add(lookAt(1_000, 100));
  history.add(lookAt(3_000, 120));
  return history.figures();
}

test('labels with quotes, commas, braces and escapes are read; what is no sample is passed over', () => {
  const text = 'a{x="1,\\"}\\\\",y="2\\n"} 3.5\na{x="z"} +Inf\n# a 4\nnonsense\nb 1e3\n';
  const samples = parsePromText(text);
  assert.equal(samples.get('a')?.[0]?.labels['x'], '1,"}\\');
  assert.equal(samples.get('a')?.[0]?.labels['y'], '2\n');
  assert.equal(samples.get('a')?.[1]?.value, Infinity);
  assert.equal(sumOf(samples, 'b'), 1_000);
  assert.equal(samples.size, 2);
});

test('quantiles are linear in their bucket; none without counts; at most the last bound', () => {
  const buckets = new Map([
    [0.1, 50],
    [0.2, 100],
    [Infinity, 110],
  ]);
  assert.equal(quantileOf(buckets, 0.25), 0.055);
  assert.equal(quantileOf(buckets, 0.99), 0.2);
  assert.equal(quantileOf(new Map([[Infinity, 0]]), 0.5), null);
  assert.equal(quantileOf(new Map(), 0.5), null);
});

test('rates are growth over time, quantiles are of what came since; a restart counts from zero', () => {
  const now = figures();
  assert.equal(now.windowMs, 2_000);
  const [model] = now.models;
  assert.ok(model !== undefined);
  assert.equal(Math.round((model.requestsPerSecond ?? 0) * 100), 1_100); // 20 and 2 in 2 s.
  assert.equal(Math.round((model.errorsPerSecond ?? 0) * 100), 100);
  assert.equal(model.outputTokensPerSecond, 400);
  assert.equal(model.firstTokenMsP50, 100);
  const [target] = now.targets;
  assert.equal(target?.requestsPerSecond, 12); // Forwarded ones are no attempts at a target.
  assert.equal(target?.errorsPerSecond, 2);
  assert.equal(now.nodes[0]?.cpuPercent, 25);
  const history = new History();
  history.add(lookAt(1_000, 100));
  assert.equal(history.figures().total.requestsPerSecond, null, 'one look gives no rate');
  history.add(lookAt(3_000, 10));
  assert.equal(Math.round((history.figures().total.requestsPerSecond ?? 0) * 10), 55);
});

test('the whole screen, in English', () => {
  assert.deepEqual(renderScreen(figures(), PLAIN), [
    'Banyan 03:04:05 UTC  11.0 requests/s  1.0 errors/s  400 tokens/s  in flight 3  ' +
      'first token p50 100 ms, p99 198 ms',
    '',
    'REGION  STATE    IN FLIGHT  TARGETS  REQ/S  ERR/S  TOK/S  FIRST P50     P99  SEEN BY',
    'eu      healthy          3      1/2   11.0    1.0    400     100 ms  198 ms  us: healthy 104 ms',
    '',
    'TARGET   STATE    IN FLIGHT  KIND    REQ/S  ERR/S  TOK/S  FIRST P50  P99  REASON',
    'eu/vllm  ejected          2  openai   12.0    2.0      0          -    -  reset',
    '',
    'MODEL   REGIONS  TARGETS  REQ/S  ERR/S  TOK/S  FIRST P50     P99',
    '模型/m        1      1/2   11.0    1.0    400     100 ms  198 ms',
    '',
    'NODE  STATE  IN FLIGHT   CPU   MEMORY  LOOP LAG  CONNECTIONS  SHED/S     UPTIME',
    'eu-1  ready          3  25 %  100 MiB     12 ms            -       0  1 min 1 s',
  ]);
});

test('columns line up where Chinese stands in them, and no line is wider than the terminal', () => {
  for (const columns of [200, 80, 41, 40, 7, 2, 1]) {
    for (const language of ['en', 'zh'] as const) {
      const footer = language === 'zh' ? 'q：退出' : 'q: quit';
      const lines = renderScreen(figures(), { ...PLAIN, language, columns, footer });
      for (const line of lines) assert.ok(textColumns(line) <= columns, `${columns}: ${line}`);
    }
  }
  const chinese = renderScreen(figures(), { ...PLAIN, language: 'zh' });
  const at = chinese.findIndex((line) => line.startsWith('模型'));
  const [head = '', row = ''] = chinese.slice(at);
  // The numbers of the second column end under the end of its title.
  const endOf = (line: string, word: string) =>
    textColumns(line.slice(0, line.indexOf(word) + word.length));
  assert.equal(endOf(head, '区域'), endOf(row, ' 1'));
  assert.equal(cutText('首 token', 3), '首…');
  assert.equal(cutText('首尾', 3), '首…');
});

test('a low window keeps every table while it can, counts missing rows, never overflows', () => {
  const one = figures();
  const many = { ...one, targets: Array.from({ length: 40 }, () => one.targets).flat() };
  for (let rows = 1; rows < 60; rows += 1) {
    const lines = renderScreen(many, { ...PLAIN, rows, footer: 'q' });
    assert.ok(lines.length <= Math.max(rows, 2), `${rows}: ${lines.length}`);
  }
  const lines = renderScreen(many, { ...PLAIN, rows: 24, footer: 'q' });
  assert.ok(lines.includes('… +30'), lines.join('\n'));
  assert.equal(lines.filter((line) => line.startsWith('eu/vllm')).length, 10);
  assert.ok(lines.some((line) => line.startsWith('NODE')));
});

test('no colour means no escape; what a server says cannot drive the terminal', () => {
  const one = figures();
  const evil = { ...one, unreachable: ['\u001b[2J'], targets: [] };
  // oxlint-disable-next-line no-control-regex
  assert.doesNotMatch(renderScreen(evil, PLAIN).join(''), /\u001b/);
  const coloured = renderScreen(one, { ...PLAIN, isColoured: true }).join('\n');
  assert.ok(coloured.includes('\u001b[31mejected\u001b[0m'));
  assert.ok(coloured.includes('\u001b[32mhealthy\u001b[0m'));
});

function noKey(key: string): void {
  assert.fail(`nobody listens for ${key}`);
}

/** A terminal that remembers, and looks that a test hands out. */
function fakeTerminal() {
  const written: string[] = [];
  const state = { isRaw: false, columns: 80, press: noKey, resize: () => {} };
  const terminal: Terminal = {
    size: () => ({ columns: state.columns, rows: 24 }),
    write: (text) => void written.push(text),
    listen(onKey, onResize) {
      state.isRaw = true;
      state.press = onKey;
      state.resize = onResize;
      return () => {
        state.isRaw = false;
      };
    },
  };
  return { terminal, written, state };
}

test('q, Ctrl-C, a signal and a bug all give the terminal back; a resize draws at once', async () => {
  const ends = { q: 'quit', '\u0003': 'interrupted', signal: 'interrupted', bug: null } as const;
  for (const [how, expected] of Object.entries(ends)) {
    const { terminal, written, state } = fakeTerminal();
    const killed = new AbortController();
    let looks = 0;
    const running = runLoop({
      terminal,
      look: () => {
        looks += 1;
        return Promise.resolve(lookAt(looks * 1_000, looks * 10));
      },
      wait: () => {
        if (looks === 2) {
          state.columns = 40;
          const before = written.length;
          state.resize();
          assert.equal(written.length, before + 1);
        }
        if (looks < 3) return Promise.resolve();
        if (how === 'signal') killed.abort();
        else if (how === 'bug') throw new Error('a bug');
        else state.press(how);
        return Promise.resolve();
      },
      draw: (now, size) => renderScreen(now, { ...PLAIN, ...size }),
      explain: () => 'lost',
      signal: killed.signal,
    });
    if (expected === null) await assert.rejects(running, /a bug/);
    else assert.equal(await running, expected);
    assert.equal(looks, 3);
    assert.equal(state.isRaw, false);
    assert.equal(written[0], '\u001b[?1049h\u001b[?25l');
    assert.equal(written.at(-1), '\u001b[?25h\u001b[?1049l');
  }
});

test('a look that fails is told below the last figures, and the next one is tried', async () => {
  const { terminal, written, state } = fakeTerminal();
  let looks = 0;
  await runLoop({
    terminal,
    look: () => {
      looks += 1;
      return looks === 2 ? Promise.reject(new Error('gone')) : Promise.resolve(lookAt(looks, 1));
    },
    wait: () => {
      if (looks === 3) state.press('q');
      return Promise.resolve();
    },
    draw: (now, size) => renderScreen(now, { ...PLAIN, ...size }),
    explain: (cause) => `lost: ${String(cause)}`,
    signal: new AbortController().signal,
  });
  assert.match(written[2] ?? '', /eu\/vllm[^]*lost: Error: gone/);
  assert.doesNotMatch(written[3] ?? '', /lost/);
});
