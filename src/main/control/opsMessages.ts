/** What the verbs say that look after the control group: status, backup, recover. */

export const OPS_MESSAGES = {
  'place.config': {
    en: "the node's configuration file: it says where its data is",
    zh: '节点的配置文件：由它得知数据所在',
  },
  'place.dataDir': { en: "the node's data folder", zh: '节点的数据目录' },
  'place.keptByEtcd': {
    en: 'An etcd cluster keeps the control state of this node: use "etcdctl snapshot save" and "restore".',
    zh: '该节点的控制面状态由 etcd 集群保存：请用 “etcdctl snapshot save” 与 “restore”。',
  },
  'place.none': {
    en: "Say which node: --config FILE, or --data-dir FOLDER (the node's dataDir).",
    zh: '请指明节点：--config FILE，或 --data-dir FOLDER（节点的 dataDir）。',
  },
  'place.badConfig': {
    en: '{file} is not good; --data-dir does without it.',
    zh: '{file} 有误；也可改用 --data-dir。',
  },
  'place.badRegion': { en: '"{region}" is no name of a region.', zh: '“{region}” 不是区域名。' },
  'place.badCluster': {
    en: '"{cluster}" is no name of a cluster: lower-case letters, digits and inner hyphens, 63 at most.',
    zh: '“{cluster}” 不是集群名：只能有小写字母、数字和中间的连字符，最多 63 个。',
  },
  'backup.about': {
    en: 'the control state as a file: make, check and restore it',
    zh: '把控制面状态存为文件：创建、校验、恢复',
  },
  'backup.verify': { en: 'check a backup and say what it holds', zh: '校验备份并说明其内容' },
  'backup.restore': {
    en: 'make a new cluster from a backup, in the data folder of a node that does not run',
    zh: '在未运行节点的数据目录中，由备份建立新集群',
  },
  'backup.file': { en: 'the backup', zh: '备份文件' },
  'backup.region': {
    en: 'the region of the node, or REGION/NODE of a further one; --config knows it',
    zh: '节点所在区域，其余节点写 REGION/NODE；--config 中已有',
  },
  'backup.cluster': {
    en: 'begins the name of the new cluster (default: as before)',
    zh: '新集群名称的开头（默认与原来相同）',
  },
  'backup.whichRegion': {
    en: 'Say which region the node is in: --region NAME, or --config FILE.',
    zh: '请指明节点所在区域：--region NAME，或 --config FILE。',
  },
  'backup.of': {
    en: [
      'cluster {cluster}, revision {revision}, {keys} keys, {bytes} bytes,',
      'made {made} by {product} ({engine})',
    ].join('\n'),
    zh: [
      '集群 {cluster}，版本 {revision}，键 {keys} 个，{bytes} 字节，',
      '由 {product}（{engine}）创建于 {made}',
    ].join('\n'),
  },
  'backup.unconfirmed': {
    en: 'No quorum confirmed it: changes that other regions had may be missing.',
    zh: '创建时没有多数派确认：可能缺少其他区域已有的变更。',
  },
  'backup.restored': {
    en: 'Restored into {folder}: cluster {cluster}, revision {revision}, {keys} keys.',
    zh: '已恢复到 {folder}：集群 {cluster}，版本 {revision}，键 {keys} 个。',
  },
  'backup.wouldRestore': {
    en: 'Would be restored into {folder}: cluster {cluster}, revision {revision}, {keys} keys.',
    zh: '将恢复到 {folder}：集群 {cluster}，版本 {revision}，键 {keys} 个。',
  },
  'backup.nextSteps': {
    en: 'Start this node first; other regions join by themselves once their "control" folders are empty.',
    zh: '请先启动此节点；其他区域的 “control” 目录清空后会自行加入。',
  },
  'recover.about': {
    en: 'when a majority of the control group is gone for good: go on from one node that does not run',
    zh: '控制组多数成员永久丢失时：由一个未运行的节点继续',
  },
  'recover.force': {
    en: 'make this node the only voter of a new cluster',
    zh: '让此节点成为新集群唯一的投票者',
  },
  'recover.rejoin': {
    en: "put this node's log aside, so that it joins the others under a new number",
    zh: '把此节点的日志移开，使其以新编号加入其他节点',
  },
  'recover.oneOfTwo': { en: 'Either --force or --rejoin.', zh: '--force 与 --rejoin 只能选一个。' },
  'recover.here': {
    en: '{region}: member {id} of cluster {cluster}',
    zh: '{region}：集群 {cluster} 的成员 {id}',
  },
  'recover.voters': { en: 'voters: {voters}', zh: '投票者：{voters}' },
  'recover.log': {
    en: 'its log ends at entry {lastIndex} of term {term}, written {written}',
    zh: '日志止于任期 {term} 的第 {lastIndex} 条，写于 {written}',
  },
  'recover.uncertain': {
    en: 'entries {commit} to the end ({count}) are not known to be agreed on; they will count as done',
    zh: '第 {commit} 条之后的 {count} 条未确认达成一致；将视为已完成',
  },
  'recover.loss': {
    en: 'LOST: what {regions} agreed on behind entry {lastIndex} without this node, even if answered as done',
    zh: '将丢失：{regions} 在第 {lastIndex} 条之后未经此节点达成的一切，即使已答复成功',
  },
  'recover.would': {
    en: 'would go on as cluster {cluster} at revision {revision}, this node its only voter',
    zh: '将作为集群 {cluster}、版本 {revision} 继续，此节点为唯一投票者',
  },
  'recover.done': {
    en: 'goes on as cluster {cluster} at revision {revision}, this node its only voter',
    zh: '已作为集群 {cluster}、版本 {revision} 继续，此节点为唯一投票者',
  },
  'recover.kept': { en: 'the old log is kept in {aside}', zh: '旧日志保留在 {aside}' },
  'recover.next': {
    en: [
      'First look at every node that is left with --dry-run: take the one whose log ends with the highest',
      'term, then the highest entry. Members of the old cluster are refused by the new one; "banyan recover',
      '--rejoin" on the folder of one lets it join.',
    ].join('\n'),
    zh: [
      '请先在每个幸存节点上执行 --dry-run，选择日志末尾任期最高、其次条目最大的节点。',
      '旧集群的成员会被新集群拒绝；在其目录上执行 “banyan recover --rejoin” 后即可加入。',
    ].join('\n'),
  },
  'recover.notWithout': {
    en: 'Nothing was done: --force does it, --dry-run only says it.',
    zh: '未做任何更改：--force 执行，--dry-run 只说明。',
  },
  'recover.rejoined': {
    en: 'The log of cluster {cluster} is kept in {aside}; this node joins anew.',
    zh: '集群 {cluster} 的日志保留在 {aside}；此节点将重新加入。',
  },
  'recover.wouldRejoin': {
    en: 'The log of cluster {cluster} would be kept in {aside}, and this node join anew.',
    zh: '集群 {cluster} 的日志将保留在 {aside}，此节点将重新加入。',
  },
  'recover.startIt': { en: 'Start the node.', zh: '请启动节点。' },
  'witness.about': {
    en: 'run a witness: it votes and keeps the log for two regions, and serves nothing',
    zh: '运行见证者：为两个区域投票并保存日志，不提供服务',
  },
  'witness.config': {
    en: 'its file: region, listen.admin, peers, control',
    zh: '其配置文件：region、listen.admin、peers、control',
  },
  'witness.needs': {
    en: 'A witness needs "peers" and "control" in its file.',
    zh: '见证者的文件中需要 “peers” 和 “control”。',
  },
  'witness.etcd': {
    en: 'With etcd there is no witness of ours: give etcd a third member.',
    zh: '使用 etcd 时没有我们的见证者：请为 etcd 增加第三个成员。',
  },
  'status.about': {
    en: 'one screen: can we lose any region now?',
    zh: '一屏看清：现在失去任一区域是否仍可变更？',
  },
  'status.safe': {
    en: 'YES: any one region may be lost now; changes and requests go on.',
    zh: '可以：现在失去任一区域，变更与请求都不受影响。',
  },
  'status.at-risk': {
    en: 'NO: changes go on, but would stop without: {regions}. Requests are served either way.',
    zh: '不可以：目前可变更，但失去以下区域即停止：{regions}。请求始终照常服务。',
  },
  'status.no-quorum': {
    en: 'NO: nothing can be changed now. Requests are served by what each node has.',
    zh: '不可以：现在无法变更。各节点按已有内容继续服务请求。',
  },
  'status.no-group': {
    en: 'NO: this node is in no group.',
    zh: '不可以：此节点不在任何组中。',
  },
  'status.group': {
    en: [
      'cluster {cluster} ({engine}), leader {leader}, term {term},',
      'revision {revision}, feature level {level}',
    ].join(' '),
    zh: '集群 {cluster}（{engine}），领导者 {leader}，任期 {term}，版本 {revision}，特性级别 {level}',
  },
  'status.quorum': {
    en: '{present} of {voters} voters are there and up to date; {needed} are needed',
    zh: '{voters} 个投票者中 {present} 个在线且已追平；需要 {needed} 个',
  },
  'status.asked': { en: 'as {region} knows it', zh: '由 {region} 所知' },
  'status.leader': {
    en: 'as {region} knows it; it last heard of a leader {ago} ago',
    zh: '由 {region} 所知；它上次得知领导者是在 {ago} 前',
  },
  'status.toDo': { en: 'to do: {what}', zh: '处理：{what}' },
  'head.present': { en: 'THERE', zh: '在线' },
  'head.behind': { en: 'BEHIND', zh: '落后' },
  'head.lose': { en: 'MAY BE LOST', zh: '可失去' },
  'finding.noGroup': {
    en: 'This node is in no group: {detail}.',
    zh: '此节点不在任何组中：{detail}。',
  },
  'todo.noGroup': {
    en: [
      'A new cluster is founded once all regions of the files are up;',
      'a new node joins while there is a leader.',
    ].join(' '),
    zh: '配置中的所有区域都启动后才会建立新集群；有领导者时新节点自行加入。',
  },
  'finding.failed': { en: 'This node takes no part: {detail}.', zh: '此节点未参与：{detail}。' },
  'finding.noQuorum': {
    en: 'Too few voters are there. Not there or too far behind: {absent}.',
    zh: '在线的投票者不足。缺席或落后过多：{absent}。',
  },
  'todo.noQuorum': {
    en: 'Bring one of them back. Only if they are gone for good: "banyan recover --force".',
    zh: '让其中之一恢复。仅当它们永久丢失时才用 “banyan recover --force”。',
  },
  'finding.ownKnowledge': {
    en: 'All of this is what one node knows; it last heard of a leader {ago} ago.',
    zh: '以上仅为一个节点所知；它上次得知领导者是在 {ago} 前。',
  },
  'finding.otherCluster': {
    en: '{region} is of cluster {cluster}, this node of {own}: they never mix.',
    zh: '{region} 属于集群 {cluster}，此节点属于 {own}：两者不会混合。',
  },
  'todo.otherCluster': {
    en: 'Stop the one that is to give way and run "banyan recover --rejoin" on its folder.',
    zh: '停止应让位的一方，并在其目录上执行 “banyan recover --rejoin”。',
  },
  'finding.noLeader': {
    en: 'Enough voters are there, but none leads: an election may be under way.',
    zh: '在线的投票者足够，但无人领导：可能正在选举。',
  },
  'todo.noLeader': {
    en: 'Ask again in a few seconds; then look at the links: "banyan get regions".',
    zh: '几秒后再查询；若仍如此，请用 “banyan get regions” 检查链路。',
  },
  'finding.regionNeeded': {
    en: 'Without {region} changes would stop.',
    zh: '失去 {region} 将无法变更。',
  },
  'finding.absent': {
    en: '{region} (member {id}) does not answer.',
    zh: '{region}（成员 {id}）没有响应。',
  },
  'todo.absent': {
    en: 'Start it, or look at its link. Gone for good: "banyan member remove {id}".',
    zh: '启动它，或检查其链路。若永久丢失：“banyan member remove {id}”。',
  },
  'finding.behind': {
    en: '{region} is {entries} entries behind and counts for nothing yet.',
    zh: '{region} 落后 {entries} 条，暂不计入多数。',
  },
  'todo.behind': { en: 'Wait; it catches up by itself.', zh: '请等待，它会自行追平。' },
  'finding.disk': {
    en: '{region}: its disk failed, or its member was removed.',
    zh: '{region}：磁盘故障，或其成员已被移除。',
  },
  'todo.disk': {
    en: 'Look at its log; restart it once the disk is well.',
    zh: '查看其日志；磁盘正常后重启。',
  },
  'finding.standIn': {
    en: '{region}: its voter, member {absent}, is not there; {peer} (member {id}) is, and could vote.',
    zh: '{region}：其投票者（成员 {absent}）不在线；{peer}（成员 {id}）在线，可以代为投票。',
  },
  'todo.standIn': {
    en: 'Nothing: it does after 10 minutes. Sooner: "banyan member promote {id} --replace".',
    zh: '无需处理：10 分钟后自动接替。若要更早：“banyan member promote {id} --replace”。',
  },
  'finding.learner': {
    en: '{region} (member {id}) keeps the log and has no vote.',
    zh: '{region}（成员 {id}）保存日志但无投票权。',
  },
  'todo.learner': {
    en: 'Nothing, or "banyan member promote {id}": three or five regions should vote.',
    zh: '无需处理；或 “banyan member promote {id}”：应有三或五个投票者。',
  },
  'finding.fewVoters': {
    en: 'Only {voters} of the members vote: the loss of one stops changes.',
    zh: '只有 {voters} 个成员投票：失去一个即无法变更。',
  },
  'todo.fewVoters': {
    en: 'Give the group three places: another region, or "banyan witness".',
    zh: '让组有三个地点：再加一个区域，或用 “banyan witness”。',
  },
  'finding.evenVoters': {
    en: '{voters} members vote: no more may be lost than with one voter less.',
    zh: '{voters} 个成员投票：可失去的数量并不比少一个时多。',
  },
  'todo.evenVoters': {
    en: 'Three or five should vote: "banyan member promote" or "demote".',
    zh: '应有三或五个投票者：用 “banyan member promote” 或 “demote”。',
  },
  'finding.changing': { en: 'A change of members is under way.', zh: '成员变更正在进行。' },
  'finding.heldBack': {
    en: [
      'The feature level stays at {level} (this program supports {supports}):',
      '{nodes} supports no more, or has not said so.',
    ].join(' '),
    zh: '特性级别停留在 {level}（本程序支持 {supports}）：{nodes} 不支持更高级别，或尚未说明。',
  },
  'todo.heldBack': {
    en: 'Upgrade it or bring it back; take out whoever is gone for good. Then it rises by itself.',
    zh: '升级它或让其恢复；永久离开的请移除。之后级别会自行提高。',
  },
  'finding.mixedVersions': {
    en: 'The nodes run different programs: {versions}.',
    zh: '各节点运行不同版本：{versions}。',
  },
  'todo.mixedVersions': { en: 'Finish the upgrade.', zh: '请完成升级。' },
  'backup.create': {
    en: 'keep the control state of one revision in a file',
    zh: '把某一版本的控制面状态存入文件',
  },
  'backup.force': { en: 'replace the file', zh: '覆盖已有文件' },
  'backup.exists': {
    en: '{file} is there already; --force replaces it.',
    zh: '{file} 已存在；用 --force 覆盖。',
  },
  'backup.created': { en: 'Written, and whole: {file}', zh: '已写入，内容完整：{file}' },
} as const;
