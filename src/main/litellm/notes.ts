/**
 * What the import of a LiteLLM file tells: every field that was not taken over as it stood, with what
 * to do. One table, in both languages; `-o json` carries the code and the English sentence.
 */

import type { Place } from '../config/document.ts';
import type { Language } from '../messages.ts';

/** `secret`: set a variable. `changed`: it means something else here. `dropped`: it is gone. */
export type NoteKind = 'secret' | 'changed' | 'dropped';

/** The sentences; `{name}` stands for a value, which is never a secret. */
export const NOTES = {
  'secret-key': {
    kind: 'secret',
    en: 'the key stands in the file as plain text; put it into the environment variable {name}',
    zh: '密钥以明文写在文件里；请放进环境变量 {name}',
  },
  'secret-header': {
    kind: 'secret',
    en: 'the header field carries a secret; put its value into the environment variable {name}',
    zh: '该请求头含有密钥；请把它的值放进环境变量 {name}',
  },
  'secret-environment': {
    kind: 'secret',
    en: 'variables are not set from the file; set {name} in the environment of the process',
    zh: '不从文件设置变量；请在进程的环境中设置 {name}',
  },
  'key-default': {
    kind: 'changed',
    en: 'no key is given; it is taken from {name}, as LiteLLM does',
    zh: '没有给出密钥；与 LiteLLM 一样取自 {name}',
  },
  'key-none': {
    kind: 'changed',
    en: 'no key is given, and none is sent: {name} is for the provider’s own address only',
    zh: '没有给出密钥，也不会发送：{name} 只用于供应商自己的地址',
  },
  'rate-weight': {
    kind: 'changed',
    en: 'became the weight {weight}; a target has no rate limit of its own, keys have (keys[])',
    zh: '改为权重 {weight}；后端没有速率上限，密钥才有（keys[]）',
  },
  'rate-gone': {
    kind: 'dropped',
    en: 'a target has no rate limit of its own; limit keys (keys[]) or set inFlightMax',
    zh: '后端没有速率上限；请对密钥（keys[]）限流，或设置 inFlightMax',
  },
  weight: {
    kind: 'changed',
    en: 'became {weight}: weights are whole numbers up to 1000',
    zh: '改为 {weight}：权重是不超过 1000 的整数',
  },
  timeout: {
    kind: 'changed',
    en: 'became {ms} ms for all attempts together (deadlines.totalMs), {attempts} attempts at most',
    zh: '改为全部尝试合计 {ms} 毫秒（deadlines.totalMs），至多 {attempts} 次尝试',
  },
  'stream-timeout': {
    kind: 'changed',
    en: 'became the limits to the first content and between pieces (firstByteMs, idleMs)',
    zh: '改为首个内容与两段之间的时限（firstByteMs、idleMs）',
  },
  'differing-limits': {
    kind: 'changed',
    en: 'limits belong to a model, not to a target; the largest of its deployments counts',
    zh: '时限属于模型而非后端；取各部署中最大者',
  },
  retries: {
    kind: 'changed',
    en: 'became attemptsMax {attempts}, the first included; a retry goes to another target',
    zh: '改为 attemptsMax {attempts}（含首次）；重试会换一个后端',
  },
  strategy: {
    kind: 'changed',
    en: 'became the algorithm {algorithm}',
    zh: '改为算法 {algorithm}',
  },
  'strategy-unknown': {
    kind: 'dropped',
    en: 'has no counterpart; the default algorithm least-tokens is used',
    zh: '没有对应项；采用默认算法 least-tokens',
  },
  failures: {
    kind: 'changed',
    en: 'became consecutiveFailuresMax {count}: failures in a row, not in a minute',
    zh: '改为 consecutiveFailuresMax {count}：连续失败次数，而非每分钟',
  },
  cooldown: {
    kind: 'changed',
    en: 'became ejectBaseMs {ms}; it doubles while failures go on',
    zh: '改为 ejectBaseMs {ms}；持续失败时加倍',
  },
  'context-window': {
    kind: 'dropped',
    en: 'a prompt that is too long gets the provider’s own error; choose the model in the client',
    zh: '提示词过长时返回供应商自己的错误；请由客户端选择模型',
  },
  'content-policy': {
    kind: 'dropped',
    en: 'a refusal by policy is passed on: it is no failure of the target',
    zh: '内容策略拒绝原样返回：它不是后端的故障',
  },
  'fallback-unknown': {
    kind: 'dropped',
    en: 'names no model that was taken over',
    zh: '所指的模型没有被接管',
  },
  'fallback-many': {
    kind: 'dropped',
    en: 'at most {count} fallbacks for a model; the rest is left out',
    zh: '每个模型至多 {count} 个备用模型；其余略去',
  },
  'provider-unknown': {
    kind: 'dropped',
    en: 'there is no adapter for the provider; put a server with an OpenAI interface before it',
    zh: '没有该供应商的适配；请在其前面放一个 OpenAI 接口的服务',
  },
  'base-missing': {
    kind: 'dropped',
    en: 'api_base is needed for this provider; the deployment is left out',
    zh: '该供应商需要 api_base；此部署略去',
  },
  'base-malformed': {
    kind: 'dropped',
    en: 'is not an http or https address without credentials; the deployment is left out',
    zh: '不是不含凭据的 http 或 https 地址；此部署略去',
  },
  'azure-version': {
    kind: 'changed',
    en: 'no api_version is given; {version} is used',
    zh: '没有给出 api_version；采用 {version}',
  },
  'native-api': {
    kind: 'changed',
    en: 'LiteLLM calls the server’s own interface; here its OpenAI interface is called (/v1)',
    zh: 'LiteLLM 调用其原生接口；这里调用其 OpenAI 接口（/v1）',
  },
  wildcard: {
    kind: 'dropped',
    en: 'models are listed by name; add one entry to models[] for each',
    zh: '模型按名列出；请在 models[] 中逐个添加',
  },
  'name-malformed': {
    kind: 'dropped',
    en: 'a model’s name has 1 to 128 letters, digits and inner / . _ : @ + -; rename it',
    zh: '模型名由 1 到 128 个字母、数字与中间的 / . _ : @ + - 组成；请改名',
  },
  'not-usable': {
    kind: 'dropped',
    en: 'is not what LiteLLM documents here; left out',
    zh: '不是 LiteLLM 文档所述的形式；略去',
  },
  'too-many': {
    kind: 'dropped',
    en: 'over the limit of {count}; left out',
    zh: '超过上限 {count}；略去',
  },
  'default-parameter': {
    kind: 'dropped',
    en: 'requests are passed on as they come; set it in the client',
    zh: '请求原样转发；请在客户端设置',
  },
  information: {
    kind: 'dropped',
    en: 'is for LiteLLM’s price and capability tables; not needed',
    zh: '供 LiteLLM 的价格与能力表使用；不需要',
  },
  'always-so': {
    kind: 'dropped',
    en: 'is always so here: {what}',
    zh: '这里始终如此：{what}',
  },
  cache: {
    kind: 'dropped',
    en: 'answers are not cached',
    zh: '不缓存回答',
  },
  callbacks: {
    kind: 'dropped',
    en: 'use the metrics (GET /metrics), the log and OpenTelemetry traces',
    zh: '请使用指标（GET /metrics）、日志与 OpenTelemetry 追踪',
  },
  redis: {
    kind: 'dropped',
    en: 'no Redis is needed; nodes tell each other over peer links (peers)',
    zh: '不需要 Redis；节点之间通过链路（peers）互通',
  },
  database: {
    kind: 'dropped',
    en: 'there is no database; virtual keys become entries of keys[] (banyan keys hash)',
    zh: '没有数据库；虚拟密钥改为 keys[] 中的条目（banyan keys hash）',
  },
  'master-key': {
    kind: 'changed',
    en: 'became a key of clients for all models; the admin API has its own listener instead',
    zh: '改为可用全部模型的客户端密钥；管理接口另有监听地址',
  },
  'key-needed': {
    kind: 'changed',
    en: 'there is no master_key; clients need a key here: set {name}',
    zh: '没有 master_key；这里客户端必须有密钥：请设置 {name}',
  },
  merged: {
    kind: 'changed',
    en: 'is the same place as another deployment of the model; they became one',
    zh: '与该模型的另一个部署是同一处；合并为一个',
  },
  included: {
    kind: 'dropped',
    en: 'other files are not read; join them first',
    zh: '不读取其他文件；请先合并',
  },
  'no-counterpart': {
    kind: 'dropped',
    en: 'has no counterpart',
    zh: '没有对应项',
  },
} as const satisfies Readonly<
  Record<string, { readonly kind: NoteKind } & Readonly<Record<Language, string>>>
>;

export type NoteCode = keyof typeof NOTES;

/** One thing told about one field. */
export interface ImportNote {
  readonly code: NoteCode;
  readonly place: Place;
  /** As `renderPath` writes it. */
  readonly path: string;
  readonly values: Readonly<Record<string, string | number>>;
}

/** The sentence of a note. */
export function noteText(note: ImportNote, language: Language): string {
  return NOTES[note.code][language].replace(/\{(\w+)\}/g, (whole, name: string) =>
    String(note.values[name] ?? whole),
  );
}
