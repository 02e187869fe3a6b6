/**
 * `registers.json` beside the log of the registers: under which number this disk takes part.
 *
 * `new`: an incarnation is drawn, no number yet. `creating`: the number is known, the log may be made
 * or not, and nothing has been promised. `member`: the log is made and may have promised; where it is
 * gone, so are the promises, and the disk must come back under a new number.
 */

import { join } from 'node:path';

import { z } from 'zod';

import { RAFT_LIMITS } from '../../base/limits.ts';
import type { Result } from '../../base/result.ts';
import { readWritten, writeDurably } from '../durableFile.ts';

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
  return readWritten(file, schema, 'take it and the log beside it away to join anew');
}

export function writeRegisterFile(folder: string, value: RegisterFile): Promise<void> {
  return writeDurably(join(folder, NAME), value);
}
