/** What the demo and its verbs say, in English and Chinese; part of the catalogue in messages.ts. */
export const DEMO_MESSAGES = {
  'cli.wholeNumber': {
    en: 'must be a whole number from {least} to {most}',
    zh: '必须是 {least} 到 {most} 的整数',
  },
  'cli.positiveNumber': { en: 'must be a number above 0', zh: '必须是大于 0 的数' },
  'model.about': { en: 'work with model files', zh: '模型文件相关命令' },
  'model.serve': {
    en: 'serve one GGUF model over the OpenAI API (llama.cpp)',
    zh: '通过 OpenAI 接口提供一个 GGUF 模型（llama.cpp）',
  },
  'model.file': { en: 'the GGUF file', zh: 'GGUF 文件' },
  'model.port': { en: 'port to listen on; 0: a free one', zh: '监听端口；0 表示任意空闲端口' },
  'model.host': { en: 'address to listen on', zh: '监听地址' },
  'model.name': { en: 'name of this process, for process lists', zh: '进程名，用于进程列表' },
  'model.model': {
    en: 'the only model name to accept; absent: any name',
    zh: '只接受此模型名；不填则接受任意名称',
  },
  'model.sequences': { en: 'answers at the same time', zh: '同时生成的回答数' },
  'model.threads': {
    en: 'threads; more than idle cores makes it far slower',
    zh: '线程数；超过空闲核数会慢很多',
  },
  'model.context': {
    en: "tokens of one conversation; absent: the model's own",
    zh: '一次对话的词元数；不填则用模型自身的值',
  },
  'model.pace': { en: 'pace of each answer; absent: full speed', zh: '每个回答的速度；不填则全速' },
  'model.queue': {
    en: 'requests that may wait; past it they get 503',
    zh: '可以排队的请求数；超过则返回 503',
  },
  'model.stdin': { en: 'end when the standard input does', zh: '标准输入结束时退出' },
  'model.noFile': { en: 'There is no model file {file}.', zh: '没有模型文件 {file}。' },
  'model.noPort': {
    en: 'Cannot listen on {host}:{port}: {why}',
    zh: '无法监听 {host}:{port}：{why}',
  },
  'model.noModel': { en: 'Cannot load {file}: {why}', zh: '无法加载 {file}：{why}' },
  'model.ready': { en: 'Serving at {url}', zh: '服务地址：{url}' },
} as const satisfies Readonly<Record<string, Readonly<Record<'en' | 'zh', string>>>>;
