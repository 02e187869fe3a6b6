/** The admin API of the control state: the handlers of `controlRoutes.ts`. */

import { createHash, randomBytes } from 'node:crypto';

import { err, ok } from '../../base/result.ts';
import type { AdminAnswer, AdminHandlers, AdminRefusal, Caller } from '../../io/admin/route.ts';
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
import type {
  AuditRow,
  CONTROL_ROUTES,
  GroupAnswer,
  KeyRow,
  KeysBody,
  KeysChanged,
  LeaderBody,
  MembersBody,
} from './controlRoutes.ts';
import type { Operated, Operation } from './members.ts';
import type { ControlBackend } from './backend.ts';

const AUDIT_ROWS = 200;

/** Why there are no answers where a node's file has no `control`. */
export const NO_CONTROL: AdminRefusal = {
  status: 404,
  code: 'no_control',
  message: 'This node has no control state: its file has no "control".',
};

export function controlHandlers(
  side: ControlBackend,
  wallMs: () => number,
): AdminHandlers<typeof CONTROL_ROUTES> {
  return {
    getMembers: () => ok(groupView(side)),
    getLeader: () => ok(groupView(side)),
    getKeys: () => ok({ items: keyRows(side), unreachable: [] }),
    getAudit: () => ok({ items: auditRows(side), unreachable: [] }),
    changeKeys: ({ body, caller }) => changeKeys(side, wallMs(), body, caller),
    changeMembers: ({ body }) => changeMembers(side, body),
    moveLeader: ({ body }) => moveLeader(side, body),
  };
}

function groupView(side: ControlBackend): GroupAnswer {
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
    unreachable: [],
  };
}

function roleOf(
  voters: readonly number[],
  member: { readonly id: number; readonly isWitness: boolean },
): 'learner' | 'witness' | 'voter' {
  if (!voters.includes(member.id)) return 'learner';
  return member.isWitness ? 'witness' : 'voter';
}

function keyRows(side: ControlBackend): readonly KeyRow[] {
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
function auditRows(side: ControlBackend): readonly AuditRow[] {
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
  request: KeysBody,
  caller: Caller,
): Promise<AdminAnswer<KeysChanged>> {
  const audit: AuditInput = {
    who: request.who,
    from: caller.from,
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

async function create(
  side: ControlBackend,
  wallMs: number,
  request: Extract<KeysBody, { readonly action: 'create' }>,
  audit: AuditInput,
): Promise<AdminAnswer<KeysChanged>> {
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
): Promise<AdminAnswer<KeysChanged> | null> {
  const stored = findKey(side.engine.view, request.name);
  if (stored === null) return null;
  if (request.dryRun) return ok({ dryRun: true, would: audit.what });
  if (request.action === 'revoke') return done(await transact(side, revokeKey(stored, audit)), {});
  const secret = newSecret();
  const rotation = rotateKey(stored, hashOf(secret), request.graceMs, wallMs, audit);
  return done(await transact(side, rotation), { secret });
}

async function changeMembers(side: ControlBackend, request: MembersBody) {
  const { action, id, force, dryRun } = request;
  if (dryRun) return ok({ dryRun, would: `${action} member ${id}` });
  const operation: Operation =
    action === 'promote' ? { kind: action, id } : { kind: action, id, force };
  return operated(await side.operate(operation)) ?? ok({ action, id, done: true as const });
}

async function moveLeader(side: ControlBackend, { region, dryRun }: LeaderBody) {
  const conf = side.group?.status().conf;
  const to = conf?.members.findLast((member) => member.region === region);
  if (to === undefined) return refused(404, 'unknown_region', `No member is in "${region}".`);
  if (dryRun) return ok({ dryRun, would: `leadership goes to ${region}` });
  const refusal = operated(await side.operate({ kind: 'transfer', id: to.id }));
  return refusal ?? ok({ region, done: true as const });
}

/** Null: it was done. */
function operated({ error }: Operated): ReturnType<typeof refused> | null {
  if (error === null) return null;
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
function done(told: Told, more: { readonly secret?: string }): AdminAnswer<KeysChanged> | null {
  if (told.kind === 'failed') return failed(told.failure);
  return told.isSuccess ? ok({ ...more, revision: told.revision }) : null;
}

function failed(failure: ControlFailure): ReturnType<typeof refused> {
  if (failure.kind === 'refused')
    return refused(400, failure.error.replaceAll('-', '_'), 'Refused.');
  const isKnown = failure.kind === 'unavailable';
  const message = isKnown
    ? `Nothing was changed: ${failure.detail} Requests are served as before.`
    : `It may have been done, or may yet be: ${failure.detail} Look before you try again.`;
  return refused(isKnown ? 503 : 504, isKnown ? 'no_quorum' : 'outcome_unknown', message);
}

function taken(name: string): ReturnType<typeof refused> {
  return refused(
    409,
    'key_exists',
    `A key "${name}" is there already; rotate it, or take another.`,
  );
}

function refused(status: number, code: string, message: string) {
  return err<AdminRefusal>({ status, code, message });
}

function newSecret(): string {
  return `bny_${randomBytes(32).toString('base64url')}`;
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
