/** What the verbs of the shared configuration say. */

export const SHARED_CONFIG_MESSAGES = {
  'config.push': {
    en: 'share a configuration with all regions, one after the other',
    zh: '向所有区域发布共享配置，逐区域进行',
  },
  'config.pushFile': {
    en: 'the YAML text, or - for standard input',
    zh: 'YAML 文件，- 表示标准输入',
  },
  'config.diff': {
    en: 'what differs: in force and FILE or VERSION; two of them; else the newest change',
    zh: '比较差异：生效版本与文件或版本；或两者之间；默认最近一次变更',
  },
  'config.diffSide': { en: 'a file, - or the number of a version', zh: '文件、- 或版本号' },
  'config.history': { en: 'versions of the shared configuration', zh: '共享配置的各版本' },
  'config.rollback': {
    en: 'go back to a version, as a new one; without a number end the roll-out under way',
    zh: '回退到某版本（生成新版本）；不给版本号则结束进行中的发布',
  },
  'config.resume': { en: 'let a halted roll-out go on', zh: '让已停止的发布继续' },
  'config.version': { en: 'the number of the version', zh: '版本号' },
  'config.emergency': {
    en: 'all regions at once, without baking; audited',
    zh: '立即在所有区域生效，不观察；记入审计日志',
  },
  'config.expect': {
    en: 'refuse where the newest version is not this one (0: none)',
    zh: '最新版本不是此版本时拒绝（0 表示没有）',
  },
  'config.badVersion': { en: '"{text}" is no number of a version.', zh: '“{text}” 不是版本号。' },
  'config.noFile': { en: '{file} cannot be read: {why}', zh: '无法读取 {file}：{why}' },
  'config.outStaged': {
    en: 'Version {version} goes out, {seconds} s in each region; "banyan get config" shows how far it is.',
    zh: '版本 {version} 开始逐区域发布，每个区域观察 {seconds} 秒；进度见 “banyan get config”。',
  },
  'config.outNow': {
    en: 'Version {version} counts in all regions.',
    zh: '版本 {version} 在所有区域生效。',
  },
  'config.unchecked': {
    en: 'Not checked in {regions}: not reached. What does not work there is not put in force there.',
    zh: '{regions} 无法联系，未检查；在那里无法生效的配置不会生效。',
  },
  'config.same': { en: 'No difference.', zh: '没有差异。' },
  'config.none': { en: 'Nothing was pushed yet.', zh: '尚未发布过配置。' },
  'config.everywhere': {
    en: 'Version {version} counts everywhere.',
    zh: '版本 {version} 在各处生效。',
  },
  'config.onItsWay': {
    en: 'Version {version} is on its way, now in {region} ({seconds} s in each region); elsewhere {base}.',
    zh: '版本 {version} 正在发布，当前在 {region}（每区域 {seconds} 秒）；其余区域为版本 {base}。',
  },
  'config.halted': {
    en: 'Version {version} is HALTED: {why}\n"banyan config rollback" ends it, "… resume" lets it go on.',
    zh: '版本 {version} 的发布已停止：{why}\n“banyan config rollback” 结束，“banyan config resume” 继续。',
  },
  'get.config': {
    en: 'the configuration that all regions share, and how far it is',
    zh: '所有区域的共享配置及其发布进度',
  },
  'get.configVersion': { en: 'print the text of a version', zh: '输出某版本的文本' },
  'get.configRegion': { en: 'print the text that a region gets', zh: '输出某区域得到的文本' },
  'head.assigned': { en: 'MEANT', zh: '应有' },
  'head.applied': { en: 'IN FORCE', zh: '生效' },
  'head.refused': { en: 'REFUSED', zh: '拒绝原因' },
  'head.outcome': { en: 'OUTCOME', zh: '结果' },
  'head.bytes': { en: 'BYTES', zh: '字节' },
  'head.at': { en: 'AT', zh: '时间' },
} as const;
