/** `banyan backup create FILE`: reads a backup piece by piece, and checks it while it is written. */

import { existsSync } from 'node:fs';
import { link, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { BackupReader } from '../../replica/control/backup.ts';
import { askAdmin } from '../adminClient.ts';
import { sentenceOfFault, sha256 } from '../control/backupFile.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import type { JsonRow } from '../json.ts';
import { printable, type OutputFormat } from '../output.ts';
import { note, print, say } from '../verb.ts';
import { CONTROL_ASK_MS } from './controlKeys.ts';
import { backupRow, backupStory } from './backup.ts';

export interface CreateOptions {
  readonly output: OutputFormat;
  readonly server: string;
  readonly force?: true;
  readonly dryRun?: true;
}

export async function createBackup(name: string, options: CreateOptions): Promise<void> {
  const { server, output } = options;
  const file = resolve(name);
  const isDry = options.dryRun === true;
  if (options.force !== true && existsSync(file)) {
    throw new CliError(EXIT.refused, say('backup.exists', { file }));
  }
  const begun = await askAdmin(server, '/admin/v1/backup', { dryRun: isDry }, CONTROL_ASK_MS);
  if (isDry) {
    const what = `${printable(String(begun['would']))} → ${file}`;
    print(output, begun, () => `${say('control.would', { what })}\n`);
    return;
  }
  // Beside its place, under a name of its own: what stands under the given name is whole.
  const part = `${file}.${process.pid}.part`;
  const handle = await opened(part);
  try {
    const digest = sha256();
    const reader = new BackupReader(digest);
    const bytes = await copyPieces(server, String(begun['backup']), handle, reader);
    await handle.sync();
    await handle.close();
    const backup = reader.end();
    if ('kind' in backup) throw new CliError(EXIT.failed, sentenceOfFault(backup));
    await putInPlace(part, file, options.force === true);
    const read = { backup, bytes, sha256: digest.hex ?? '' };
    print(output, { file, ...backupRow(read) }, () => `${backupStory(read)}\n`);
    if (output === 'table') note(say('backup.created', { file }));
  } finally {
    await handle.close().catch(() => {}); // It may be closed already.
    await rm(part, { force: true });
  }
}

async function copyPieces(
  server: string,
  backup: string,
  handle: FileHandle,
  reader: BackupReader,
): Promise<number> {
  let bytes = 0;
  for (let piece = 0; ; piece += 1) {
    const path = `/admin/v1/backup?backup=${encodeURIComponent(backup)}&piece=${piece}`;
    const { base64, isLast }: JsonRow = await askAdmin(server, path, undefined, CONTROL_ASK_MS);
    const chunk = Buffer.from(typeof base64 === 'string' ? base64 : '', 'base64');
    await handle.writeFile(chunk);
    bytes += chunk.length;
    const fault = reader.push(chunk);
    if (fault !== null) throw new CliError(EXIT.failed, sentenceOfFault(fault));
    if (isLast !== false) return bytes;
  }
}

async function opened(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600);
  } catch (cause) {
    throw new CliError(EXIT.failed, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

/** Without `isForced` a file that is there stays: a hard link replaces nothing. */
async function putInPlace(part: string, file: string, isForced: boolean): Promise<void> {
  try {
    if (isForced) await rename(part, file);
    else await link(part, file);
  } catch (cause) {
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    if (isThere) throw new CliError(EXIT.refused, say('backup.exists', { file }), cause);
    throw new CliError(EXIT.failed, cause instanceof Error ? cause.message : String(cause), cause);
  }
  await using folder = await open(dirname(file), 'r');
  await folder.sync();
}
