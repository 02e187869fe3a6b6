/** `banyan keys create|revoke|rotate|list`: keys of the control state. */

import { userInfo } from 'node:os';

import { Option, type Command } from 'commander';

import { PRIORITIES } from '../../routing/admission.ts';
import { askAdmin } from '../adminClient.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import type { JsonRow } from '../json.ts';
import { printable, type OutputFormat } from '../output.ts';
import { print, say, withOutput, withServer } from '../verb.ts';
import { listKeysOf } from './controlGet.ts';

/** Longer than a node tries for, ms: what became of it is then known. */
export const CONTROL_ASK_MS = 15_000;

/** What every verb that changes the control state takes. */
export interface ChangeOptions {
  readonly output: OutputFormat;
  readonly server: string;
  readonly dryRun?: true;
  readonly why?: string;
}

export function withChange(command: Command): Command {
  return withServer(withOutput(command))
    .option('--dry-run', say('control.dryRun'))
    .option('--why <text>', say('control.why'));
}

/** … and a rotation besides. */
export interface RotateOptions extends ChangeOptions {
  /** ms. */
  readonly grace: number;
}

export function withGrace(command: Command): Command {
  return command.option('--grace <time>', say('keys.grace'), graceMs, graceMs('1h'));
}

interface CreateOptions extends ChangeOptions {
  readonly model?: readonly string[];
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly inFlightMax?: number;
  readonly priority: string;
}

/** Adds the verbs to `banyan keys`. */
export function registerControlKeys(keys: Command): void {
  const collect = (value: string, before: readonly string[] = []): readonly string[] => [
    ...before,
    value,
  ];
  withChange(keys.command('create').description(say('keys.create')))
    .argument('<name>', say('keys.name'))
    .option('--model <name>', say('keys.models'), collect)
    .option('--requests-per-minute <count>', say('keys.requests'), wholeNumber)
    .option('--tokens-per-minute <count>', say('keys.tokens'), wholeNumber)
    .option('--in-flight-max <count>', say('keys.inFlight'), wholeNumber)
    .addOption(
      new Option('--priority <class>', say('keys.priority'))
        .choices(PRIORITIES)
        .default('standard'),
    )
    .action(create);
  withChange(keys.command('revoke').description(say('keys.revoke')))
    .argument('<name>', say('keys.name'))
    .action(async (name: string, options: ChangeOptions) => {
      const answer = await change(options, 'keys', { action: 'revoke', name });
      tell(options, answer, () => `${say('keys.revoked', { name })}\n`);
    });
  withGrace(withChange(keys.command('rotate').description(say('keys.rotate'))))
    .argument('<name>', say('keys.name'))
    .action(async (name: string, options: RotateOptions) => {
      const body = { action: 'rotate', name, graceMs: options.grace };
      const answer = await change(options, 'keys', body);
      tell(options, answer, () => secretLine(name, answer));
    });
  withServer(withOutput(keys.command('list').description(say('keys.list')))).action(listKeysOf);
}

async function create(name: string, options: CreateOptions): Promise<void> {
  const { model, requestsPerMinute, tokensPerMinute, inFlightMax, priority } = options;
  const answer = await change(options, 'keys', {
    action: 'create',
    name,
    ...(model === undefined ? {} : { models: model }),
    requestsPerMinute: requestsPerMinute ?? null,
    tokensPerMinute: tokensPerMinute ?? null,
    inFlightMax: inFlightMax ?? null,
    priority,
  });
  tell(options, answer, () => secretLine(name, answer));
}

/** Sends a change, with who asks for it. */
export function change(
  { server, dryRun, why }: ChangeOptions,
  path: string,
  body: object,
): Promise<JsonRow> {
  const asked = { ...body, dryRun: dryRun === true, why: why ?? '', who: whoAmI() };
  return askAdmin(server, `/admin/v1/${path}`, asked, CONTROL_ASK_MS);
}

/** Prints what was done, or with `--dry-run` what would be. */
export function tell(options: ChangeOptions, answer: JsonRow, lines: () => string): void {
  const { would } = answer;
  print(options.output, answer, () =>
    typeof would === 'string' ? `${say('control.would', { what: printable(would) })}\n` : lines(),
  );
}

export function secretLine(name: string, answer: JsonRow): string {
  return `${say('keys.secret', { name, secret: printable(String(answer['secret'])) })}\n`;
}

export function whoAmI(): string {
  try {
    return userInfo().username;
  } catch {
    return 'unknown'; // A user without an entry: a container's number.
  }
}

export function wholeNumber(text: string): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new CliError(EXIT.usage, say('keys.badNumber', { text: printable(text) }));
  return value;
}

const UNITS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

function graceMs(text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (text === '0') return 0;
  const ms = Number(digits) * (UNITS[unit] ?? 0);
  if (ms === 0) throw new CliError(EXIT.usage, say('keys.badGrace', { text: printable(text) }));
  return ms;
}
