/** `deploy/grafana/banyan.json`: the Grafana dashboard, from a table of panels. */

interface Query {
  readonly expr: string;
  readonly legend: string;
}

interface Panel {
  readonly title: string;
  readonly about: string;
  /** A unit that Grafana knows. */
  readonly unit: string;
  readonly kind: 'timeseries' | 'stat' | 'table';
  /** Of 24 columns. */
  readonly columns: number;
  readonly queries: readonly Query[];
}

interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

const HERE = 'job="$job",instance=~"$instance"';
const RATE = '[$__rate_interval]';

/** A line for each label value of a counter's rate. */
function rate(metric: string, by: string, matchers = ''): Query {
  const also = matchers === '' ? '' : `,${matchers}`;
  const legend = by.split(', ').map((label) => `{{${label}}}`);
  return {
    expr: `sum by (${by}) (rate(${metric}{${HERE}${also}}${RATE}))`,
    legend: legend.join(' '),
  };
}

/** Quantiles of a histogram by one label. */
function quantiles(metric: string, by: string): readonly Query[] {
  return [0.5, 0.95, 0.99].map((share) => ({
    expr:
      `histogram_quantile(${share}, sum by (le, ${by}) ` +
      `(rate(${metric}_bucket{${HERE}}${RATE})))`,
    legend: `p${share * 100} {{${by}}}`,
  }));
}

function lines(
  title: string,
  about: string,
  unit: string,
  queries: readonly Query[],
  columns = 8,
): Panel {
  return { title, about, unit, kind: 'timeseries', columns, queries };
}

function stat(title: string, unit: string, expr: string): Panel {
  return { title, about: '', unit, kind: 'stat', columns: 4, queries: [{ expr, legend: '' }] };
}

const FIRST_TOKEN = 'gen_ai_server_time_to_first_token_seconds';

const ROWS: readonly Row[] = [
  {
    title: 'Overview · 总览',
    panels: [
      stat('Nodes up · 在线节点', 'none', 'sum(up{job="$job",instance=~"$instance"})'),
      stat('Requests/s · 请求/秒', 'reqps', `sum(rate(banyan_exchanges_total{${HERE}}${RATE}))`),
      stat(
        'Failed · 失败占比',
        'percentunit',
        `(sum(rate(banyan_exchanges_total{${HERE},end="failed"}${RATE})) or vector(0)) / ` +
          `sum(rate(banyan_exchanges_total{${HERE}}${RATE}))`,
      ),
      stat('In flight · 在途', 'none', `sum(banyan_exchanges_in_flight{${HERE}})`),
      stat(
        'First token p99 · 首 token p99',
        's',
        `histogram_quantile(0.99, sum by (le) (rate(${FIRST_TOKEN}_bucket{${HERE}}${RATE})))`,
      ),
      stat(
        'Output tokens/s · 输出 token/秒',
        'none',
        `sum(rate(gen_ai_client_token_usage_sum{${HERE},gen_ai_token_type="output"}${RATE}))`,
      ),
    ],
  },
  {
    title: 'Traffic · 流量',
    panels: [
      lines('Requests by end · 按结局', 'answered, refused, failed, client-gone', 'reqps', [
        rate('banyan_exchanges_total', 'end'),
      ]),
      lines('Errors by code · 按错误码', 'docs/reference/errors.md says what each means', 'reqps', [
        rate('banyan_exchange_errors_total', 'code'),
      ]),
      lines('Requests by model · 按模型', '', 'reqps', [
        rate('gen_ai_server_request_duration_seconds_count', 'gen_ai_request_model'),
      ]),
      lines('Tokens · token', 'Of answered requests', 'none', [
        rate('gen_ai_client_token_usage_sum', 'gen_ai_token_type'),
      ]),
      lines('Keys · 密钥', '', 'reqps', [
        rate('banyan_key_requests_total', 'key'),
        { ...rate('banyan_rate_limited_total', 'key'), legend: '429 {{key}}' },
      ]),
      lines('Bytes · 字节', '', 'Bps', [
        { ...rate('banyan_request_bytes_total', 'instance'), legend: 'in {{instance}}' },
        { ...rate('banyan_response_bytes_total', 'instance'), legend: 'out {{instance}}' },
      ]),
    ],
  },
  {
    title: 'Latency · 时延',
    panels: [
      lines(
        'First token · 首 token',
        'From the request to the first content',
        's',
        quantiles(FIRST_TOKEN, 'gen_ai_request_model'),
      ),
      lines(
        'Whole request · 整个请求',
        '',
        's',
        quantiles('gen_ai_server_request_duration_seconds', 'gen_ai_request_model'),
      ),
      lines(
        'The gateway itself · 网关自身',
        'All but the waiting for targets',
        's',
        quantiles('banyan_overhead_seconds', 'operation'),
      ),
    ],
  },
  {
    title: 'Targets · 后端',
    panels: [
      {
        title: 'Health · 健康',
        about: 'The state of each target for each model',
        unit: 'none',
        kind: 'table',
        columns: 8,
        queries: [{ expr: `banyan_target_state{${HERE}} == 1`, legend: '' }],
      },
      lines('Attempts by target · 尝试', '', 'reqps', [
        rate('banyan_attempts_total', 'target, end'),
      ]),
      lines(
        'First content by target · 首个内容',
        'One attempt, from its start',
        's',
        quantiles('gen_ai_client_operation_time_to_first_chunk_seconds', 'target'),
      ),
      lines('Why attempts failed · 失败原因', '', 'reqps', [
        rate('banyan_attempts_total', 'target, reason', 'end="failed"'),
      ]),
      lines('Output tokens by target · 输出 token', '', 'none', [
        rate('banyan_target_tokens_total', 'target', 'gen_ai_token_type="output"'),
      ]),
      lines('Changes of health · 状态变化', '', 'none', [
        rate('banyan_target_state_changes_total', 'target, state'),
      ]),
    ],
  },
  {
    title: 'Failures that clients did not see · 客户端无感的故障',
    panels: [
      lines('Recovered · 已恢复', 'Answered after a failed attempt', 'reqps', [
        rate('banyan_exchanges_recovered_total', 'model'),
      ]),
      lines('Continuations · 续写', 'Answers that went on at another target', 'reqps', [
        rate('banyan_continuations_total', 'mode, end'),
      ]),
      lines('Hedges · 对冲', 'Second attempts for a slow first token', 'reqps', [
        rate('banyan_hedges_total', 'outcome'),
      ]),
      lines('Tokens spent on hedges · 对冲开销', 'Of the losers; estimated', 'none', [
        rate('banyan_hedge_tokens_total', 'gen_ai_token_type'),
      ]),
      lines('Retries · 重试', 'Made, and not made for want of budget', 'reqps', [
        { ...rate('banyan_retries_total', 'model'), legend: '{{model}}' },
        {
          ...rate('banyan_retries_suppressed_total', 'model, reason'),
          legend: 'suppressed {{model}} {{reason}}',
        },
      ]),
      lines(
        'Attempts of a request · 尝试次数',
        '',
        'none',
        quantiles('banyan_exchange_attempts', 'operation'),
      ),
    ],
  },
  {
    title: 'Regions · 区域',
    panels: [
      {
        title: 'Seen state · 所见状态',
        about: 'How each node sees the other regions',
        unit: 'none',
        kind: 'table',
        columns: 8,
        queries: [{ expr: `banyan_region_state{${HERE}} == 1`, legend: '' }],
      },
      lines('Round trip · 往返时延', '', 's', [
        { expr: `banyan_region_rtt_seconds{${HERE}}`, legend: '{{instance}} → {{region}}' },
      ]),
      lines('Forwarded here · 转入', 'Requests that another region sent', 'reqps', [
        rate('banyan_exchanges_forwarded_total', 'instance, from'),
      ]),
      lines('Suspicion · 怀疑值', 'Phi of the accrual detector', 'none', [
        { expr: `banyan_region_phi{${HERE}}`, legend: '{{instance}} → {{region}}' },
      ]),
    ],
  },
  {
    title: 'Load of the node · 节点负载',
    panels: [
      lines('Shed · 拒绝', 'Refused under load, by class', 'reqps', [
        rate('banyan_shed_total', 'priority, reason'),
      ]),
      lines('Event loop · 事件循环', 'Lag that stood through an interval', 's', [
        { expr: `banyan_loop_lag_seconds{${HERE}}`, legend: '{{instance}}' },
        { expr: `nodejs_eventloop_lag_p99_seconds{${HERE}}`, legend: 'p99 {{instance}}' },
      ]),
      lines('Pressure · 压力', 'Classes refused for lag: 0 none, 3 all', 'none', [
        { expr: `banyan_shed_pressure{${HERE}}`, legend: '{{instance}}' },
      ]),
      lines('Memory · 内存', '', 'bytes', [
        { expr: `process_resident_memory_bytes{${HERE}}`, legend: 'resident {{instance}}' },
        { expr: `nodejs_heap_size_used_bytes{${HERE}}`, legend: 'heap {{instance}}' },
      ]),
      lines('Processor · 处理器', '1: one core', 'percentunit', [
        { ...rate('process_cpu_seconds_total', 'instance'), legend: '{{instance}}' },
      ]),
      lines('Connections · 连接', 'And what was refused before the gateway saw it', 'none', [
        { expr: `banyan_http_connections{${HERE}}`, legend: 'open {{instance}}' },
        { ...rate('banyan_http_refused_total', 'code'), legend: 'refused/s {{code}}' },
      ]),
      lines('Configuration · 配置', 'Reloads; log lines lost', 'none', [
        {
          expr: `increase(banyan_config_reloads_total{${HERE}}[5m])`,
          legend: '{{result}} {{instance}}',
        },
        { ...rate('banyan_log_lines_dropped_total', 'instance'), legend: 'log lines lost/s' },
      ]),
      {
        title: 'What runs · 版本',
        about: '',
        unit: 'none',
        kind: 'table',
        columns: 8,
        queries: [{ expr: `banyan_build_info{${HERE}}`, legend: '' }],
      },
    ],
  },
];

const SOURCE = { type: 'prometheus', uid: '${source}' };

/** The file. */
export function dashboardJson(): string {
  let top = 0;
  let id = 0;
  const panels = ROWS.flatMap((row) => {
    const head = { id: (id += 1), type: 'row', title: row.title, collapsed: false };
    const placed: object[] = [{ ...head, gridPos: { x: 0, y: top, w: 24, h: 1 }, panels: [] }];
    top += 1;
    let left = 0;
    const height = row.panels.every(({ kind }) => kind === 'stat') ? 4 : 8;
    for (const panel of row.panels) {
      if (left + panel.columns > 24) {
        left = 0;
        top += height;
      }
      id += 1;
      placed.push(panelJson(panel, id, { x: left, y: top, w: panel.columns, h: height }));
      left += panel.columns;
    }
    top += height;
    return placed;
  });
  const dashboard = {
    uid: 'banyan',
    title: 'Banyan',
    description: 'Made by tools/dashboard.ts; docs/reference/metrics.md explains the metrics.',
    tags: ['banyan', 'llm'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    timezone: '',
    templating: { list: variables() },
    annotations: { list: [] },
    links: [],
    panels,
  };
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}

function variables(): readonly object[] {
  const ofMetric = (name: string, label: string, query: string, isMulti: boolean) => ({
    type: 'query',
    name,
    label,
    datasource: SOURCE,
    query: { query, refId: name },
    definition: query,
    refresh: 2,
    sort: 1,
    multi: isMulti,
    includeAll: isMulti,
    ...(isMulti ? { allValue: '.*', current: { text: 'All', value: '$__all' } } : {}),
  });
  return [
    { type: 'datasource', name: 'source', label: 'Prometheus', query: 'prometheus' },
    ofMetric('job', 'Job', 'label_values(banyan_build_info, job)', false),
    ofMetric('instance', 'Node', 'label_values(banyan_build_info{job="$job"}, instance)', true),
  ];
}

function panelJson(panel: Panel, id: number, gridPos: object): object {
  const isTable = panel.kind === 'table';
  return {
    id,
    type: panel.kind,
    title: panel.title,
    description: panel.about,
    datasource: SOURCE,
    gridPos,
    fieldConfig: { defaults: { unit: panel.unit, min: 0 }, overrides: [] },
    options:
      panel.kind === 'timeseries'
        ? { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi' } }
        : {},
    targets: panel.queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: SOURCE,
      expr,
      legendFormat: legend,
      ...(isTable ? { format: 'table', instant: true } : {}),
    })),
    ...(isTable ? { transformations: [{ id: 'organize', options: hideNoise() }] } : {}),
  };
}

function hideNoise(): object {
  return { excludeByName: { Time: true, Value: true, __name__: true, job: true } };
}
