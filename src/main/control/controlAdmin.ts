/**
 * The admin API of the control state.
 *
 * | path | answer |
 * |---|---|
 * | `GET /admin/v1/members` | the group: who votes, who leads, how far each is |
 * | `GET /admin/v1/leader` | who leads, as this node knows it |
 * | `GET /admin/v1/keys` | keys of the control state, without secrets |
 * | `GET /admin/v1/audit` | the newest changes: who, from where, what, why |
 * | `POST /admin/v1/keys` | `{ action: create, revoke or rotate, name, … }` |
 * | `POST /admin/v1/members` | `{ action: remove, promote or demote, id, force }` |
 * | `POST /admin/v1/leader` | `{ region }`: hands leadership to it |
 *
 * `dryRun: true` says what would be done and does nothing.
 */

import { createHash, randomBytes } from 'node:crypto';

import { z } from 'zod';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { err, ok } from '../../base/result.ts';
import type { AdminAnswer, AdminControl } from '../../io/admin/server.ts';
import type { ControlFailure } from '../../replica/control/engine.ts';
import {
  createKey,
  findKey,
  listKeys,
  revokeKey,
  rotateKey,
  type KeyRecord,
} from '../../replica/control/keys.ts';
import type { AuditInput, Transaction } from '../../replica/control/types.ts';
import { keySchema } from '../config/schema.ts';
import type { ControlBackend } from './backend.ts';
import type { Operation } from './members.ts';

/** After a rotation the old secret goes on for an hour, unless somebody says otherwise, ms. */
const GRACE_MS = 3_600_000;
const GRACE_MS_MAX = 30 * 24 * 3_600_000;
const AUDIT_ROWS = 200;

const asked = {
  dryRun: z.boolean().default(false),
  who: z.string().max(CONTROL_LIMITS.auditCharsMax).default('unknown'),
  why: z.string().max(CONTROL_LIMITS.auditCharsMax).default(''),
};
const { name, models, requestsPerMinute, tokensPerMinute, inFlightMax, priority } = keySchema.shape;
const keysBody = z.discriminatedUnion('action', [
  z.strictObject({
    action: z.literal('create'),
    name,
    models,
    requestsPerMinute,
    tokensPerMinute,
    inFlightMax,
    priority,
    ...asked,
  }),
  z.strictObject({ action: z.literal('revoke'), name, ...asked }),
  z.strictObject({
    action: z.literal('rotate'),
    name,
    graceMs: z.int().min(0).max(GRACE_MS_MAX).default(GRACE_MS),
    ...asked,
  }),
]);
const membersBody = z.strictObject({
  action: z.enum(['remove', 'promote', 'demote']),
  id: z.int().min(1),
  force: z.boolean().default(false),
  ...asked,
});
const leaderBody = z.strictObject({ region: z.string(), ...asked });

const PATH = /^\/admin\/v1\/(members|leader|keys|audit)$/;

export function isControlPath(path: string): boolean {
  return PATH.test(path);
}

export function createControlAdmin(side: ControlBackend, wallMs: () => number): AdminControl {
  return {
    has: isControlPath,
    async answer(path, body, remote) {
      const [, name = ''] = PATH.exec(path) ?? [];
      if (body === null) return ok(view(side, name));
      if (name === 'keys') return changeKeys(side, wallMs(), body, remote);
      if (name === 'members') return changeMembers(side, body);
      if (name === 'leader') return moveLeader(side, body);
      return refused(405, 'method_not_allowed', 'The audit log is only read.');
    },
  };
}

function view(side: ControlBackend, name: string): object {
  if (name === 'keys') return { items: keyRows(side), unreachable: [] };
  if (name === 'audit') return { items: auditRows(side), unreachable: [] };
  return { ...groupView(side), unreachable: [] };
}

function groupView(side: ControlBackend): object {
  const status = side.group?.status() ?? null;
  const { state } = side;
  const region = (id: number): string | null =>
    status?.conf.members.find((member) => member.id === id)?.region ?? null;
  return {
    cluster: side.cluster,
    state: state.kind,
    detail: 'detail' in state ? state.detail : null,
    term: status?.term ?? null,
    leader: status === null ? null : region(status.leader),
    revision: side.engine.view.revision,
    items:
      status?.conf.members.map((member) => {
        const peer = status.peers.find(({ id }) => id === member.id);
        const isSelf = member.id === status.id;
        return {
          id: member.id,
          region: member.region,
          role: member.id === status.leader ? 'leader' : roleOf(status.conf.voters, member),
          // Only the leader hears from all.
          isHeard: isSelf ? true : (peer?.isActive ?? null),
          match: isSelf ? status.lastIndex : (peer?.match ?? null),
        };
      }) ?? [],
  };
}

function roleOf(
  voters: readonly number[],
  member: { readonly id: number; readonly isWitness: boolean },
): string {
  if (!voters.includes(member.id)) return 'learner';
  return member.isWitness ? 'witness' : 'voter';
}

function keyRows(side: ControlBackend): readonly object[] {
  return listKeys(side.engine.view).map(({ record, item }) => {
    const { sha256, previous, createdMs, ...rest } = record;
    return {
      ...rest,
      // Enough to tell two apart, of no use to anyone who has it.
      sha256: sha256.slice(0, 12),
      createdAt: new Date(createdMs).toISOString(),
      previousUntil: previous === null ? null : new Date(previous.untilMs).toISOString(),
      revision: item.modRevision,
    };
  });
}

/** The newest first. */
function auditRows(side: ControlBackend): readonly object[] {
  const { view: state } = side.engine;
  const from = Math.max(1, state.revision - AUDIT_ROWS + 1);
  return state
    .audit(from, AUDIT_ROWS)
    .toReversed()
    .map(({ revision, who, from: remote, what, why, changes }) => ({
      revision,
      who,
      from: remote,
      what,
      why,
      keys: changes.map(({ kind, key }) => `${kind} ${key}`),
    }));
}

async function changeKeys(
  side: ControlBackend,
  wallMs: number,
  body: unknown,
  remote: string,
): Promise<AdminAnswer> {
  const parsed = keysBody.safeParse(body);
  if (!parsed.success) return malformed(parsed.error);
  const request = parsed.data;
  const audit: AuditInput = {
    who: request.who,
    from: remote,
    what: `keys ${request.action} ${request.name}`,
    why: request.why,
  };
  if (request.action === 'create') return create(side, wallMs, request, audit);
  // What this node has may be old: then the comparison fails, and it is looked at again.
  const first = await changeKey(side, wallMs, request, audit);
  if (first !== null) return first;
  const confirmed = await new Promise<ControlFailure | null>((resolve) => {
    side.engine.confirm((result) => resolve(result.ok ? null : result.error));
  });
  if (confirmed !== null) return failed(confirmed);
  const second = await changeKey(side, wallMs, request, audit);
  if (second !== null) return second;
  if (findKey(side.engine.view, request.name) !== null) {
    return refused(409, 'changed', 'The key was changed by somebody else just now.');
  }
  const message = `No key "${request.name}" is in the control state; "banyan keys list" shows them.`;
  return refused(404, 'unknown_key', message);
}

type KeysBody = z.output<typeof keysBody>;

async function create(
  side: ControlBackend,
  wallMs: number,
  request: Extract<KeysBody, { readonly action: 'create' }>,
  audit: AuditInput,
): Promise<AdminAnswer> {
  const { action: _action, dryRun, who: _who, why: _why, ...limits } = request;
  if (findKey(side.engine.view, request.name) !== null) return taken(request.name);
  if (dryRun) return ok({ dryRun, would: audit.what });
  const secret = newSecret();
  const record: KeyRecord = {
    ...limits,
    sha256: hashOf(secret),
    createdMs: wallMs,
    previous: null,
  };
  const told = await transact(side, createKey(record, audit));
  return done(told, { secret }) ?? taken(request.name);
}

/** Null: as far as this node knows there is no such key, or it has changed. */
async function changeKey(
  side: ControlBackend,
  wallMs: number,
  request: Exclude<KeysBody, { readonly action: 'create' }>,
  audit: AuditInput,
): Promise<AdminAnswer | null> {
  const stored = findKey(side.engine.view, request.name);
  if (stored === null) return null;
  if (request.dryRun) return ok({ dryRun: true, would: audit.what });
  if (request.action === 'revoke') return done(await transact(side, revokeKey(stored, audit)), {});
  const secret = newSecret();
  const rotation = rotateKey(stored, hashOf(secret), request.graceMs, wallMs, audit);
  return done(await transact(side, rotation), { secret });
}

async function changeMembers(side: ControlBackend, body: unknown): Promise<AdminAnswer> {
  const parsed = membersBody.safeParse(body);
  if (!parsed.success) return malformed(parsed.error);
  const { action, id, force, dryRun } = parsed.data;
  if (dryRun) return ok({ dryRun, would: `${action} member ${id}` });
  const operation: Operation =
    action === 'promote' ? { kind: action, id } : { kind: action, id, force };
  return operated(side, operation, { action, id });
}

async function moveLeader(side: ControlBackend, body: unknown): Promise<AdminAnswer> {
  const parsed = leaderBody.safeParse(body);
  if (!parsed.success) return malformed(parsed.error);
  const { region, dryRun } = parsed.data;
  const conf = side.group?.status().conf;
  const to = conf?.members.findLast((member) => member.region === region);
  if (to === undefined) return refused(404, 'unknown_region', `No member is in "${region}".`);
  if (dryRun) return ok({ dryRun, would: `leadership goes to ${region}` });
  return operated(side, { kind: 'transfer', id: to.id }, { region });
}

async function operated(
  side: ControlBackend,
  operation: Operation,
  told: object,
): Promise<AdminAnswer> {
  const { error } = await side.operate(operation);
  if (error === null) return ok({ ...told, done: true });
  const status = error.code === 'unavailable' || !error.definite ? 503 : 409;
  return refused(status, error.code.replaceAll('-', '_'), error.message);
}

type Told =
  | { readonly kind: 'done'; readonly isSuccess: boolean; readonly revision: number }
  | { readonly kind: 'failed'; readonly failure: ControlFailure };

function transact(side: ControlBackend, transaction: Transaction): Promise<Told> {
  return new Promise((resolve) => {
    side.engine.transact(transaction, (outcome) => {
      if (outcome.ok) resolve({ kind: 'done', ...outcome.value });
      else resolve({ kind: 'failed', failure: outcome.error });
    });
  });
}

/** Null: the comparison failed, and nothing was changed. */
function done(told: Told, more: object): AdminAnswer | null {
  if (told.kind === 'failed') return failed(told.failure);
  return told.isSuccess ? ok({ ...more, revision: told.revision }) : null;
}

function failed(failure: ControlFailure): AdminAnswer {
  if (failure.kind === 'refused')
    return refused(400, failure.error.replaceAll('-', '_'), 'Refused.');
  const isKnown = failure.kind === 'unavailable';
  const message = isKnown
    ? `Nothing was changed: ${failure.detail} Requests are served as before.`
    : `It may have been done, or may yet be: ${failure.detail} Look before you try again.`;
  return refused(isKnown ? 503 : 504, isKnown ? 'no_quorum' : 'outcome_unknown', message);
}

function taken(name: string): AdminAnswer {
  return refused(
    409,
    'key_exists',
    `A key "${name}" is there already; rotate it, or take another.`,
  );
}

function malformed(error: z.ZodError): AdminAnswer {
  return refused(400, 'invalid_request', z.prettifyError(error));
}

function refused(status: number, code: string, message: string): AdminAnswer {
  return err({ status, code, message });
}

function newSecret(): string {
  return `bny_${randomBytes(32).toString('base64url')}`;
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
