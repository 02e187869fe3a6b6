/** `banyan config push|diff|history|rollback|resume`, `banyan get config`: what all regions share. */

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { text as readStream } from 'node:stream/consumers';

import type { Command } from 'commander';

import { askAdmin } from '../adminClient.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { isRow, type JsonRow } from '../json.ts';
import { printable, renderTable, type OutputFormat } from '../output.ts';
import { unifiedDiff } from '../sharedConfig/textDiff.ts';
import { note, print, say, withOutput, withServer } from '../verb.ts';
import { change, CONTROL_ASK_MS, tell, withChange, type ChangeOptions } from './controlKeys.ts';

interface ServerOptions {
  readonly output: OutputFormat;
  readonly server: string;
}

/** Adds the verbs to `banyan config`. */
export function registerConfigShared(config: Command): void {
  withChange(config.command('push').description(say('config.push')))
    .argument('<file>', say('config.pushFile'))
    .option('--emergency', say('config.emergency'))
    .option('--expect <version>', say('config.expect'), versionOf)
    .action(push);
  withServer(withOutput(config.command('diff').description(say('config.diff'))))
    .argument('[from]', say('config.diffSide'))
    .argument('[to]', say('config.diffSide'))
    .action(diff);
  withServer(withOutput(config.command('history').description(say('config.history')))).action(
    history,
  );
  withChange(config.command('rollback').description(say('config.rollback')))
    .argument('[version]', say('config.version'), versionOf)
    .option('--emergency', say('config.emergency'))
    .action(async (version: number | undefined, options: ChangeOptions & Urgent) => {
      await sent(options, {
        action: 'rollback',
        ...(version === undefined ? {} : { version }),
        emergency: options.emergency === true,
      });
    });
  withChange(config.command('resume').description(say('config.resume'))).action(
    (options: ChangeOptions) => sent(options, { action: 'resume' }),
  );
}

/** Adds `banyan get config`. */
export function registerGetConfig(get: Command): void {
  withServer(withOutput(get.command('config').description(say('get.config'))))
    .option('--version <version>', say('get.configVersion'), versionOf)
    .option('--region <region>', say('get.configRegion'))
    .action(show);
}

interface Urgent {
  readonly emergency?: true;
}

type PushOptions = ChangeOptions & Urgent & { readonly expect?: number };

async function push(file: string, options: PushOptions): Promise<void> {
  const { emergency, expect } = options;
  await sent(options, {
    action: 'push',
    text: await readText(file),
    label: file === '-' ? 'stdin' : basename(file),
    emergency: emergency === true,
    ...(expect === undefined ? {} : { expect }),
  });
}

async function sent(options: ChangeOptions, body: object): Promise<void> {
  const answer = await change(options, 'config', body);
  for (const warning of texts(answer['warnings'])) note(printable(warning));
  const unchecked = texts(answer['unchecked']).join(', ');
  if (unchecked !== '') note(say('config.unchecked', { regions: printable(unchecked) }));
  tell(options, answer, () => {
    const version = Number(answer['version']);
    const { bakeMs } = answer;
    if (bakeMs === null) return `${say('config.outNow', { version })}\n`;
    return `${say('config.outStaged', { version, seconds: Number(bakeMs) / 1_000 })}\n`;
  });
}

async function history({ server, output }: ServerOptions): Promise<void> {
  const answer = await askAdmin(server, '/admin/v1/config/history');
  print(output, answer, () =>
    renderTable(
      [
        say('head.version'),
        say('head.at'),
        say('head.who'),
        say('head.what'),
        say('head.outcome'),
        say('head.bytes'),
        say('head.why'),
      ],
      rows(answer['items']).map((row) => [
        Number(row['version']),
        String(row['at']),
        String(row['who']),
        `${String(row['kind'])}${row['of'] === 0 ? '' : ` ${String(row['of'])}`}${
          row['isEmergency'] === true ? ' --emergency' : ''
        }`,
        String(row['outcome']),
        Number(row['bytes']),
        String(row['why']),
      ]),
    ),
  );
}

async function diff(
  from: string | undefined,
  to: string | undefined,
  { server, output }: ServerOptions,
): Promise<void> {
  const [left, right] = await sides(server, from, to);
  const difference = unifiedDiff(left.text, right.text, left.name, right.name);
  print(output, { from: left.name, to: right.name, diff: difference }, () =>
    difference === '' ? `${say('config.same')}\n` : safeLines(difference),
  );
}

interface Side {
  readonly name: string;
  readonly text: string;
}

async function sides(
  server: string,
  from: string | undefined,
  to: string | undefined,
): Promise<readonly [Side, Side]> {
  if (from !== undefined && to !== undefined) {
    return [await sideOf(server, from), await sideOf(server, to)];
  }
  const { base, newest } = await askAdmin(server, '/admin/v1/config');
  if (from !== undefined) return [await sideOf(server, String(base)), await sideOf(server, from)];
  const before = base === newest ? await versionBefore(server, Number(newest)) : Number(base);
  return [await sideOf(server, String(before)), await sideOf(server, String(newest))];
}

/** What was in force everywhere before a version; 0: nothing was. */
async function versionBefore(server: string, version: number): Promise<number> {
  const { items } = await askAdmin(server, '/admin/v1/config/history');
  const earlier = rows(items).filter((row) => Number(row['version']) < version);
  // What was in force as a version was pushed is kept with it: none here is none at all.
  const inForce = earlier.find(({ outcome }) => outcome === 'everywhere');
  if (inForce !== undefined) return Number(inForce['version']);
  // Where nothing is known of earlier ones, the one numbered before is as good a guess as any.
  return earlier.length > 0 ? 0 : Math.max(0, version - 1);
}

/** A version by its number, else a file. Version 0 is no text. */
async function sideOf(server: string, what: string): Promise<Side> {
  if (!/^\d{1,15}$/.test(what)) return { name: what, text: await readText(what) };
  const name = `version ${what}`;
  if (what === '0') return { name, text: '' };
  const answer = await askAdmin(server, `/admin/v1/config?version=${what}`);
  return { name, text: String(answer['text']) };
}

async function show(options: ServerOptions & { version?: number; region?: string }): Promise<void> {
  const { server, output, version, region } = options;
  const query = new URLSearchParams({
    ...(version === undefined ? {} : { version: String(version) }),
    ...(region === undefined ? {} : { region }),
  });
  const answer = await askAdmin(
    server,
    `/admin/v1/config?${query.toString()}`,
    undefined,
    CONTROL_ASK_MS,
  );
  print(output, answer, () => {
    if (query.size > 0) return safeLines(typeof answer['text'] === 'string' ? answer['text'] : '');
    const table = renderTable(
      [
        say('head.region'),
        say('head.assigned'),
        say('head.applied'),
        say('head.state'),
        say('head.refused'),
      ],
      rows(answer['items']).flatMap((row) => [
        [
          String(row['region']),
          Number(row['assigned']),
          typeof row['applied'] === 'number' ? row['applied'] : null,
          String(row['state']),
          typeof row['refused'] === 'string' ? row['refused'] : null,
        ],
        ...nodeRows(rows(row['nodes'])),
      ]),
    );
    return `${headline(answer)}\n${table}`;
  });
}

/** The nodes of a region, where it has several. */
function nodeRows(nodes: readonly JsonRow[]): readonly (readonly (string | number | null)[])[] {
  if (nodes.length < 2) return [];
  return nodes.map(({ peer, applied, refused }) => [
    `  ${String(peer)}`,
    null,
    typeof applied === 'number' ? applied : null,
    null,
    typeof refused === 'string' ? refused : null,
  ]);
}

function headline({ base, newest, rollout }: JsonRow): string {
  if (newest === 0) return say('config.none');
  if (!isRow(rollout)) return say('config.everywhere', { version: Number(base) });
  const version = Number(rollout['version']);
  if (typeof rollout['halted'] === 'string') {
    return say('config.halted', { version, why: printable(rollout['halted']) });
  }
  const region = typeof rollout['region'] === 'string' ? rollout['region'] : '-';
  const seconds = Number(rollout['bakeMs']) / 1_000;
  return say('config.onItsWay', { version, region, seconds, base: Number(base) });
}

/** A text of the server for a terminal: its line breaks, and no other control character. */
function safeLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

async function readText(file: string): Promise<string> {
  try {
    return file === '-' ? await readStream(process.stdin) : await readFile(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new CliError(EXIT.usage, say('config.noFile', { file: printable(file), why }), cause);
  }
}

function versionOf(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new CliError(EXIT.usage, say('config.badVersion', { text: printable(text) }));
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function rows(value: unknown): readonly JsonRow[] {
  return Array.isArray(value) ? value.filter(isRow) : [];
}
