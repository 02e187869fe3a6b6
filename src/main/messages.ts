/**
 * Every sentence that the command line says, in English and Chinese. `{name}` stands for a value.
 * Errors of the API and log lines are not here: programs read those, and they stay English.
 */

import { CONTROL_MESSAGES } from './control/messages.ts';
import { SHARED_CONFIG_MESSAGES } from './sharedConfig/messages.ts';
import { REGION_MESSAGES } from './control/regionMessages.ts';
import { OPS_MESSAGES } from './control/opsMessages.ts';
import { TOP_MESSAGES } from './top/messages.ts';
import { DEMO_MESSAGES } from './up/messages.ts';

/** The languages of the command line. */
export type Language = 'en' | 'zh';

/** Chinese where LC_ALL, else LC_MESSAGES, else LANG starts with `zh`; English otherwise. */
export function languageOf(env: Readonly<Record<string, string | undefined>>): Language {
  // POSIX: the first of the three that is set and not empty decides alone.
  const locale = [env['LC_ALL'], env['LC_MESSAGES'], env['LANG']].find(
    (value) => value !== undefined && value !== '',
  );
  return locale?.toLowerCase().startsWith('zh') === true ? 'zh' : 'en';
}

/** The catalogue. */
export const MESSAGES = {
  ...DEMO_MESSAGES,
  ...TOP_MESSAGES,
  ...CONTROL_MESSAGES,
  ...SHARED_CONFIG_MESSAGES,
  ...OPS_MESSAGES,
  ...REGION_MESSAGES,
  'cli.about': {
    en: 'A multi-region active-active gateway for LLM applications.',
    zh: '面向大模型应用的多区域异地多活网关。',
  },
  'cli.usage': { en: 'Usage:', zh: '用法：' },
  'cli.options': { en: 'Options:', zh: '选项：' },
  'cli.commands': { en: 'Commands:', zh: '命令：' },
  'cli.arguments': { en: 'Arguments:', zh: '参数：' },
  'cli.help': { en: 'show this help', zh: '显示帮助' },
  'cli.version': { en: 'show the version', zh: '显示版本' },
  'cli.output': { en: 'how to print', zh: '输出格式' },
  'cli.server': {
    en: 'the admin API to ask',
    zh: '要访问的管理接口',
  },
  'cli.exitCodes': {
    en: 'Exit codes:\n{table}',
    zh: '退出码：\n{table}',
  },
  'cli.bug': {
    en: 'This is a bug in Banyan. Please report it with the lines below.',
    zh: '这是 Banyan 的缺陷，请连同下面的内容一起报告。',
  },
  'client.unreachable': {
    en: 'No answer from {server}: {why}. Is it running? "npm start" starts the demo.',
    zh: '{server} 没有响应：{why}。它在运行吗？用 “npm start” 启动演示。',
  },
  'client.notAdmin': {
    en: '{server} answers, but not as a Banyan admin API (HTTP {status}).',
    zh: '{server} 有响应，但不是 Banyan 的管理接口（HTTP {status}）。',
  },
  'client.badServer': {
    en: 'The server address must be http://HOST:PORT or https://HOST:PORT, not "{server}".',
    zh: '服务器地址应写作 http://HOST:PORT 或 https://HOST:PORT，而不是 “{server}”。',
  },
  'client.partial': {
    en: 'No answer from: {regions}. The table shows the others.',
    zh: '以下区域没有响应：{regions}。表中只有其余区域。',
  },
  'config.about': { en: 'check and show configuration files', zh: '检查和查看配置文件' },
  'config.check': { en: 'check a configuration file', zh: '检查配置文件' },
  'config.schema': {
    en: 'print the JSON Schema of configuration files',
    zh: '输出配置文件的 JSON Schema',
  },
  'config.show': {
    en: 'show what a file means: defaults filled in, secrets masked',
    zh: '显示配置的完整含义：填入默认值，隐去密钥',
  },
  'config.file': { en: 'the configuration file', zh: '配置文件' },
  'config.good': {
    en: '{file}: good. Region {region}, {targets} targets, {models} models, {keys} keys.',
    zh: '{file}：正确。区域 {region}，后端 {targets} 个，模型 {models} 个，密钥 {keys} 个。',
  },
  'config.bad': { en: '{count} problems.', zh: '共 {count} 处问题。' },
  'import.about': {
    en: "take over another gateway's configuration",
    zh: '接管其他网关的配置',
  },
  'import.litellm': {
    en: 'make a configuration from that of a LiteLLM proxy; tells every field that is not taken over',
    zh: '由 LiteLLM 代理的配置生成本网关的配置，并列出未接管的每个字段',
  },
  'import.file': { en: "LiteLLM's config.yaml", zh: 'LiteLLM 的 config.yaml' },
  'import.output': {
    en: 'the file to write (otherwise it is printed), or json: a report with the configuration in it',
    zh: '要写入的文件（不给则打印），或 json：含配置的报告',
  },
  'import.region': { en: 'the region that the node is in', zh: '节点所在的区域' },
  'import.force': { en: 'replace the file', zh: '覆盖已有文件' },
  'import.notLitellm': {
    en: '{file} has no model_list: it is no configuration of a LiteLLM proxy.',
    zh: '{file} 中没有 model_list：它不是 LiteLLM 代理的配置。',
  },
  'import.exists': {
    en: '{file} is there already; --force replaces it.',
    zh: '{file} 已存在；用 --force 覆盖。',
  },
  'import.nothing': {
    en: 'No model of {file} could be taken over.',
    zh: '{file} 中没有可以接管的模型。',
  },
  'import.done': {
    en: '{models} models, {targets} targets, {notes} notes. Set in the environment: {variables}',
    zh: '模型 {models} 个，后端 {targets} 个，说明 {notes} 条。需在环境中设置：{variables}',
  },
  'serve.about': { en: 'run one node', zh: '运行一个节点' },
  'serve.config': { en: 'the configuration file', zh: '配置文件' },
  'serve.failed': { en: 'The node could not start: {why}', zh: '节点无法启动：{why}' },
  'keys.about': { en: 'API keys of clients', zh: '客户端的 API 密钥' },
  'keys.hash': {
    en: 'read a key from standard input and print its SHA-256 for the configuration',
    zh: '从标准输入读取密钥，输出写入配置的 SHA-256',
  },
  'keys.type': { en: 'Type the key and press Enter.', zh: '请输入密钥后按回车。' },
  'keys.malformed': {
    en: 'A key is one or more visible ASCII characters, without spaces.',
    zh: '密钥由一个或多个可见 ASCII 字符组成，不含空格。',
  },
  'get.about': { en: 'list what a running Banyan has', zh: '列出运行中的 Banyan 的各部分' },
  'get.regions': { en: 'regions and how they see one another', zh: '各区域及其相互所见的状态' },
  'get.nodes': { en: 'nodes', zh: '节点' },
  'get.targets': { en: 'targets and their health', zh: '后端及其健康状况' },
  'get.models': { en: 'models and where they run', zh: '模型及其所在' },
  'get.region': { en: 'this region only', zh: '只看此区域' },
  'route.about': { en: 'ask about routing', zh: '查询路由' },
  'route.explain': {
    en: 'where a request would go now, and why',
    zh: '此刻一个请求会去哪里，为什么',
  },
  'route.model': { en: 'the model', zh: '模型' },
  'route.key': {
    en: 'the name of the API key that asks: where it may be served counts',
    zh: '发出请求的密钥名称：计入其可在何处服务',
  },
  'route.region': { en: 'the region that is asked', zh: '收到请求的区域' },
  'route.chosen': {
    en: 'A request for {model} in {region} goes to {chosen} ({algorithm}).',
    zh: '{region} 收到的 {model} 请求会去往 {chosen}（{algorithm}）。',
  },
  'route.none': {
    en: 'A request for {model} in {region} has nowhere to go ({algorithm}).',
    zh: '{region} 收到的 {model} 请求无处可去（{algorithm}）。',
  },
  'head.region': { en: 'REGION', zh: '区域' },
  'head.state': { en: 'STATE', zh: '状态' },
  'head.api': { en: 'API', zh: '接口' },
  'head.inFlight': { en: 'IN FLIGHT', zh: '进行中' },
  'head.targets': { en: 'TARGETS', zh: '后端' },
  'head.seenBy': { en: 'SEEN BY', zh: '各方所见' },
  'head.node': { en: 'NODE', zh: '节点' },
  'head.version': { en: 'VERSION', zh: '版本' },
  'head.pid': { en: 'PID', zh: '进程' },
  'head.uptime': { en: 'UPTIME', zh: '运行时间' },
  'head.config': { en: 'CONFIG', zh: '配置' },
  'head.target': { en: 'TARGET', zh: '后端' },
  'head.kind': { en: 'KIND', zh: '类型' },
  'head.origin': { en: 'ADDRESS', zh: '地址' },
  'head.models': { en: 'MODELS', zh: '模型' },
  'head.model': { en: 'MODEL', zh: '模型' },
  'head.algorithm': { en: 'ALGORITHM', zh: '算法' },
  'head.nodes': { en: 'NODES', zh: '节点' },
  'head.fallbacks': { en: 'FALLBACKS', zh: '备用模型' },
  'head.reason': { en: 'REASON', zh: '原因' },
  'head.rank': { en: 'RANK', zh: '次序' },
  'head.place': { en: 'PLACE', zh: '去处' },
  'head.score': { en: 'SCORE', zh: '得分' },
  'head.weight': { en: 'WEIGHT', zh: '权重' },
  'certs.about': {
    en: 'make and show the certificates of peer links',
    zh: '生成和查看区域间链路的证书',
  },
  'certs.init': {
    en: 'make a CA and a certificate for each node',
    zh: '生成 CA 以及每个节点的证书',
  },
  'certs.add': {
    en: 'make certificates for more nodes with the CA of the folder',
    zh: '用目录中的 CA 为更多节点生成证书',
  },
  'certs.admin': {
    en: 'make certificates for admin listeners and for operators, with the CA that is there',
    zh: '用已有的 CA 为管理监听与运维人员签发证书',
  },
  'certs.operator': {
    en: 'an operator, who becomes CN:NAME; may be repeated',
    zh: '运维人员，即 CN:NAME；可重复给出',
  },
  'certs.host': {
    en: 'a name or address under which admin listeners are called; may be repeated',
    zh: '访问管理监听所用的主机名或地址；可重复给出',
  },
  'certs.nobody': {
    en: 'Give --operator NAME or --host HOST ("{host}" is none).',
    zh: '请给出 --operator NAME 或 --host HOST（“{host}” 不是）。',
  },
  'certs.show': { en: 'show and check the certificates of a folder', zh: '查看并检查目录中的证书' },
  'certs.dir': { en: 'the folder of the certificates', zh: '证书所在目录' },
  'certs.cluster': { en: 'the name of the cluster', zh: '集群名称' },
  'certs.region': {
    en: 'a region, or REGION/NODE; may be repeated (node: REGION-1 if not given)',
    zh: '区域，或 区域/节点，可重复给出（默认节点名：区域-1）',
  },
  'certs.further': {
    en: 'a further node of a region (file: REGION_NODE.pem); may be repeated',
    zh: '区域的另一个节点（文件：区域_节点.pem），可重复给出',
  },
  'certs.days': { en: 'life of the certificates of nodes', zh: '节点证书的有效天数' },
  'certs.force': { en: 'replace what is there', zh: '覆盖已有文件' },
  'certs.badName': {
    en: '"{name}" is not a name: lower-case letters, digits and inner hyphens, 63 at most.',
    zh: '“{name}” 不是合法名称：只能用小写字母、数字和中间的连字符，最长 63 个字符。',
  },
  'certs.badDays': {
    en: 'The days must be a whole number from 1 to {max}.',
    zh: '天数必须是 1 到 {max} 的整数。',
  },
  'certs.twice': { en: '"{name}" was given twice.', zh: '“{name}” 给出了两次。' },
  'certs.exists': {
    en: 'Nothing was made: {dir} already holds {files}. --force replaces them.',
    zh: '没有生成任何文件：{dir} 中已有 {files}。用 --force 覆盖。',
  },
  'certs.sameNode': {
    en: 'Nothing was made: {file} in {dir} is of node {name} already; a second one needs another name.',
    zh: '没有生成任何文件：{dir} 中的 {file} 已属于节点 {name}；另一个节点需要另取名称。',
  },
  'certs.noCa': { en: 'There is no CA to sign with: {why}.', zh: '没有可用于签发的 CA：{why}。' },
  'certs.failed': { en: 'It failed: {why}', zh: '失败：{why}' },
  'certs.bad': {
    en: 'Some certificates have problems: {count}.',
    zh: '有 {count} 个证书存在问题。',
  },
  'certs.made': {
    en: 'Keep {key} offline: who has it can join the cluster.',
    zh: '请离线保管 {key}：持有它的人可以加入集群。',
  },
  'head.file': { en: 'FILE', zh: '文件' },
  'head.notAfter': { en: 'VALID UNTIL', zh: '有效期至' },
  'head.daysLeft': { en: 'DAYS', zh: '剩余天数' },
  'head.problems': { en: 'PROBLEMS', zh: '问题' },
} as const satisfies Readonly<Record<string, Readonly<Record<Language, string>>>>;

export type MessageKey = keyof typeof MESSAGES;

/** The sentence of `key` in `language`, with `{name}` replaced by `values.name`. */
export function text(
  language: Language,
  key: MessageKey,
  values: Readonly<Record<string, string | number>> = {},
): string {
  return MESSAGES[key][language].replace(/\{(\w+)\}/g, (whole, name: string) =>
    String(values[name] ?? whole),
  );
}
