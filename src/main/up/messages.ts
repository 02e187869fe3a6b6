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
  'serve.stdin': { en: 'stop when the standard input ends', zh: '标准输入结束时停止' },
  'up.about': {
    en: 'run the demo: three regions on this machine',
    zh: '运行演示：在本机启动三个区域',
  },
  'up.regions': { en: 'names of the regions', zh: '区域名称' },
  'up.basePort': {
    en: 'port of the status page; APIs follow from +1, admin from +11, peers from +21',
    zh: '状态页端口；接口从 +1、管理从 +11、对端从 +21 起',
  },
  'up.data': { en: 'folder of the demo', zh: '演示的数据目录' },
  'up.modelServers': { en: 'model servers of each region', zh: '每个区域的模型服务数' },
  'up.modelFile': { en: 'the GGUF file to serve', zh: '要使用的 GGUF 文件' },
  'up.pace': {
    en: 'pace of each answer, tokens a second, so that it can be watched; 0: full speed',
    zh: '每个回答每秒的词元数，便于观看；0 表示全速',
  },
  'up.noWan': { en: 'no artificial delay between regions', zh: '区域之间不加人工延迟' },
  'up.badRegions': {
    en: 'must be up to {most} different names of small letters, digits and hyphens',
    zh: '最多 {most} 个互不相同的名称，由小写字母、数字和连字符组成',
  },
  'up.running': {
    en:
      'Another "banyan up" (pid {pid}) runs in {folder}. ' +
      'Stop it, or give this one its own --data and --base-port.',
    zh:
      '{folder} 中已有一个 “banyan up” 在运行（进程 {pid}）。' +
      '请先停止它，或用 --data 和 --base-port 另选目录和端口。',
  },
  'up.someone': { en: 'another process', zh: '其他进程' },
  'up.portTaken': {
    en: 'Port {port} is taken by {holder}. Stop it, or choose other ports with --base-port.',
    zh: '端口 {port} 已被 {holder} 占用。请停止它，或用 --base-port 换一组端口。',
  },
  'up.certsFailed': { en: 'Cannot make certificates: {why}', zh: '无法生成证书：{why}' },
  'up.cleaned': {
    en: 'ended what an earlier start left behind: {regions}',
    zh: '已结束上次遗留的进程：{regions}',
  },
  'up.certs': { en: 'certificates made in {folder}', zh: '已在 {folder} 生成证书' },
  'up.starting': { en: 'Starting {regions} in {folder}', zh: '正在 {folder} 启动 {regions}' },
  'up.regionReady': { en: '{region} is ready at {url}', zh: '{region} 已就绪：{url}' },
  'up.notReady': {
    en: 'Not ready in time ({state}). Each region has its node.log in {folder}.',
    zh: '未能及时就绪（{state}）。各区域的 node.log 在 {folder} 中。',
  },
  'up.died': {
    en: '{region} died and is started again; see {log}',
    zh: '{region} 意外退出，正在重启；见 {log}',
  },
  'up.changed': { en: '{region}: {state}', zh: '{region}：{state}' },
  'up.ready': { en: 'Ready in {time}.', zh: '已就绪，用时 {time}。' },
  'up.page': { en: 'Status page:', zh: '状态页：' },
  'up.question': { en: 'How do I return an item?', zh: '怎么退货？' },
  'up.tryAsk': { en: 'Ask:', zh: '提问：' },
  'up.trySdk': { en: 'Point an SDK at any region:', zh: '让 SDK 指向任一区域：' },
  'up.tryBreak': { en: 'Break it, and ask again:', zh: '制造故障，再问一次：' },
  'up.tryStop': { en: 'Ctrl-C stops everything.', zh: '按 Ctrl-C 全部停止。' },
  'up.stopping': { en: '\n{signal}: stopping …', zh: '\n{signal}：正在停止……' },
  'up.stopped': { en: 'Stopped.', zh: '已停止。' },
  'fault.about': { en: 'break and mend the running demo', zh: '在运行中的演示里制造和修复故障' },
  'fault.kill': {
    en: 'kill -9 a region or a model server',
    zh: '强行杀死（kill -9）区域或模型服务',
  },
  'fault.pause': { en: 'freeze a region or a model server', zh: '冻结区域或模型服务' },
  'fault.resume': { en: 'let a frozen one go on', zh: '让被冻结的继续运行' },
  'fault.restart': {
    en: 'start again, killing it first if it runs',
    zh: '重新启动；若在运行则先杀死',
  },
  'fault.cut': { en: 'cut the link between two regions', zh: '切断两个区域之间的链路' },
  'fault.heal': {
    en: 'mend all links and start all that is down',
    zh: '修复所有链路，启动所有停止的部分',
  },
  'fault.place': { en: 'REGION or REGION/TARGET', zh: '区域，或 区域/后端' },
  'fault.one': { en: 'one region', zh: '一个区域' },
  'fault.other': { en: 'the other region', zh: '另一个区域' },
  'chat.about': { en: 'ask the demo a question', zh: '向演示提问' },
  'chat.question': {
    en: 'the question; absent: a conversation, or the standard input',
    zh: '问题；不填则进入对话，或读取标准输入',
  },
  'chat.region': {
    en: 'the region whose API is asked; absent: the first that is up',
    zh: '请求哪个区域的接口；不填则用第一个正常的区域',
  },
  'chat.model': { en: 'the model', zh: '模型' },
  'chat.key': { en: 'the API key', zh: '接口密钥' },
  'chat.noQuestion': { en: 'There is no question.', zh: '没有问题。' },
  'chat.hint': { en: 'Ask; Ctrl-D ends.', zh: '请提问；按 Ctrl-D 结束。' },
  'chat.served': {
    en: '— served by {place}, attempts {attempts}, first token {firstTokenMs} ms',
    zh: '—— 由 {place} 提供，尝试 {attempts} 次，首个词元 {firstTokenMs} 毫秒',
  },
  'chat.forwarded': { en: '(forwarded by {region})', zh: '（由 {region} 转发）' },
  'chat.noRegion': { en: 'There is no region "{region}".', zh: '没有区域 “{region}”。' },
  'chat.noApi': { en: 'No region has an API to ask.', zh: '没有可用的区域接口。' },
  'chat.failed': { en: 'No answer from {api}: {why}', zh: '{api} 没有给出回答：{why}' },
  'chat.broken': { en: 'the answer broke off', zh: '回答中断' },
} as const satisfies Readonly<Record<string, Readonly<Record<'en' | 'zh', string>>>>;
