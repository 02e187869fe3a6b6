/** What the verbs say that look after the control group: backup, recover. */

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
    en: 'the region of the node; --config knows it',
    zh: '节点所在区域；--config 中已有',
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
} as const;
