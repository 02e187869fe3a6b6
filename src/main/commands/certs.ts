/** `banyan certs init|add|show`. */

import { resolve } from 'node:path';

import type { Command } from 'commander';

import { parseRegionName } from '../../base/names.ts';
import { nodeOfPeer, peerName, regionOfPeer } from '../../base/peerName.ts';
import type { Result } from '../../base/result.ts';
import type { CertFile, CertNode, CertsError } from '../../io/certs.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { renderTable, type OutputFormat } from '../output.ts';
import { note, print, say, withOutput } from '../verb.ts';

const DAYS_DEFAULT = '365';

interface FolderOptions {
  readonly dir: string;
  readonly days: string;
  readonly force: boolean;
  readonly output: OutputFormat;
}

interface MakeOptions extends FolderOptions {
  readonly region: readonly string[];
  readonly further: readonly string[];
}

interface AdminOptions extends FolderOptions {
  readonly operator: readonly string[];
  readonly host: readonly string[];
}

/** Adds the verbs. */
export function registerCerts(program: Command): void {
  const certs = program.command('certs').description(say('certs.about'));
  withMaking(certs.command('init').description(say('certs.init')))
    .requiredOption('--cluster <name>', say('certs.cluster'), 'banyan')
    .action(init);
  withMaking(certs.command('add').description(say('certs.add'))).action(add);
  withFolder(certs.command('admin').description(say('certs.admin')))
    .option('--operator <name>', say('certs.operator'), gather, [])
    .option('--host <host>', say('certs.host'), gather, [])
    .action(addAdmin);
  withOutput(certs.command('show').description(say('certs.show')))
    .requiredOption('--dir <dir>', say('certs.dir'))
    .action(show);
}

function gather(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

function withMaking(command: Command): Command {
  return withFolder(command)
    .option('--region <name>', say('certs.region'), gather, [])
    .option('--further <region/node>', say('certs.further'), gather, []);
}

function withFolder(command: Command): Command {
  return withOutput(command)
    .requiredOption('--dir <dir>', say('certs.dir'))
    .option('--days <count>', say('certs.days'), DAYS_DEFAULT)
    .option('--force', say('certs.force'), false);
}

async function init(options: MakeOptions & { readonly cluster: string }): Promise<void> {
  const { initCerts, CA_KEY_FILE } = await import('../../io/certs.ts');
  const cluster = named(options.cluster);
  const order = { ...(await orderOf(options)), cluster };
  const files = made(await initCerts(order), options.dir);
  showTable(files, options.output);
  if (options.output === 'table') {
    note(say('certs.made', { key: resolve(options.dir, CA_KEY_FILE) }));
  }
}

async function add(options: MakeOptions): Promise<void> {
  const { addCerts } = await import('../../io/certs.ts');
  showTable(made(await addCerts(await orderOf(options)), options.dir), options.output);
}

async function addAdmin(options: AdminOptions): Promise<void> {
  const { addAdminCerts } = await import('../../io/certs.ts');
  const operators = [...new Set(options.operator.map(named))];
  const hosts = [...new Set(options.host)];
  const bad = hosts.find((host) => !/^[0-9A-Za-z.:-]{1,253}$/.test(host));
  if (bad !== undefined || operators.length + hosts.length === 0) {
    throw new CliError(EXIT.usage, say('certs.nobody', { host: bad ?? '' }));
  }
  const order = { ...(await folderOf(options)), operators, hosts };
  showTable(made(await addAdminCerts(order), options.dir), options.output);
}

async function show(options: {
  readonly dir: string;
  readonly output: OutputFormat;
}): Promise<void> {
  const { showCerts } = await import('../../io/certs.ts');
  const files = made(await showCerts(resolve(options.dir), Date.now()), options.dir);
  showTable(files, options.output);
  const count = files.filter(({ problems }) => problems.length > 0).length;
  if (count === 0) return;
  throw new CliError(EXIT.failed, options.output === 'json' ? '' : say('certs.bad', { count }));
}

/** What to make, its names checked. */
async function orderOf(
  options: MakeOptions,
): Promise<Folder & { readonly nodes: readonly CertNode[] }> {
  const { certFile } = await import('../../io/certs.ts');
  const first = options.region.map((text) => {
    const region = named(regionOfPeer(text));
    return { region, node: named(nodeOfPeer(text) ?? `${region}-1`) };
  });
  const further = options.further.map((text) => {
    const region = named(regionOfPeer(text));
    return { region, node: named(nodeOfPeer(text) ?? ''), isFurther: true };
  });
  const nodes: readonly CertNode[] = [...first, ...further];
  // A node has one certificate, and a region one that is named after it.
  const twice =
    namedTwice(nodes.map(({ region, node }) => peerName(region, node))) ??
    namedTwice(nodes.map(certFile));
  if (twice !== undefined) throw new CliError(EXIT.usage, say('certs.twice', { name: twice }));
  if (nodes.length === 0) throw new CliError(EXIT.usage, say('certs.badName', { name: '' }));
  return { ...(await folderOf(options)), nodes };
}

function namedTwice(names: readonly string[]): string | undefined {
  return names.find((name, index) => names.indexOf(name) !== index);
}

interface Folder {
  readonly dir: string;
  readonly days: number;
  readonly isForced: boolean;
  readonly wallMs: number;
}

async function folderOf(options: FolderOptions): Promise<Folder> {
  const { CERT_DAYS_MAX } = await import('../../io/certs.ts');
  const days = Number(options.days);
  if (!/^\d{1,5}$/.test(options.days) || days < 1 || days > CERT_DAYS_MAX) {
    throw new CliError(EXIT.usage, say('certs.badDays', { max: CERT_DAYS_MAX }));
  }
  return { dir: resolve(options.dir), days, isForced: options.force, wallMs: Date.now() };
}

/** Regions, nodes and clusters are all DNS labels. `ca` would take the files of the CA. */
function named(text: string): string {
  const name = parseRegionName(text);
  if (name.ok && name.value !== 'ca') return name.value;
  throw new CliError(EXIT.usage, say('certs.badName', { name: text }));
}

function made(result: Result<readonly CertFile[], CertsError>, dir: string): readonly CertFile[] {
  if (result.ok) return result.value;
  const { error } = result;
  switch (error.kind) {
    case 'exists':
      throw new CliError(EXIT.refused, say('certs.exists', { dir, files: error.files.join(', ') }));
    case 'same-node': {
      const { file, node: name } = error;
      throw new CliError(EXIT.refused, say('certs.sameNode', { dir, file, name }));
    }
    case 'no-ca':
      throw new CliError(EXIT.notFound, say('certs.noCa', { why: error.detail }));
    case 'io':
      throw new CliError(EXIT.failed, say('certs.failed', { why: error.detail }));
    default:
      throw new CliError(EXIT.failed, String(error satisfies never));
  }
}

function showTable(files: readonly CertFile[], output: OutputFormat): void {
  print(output, { items: files }, () =>
    renderTable(
      [
        say('head.file'),
        say('head.kind'),
        say('head.region'),
        say('head.node'),
        say('head.notAfter'),
        say('head.daysLeft'),
        say('head.problems'),
      ],
      files.map(({ file, kind, region, node, notAfter, daysLeft, problems }) => [
        file,
        kind,
        region,
        node,
        notAfter.slice(0, 10),
        daysLeft,
        problems.join('; '),
      ]),
    ),
  );
}
