/** The admin API of whoever looks after the control group: what it could lose, and backups. */

import { z } from 'zod';

import { named, type AdminRoutes } from '../../io/admin/route.ts';
import { MEMBER_ROLES, VERDICTS } from '../../replica/control/outlook.ts';
import { askedOfChange, CHANGE_REFUSALS, wouldBeDone } from './controlRoutes.ts';

const finding = named(
  'Finding',
  z
    .strictObject({
      code: z.string(),
      values: z.record(z.string(), z.union([z.string(), z.int()])),
      message: z.string(),
      todo: z.string().describe('what to do; empty: nothing'),
    })
    .describe('What an operator should know.'),
);
export type FindingRow = z.output<typeof finding>;

const outlookAnswer = named(
  'Outlook',
  z
    .strictObject({
      verdict: z
        .enum(VERDICTS)
        .describe(
          'safe: any one region may be lost; at-risk: not every one; no-quorum: no changes',
        ),
      asked: z.string().describe('the node that answers: all of this is what it knows'),
      engine: z.string(),
      cluster: z.string().nullable(),
      leader: z.string().nullable().describe('its node: the region, or REGION/NODE'),
      leaderSeenMsAgo: z
        .int()
        .nullable()
        .describe('by the node that is asked; null: never since it runs'),
      term: z.int(),
      revision: z.int().describe('of the control state that the node has'),
      level: z.int().describe('the feature level: what every program of the cluster understands'),
      supports: z.int().describe('the feature level that the program that is asked supports'),
      quorum: z
        .strictObject({ voters: z.int(), needed: z.int(), present: z.int() })
        .nullable()
        .describe('present: voters that are there and up to date'),
      regions: z.array(z.strictObject({ region: z.string(), canBeLost: z.boolean() })).readonly(),
      items: z
        .array(
          z.strictObject({
            id: z.int(),
            region: z.string(),
            peer: z.string().describe('its node: the region, or REGION/NODE of a further one'),
            role: z.enum(MEMBER_ROLES),
            isPresent: z.boolean(),
            lag: z.int().nullable().describe('entries that it has still to apply'),
            version: z.string().nullable(),
          }),
        )
        .readonly(),
      findings: z.array(finding).readonly(),
      unreachable: z.array(z.string()).readonly(),
    })
    .describe('What the group that keeps the control state could lose now.'),
);
export type OutlookAnswer = z.output<typeof outlookAnswer>;

const backupBody = named('BeginBackup', z.strictObject({ dryRun: askedOfChange.dryRun }));
const backupBegun = named(
  'BackupBegun',
  z.union([
    wouldBeDone,
    z.strictObject({
      backup: z.string().describe('names it until it is read to its end, or left for a minute'),
      cluster: z.string(),
      revision: z.int(),
      isConfirmed: z.boolean().describe('false: no quorum could say that nothing newer exists'),
      keys: z.int(),
    }),
  ]),
);
export type BackupBegun = z.output<typeof backupBegun>;

const backupPiece = named(
  'BackupPiece',
  z.strictObject({ base64: z.string(), isLast: z.boolean() }),
);
export type BackupPiece = z.output<typeof backupPiece>;

export const OPS_ROUTES = {
  getOutlook: {
    method: 'GET',
    path: '/admin/v1/outlook',
    role: 'viewer',
    summary: 'Which region could be lost now, who is behind, and what to do',
    answer: outlookAnswer,
    refusals: { 404: ['no_control'], 503: ['unreachable'] },
  },
  beginBackup: {
    method: 'POST',
    path: '/admin/v1/backup',
    role: 'admin',
    summary: 'Takes the control state of one revision, to be read piece by piece',
    body: backupBody,
    answer: backupBegun,
    refusals: { 404: ['no_control'], 409: ['too_many_backups'], ...CHANGE_REFUSALS },
  },
  readBackup: {
    method: 'GET',
    path: '/admin/v1/backup',
    role: 'admin',
    summary: 'The pieces of a backup that was begun, in order from 0',
    query: z.strictObject({ backup: z.string(), piece: z.coerce.number().int().min(0) }),
    answer: backupPiece,
    refusals: { 404: ['no_control', 'unknown_backup'], 409: ['wrong_piece'], 503: ['unreachable'] },
  },
} as const satisfies AdminRoutes;
