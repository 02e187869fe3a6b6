/** What the exit codes of every verb mean. One table; the reference page is made from it. */

/** Exit codes. A verb ends with one of these and nothing else, but for signals (128 + n). */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  refused: 5,
  interrupted: 130,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The table for people. */
export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'Done.',
  failed: 'It was tried and failed; the message says why.',
  usage: 'The command line or the configuration file is wrong; nothing was tried.',
  unreachable: 'The server could not be reached or did not answer in time.',
  notFound: 'The region, target or model that was named does not exist.',
  refused: 'The server refused: not allowed, or not in this state.',
  interrupted: 'Stopped by Ctrl-C.',
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
