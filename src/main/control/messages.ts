/** What the verbs of the control state say. */

export const CONTROL_MESSAGES = {
  'control.dryRun': {
    en: 'say what would be done, and do nothing',
    zh: '只说明会做什么，不执行',
  },
  'control.why': { en: 'the reason, for the audit log', zh: '原因，记入审计日志' },
  'control.would': { en: 'Would be done: {what}', zh: '将会执行：{what}' },
  'keys.create': {
    en: 'make a key that works in all regions; the secret is shown once',
    zh: '创建在所有区域生效的密钥；明文只显示一次',
  },
  'keys.revoke': {
    en: 'end a key of the control state, in all regions',
    zh: '在所有区域吊销控制面状态中的密钥',
  },
  'keys.rotate': {
    en: 'give a key a new secret; the old one goes on for the time of grace',
    zh: '为密钥换新明文；宽限期内旧明文仍可用',
  },
  'keys.list': {
    en: 'keys of the control state, without secrets',
    zh: '控制面状态中的密钥（不含明文）',
  },
  'keys.name': { en: 'the name of the key', zh: '密钥名称' },
  'keys.models': {
    en: 'a model that it may use, or a prefix and *; may be repeated (all if not given)',
    zh: '可用的模型，或 前缀*，可重复给出（不给则全部）',
  },
  'keys.requests': { en: 'requests a minute', zh: '每分钟请求数' },
  'keys.tokens': { en: 'tokens a minute, in and out', zh: '每分钟 token 数（输入与输出）' },
  'keys.inFlight': { en: 'requests under way', zh: '在途请求数' },
  'keys.priority': { en: 'its class under load', zh: '过载时的级别' },
  'keys.residency': {
    en: 'labels of the regions that may serve it, with commas (any if not given)',
    zh: '可为其服务的区域的数据驻留标签，用逗号分隔（不给则任何区域）',
  },
  'keys.set': {
    en: 'say where a key may be served, in place of what was said before',
    zh: '重新声明密钥可在何处服务',
  },
  'keys.residencyOrNone': {
    en: 'labels of the regions that may serve it, with commas; none: any may',
    zh: '可为其服务的区域的数据驻留标签，用逗号分隔；none 表示任何区域',
  },
  'keys.bound': { en: '{name}: residency {residency}.', zh: '{name}：驻留 {residency}。' },
  'keys.allot': {
    en: 'divide the requests and tokens per minute of a key between regions',
    zh: '在区域之间划分密钥每分钟的请求数与 token 数',
  },
  'keys.shares': {
    en: 'REGION=PERCENT, or REGION/NODE=PERCENT; 100 together at most; the rest have none',
    zh: '区域=百分比，或 区域/节点=百分比；合计不超过 100；未列出者没有份额',
  },
  'keys.clear': {
    en: 'no longer divide: each region uses the whole',
    zh: '不再划分：每个区域各用全额',
  },
  'keys.allotForce': {
    en: 'larger shares count at once, also where a region has not taken its smaller one',
    zh: '增加的份额立即生效，即使仍有区域未采用减少后的份额',
  },
  'keys.badShares': {
    en: 'Give shares, like eu=60 us=40, or --clear.',
    zh: '请给出份额（如 eu=60 us=40）或 --clear。',
  },
  'keys.badShare': {
    en: '"{text}" is no share: write REGION=PERCENT, like eu=60.',
    zh: '“{text}” 不是份额：请写成 区域=百分比，如 eu=60。',
  },
  'keys.whole': { en: 'each region the whole', zh: '每个区域各用全额' },
  'keys.nobody': { en: 'nobody', zh: '无' },
  'keys.waits': {
    en: 'Larger shares count once these have taken their smaller ones: {waits}.',
    zh: '待以下区域采用减少后的份额，增加的份额才生效：{waits}。',
  },
  'keys.waiting': { en: 'waits for {waits}', zh: '等待 {waits}' },
  'head.shares': { en: 'SHARES', zh: '份额' },
  'keys.grace': {
    en: 'how long the old secret goes on: 30m, 1h, 7d, 0',
    zh: '旧明文的宽限期：30m、1h、7d、0',
  },
  'keys.badGrace': {
    en: '"{text}" is no time: write 0, or a number and s, m, h or d.',
    zh: '“{text}” 不是时间：请写 0，或数字加 s、m、h、d。',
  },
  'keys.badNumber': {
    en: '"{text}" is not a whole number above 0.',
    zh: '“{text}” 不是大于 0 的整数。',
  },
  'keys.secret': {
    en: '{name}: {secret}\nKeep it now: it is not shown again, and only its hash is kept.',
    zh: '{name}：{secret}\n请立即保存：不会再次显示，系统只保存其哈希。',
  },
  'keys.revoked': { en: '{name}: revoked', zh: '{name}：已吊销' },
  'adminKeys.about': {
    en: 'keys of operators, for the admin API',
    zh: '运维人员调用管理接口所用的密钥',
  },
  'adminKeys.create': {
    en: 'make a key that counts at the admin API of every region; the secret is shown once',
    zh: '创建在所有区域的管理接口生效的密钥；明文只显示一次',
  },
  'adminKeys.role': {
    en: 'what it may do: viewer reads, operator changes keys and moves work, admin everything',
    zh: '权限：viewer 只读，operator 可改密钥、移交工作，admin 可做一切',
  },
  'adminKeys.revoke': {
    en: 'end a key of an operator, in all regions',
    zh: '在所有区域吊销运维人员的密钥',
  },
  'get.adminKeys': {
    en: 'keys of operators, of the control state',
    zh: '控制面状态中运维人员的密钥',
  },
  'client.envKey': { en: 'the admin key', zh: '管理密钥' },
  'client.envKeyFile': {
    en: 'a file that holds the admin key; goes before BANYAN_ADMIN_KEY',
    zh: '存有管理密钥的文件；优先于 BANYAN_ADMIN_KEY',
  },
  'client.envCa': {
    en: 'PEM file: the CA of an https server',
    zh: 'PEM 文件：https 服务器的 CA',
  },
  'client.envCert': {
    en: 'PEM file: your client certificate',
    zh: 'PEM 文件：你的客户端证书',
  },
  'client.envCertKey': { en: 'PEM file: its private key', zh: 'PEM 文件：其私钥' },
  'client.environment': {
    en: 'Environment, for admin APIs that ask who is there:\n{table}',
    zh: '环境变量，用于需要身份的管理接口：\n{table}',
  },
  'client.badKey': {
    en: 'The admin key is empty or holds characters that no HTTP client can send.',
    zh: '管理密钥为空，或含有 HTTP 客户端无法发送的字符。',
  },
  'client.halfCertificate': {
    en: 'BANYAN_ADMIN_CERT and BANYAN_ADMIN_CERT_KEY belong together; one is missing.',
    zh: 'BANYAN_ADMIN_CERT 与 BANYAN_ADMIN_CERT_KEY 须同时给出，缺了一个。',
  },
  'client.unreadable': { en: '{file} cannot be read: {why}', zh: '无法读取 {file}：{why}' },
  'client.unencrypted': {
    en: 'The admin key is not sent to {server}: without https others could read it.',
    zh: '未向 {server} 发送管理密钥：没有 https，他人可以读到。',
  },
  'client.notKnown': {
    en: '{message} Set BANYAN_ADMIN_KEY, or give --admin-key-file FILE.',
    zh: '{message} 请设置 BANYAN_ADMIN_KEY，或给出 --admin-key-file FILE。',
  },
  'client.roleTooLow': {
    en: '{message} Use another key; "banyan admin-keys create" makes one with that role.',
    zh: '{message} 请换用其他密钥；“banyan admin-keys create” 可创建具有该权限的密钥。',
  },
  'get.members': { en: 'members of the control group', zh: '控制组的成员' },
  'get.leader': { en: 'who leads the control group', zh: '控制组的领导者' },
  'get.keys': { en: 'keys of the control state', zh: '控制面状态中的密钥' },
  'get.audit': { en: 'the newest changes of the control state', zh: '控制面状态最近的变更' },
  'get.leases': { en: 'who holds which lease', zh: '各租约的持有者' },
  'get.after': { en: 'rows whose names come after this one', zh: '只列出名称在此之后的行' },
  'get.limit': { en: 'rows at most, up to {most}', zh: '最多行数，上限 {most}' },
  'get.more': { en: 'There are more: --after {next}', zh: '还有更多：--after {next}' },
  'get.claims': { en: 'whose work is claimed, and what it came to', zh: '已认领的工作及其结果' },
  'lease.about': { en: 'leases over all regions', zh: '跨区域租约' },
  'lease.free': {
    en: 'free a lease, whoever holds it; its number is refused once a newer one was seen',
    zh: '强制释放租约；出现更新的编号后，旧编号即被拒绝',
  },
  'lease.name': { en: 'the lease ("get leases" shows it)', zh: '租约名（见 “get leases”）' },
  'lease.wasFree': { en: 'Nobody held it.', zh: '无人持有。' },
  'get.noLeader': { en: 'No leader is known.', zh: '没有已知的领导者。' },
  'member.about': {
    en: 'say where nodes are, and change the members of the control group',
    zh: '声明节点地址，变更控制组的成员',
  },
  'member.add': {
    en: 'say where a new node is: all others link to it from then on; start it after that',
    zh: '声明新节点的地址：此后其他节点都会与它建立链路；随后启动该节点',
  },
  'member.peer': {
    en: 'the region, for its first node, or REGION/NODE for a further one',
    zh: '区域名（该区域的首个节点），或 REGION/NODE（其余节点）',
  },
  'member.address': { en: 'of its peer listener', zh: '其对端监听地址' },
  'member.forceAdd': {
    en: 'even where it is known with another address, or its region or the first node there is not',
    zh: '即使已登记为其他地址，或其区域、该区域首节点的名称未知',
  },
  'member.remove': {
    en: 'take a member out, or the address of a node',
    zh: '移除成员，或节点的地址',
  },
  'member.idOrPeer': {
    en: 'the number of the member ("get members" shows it), or the name of a node that is none',
    zh: '成员编号（见 “get members”），或尚未成为成员的节点名',
  },
  'member.replace': {
    en: 'in one step with the loss of the vote of the node that votes for its region',
    zh: '同时取消该区域原投票节点的投票权',
  },
  'member.promote': { en: 'let a learner vote', zh: '让学习者获得投票权' },
  'member.demote': { en: 'take the vote from a member', zh: '取消成员的投票权' },
  'member.id': {
    en: 'the number of the member ("get members" shows it)',
    zh: '成员编号（见 “get members”）',
  },
  'member.force': {
    en: 'even where the group would be left without a quorum of nodes that are heard',
    zh: '即使剩余可达节点不足多数也执行',
  },
  'leader.about': {
    en: 'hand leadership of the control group to a region',
    zh: '把控制组的领导权交给某区域',
  },
  'leader.region': { en: 'the region', zh: '区域' },
  'control.mayBeDone': {
    en:
      'No answer from {server}: {why}. The change may have been made, or may yet be: look with ' +
      '"banyan get audit" before you try again. A key whose secret did not arrive: rotate it.',
    zh:
      '{server} 没有响应：{why}。变更可能已经生效，也可能稍后生效：重试之前请用 “banyan get audit” 查看。' +
      '若密钥的明文没有收到，请再轮换一次。',
  },
  'control.done': { en: 'Done.', zh: '已完成。' },
  'head.address': { en: 'ADDRESS', zh: '地址' },
  'head.name': { en: 'NAME', zh: '名称' },
  'head.id': { en: 'ID', zh: '编号' },
  'head.role': { en: 'ROLE', zh: '角色' },
  'head.adminRole': { en: 'ROLE', zh: '权限' },
  'head.heard': { en: 'HEARD', zh: '可达' },
  'head.match': { en: 'LOG', zh: '日志' },
  'head.hash': { en: 'SHA-256', zh: 'SHA-256' },
  'head.requestsPerMinute': { en: 'REQ/MIN', zh: '请求/分' },
  'head.tokensPerMinute': { en: 'TOK/MIN', zh: 'TOKEN/分' },
  'head.priority': { en: 'CLASS', zh: '级别' },
  'head.created': { en: 'CREATED', zh: '创建于' },
  'head.until': { en: 'OLD UNTIL', zh: '旧明文至' },
  'head.revision': { en: 'REVISION', zh: '版本' },
  'head.who': { en: 'WHO', zh: '操作者' },
  'head.from': { en: 'FROM', zh: '来源' },
  'head.what': { en: 'WHAT', zh: '操作' },
  'head.holder': { en: 'HOLDER', zh: '持有者' },
  'head.fence': { en: 'FENCE', zh: '编号' },
  'head.ttl': { en: 'TTL MS', zh: '期限毫秒' },
  'head.free': { en: 'FREE', zh: '空闲' },
  'head.key': { en: 'KEY', zh: '键' },
  'head.owner': { en: 'OWNER', zh: '所有者' },
  'head.about': { en: 'ABOUT', zh: '内容' },
  'head.result': { en: 'RESULT', zh: '结果' },
  'head.why': { en: 'WHY', zh: '原因' },
} as const;
