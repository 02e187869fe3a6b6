/** The file of one `banyan kv` member: who it is, where it keeps its data, whom it talks to. */

import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { z } from 'zod';

import { GROUP_LIMITS } from '../../base/groupLimits.ts';
import { RAFT_LIMITS, REGION_LIMITS, STORAGE_LIMITS } from '../../base/limits.ts';
import { LABEL } from '../../base/names.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { parseAddress, type Address } from '../config/address.ts';

const address = z.string().transform((text, context): Address => {
  const parsed = parseAddress(text);
  if (parsed.ok) return parsed.value;
  context.addIssue('must be HOST:PORT');
  return z.NEVER;
});
const label = z.string().regex(LABEL, 'must be lower-case letters, digits and inner hyphens');
/** The limits of keys and values keep a command far below it. */
const SEGMENT_BYTES_MIN = 256 * 1_024;
const whole = (min: number, max: number) => z.int().min(min).max(max);

const member = z.strictObject({
  id: whole(1, RAFT_LIMITS.integerMax),
  region: label,
  /** Names the member's disk: drawn at random when its folder is made, never used again. */
  incarnation: whole(1, RAFT_LIMITS.integerMax),
  address,
  priority: whole(0, RAFT_LIMITS.priorityMax).default(1),
  isWitness: z.boolean().default(false),
  /** An artificial round trip to this member, ms: half of it is waited here, half there. */
  delayMs: whole(0, REGION_LIMITS.rttMsMax).default(0),
  /** Of the cluster from its beginning; others are added while it runs. */
  isInitial: z.boolean().default(true),
});

const schema = z
  .strictObject({
    cluster: label,
    id: whole(1, RAFT_LIMITS.integerMax),
    /** The data folder, relative to this file. */
    data: z.string().min(1),
    /** Where clients come in. */
    api: address,
    peers: address,
    /** PEM files, relative to this file; null: links without protection, loopback only. */
    tls: z.strictObject({ ca: z.string(), cert: z.string(), key: z.string() }).nullable(),
    members: z.array(member).min(1).max(RAFT_LIMITS.membersMax),
    /** Where the applied state lives; in memory it is made again at each start. */
    state: z.enum(['memory', 'sqlite']).default('memory'),
    heartbeatMs: whole(1, 10_000).default(RAFT_LIMITS.heartbeatMs),
    electionMs: whole(10, RAFT_LIMITS.electionMsMax).default(RAFT_LIMITS.electionMs),
    /** The same for all members: the largest command fits into one. */
    segmentBytes: whole(SEGMENT_BYTES_MIN, STORAGE_LIMITS.segmentBytesMax)
      .multipleOf(512)
      .default(STORAGE_LIMITS.segmentBytes),
    snapshotEntries: whole(1, 10_000_000).default(GROUP_LIMITS.snapshotEntries),
    trailingEntries: whole(0, 10_000_000).default(RAFT_LIMITS.trailingEntries),
  })
  .refine(({ heartbeatMs, electionMs }) => heartbeatMs * 2 <= electionMs, {
    path: ['electionMs'],
    message: 'must be at least twice heartbeatMs',
  })
  .refine(({ id, members }) => members.some((one) => one.id === id), {
    path: ['members'],
    message: 'must name this member',
  })
  .refine(({ members }) => isDistinct(members.map((one) => one.id)), {
    path: ['members'],
    message: 'must not use a number twice',
  })
  .refine(({ members }) => isDistinct(members.map((one) => one.region)), {
    path: ['members'],
    message: 'must not use a region twice',
  });

export type KvConfig = z.infer<typeof schema>;

function isDistinct(values: readonly unknown[]): boolean {
  return new Set(values).size === values.length;
}

/** Reads and checks the file; the error is for people. */
export async function loadKvConfig(file: string): Promise<Result<KvConfig, string>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    return err(cause instanceof Error ? cause.message : String(cause));
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) return err(z.prettifyError(parsed.error));
  const config = parsed.data;
  const at = (path: string): string => resolve(dirname(file), path);
  const { tls } = config;
  return ok({
    ...config,
    data: at(config.data),
    tls: tls && { ca: at(tls.ca), cert: at(tls.cert), key: at(tls.key) },
  });
}
