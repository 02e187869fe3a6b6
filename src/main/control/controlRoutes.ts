/**
 * The control state's part of the admin API: its rows, and the shapes that they take and give.
 * `dryRun: true` says what would be done and does nothing.
 */

import { z } from 'zod';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { PEER_NAME } from '../../base/peerName.ts';
import { ALLOTMENT_LIMITS } from '../../base/regionLimits.ts';
import { named, type AdminRoutes } from '../../io/admin/route.ts';
import { RAFT_ERRORS } from '../../raft/errors.ts';
import { listOf } from '../adminTypes.ts';
import { adminKeySchema, keySchema, residencyLabels } from '../config/schema.ts';

/** After a rotation the old secret goes on for an hour, unless somebody says otherwise, ms. */
const GRACE_MS = 3_600_000;
const GRACE_MS_MAX = 30 * 24 * 3_600_000;

/** What every change says beside what it wants. */
export const askedOfChange = {
  dryRun: z.boolean().default(false).describe('only say what would be done'),
  who: z
    .string()
    .max(CONTROL_LIMITS.auditCharsMax)
    .default('unknown')
    .describe('for the audit log, beside what the credentials prove'),
  why: z.string().max(CONTROL_LIMITS.auditCharsMax).default('').describe('for the audit log'),
};

/** What a change would do, of a dry run. */
export const wouldBeDone = named(
  'WouldBeDone',
  z.strictObject({ dryRun: z.literal(true), would: z.string() }),
);

const graceMs = z
  .int()
  .min(0)
  .max(GRACE_MS_MAX)
  .default(GRACE_MS)
  .describe('how long the old secret goes on');
const { role } = adminKeySchema.shape;
const { name, models, requestsPerMinute, tokensPerMinute, inFlightMax, priority } = keySchema.shape;
const residency = residencyLabels
  .nullable()
  .describe('labels of the regions that may serve it; null: all may');
const shares = z
  .record(z.string(), z.int().min(0).max(100))
  .refine((map) => Object.keys(map).length <= ALLOTMENT_LIMITS.placesMax, 'are too many')
  .nullable()
  .describe(
    'percent of its rates, by region or REGION/NODE; the rest have none; null: all the whole',
  );
const places = z.array(z.string()).readonly();

const groupAnswer = named(
  'Group',
  z
    .strictObject({
      engine: z.enum(['raft', 'etcd']).describe('what keeps it: our own group, or an etcd cluster'),
      cluster: z.string().nullable().describe('id of the group; null before there is one'),
      state: z.string(),
      detail: z.string().nullable(),
      term: z.int().nullable(),
      leader: z
        .string()
        .nullable()
        .describe('its node as in items, or its name; null: none is known'),
      revision: z.int().describe('of the control state that this node has'),
      items: z
        .array(
          z.strictObject({
            id: z.union([z.int().min(1), z.string()]).describe("etcd's are hexadecimal"),
            region: z.string().describe("of an etcd cluster: the member's name"),
            peer: z.string().describe('its node: the region, or REGION/NODE of a further one'),
            address: z
              .string()
              .nullable()
              .describe('where the node that answers links to it; null: itself, or not known'),
            role: z.enum(['leader', 'voter', 'learner', 'witness']),
            isHeard: z.boolean().nullable().describe('only the leader hears from all'),
            match: z.int().nullable().describe('how far its log is'),
          }),
        )
        .readonly(),
      unreachable: z.array(z.string()).readonly(),
    })
    .describe('The group that keeps the control state.'),
);
export type GroupAnswer = z.output<typeof groupAnswer>;

const keyRow = named(
  'Key',
  z
    .strictObject({
      name: z.string(),
      models: z.array(z.string()).readonly(),
      requestsPerMinute: z.int().nullable(),
      tokensPerMinute: z.int().nullable(),
      inFlightMax: z.int().nullable(),
      priority,
      residency,
      shares,
      waitsFor: places.describe('regions that have not taken their smaller share yet'),
      sha256: z.string().describe('its first twelve digits'),
      createdAt: z.string(),
      previousUntil: z.string().nullable().describe('the secret before works until then'),
      revision: z.int(),
    })
    .describe('An API key of the control state.'),
);

const auditRow = named(
  'AuditRecord',
  z.strictObject({
    revision: z.int(),
    who: z.string(),
    from: z.string(),
    what: z.string(),
    why: z.string(),
    keys: z.array(z.string()).readonly().describe('what was changed: put KEY, delete KEY'),
  }),
);
export type AuditRow = z.output<typeof auditRow>;

const keysBody = named(
  'ChangeKeys',
  z.discriminatedUnion('action', [
    z.strictObject({
      action: z.literal('create'),
      name,
      models,
      requestsPerMinute,
      tokensPerMinute,
      inFlightMax,
      priority,
      residency: residency.default(null),
      ...askedOfChange,
    }),
    z.strictObject({ action: z.literal('set'), name, residency, ...askedOfChange }),
    z.strictObject({
      action: z.literal('allot'),
      name,
      shares,
      force: z.boolean().default(false).describe('larger shares wait for nobody'),
      ...askedOfChange,
    }),
    z.strictObject({ action: z.literal('revoke'), name, ...askedOfChange }),
    z.strictObject({
      action: z.literal('rotate'),
      name,
      graceMs,
      ...askedOfChange,
    }),
  ]),
);
export type KeysBody = z.output<typeof keysBody>;

const keysChanged = named(
  'KeysChanged',
  z.union([
    wouldBeDone,
    z.strictObject({
      secret: z.string().describe('shown here and never again'),
      revision: z.int(),
    }),
    z.strictObject({ revision: z.int() }),
    z.strictObject({
      revision: z.int(),
      shares,
      waitsFor: places.describe('larger shares count once these have taken their smaller ones'),
    }),
  ]),
);
export type KeysChanged = z.output<typeof keysChanged>;

const adminKeyRow = named(
  'AdminKey',
  z
    .strictObject({
      name: z.string(),
      role,
      sha256: z.string().describe('its first twelve digits'),
      createdAt: z.string(),
      previousUntil: z.string().nullable().describe('the secret before works until then'),
      revision: z.int(),
    })
    .describe('A key of an operator, of the control state.'),
);

const adminKeysBody = named(
  'ChangeAdminKeys',
  z.discriminatedUnion('action', [
    z.strictObject({ action: z.literal('create'), name, role, ...askedOfChange }),
    z.strictObject({ action: z.literal('revoke'), name, ...askedOfChange }),
    z.strictObject({ action: z.literal('rotate'), name, graceMs, ...askedOfChange }),
  ]),
);
export type AdminKeysBody = z.output<typeof adminKeysBody>;

const memberId = z.int().min(1);
const force = z.boolean().default(false).describe('even where no quorum would be heard');
const peer = z
  .string()
  .regex(PEER_NAME, 'must be REGION, or REGION/NODE: lower-case letters, digits, inner hyphens')
  .describe('a region, for its first node, or REGION/NODE');
const membersBody = named(
  'ChangeMembers',
  z.discriminatedUnion('action', [
    z.strictObject({ action: z.literal('remove'), id: memberId, force, ...askedOfChange }),
    z.strictObject({ action: z.literal('demote'), id: memberId, force, ...askedOfChange }),
    z.strictObject({
      action: z.literal('promote'),
      id: memberId,
      force,
      replace: z
        .boolean()
        .default(false)
        .describe('the node that votes for the region loses its vote in the same step'),
      ...askedOfChange,
    }),
    z.strictObject({
      action: z.literal('add'),
      peer,
      address: z.string().max(300).describe('HOST:PORT of its peer listener'),
      force: z.boolean().default(false).describe('even where it is known with another address'),
      ...askedOfChange,
    }),
    z.strictObject({ action: z.literal('forget'), peer, ...askedOfChange }),
  ]),
);
export type MembersBody = z.output<typeof membersBody>;

const leaderBody = named(
  'MoveLeader',
  z.strictObject({
    region: z.string().describe('of an etcd cluster: the name of a member'),
    ...askedOfChange,
  }),
);
export type LeaderBody = z.output<typeof leaderBody>;

const memberFields = { action: z.string(), id: z.int(), done: z.literal(true) };
const peerFields = {
  action: z.string(),
  peer: z.string(),
  address: z.string().optional().describe('of one that was added'),
  done: z.literal(true),
  revision: z.int(),
};
const membersChanged = named(
  'MembersChanged',
  z.union([wouldBeDone, z.strictObject(memberFields), z.strictObject(peerFields)]),
);
export type MembersChanged = z.output<typeof membersChanged>;
const leaderFields = { region: z.string(), done: z.literal(true) };
const leaderMoved = named('LeaderMoved', z.union([wouldBeDone, z.strictObject(leaderFields)]));

/** Where this server has no control state, or nobody of the group answers. */
const NOT_HERE = { 404: ['no_control'], 503: ['unreachable'] } as const;
/** What a change of the state may be refused with. */
export const CHANGE_REFUSALS = {
  503: ['no_quorum', 'unavailable', 'unreachable'],
  504: ['outcome_unknown'],
} as const;

/** What the group itself refuses; the codes of `src/raft/errors.ts` beside our own. */
const GROUP_REFUSALS = [
  'would_lose_quorum',
  'region_votes',
  'kept_by_etcd',
  'etcd_refused',
  ...Object.keys(RAFT_ERRORS).map((code) => code.replaceAll('-', '_')),
];

/** What is said of where a node is may be refused with. */
const PEER_REFUSALS = [
  'peer_exists',
  'no_link',
  'unknown_region',
  'is_member',
  'too_many_peers',
  'newer_format',
  'changed',
];

export const CONTROL_ROUTES = {
  getMembers: {
    method: 'GET',
    path: '/admin/v1/members',
    role: 'viewer',
    summary: 'The group: who votes, who leads, how far each is',
    answer: groupAnswer,
    refusals: NOT_HERE,
  },
  getLeader: {
    method: 'GET',
    path: '/admin/v1/leader',
    role: 'viewer',
    summary: 'Who leads, as this node knows it',
    answer: groupAnswer,
    refusals: NOT_HERE,
  },
  getKeys: {
    method: 'GET',
    path: '/admin/v1/keys',
    role: 'viewer',
    summary: 'API keys of the control state, without secrets',
    answer: listOf('Keys', keyRow),
    refusals: NOT_HERE,
  },
  getAudit: {
    method: 'GET',
    path: '/admin/v1/audit',
    role: 'viewer',
    summary: 'The newest changes: who, from where, what, why',
    answer: listOf('Audit', auditRow),
    refusals: NOT_HERE,
  },
  changeKeys: {
    method: 'POST',
    path: '/admin/v1/keys',
    role: 'operator',
    summary: 'Makes, binds, divides, rotates or ends an API key',
    body: keysBody,
    answer: keysChanged,
    refusals: {
      400: ['nothing_to_divide', 'share_too_small', 'too_much'],
      404: ['no_control', 'unknown_key', 'unknown_region'],
      409: ['key_exists', 'changed', 'feature_level'],
      ...CHANGE_REFUSALS,
    },
  },
  getAdminKeys: {
    method: 'GET',
    path: '/admin/v1/admin-keys',
    role: 'viewer',
    summary: 'Keys of operators, without secrets: those of the control state',
    answer: listOf('AdminKeys', adminKeyRow),
    refusals: NOT_HERE,
  },
  changeAdminKeys: {
    method: 'POST',
    path: '/admin/v1/admin-keys',
    role: 'admin',
    summary: 'Makes, ends or rotates a key of an operator',
    body: adminKeysBody,
    answer: keysChanged,
    refusals: {
      404: ['no_control', 'unknown_key'],
      409: ['key_exists', 'changed'],
      ...CHANGE_REFUSALS,
    },
  },
  changeMembers: {
    method: 'POST',
    path: '/admin/v1/members',
    role: 'admin',
    summary: 'Says where a node is; takes a member out, gives it a vote or takes it away',
    body: membersBody,
    answer: membersChanged,
    refusals: {
      400: ['malformed_address'],
      404: ['no_control', 'unknown_peer'],
      409: ['is_self', ...PEER_REFUSALS, ...GROUP_REFUSALS],
      ...CHANGE_REFUSALS,
    },
  },
  moveLeader: {
    method: 'POST',
    path: '/admin/v1/leader',
    role: 'operator',
    summary: 'Hands leadership to a region',
    body: leaderBody,
    answer: leaderMoved,
    refusals: {
      404: ['no_control', 'unknown_region'],
      409: GROUP_REFUSALS,
      ...CHANGE_REFUSALS,
    },
  },
} as const satisfies AdminRoutes;
