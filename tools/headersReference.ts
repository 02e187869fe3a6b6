/**
 * `docs/reference/headers.md`: the header fields that a gateway reads and writes, in one table. A
 * test fails where the code names an `x-banyan-` field that is not in it.
 */

type Texts = { readonly en: string; readonly zh: string };

interface HeaderRow {
  readonly name: string;
  readonly about: Texts;
}

/** Fields of requests that change what is done. */
export const REQUEST_FIELDS: readonly HeaderRow[] = [
  row('authorization', 'The client’s key: `Bearer KEY`.', '客户端的密钥：`Bearer KEY`。'),
  row('x-api-key', 'The same, as Anthropic’s SDK sends it.', '同上，Anthropic SDK 的写法。'),
  row('content-type', '`application/json`; all else is 415.', '`application/json`；其他返回 415。'),
  row(
    'anthropic-version, anthropic-beta',
    'Passed on to targets of kind `anthropic`.',
    '转给 `anthropic` 类后端。',
  ),
  row('openai-beta', 'Passed on to targets of kind `openai`.', '转给 `openai` 类后端。'),
  row(
    'idempotency-key',
    'With `control.registers`: runs once in all regions together; 409, 422: there was an earlier one.',
    '启用 `control.registers` 时：请求在所有区域合计只执行一次；409 与 422 告知先前的请求。',
  ),
  row(
    'x-session-id, x-litellm-session-id, x-litellm-trace-id',
    'Keeps a session at one target; `prompt_cache_key` in the body comes first, `user` after.',
    '使会话留在同一后端；请求体的 `prompt_cache_key` 优先，`user` 在后。',
  ),
  row(
    'traceparent, tracestate',
    'The client’s trace (W3C): goes on to targets and regions, below our spans where it is recorded.',
    '客户端的追踪（W3C）：传给后端与区域；若被记录，则位于我们的 span 之下。',
  ),
  row(
    'x-banyan-continue',
    '`off`, `same-model` or `fallbacks`: who may go on with a broken answer; over the model’s `continue`.',
    '`off`、`same-model` 或 `fallbacks`：中断的回答由谁接着写；优先于模型的 `continue`。',
  ),
  row(
    'x-banyan-hedge',
    '`off`: no second attempt for a slow first token.',
    '`off`：首 token 过慢时不做第二次尝试。',
  ),
  row(
    'x-banyan-metadata',
    '`on`: a stream ends with a comment of attempts, continuations and usage; see the guide on failure.',
    '`on`：流以一行注释结束，列出尝试、接续与用量；见故障指南。',
  ),
  row(
    'x-banyan-priority',
    '`interactive`, `standard` or `batch`; may lower the class of the key, not raise it.',
    '`interactive`、`standard` 或 `batch`；只能调低密钥的级别，不能调高。',
  ),
];

/** Fields of responses. */
export const RESPONSE_FIELDS: readonly HeaderRow[] = [
  row(
    'x-request-id',
    'The request’s id; the log line has the same one.',
    '请求的 id，与日志行一致。',
  ),
  row('request-id', 'The same, for Anthropic’s SDK.', '同上，供 Anthropic SDK 使用。'),
  row('x-banyan-region', 'The region that served.', '提供服务的区域。'),
  row('x-banyan-target', 'The target that served.', '提供服务的后端。'),
  row(
    'x-banyan-forwarded-by',
    'The region that took the request and forwarded it; absent where it served itself.',
    '接到请求并转发的区域；自行服务时没有。',
  ),
  row(
    'x-banyan-attempts',
    'Attempts until the answer began; over 1: a failure went unseen.',
    '回答开始之前的尝试次数；大于 1 表示有过客户端无感的故障。',
  ),
  row(
    'x-banyan-overhead-ms',
    'Time in the gateway itself until the answer began.',
    '回答开始之前在网关自身所用的毫秒数。',
  ),
  row(
    'x-banyan-hedge',
    'Two attempts raced: `won`, the second one answered; `lost`, the first one did.',
    '有两次尝试竞速：`won` 由第二次作答，`lost` 由第一次作答。',
  ),
  row(
    'x-banyan-continued',
    'A comment in a stream, where another place took over: `: x-banyan-continued prefill target=llama-b`.',
    '流中的一行注释，位于由别处接着写的地方：`: x-banyan-continued prefill target=llama-b`。',
  ),
  row(
    'x-banyan-metadata',
    'Of whole answers, on request: attempts and usage as JSON.',
    '整段回答，应请求而给出：尝试与用量的 JSON。',
  ),
  row(
    'x-banyan-token-count',
    '`estimate`: the target cannot count tokens, the gateway has estimated.',
    '`estimate`：后端不能计数，为网关的估计值。',
  ),
  row(
    'retry-after',
    'Seconds to wait, with 429 and 503: the request did not run.',
    '应等待的秒数，随 429 与 503：请求没有执行。',
  ),
  row(
    'x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests',
    'The key’s rate, as OpenAI names and writes it.',
    '密钥的速率，名称与写法同 OpenAI。',
  ),
  row(
    'x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens',
    'The same for tokens.',
    '同上，按 token 计。',
  ),
  row(
    'llm_provider-*',
    'The provider’s own request id, limits and times (`llm_provider-x-request-id` …).',
    '供应商自己的请求 id、限额与用时（`llm_provider-x-request-id` 等）。',
  ),
  row('allow', 'With 405: the methods that the path takes.', '随 405：该路径接受的方法。'),
];

/** Fields that only our own processes exchange; clients cannot set what they say. */
export const INTERNAL_FIELDS: readonly HeaderRow[] = [
  row('x-banyan-model', 'Between regions: the model to serve.', '区域之间：要服务的模型。'),
  row(
    'x-banyan-key-name',
    'Between regions: the name of the key that was checked.',
    '区域之间：已核对的密钥的名称。',
  ),
  row(
    'x-banyan-residency',
    'Between regions: labels of the regions that the key may be served in.',
    '区域之间：可为该密钥服务的区域的数据驻留标签。',
  ),
  row(
    'x-banyan-left-ms',
    'Between regions: what is left of the deadline.',
    '区域之间：剩余的时限。',
  ),
  row('x-banyan-page', 'The demo’s status page, with every POST.', '演示状态页的每个 POST 都带。'),
];

function row(name: string, en: string, zh: string): HeaderRow {
  return { name, about: { en, zh } };
}

const WORDS = {
  title: { en: '# Header fields', zh: '# 请求头与响应头' },
  made: {
    en: 'Generated by `node tools/generate.ts` from `tools/headersReference.ts`; do not edit.',
    zh: '由 `node tools/generate.ts` 从 `tools/headersReference.ts` 生成，请勿手工修改。',
  },
  request: { en: '## Read from requests', zh: '## 从请求读取' },
  response: { en: '## Written to responses', zh: '## 写入响应' },
  internal: { en: '## Between our own processes', zh: '## 自有进程之间' },
  more: {
    en: 'From a client these mean nothing: they are read only on links between regions.',
    zh: '来自客户端的同名字段不起作用：只在区域间的链路上读取。',
  },
  head: { en: '| field | meaning |', zh: '| 字段 | 含义 |' },
} as const;

/** The page. */
export function headersReference(language: 'en' | 'zh'): string {
  const table = (rows: readonly HeaderRow[]): readonly string[] => [
    WORDS.head[language],
    '|---|---|',
    ...rows.map(({ name, about }) => {
      const names = name.split(', ').map((each) => `\`${each}\``);
      return `| ${names.join(', ')} | ${about[language]} |`;
    }),
    '',
  ];
  return [
    WORDS.title[language],
    '',
    WORDS.made[language],
    '',
    WORDS.request[language],
    '',
    ...table(REQUEST_FIELDS),
    WORDS.response[language],
    '',
    ...table(RESPONSE_FIELDS),
    WORDS.internal[language],
    '',
    WORDS.more[language],
    '',
    ...table(INTERNAL_FIELDS),
  ].join('\n');
}
