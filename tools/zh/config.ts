/**
 * Chinese texts of `docs/reference/zh/configuration.md`, by the English ones of the schema. A test
 * fails where one is missing or stands for nothing.
 */

import type { ConfigWords } from '../../src/main/config/reference.ts';

export const CONFIG_ZH: Readonly<Record<string, string>> = {
  'the failure domain that this node is in': '节点所在的故障域',
  'processes that serve the public API, on Linux; auto: one a core, 8 at most':
    '承接公开 API 的进程数（Linux）；auto：每核一个，最多 8 个',
  'its name in the region; absent: the region and -1': '节点在区域内的名字；不写：区域名加 -1',
  'the first node of its region, or one of the further ones beside it, with a node':
    '区域的第一个节点（first），或与它并列的其他节点之一（further，须写 node）',
  'relative to the configuration file': '相对于配置文件',
  'the public API': '公共接口',
  'health, metrics and the admin API; elsewhere than on the loopback it needs admin; "off": none':
    '健康、指标与管理接口；若监听非本机地址，须配置 admin；"off"：不开',
  'who may call the admin API; without keys and clients: whoever is on this machine':
    '谁可以调用管理接口；没有 keys 与 clients 时：本机上的任何人',
  'keys of operators (Authorization: Bearer)': '运维人员的密钥（Authorization: Bearer）',
  'for people: the audit log speaks of it': '给人看：审计日志用它',
  'viewer reads; operator changes keys and moves work; admin does everything':
    'viewer 只读；operator 可改密钥、移交工作；admin 可做一切',
  'serve the admin API over TLS': '管理接口走 TLS',
  'PEM file: the CA that signs certificates of operators; needs tls':
    'PEM 文件：签发运维人员证书的 CA；需要 tls',
  'operators by the certificate that they show': '按出示的证书识别的运维人员',
  'a name of the certificate: CN:alice, URI:spiffe://corp/ops, DNS:…, email:…':
    '证书中的一个名称：CN:alice、URI:spiffe://corp/ops、DNS:…、email:…',
  'serve the public API over TLS': '公共接口走 TLS',
  'PEM file: the certificate, then its intermediates': 'PEM 文件：证书，其后为中间证书',
  'PEM file: the private key': 'PEM 文件：私钥',
  'the other nodes; absent: this one stands alone': '其他节点；不写：单独运行',
  'the same in all regions; others are refused': '所有区域相同；不同者被拒绝',
  'where the other regions connect': '其他区域连接的地址',
  'PEM file: the CA that signed all nodes; "banyan certs init" makes it':
    'PEM 文件：为所有节点签名的 CA；由 “banyan certs init” 生成',
  "PEM file: this node's certificate": 'PEM 文件：本节点的证书',
  "PEM file: this node's private key": 'PEM 文件：本节点的私钥',
  'HOST:PORT of its peer listener': '其对端监听的 HOST:PORT',
  'artificial round trip of the link, for demos and tests': '链路的人为往返时延，供演示与测试',
  'all other nodes: the first ones, and each further one with its node':
    '其余所有节点：各区域的第一个节点，以及写明 node 的其他节点',
  "a further node of that region, by its own file's node; absent: the first one":
    '该区域的另一个节点，按它自己文件中的 node；不写：第一个节点',
  'regions with a higher one lead while they are well; 0 leads last':
    '值高的区域正常时优先领导；0 最后',
  'votes and keeps the log, leads only in order to hand over: for a third place':
    '只投票并保存日志，仅为移交而领导：用于第三地点',
  'a claim stands so long at least, and twice as long at most': '认领至少保持此时长，至多两倍',
  'requests with Idempotency-Key run once in all regions together':
    '带 Idempotency-Key 的请求在所有区域合计只执行一次',
  'leases, claims and unique names over all regions; absent: none':
    '跨区域的租约、认领与唯一名称；不写：不启用',
  'what keeps it: a group of the regions themselves, or an etcd cluster':
    '由谁保存：各区域自己的组，或 etcd 集群',
  'of the etcd cluster, e.g. https://etcd-1:2379, the nearest first':
    'etcd 集群的地址，例如 https://etcd-1:2379，最近的写在最前',
  'all keys in etcd begin so; one for each Banyan cluster; absent: banyan':
    'etcd 中所有键的前缀；每个 Banyan 集群一个；不写则为 banyan',
  "PEM file: this node's certificate for etcd": 'PEM 文件：本节点访问 etcd 的证书',
  'PEM file: its private key': 'PEM 文件：其私钥',
  'of https endpoints of etcd': '用于 etcd 的 https 地址',
  'of etcd, where it wants one': 'etcd 要求登录时的用户名',
  'of that user, only as ${NAME} from the environment': '该用户的密码，只能写成环境变量 ${NAME}',
  'between heartbeats; about the longest round trip': '心跳间隔；约为最长往返时延',
  'without a leader for so long, or up to twice as long, another region stands':
    '这么久（至多两倍）没有领导者，其他区域便参选',
  'configuration, keys and members agreed on by all regions; absent: this file alone counts':
    '各区域共同认定的配置、密钥与成员；不写：只以本文件为准',
  'API keys of clients': '客户端的 API 密钥',
  'for people: logs, metrics and limits speak of it': '给人看：日志、指标与限额都用它',
  'SHA-256 of the key; give this or key': '密钥的 SHA-256；与 key 二选一',
  'the key itself, only as ${NAME} from the environment': '密钥本身，只能是环境变量 ${NAME}',
  'models that it may use; "*" all, "prefix*" all that begin so':
    '可用的模型；"*" 全部，"前缀*" 以此开头的全部',
  'absent: no limit': '不写：不限',
  'in and out; absent: no limit': '输入与输出合计；不写：不限',
  'requests under way; past it they get 429; absent: no limit':
    '在途请求数；超过返回 429；不写：不限',
  'under load lower classes are refused first; x-banyan-priority may lower it':
    '负载过高时先拒绝低级别；x-banyan-priority 可以调低',
  'labels of the regions that may serve it (banyan region set); absent: all may':
    '可为其服务的区域的数据驻留标签（banyan region set）；不写：任何区域',
  'OpenAI and all compatible servers': 'OpenAI 及一切兼容的服务',
  'up to what stands before the operation, e.g. https://host/v1':
    '到操作名之前为止，如 https://host/v1',
  'only as ${NAME} from the environment': '只能是环境变量 ${NAME}',
  'fixed header fields of every call': '每次调用都带的请求头',
  'options of the provider, e.g. maxTokensField': '供应商的选项，如 maxTokensField',
  'of an https address with a private certificate': '用于私有证书的 https 地址',
  'of the collector; /v1/traces is added; e.g. http://127.0.0.1:4318':
    'collector 的地址；自动加上 /v1/traces；如 http://127.0.0.1:4318',
  'fixed header fields of every call; credentials only as ${NAME}':
    '每次调用都带的请求头；凭据只能写成 ${NAME}',
  'share of the traces that begin here; of a client that sent one its flag decides':
    '在此开始的 trace 的采样比例；客户端自带 trace 时以其标志为准',
  'service.name of all spans': '所有 span 的 service.name',
  'spans of requests, sent to a collector; absent: none': '请求的 span，发往 collector；不写：没有',
  "PEM file: trust these authorities instead of the system's":
    'PEM 文件：以此代替系统信任的证书颁发机构',
  'checked in the certificate; absent: the host': '与证书核对的名称；不写：主机名',
  'answers 2xx when healthy; absent: no active probes': '健康时返回 2xx；不写：不主动探测',
  'Anthropic and compatible': 'Anthropic 及兼容者',
  'llama.cpp, in a child process of this node': 'llama.cpp，运行在本节点的子进程中',
  'a GGUF file, relative to the configuration file': 'GGUF 文件，相对于配置文件',
  'loopback port of the child; 0: a free one': '子进程的本机端口；0：任取空闲端口',
  'answers at the same time': '同时进行的回答数',
  "of each; absent: the model's own": '每个回答的上下文；不写：模型自身的',
  'pace of each answer, so that a demo can be watched; absent: full speed':
    '每个回答的速度，便于演示观看；不写：全速',
  'what clients ask for': '客户端请求的名称',
  'where it runs in this region; empty: only in other regions':
    '在本区域的哪里运行；空：只在其他区域',
  "the model's name at the target; absent: the same": '模型在后端的名称；不写：相同',
  '0 takes no new work': '0：不接新请求',
  'the lowest tier with a healthy target serves': '由有健康后端的最低一层服务',
  'models to try, in order, when this one cannot be served': '本模型无法服务时依次尝试的模型',
  "from the request's last byte to the first content": '从请求的最后一个字节到首个内容',
  'between pieces of a stream': '流的两段之间',
  'all attempts together': '全部尝试合计',
  'for one request, the first included': '单个请求，含首次',
  'a second attempt that races a slow first token; absent: none':
    '首 token 过慢时的第二次并行尝试；不写：没有',
  'the second attempt starts so long after the first; with afterPercentile: not before':
    '首次之后多久开始第二次；与 afterPercentile 并用时：不早于此',
  "… once the first is slower than this percentile of its target's first tokens":
    '首次慢于该后端首 token 的这一百分位时开始',
  'of streamed requests that may have a second attempt': '可以有第二次尝试的流式请求占比',
  'what may go on with an answer whose target dies in the middle of it':
    '后端中途宕机时，由谁接着写',
  "of the usual rate of the target's streams; 0: stalls are not watched for":
    '相对于该后端流的通常速度；0：不监测停滞',
  'for so long; then the answer goes on elsewhere, if it can':
    '持续这么久之后，若有可能则在别处接着写',
  "of a model's targets that may be ejected at once": '一个模型可同时摘除的后端占比',
  'with fewer healthy targets than this all are used': '健康后端少于此比例时全部启用',
  'Unix seconds that GET /v1/models shows': 'GET /v1/models 显示的 Unix 秒',
  'requests under way in this node; past it they are shed, lower classes before':
    '节点的在途请求数；超过则拒绝，低级别先拒绝',
  'bodies of requests under way together; past it they are shed the same way':
    '在途请求体的总和；超过则同样拒绝',
  'lag of the event loop that may stand; past it requests are shed by class':
    '容许的事件循环延迟；超过则按级别拒绝',
  'a stop lets running requests finish within this': '停止时容许在途请求在此时间内完成',
  'of live requests that may be retries; past it failures are passed on':
    '重试占在途请求的比例；超过则把失败传给客户端',
  'lets POST /admin/v1/faults break things': '允许 POST /admin/v1/faults 制造故障',
};

/** The page's words. A description without a Chinese text stays English; the test names it. */
export const CONFIG_WORDS_ZH: ConfigWords = {
  head: [
    '# 配置',
    '',
    '由 `node tools/generate.ts` 从 `src/main/config/schema.ts` 生成，请勿手工修改。',
    '',
    '`banyan serve --config banyan.yaml`。`banyan config check 文件` 列出每处问题的行与列；',
    '`banyan config show 文件` 显示文件的完整含义，填入默认值，隐去密钥。编辑器可用 `../config.schema.json` 检查与补全。',
    '',
    '- 未知的键是错误，并指出最接近的已知键。',
    '- 文本中的 `${NAME}` 与 `${NAME:-默认值}` 由环境变量替换；`$${` 表示普通的 `${`。',
    '- 机密（`key`、`apiKey`、带凭据的请求头）必须来自环境变量。',
    '- 路径相对于配置文件所在的目录。',
    '- 文件改动或收到 SIGHUP 时，要么整体生效，要么整体拒绝，原因见日志与 `GET /admin/v1/status`。在途请求沿用开始时的配置。',
    '  `region`、`node`、`dataDir`、`listen`、`admin.tls`、`admin.clientCa`、`peers` 与 `demo` 需要重启。',
  ],
  columns: '| 键 | 取值 | 默认 | 含义 |',
  required: '必需',
  about: (description) => CONFIG_ZH[description] ?? description,
  kinds: {
    or: ' 或 ',
    list: '列表',
    listOf: (kind) => `${kind}的列表`,
    mapping: '映射',
    nothing: '无',
    flag: '`true` 或 `false`',
    text: '文本',
    whole: '整数',
    number: '数字',
    between: (word, least, most) => `${word}，${least} 至 ${most}`,
    atLeast: (word, least) => `${word}，至少 ${least}`,
  },
};
