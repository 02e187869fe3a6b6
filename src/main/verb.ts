/**
 * What all verbs share: the language of the terminal, the options `-o` and `--server`, printing, and
 * exit codes. Heavy modules are imported inside a verb's action, so that `banyan get` starts quickly.
 */

import { InvalidArgumentError, Option, type Command } from 'commander';

import { CliError, EXIT } from './exitCodes.ts';
import { languageOf, text, type Language, type MessageKey } from './messages.ts';
import { renderJson, type OutputFormat } from './output.ts';

/** Where the demo's supervisor listens. */
export const SERVER_DEFAULT = 'http://127.0.0.1:8100';

/** The language of this terminal. */
export function language(): Language {
  return languageOf(process.env);
}

/** A sentence of the catalogue in the terminal's language. */
export function say(
  key: MessageKey,
  values: Readonly<Record<string, string | number>> = {},
): string {
  return text(language(), key, values);
}

/** Adds `-o json|table`. */
export function withOutput(command: Command): Command {
  const option = new Option('-o, --output <format>', say('cli.output'));
  return command.addOption(option.choices(['table', 'json']).default('table'));
}

/** Adds `--server URL`, from `BANYAN_SERVER` or the demo's supervisor. */
export function withServer(command: Command): Command {
  const option = new Option('--server <url>', say('cli.server'));
  return withAdminKey(command.addOption(option.env('BANYAN_SERVER').default(SERVER_DEFAULT)));
}

/** Adds `--admin-key-file`; `cli.ts` reads it before the verb runs. */
export function withAdminKey(command: Command): Command {
  const option = new Option('--admin-key-file <file>', say('client.envKeyFile'));
  return command.addOption(option.env('BANYAN_ADMIN_KEY_FILE'));
}

/** Prints JSON or what `table` makes, as `-o` says. */
/** A reader of whole numbers for an option. */
export function wholeOf(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(say('cli.wholeNumber', { least, most }));
  };
}

export function print(format: OutputFormat, value: unknown, table: () => string): void {
  process.stdout.write(format === 'json' ? renderJson(value) : table());
}

/** A line for people on standard error: notes and warnings, never results. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/**
 * Tells a failure and sets the exit code; a bug is shown with its stack. The process then ends by
 * itself once its output is written.
 */
export function reportFailure(cause: unknown): void {
  if (cause instanceof CliError) {
    if (cause.message !== '') note(`banyan: ${cause.message}`);
    process.exitCode = cause.exitCode;
    return;
  }
  note(say('cli.bug'));
  note(cause instanceof Error ? (cause.stack ?? cause.message) : String(cause));
  process.exitCode = EXIT.failed;
}
