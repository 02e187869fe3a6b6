/** What the exit codes of every verb mean. One table; the reference page is made from it. */

/** Exit codes. A verb ends with one of these and nothing else, but for signals (128 + n). */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  refused: 5,
  atRisk: 6,
  noQuorum: 7,
  interrupted: 130,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The table for people. */
export const EXIT_MEANINGS: Readonly<
  Record<keyof typeof EXIT, { readonly en: string; readonly zh: string }>
> = {
  ok: { en: 'Done.', zh: '成功。' },
  failed: { en: 'It was tried and failed; the message says why.', zh: '已尝试但失败，见提示。' },
  usage: {
    en: 'The command line or the configuration file is wrong; nothing was tried.',
    zh: '命令行或配置文件有误，未执行任何操作。',
  },
  unreachable: {
    en: 'The server could not be reached or did not answer in time.',
    zh: '无法连接服务器，或服务器没有及时响应。',
  },
  notFound: {
    en: 'The region, target or model that was named does not exist.',
    zh: '指定的区域、后端或模型不存在。',
  },
  refused: {
    en: 'The server refused: not allowed, or not in this state.',
    zh: '服务器拒绝：不允许，或当前状态下不可行。',
  },
  atRisk: {
    en: '"banyan status": changes go on, but not every region may be lost.',
    zh: '“banyan status”：可变更，但并非任一区域都可失去。',
  },
  noQuorum: {
    en: '"banyan status": nothing can be changed now, or the node is in no group.',
    zh: '“banyan status”：现在无法变更，或节点不在任何组中。',
  },
  interrupted: { en: 'Stopped by Ctrl-C.', zh: '被 Ctrl-C 中止。' },
};

/** A failure that a verb reports with its exit code; `message` is for people, in their language. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.exitCode = exitCode;
  }
}
