/**
 * `member.json` beside the log of the control state: which member this disk is.
 *
 * `new`: an incarnation is drawn, no log. `creating`: number and cluster are decided, the log may be
 * made or not; nothing has been promised to anyone. `member`: the log is made and may have promised;
 * where it is gone, so are the promises, and the disk must come back under a new number.
 */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { z } from 'zod';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { RAFT_LIMITS } from '../../base/limits.ts';
import { err, type Result } from '../../base/result.ts';
import { readWritten, writeDurably } from '../durableFile.ts';

const number = z.int().min(1).max(RAFT_LIMITS.integerMax);
const member = z.strictObject({
  id: number,
  region: z.string(),
  incarnation: number,
  priority: z.int().min(0),
  isWitness: z.boolean(),
  isPromotable: z.boolean(),
});
/**
 * Whose node has which number, for a node whose own log does not say it yet. As in the log, `region`
 * holds the name of a further node whole: `REGION/NODE`.
 */
export const peersSchema = z
  .array(z.strictObject({ id: number, region: z.string() }))
  .max(RAFT_LIMITS.membersMax);
/** Where nodes are reached that this one's file does not name. */
export const placesSchema = z
  .array(
    z.strictObject({
      peer: z.string(),
      host: z.string().min(1).max(CONTROL_LIMITS.hostCharsMax),
      port: z.int().min(1).max(65_535),
    }),
  )
  .max(RAFT_LIMITS.membersMax + CONTROL_LIMITS.peerRecordsMax);
export const foundingSchema = z.strictObject({
  cluster: z.string().min(1),
  members: z.array(member).min(1).max(RAFT_LIMITS.membersMax),
});

const memberSchema = z.strictObject({
  state: z.enum(['creating', 'member']),
  incarnation: number,
  id: number,
  cluster: z.string().min(1),
  /** The first members, where this node founded with them; null where it joined. */
  founding: foundingSchema.nullable(),
  peers: peersSchema,
  /** What those that let it in told it; absent: its own file names all. */
  places: placesSchema.optional(),
});
const schema = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('new'), incarnation: number, mayFound: z.boolean() }),
  memberSchema,
]);
/** What `newLog.ts` is about to do; `aside` is what becomes of the old log. */
export const noteSchema = z.strictObject({ member: memberSchema, aside: z.string().nullable() });

export type MemberFile = z.output<typeof schema>;
/** A disk that has, or is about to have, a log. */
export type ControlMember = Extract<MemberFile, { readonly state: 'creating' | 'member' }>;

export const NAME = 'member.json';
/** Stands while the log is replaced: no node may start then. */
export const NOTE_NAME = 'reborn.json';

/** Null: there is none. The error is for people. */
export async function readMemberFile(folder: string): Promise<Result<MemberFile | null, string>> {
  const file = join(folder, NAME);
  if (existsSync(join(folder, NOTE_NAME))) {
    return err(
      `${folder}: its log was being replaced; run that command again, it ends what it began`,
    );
  }
  return readWritten(file, schema, 'take it and the log beside it away to join anew');
}

/** Durable when it resolves, whole or not at all. */
export function writeMemberFile(folder: string, value: MemberFile): Promise<void> {
  return writeDurably(join(folder, NAME), value);
}

/** Tells one log on a disk from every other one. */
export function drawIncarnation(): number {
  return 1 + randomBytes(6).readUIntBE(0, 6);
}
