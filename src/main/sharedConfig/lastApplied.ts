/**
 * `shared-config.json` in the data folder: the shared configuration that this node had last. It
 * serves by it when the control state cannot be read, or has a version that does not work here.
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { writeDurably } from '../durableFile.ts';

const schema = z.strictObject({
  /** Whose versions and revisions these are; null: not known. */
  cluster: z.string().nullable().default(null),
  version: z.int().min(1),
  /** Of the head of the control state that it came with. */
  revision: z.int().min(0),
  text: z.string(),
});
export type LastApplied = z.output<typeof schema>;

const NAME = 'shared-config.json';

/** Null: there is none that can be read. */
export async function readLastApplied(folder: string): Promise<LastApplied | null> {
  try {
    const text = await readFile(join(folder, NAME), 'utf8');
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null; // None, or damaged: the control state has it too.
  }
}

/** Durable when it resolves, whole or not at all. Null: there is none any more. */
export function writeLastApplied(folder: string, value: LastApplied | null): Promise<void> {
  return writeDurably(join(folder, NAME), value);
}
