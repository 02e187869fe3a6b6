/** `banyan keys create|set|allot|revoke|rotate|list`: keys of the control state. */

import { userInfo } from 'node:os';

import { Option, type Command } from 'commander';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { PRIORITIES } from '../../routing/admission.ts';
import { askAdmin, UnansweredError } from '../adminClient.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import type { JsonRow } from '../json.ts';
import { printable, type OutputFormat } from '../output.ts';
import { print, say, withOutput, withServer } from '../verb.ts';
import { listKeysOf, sharesText } from './controlGet.ts';

/** Longer than a node tries for, ms: what became of it is then known. */
export const CONTROL_ASK_MS = CONTROL_LIMITS.changeMs + 1_000;

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
  readonly residency?: string;
}

interface AllotOptions extends ChangeOptions {
  readonly clear?: true;
  readonly force?: true;
}

/** Takes a binding away. */
const NO_LABELS = 'none';

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
    .option('--residency <labels>', say('keys.residency'))
    .action(create);
  withChange(keys.command('set').description(say('keys.set')))
    .argument('<name>', say('keys.name'))
    .requiredOption('--residency <labels>', say('keys.residencyOrNone'))
    .action(async (name: string, options: ChangeOptions & { readonly residency: string }) => {
      const residency = labels(options.residency);
      const answer = await change(options, 'keys', { action: 'set', name, residency });
      const text = residency?.join(', ') ?? NO_LABELS;
      tell(options, answer, () => `${say('keys.bound', { name, residency: printable(text) })}\n`);
    });
  withChange(keys.command('allot').description(say('keys.allot')))
    .argument('<name>', say('keys.name'))
    .argument('[shares...]', say('keys.shares'))
    .option('--clear', say('keys.clear'))
    .option('--force', say('keys.allotForce'))
    .action(allot);
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

async function allot(name: string, given: readonly string[], options: AllotOptions): Promise<void> {
  const isClear = options.clear === true;
  if (isClear === given.length > 0) throw new CliError(EXIT.usage, say('keys.badShares'));
  const shares = isClear ? null : Object.fromEntries(given.map(shareOf));
  const body = { action: 'allot', name, shares, force: options.force === true };
  const answer = await change(options, 'keys', body);
  tell(options, answer, () => {
    const text = printable(sharesText(answer['shares']) ?? say('keys.whole'));
    const { waitsFor } = answer;
    const waits = Array.isArray(waitsFor) ? waitsFor.join(', ') : '';
    const wait = waits === '' ? '' : ` ${say('keys.waits', { waits: printable(waits) })}`;
    return `${name}: ${text}.${wait}\n`;
  });
}

/** `eu=60`, `eu=60%`: a place and its percent. */
function shareOf(text: string): readonly [string, number] {
  const [, place = '', digits = ''] = /^([a-z0-9/-]{1,127})=(\d{1,3})%?$/.exec(text) ?? [];
  if (place === '') throw new CliError(EXIT.usage, say('keys.badShare', { text: printable(text) }));
  return [place, Number(digits)];
}

/** Null: bound to none. */
function labels(text: string): readonly string[] | null {
  if (text === NO_LABELS) return null;
  return text.split(',').map((label) => label.trim());
}

async function create(name: string, options: CreateOptions): Promise<void> {
  const { model, requestsPerMinute, tokensPerMinute, inFlightMax, priority, residency } = options;
  const answer = await change(options, 'keys', {
    action: 'create',
    name,
    ...(model === undefined ? {} : { models: model }),
    requestsPerMinute: requestsPerMinute ?? null,
    tokensPerMinute: tokensPerMinute ?? null,
    inFlightMax: inFlightMax ?? null,
    priority,
    ...(residency === undefined ? {} : { residency: labels(residency) }),
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
  return askAdmin(server, `/admin/v1/${path}`, asked, CONTROL_ASK_MS).catch((cause: unknown) => {
    const unanswered = cause instanceof CliError ? cause.cause : null;
    if (asked.dryRun || !(unanswered instanceof UnansweredError)) throw cause;
    const why = unanswered.message;
    throw new CliError(EXIT.unreachable, say('control.mayBeDone', { server, why }), cause);
  });
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
