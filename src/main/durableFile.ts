/** Small JSON files that must not be half written, and the folders that they stand in. */

import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { z } from 'zod';

import { err, ok, type Result } from '../base/result.ts';

/** The folder is there, by a name that a loss of power does not take, and for its owner alone. */
export async function makeFolderDurably(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  const top = dirname(resolve(first));
  for (let parent = dirname(resolve(folder)); ; parent = dirname(parent)) {
    await syncFolder(parent);
    if (parent === top) return;
  }
}

/** What `writeDurably` wrote. Null: there is none. The error is for people; `otherwise`: what to do. */
export async function readWritten<T extends z.ZodType>(
  file: string,
  schema: T,
  otherwise: string,
): Promise<Result<z.output<T> | null, string>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return ok(null);
    return err(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return err(`${file}: it is no JSON; ${otherwise}`);
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? ok(parsed.data) : err(`${file}: ${z.prettifyError(parsed.error)}`);
}

/** Durable when it resolves, whole or not at all. */
export async function writeDurably(file: string, value: object | null): Promise<void> {
  const handle = await open(`${file}.tmp`, 'w', 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(value)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.tmp`, file);
  await syncFolder(dirname(file));
}

/** What was made, renamed or removed in it stays so. */
export async function syncFolder(folder: string): Promise<void> {
  const names = await open(folder, 'r');
  try {
    await names.sync();
  } finally {
    await names.close();
  }
}
