/** Keys of the control state in the admin API: those of clients and those of operators, alike. */

import { createHash, randomBytes } from 'node:crypto';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { err, ok, type Err, type Result } from '../../base/result.ts';
import type { AdminAnswer, AdminRefusal, Caller } from '../../io/admin/route.ts';
import type { ControlFailure } from '../../replica/control/engine.ts';
import {
  createSecret,
  findSecret,
  listSecrets,
  replaceOwn,
  revokeSecret,
  rotateSecret,
  type KeptSecret,
  type KeyKind,
  type StoredSecret,
} from '../../replica/control/keyStore.ts';
import type { AuditInput, Transaction } from '../../replica/control/types.ts';
import { auditOf } from './audit.ts';
import type { ControlBackend } from './backend.ts';
import type { KeysChanged } from './controlRoutes.ts';

/** What the state's keys are shown as. */
export type SecretRow<Own extends object> = Own & {
  readonly name: string;
  readonly sha256: string;
  readonly createdAt: string;
  readonly previousUntil: string | null;
  readonly revision: number;
};

interface Asked {
  readonly name: string;
  readonly dryRun: boolean;
  readonly who: string;
  readonly why: string;
}

/** What is asked of a key; `own`: what its kind of key may do. */
export type SecretChange<Own extends object> =
  | (Asked & { readonly action: 'create'; readonly own: Own })
  | (Asked & { readonly action: 'revoke' })
  | (Asked & ReplaceOwn<Own>)
  | (Asked & { readonly action: 'rotate'; readonly graceMs: number });

/** What a key may do is to change. */
export interface ReplaceOwn<Own extends object> {
  readonly action: 'set' | 'allot';
  /** From what is there to what is to be; or why not. */
  readonly next: (stored: Own & KeptSecret) => Result<Replacement<Own>, AdminRefusal>;
}

interface Replacement<Own extends object> {
  readonly own: Partial<Own>;
  /** Of the audit log, after the name. */
  readonly what: string;
  /** Told with the revision. */
  readonly told?: Omit<Extract<KeysChanged, { readonly shares: unknown }>, 'revision'>;
}

/** The part of a kind of key that the admin API adds: what a verb of the command line calls it. */
export interface SecretDesk<Own extends object> {
  readonly kind: KeyKind<Own>;
  /** As in `banyan keys list`. */
  readonly verb: string;
  readonly side: ControlBackend;
  readonly wallMs: () => number;
}

export function secretRows<Own extends object>({
  kind,
  side,
}: SecretDesk<Own>): readonly SecretRow<Own>[] {
  return listSecrets(kind, side.engine.view).map(({ record, item }) => {
    const { sha256, previous, createdMs, ...rest } = record;
    return {
      ...(rest as Own & { readonly name: string }), // What is left of it once those three are out.
      // Enough to tell two apart, of no use to anyone who has it.
      sha256: sha256.slice(0, 12),
      createdAt: new Date(createdMs).toISOString(),
      previousUntil: previous === null ? null : new Date(previous.untilMs).toISOString(),
      revision: item.modRevision,
    };
  });
}

export async function changeSecret<Own extends object>(
  desk: SecretDesk<Own>,
  change: SecretChange<Own>,
  caller: Caller,
): Promise<AdminAnswer<KeysChanged>> {
  const { kind, verb, side } = desk;
  const audit = auditOf(caller, change, `${verb} ${change.action} ${change.name}`);
  if (change.action === 'create') return create(desk, change, audit);
  // What this node has may be old: then the comparison fails, and it is looked at again.
  const first = await changeStored(desk, change, audit);
  if (first !== null) return first;
  const confirmed = await new Promise<ControlFailure | null>((resolve) => {
    side.engine.confirm((result) => resolve(result.ok ? null : result.error));
  });
  if (confirmed !== null) return controlFailed(confirmed);
  const second = await changeStored(desk, change, audit);
  if (second !== null) return second;
  if (findSecret(kind, side.engine.view, change.name) !== null) {
    return refused(409, 'changed', 'The key was changed by somebody else just now.');
  }
  const message = `No key "${change.name}" is in the control state; "banyan ${verb} list" shows them.`;
  return refused(404, 'unknown_key', message);
}

async function create<Own extends object>(
  { kind, side, wallMs }: SecretDesk<Own>,
  change: Extract<SecretChange<Own>, { readonly action: 'create' }>,
  audit: AuditInput,
): Promise<AdminAnswer<KeysChanged>> {
  const { name, own, dryRun } = change;
  if (findSecret(kind, side.engine.view, name) !== null) return taken(name);
  if (dryRun) return ok({ dryRun, would: audit.what });
  const secret = newSecret();
  const kept: KeptSecret = { name, sha256: hashOf(secret), createdMs: wallMs(), previous: null };
  const told = await transact(side, createSecret(kind, { ...own, ...kept }, audit));
  return done(told, { secret }) ?? taken(name);
}

/** Null: as far as this node knows there is no such key, or it has changed. */
async function changeStored<Own extends object>(
  { kind, side, wallMs }: SecretDesk<Own>,
  change: Exclude<SecretChange<Own>, { readonly action: 'create' }>,
  audit: AuditInput,
): Promise<AdminAnswer<KeysChanged> | null> {
  const stored = findSecret(kind, side.engine.view, change.name);
  if (stored === null) return null;
  if ('next' in change) return replaceStored(side, { kind, stored, change, audit });
  if (change.dryRun) return ok({ dryRun: true, would: audit.what });
  if (change.action === 'revoke') {
    return done(await transact(side, revokeSecret(stored, audit)), {});
  }
  const secret = newSecret();
  const rotation = { sha256: hashOf(secret), graceMs: change.graceMs, wallMs: wallMs() };
  return done(await transact(side, rotateSecret(kind, stored, rotation, audit)), { secret });
}

async function replaceStored<Own extends object>(
  side: ControlBackend,
  asked: {
    readonly kind: KeyKind<Own>;
    readonly stored: StoredSecret<Own>;
    readonly change: Asked & ReplaceOwn<Own>;
    readonly audit: AuditInput;
  },
): Promise<AdminAnswer<KeysChanged> | null> {
  const { kind, stored, change, audit } = asked;
  const next = change.next(stored.record);
  if (!next.ok) return next;
  const { own, told = {} } = next.value;
  const what = `${audit.what}: ${next.value.what}`.slice(0, CONTROL_LIMITS.auditCharsMax);
  if (change.dryRun) return ok({ dryRun: true, would: what });
  return done(await transact(side, replaceOwn(kind, stored, own, { ...audit, what })), told);
}

type Told =
  | { readonly kind: 'done'; readonly isSuccess: boolean; readonly revision: number }
  | { readonly kind: 'failed'; readonly failure: ControlFailure };

/** Carries a transaction out. */
function transact(side: ControlBackend, transaction: Transaction): Promise<Told> {
  return new Promise((resolve) => {
    side.engine.transact(transaction, (outcome) => {
      if (outcome.ok) resolve({ kind: 'done', ...outcome.value });
      else resolve({ kind: 'failed', failure: outcome.error });
    });
  });
}

/** Null: the comparison failed, and nothing was changed. */
function done(told: Told, more: object): AdminAnswer<KeysChanged> | null {
  if (told.kind === 'failed') return controlFailed(told.failure);
  return told.isSuccess ? ok({ ...more, revision: told.revision }) : null;
}

/** Why the state was not changed, or may have been. */
export function controlFailed(failure: ControlFailure): Err<AdminRefusal> {
  if (failure.kind === 'refused') {
    return refused(400, failure.error.replaceAll('-', '_'), 'Refused.');
  }
  const isKnown = failure.kind === 'unavailable';
  const message = isKnown
    ? `Nothing was changed: ${failure.detail} Requests are served as before.`
    : `It may have been done, or may yet be: ${failure.detail} Look before you try again.`;
  return refused(isKnown ? 503 : 504, isKnown ? 'no_quorum' : 'outcome_unknown', message);
}

function taken(name: string): Err<AdminRefusal> {
  const message = `A key "${name}" is there already; rotate it, or take another.`;
  return refused(409, 'key_exists', message);
}

function refused(status: number, code: string, message: string): Err<AdminRefusal> {
  return err({ status, code, message });
}

function newSecret(): string {
  return `bny_${randomBytes(32).toString('base64url')}`;
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
