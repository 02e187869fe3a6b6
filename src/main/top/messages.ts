/** Sentences of `banyan top`. */

export const TOP_MESSAGES = {
  'top.about': {
    en: 'watch regions, targets, models and nodes live',
    zh: '实时查看区域、后端、模型与节点',
  },
  'top.server': {
    en: 'an admin API to ask; may be repeated, or a list with commas',
    zh: '要访问的管理接口；可重复给出，或以逗号分隔',
  },
  'top.interval': { en: 'seconds between two looks', zh: '刷新间隔（秒）' },
  'top.once': { en: 'print once and end', zh: '只打印一次' },
  'top.badInterval': {
    en: 'The interval must be a number of seconds from 0.2 to 60.',
    zh: '间隔必须是 0.2 到 60 之间的秒数。',
  },
  'top.total': {
    en:
      'Banyan {time} UTC  {requests} requests/s  {errors} errors/s  {tokens} tokens/s  ' +
      'in flight {inFlight}  first token p50 {p50}, p99 {p99}',
    zh:
      'Banyan {time} UTC  请求 {requests}/秒  错误 {errors}/秒  token {tokens}/秒  ' +
      '进行中 {inFlight}  首 token p50 {p50}，p99 {p99}',
  },
  'top.unreachable': { en: 'No answer from: {names}', zh: '没有响应：{names}' },
  'top.lost': { en: 'No answer; trying again. {why}', zh: '没有响应，正在重试。{why}' },
  'top.keys': { en: 'q: quit', zh: 'q：退出' },
  'head.requests': { en: 'REQ/S', zh: '请求/秒' },
  'head.errors': { en: 'ERR/S', zh: '错误/秒' },
  'head.tokens': { en: 'TOK/S', zh: 'token/秒' },
  'head.p50': { en: 'FIRST P50', zh: '首 token P50' },
  'head.p99': { en: 'P99', zh: 'P99' },
  'head.regions': { en: 'REGIONS', zh: '区域' },
  'head.cpu': { en: 'CPU', zh: 'CPU' },
  'head.memory': { en: 'MEMORY', zh: '内存' },
  'head.lag': { en: 'LOOP LAG', zh: '循环延迟' },
  'head.connections': { en: 'CONNECTIONS', zh: '连接' },
  'head.shed': { en: 'SHED/S', zh: '拒绝/秒' },
} as const;
