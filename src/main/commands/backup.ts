/** `banyan backup create|verify|restore`: the control state as a file. */

import { hostname } from 'node:os';

import type { Command } from 'commander';

import type { BackupFile } from '../control/backupFile.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import type { OutputFormat } from '../output.ts';
import { note, print, say, withOutput, withServer } from '../verb.ts';
import type { CreateOptions } from './backupCreate.ts';
import { whoAmI } from './controlKeys.ts';
import { clusterOf, onDisk, nameOf, placeOf, withPlace, type PlaceOptions } from './place.ts';

interface RestoreOptions extends PlaceOptions {
  readonly output: OutputFormat;
  readonly region?: string;
  readonly cluster?: string;
  readonly dryRun?: true;
  readonly why?: string;
}

/** Adds the verbs. */
export function registerBackup(program: Command): void {
  const backup = program.command('backup').description(say('backup.about'));
  withServer(withOutput(backup.command('create').description(say('backup.create'))))
    .argument('<file>', say('backup.file'))
    .option('--force', say('backup.force'))
    .option('--dry-run', say('control.dryRun'))
    .action(async (file: string, options: CreateOptions) => {
      const { createBackup } = await import('./backupCreate.ts');
      await onDisk(() => createBackup(file, options));
    });
  withOutput(backup.command('verify').description(say('backup.verify')))
    .argument('<file>', say('backup.file'))
    .action(verify);
  withPlace(withOutput(backup.command('restore').description(say('backup.restore'))))
    .argument('<file>', say('backup.file'))
    .option('--region <name>', say('backup.region'), nameOf)
    .option('--cluster <name>', say('backup.cluster'), clusterOf)
    .option('--dry-run', say('control.dryRun'))
    .option('--why <text>', say('control.why'))
    .action(restore);
}

async function verify(file: string, { output }: { readonly output: OutputFormat }): Promise<void> {
  const read = await readFile(file);
  print(output, backupRow(read), () => `${backupStory(read)}\n`);
}

async function restore(file: string, options: RestoreOptions): Promise<void> {
  const place = await placeOf(options);
  const name = options.region ?? place.name;
  if (name === null) throw new CliError(EXIT.usage, say('backup.whichRegion'));
  const read = await readFile(file);
  const { restoreInto } = await import('../control/offline.ts');
  const isDry = options.dryRun === true;
  const clusterPrefix = options.cluster ?? place.clusterPrefix ?? read.backup.about.cluster;
  const target = { name, priority: place.priority, clusterPrefix };
  const doer = { who: whoAmI(), from: hostname(), why: options.why ?? '', wallMs: Date.now() };
  const done = await onDisk(() => restoreInto(place.folder, read.backup, target, doer, isDry));
  if (!done.ok) throw new CliError(EXIT.refused, done.error);
  const { cluster, revision, keys } = done.value;
  const answer = { ...backupRow(read), newCluster: cluster, newRevision: revision, isDone: !isDry };
  print(options.output, answer, () => {
    const told = { cluster, revision, keys, folder: place.folder };
    return `${backupStory(read)}\n${say(isDry ? 'backup.wouldRestore' : 'backup.restored', told)}\n`;
  });
  if (options.output === 'table') note(say('backup.nextSteps'));
}

async function readFile(file: string): Promise<BackupFile> {
  const { readBackupFile } = await import('../control/backupFile.ts');
  const read = await readBackupFile(file);
  if (read.ok) return read.value;
  throw new CliError(EXIT.failed, read.error);
}

/** A backup for programs. */
export function backupRow({ backup, bytes, sha256 }: BackupFile): object {
  const { about, items, audit } = backup;
  const { madeMs, ...rest } = about;
  const madeAt = new Date(madeMs).toISOString();
  return { ...rest, madeAt, keys: items.length, audit: audit.length, bytes, sha256 };
}

/** … and for people. */
export function backupStory({ backup, bytes, sha256 }: BackupFile): string {
  const { about, items } = backup;
  const lines = [
    say('backup.of', {
      cluster: about.cluster,
      revision: about.revision,
      keys: items.length,
      bytes,
      made: new Date(about.madeMs).toISOString(),
      product: about.product,
      engine: about.engine,
    }),
    `SHA-256 ${sha256}`,
  ];
  if (!about.isConfirmed) lines.push(say('backup.unconfirmed'));
  return lines.join('\n');
}
