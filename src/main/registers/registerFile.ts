/**
 * `registers.json` beside the log of the registers: under which number this disk takes part.
 *
 * `new`: an incarnation is drawn, no number yet. `creating`: the number is known, the log may be made
 * or not, and nothing has been promised. `member`: the log is made and may have promised; where it is
 * gone, so are the promises, and the disk must come back under a new number.
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { RAFT_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { writeDurably } from '../durableFile.ts';

const number = z.int().min(1).max(RAFT_LIMITS.integerMax);
const cluster = z.string().min(1);
const schema = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('new'), cluster, incarnation: number }),
  z.strictObject({
    state: z.enum(['creating', 'member']),
    cluster,
    incarnation: number,
    id: number,
  }),
]);

export type RegisterFile = z.output<typeof schema>;

const NAME = 'registers.json';

/** Null: there is none. The error is for people. */
export async function readRegisterFile(
  folder: string,
): Promise<Result<RegisterFile | null, string>> {
  const file = join(folder, NAME);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return ok(null);
    return err(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? ok(parsed.data) : err(`${file}: ${z.prettifyError(parsed.error)}`);
  } catch {
    return err(`${file}: it is no JSON; take it and the log beside it away to join anew`);
  }
}

export function writeRegisterFile(folder: string, value: RegisterFile): Promise<void> {
  return writeDurably(join(folder, NAME), value);
}
