/** The admin API of leases, claims and names: the handlers of `registerRoutes.ts`. */

import { encodeUtf8 } from '../../base/bytes.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { AdminAnswer, AdminHandlers, AdminRefusal, Caller } from '../../io/admin/route.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import type { AuditInput, Transaction } from '../../replica/control/types.ts';
import type { Page } from '../../replica/registers/page.ts';
import type {
  ClaimAnswer,
  RegisterStore,
  StoreDone,
  StoreFailure,
  WonClaim,
} from '../../replica/registers/port.ts';
import { auditOf, NOTHING_CLAIMED, recordOperation } from '../control/audit.ts';
import type { RegisterBackend } from './registerBackend.ts';
import type {
  ClaimRow,
  ClaimsBody,
  ClaimsChanged,
  LeasesBody,
  LeasesChanged,
  NameRow,
  NamesBody,
  REGISTER_ROUTES,
} from './registerRoutes.ts';

/** Why there are no answers where a node's file has no `control.registers`. */
export const NO_REGISTERS: AdminRefusal = {
  status: 404,
  code: 'no_registers',
  message: 'This node keeps no leases and claims: its file has no "control.registers".',
};

export function registerHandlers(
  backend: Pick<RegisterBackend, 'registers' | 'keepers'>,
  engine: ControlEngine,
): AdminHandlers<typeof REGISTER_ROUTES> {
  const store = backend.registers;
  return {
    getLeases: ({ query }) => {
      return notKeptHere(backend.keepers()) ?? ok({ ...store.leases.list(query), unreachable: [] });
    },
    getClaims: ({ query }) => {
      const { key } = query;
      if (key !== undefined) return oneClaim(store, key);
      return notKeptHere(backend.keepers()) ?? ok({ ...store.claims.list(query), unreachable: [] });
    },
    getName: ({ query }) => ownerOf(store, query.name),
    changeLeases: ({ body, caller }) => free(store, engine, body, caller),
    changeClaims: ({ body, caller }) => changeClaims(store, engine, body, caller),
    changeNames: ({ body, caller }) => changeNames(store, engine, body, caller),
  };
}

function ask<T>(call: (done: StoreDone<T>) => void): Promise<Result<T, AdminRefusal>> {
  return new Promise((resolve) => {
    call((result) => resolve(result.ok ? result : refusalOf(result.error)));
  });
}

function refusalOf({ kind, detail }: StoreFailure): { readonly ok: false; error: AdminRefusal } {
  if (kind === 'full') {
    return err({ status: 503, code: 'no_room', message: `Nothing was changed: ${detail}` });
  }
  if (kind === 'unavailable') {
    return err({ status: 503, code: 'no_quorum', message: `Nothing was changed: ${detail}` });
  }
  if (kind === 'not-yours') return err({ status: 409, code: 'not_yours', message: detail });
  const message = `It may have been done, or may yet be: ${detail} Ask again with the same owner.`;
  return err({ status: 504, code: 'outcome_unknown', message });
}

/** A list is what a node has itself; null: it has one. */
function notKeptHere(keepers: readonly string[]) {
  if (keepers.length === 0) return null;
  const message = `This node keeps no leases and claims; ask one of ${keepers.join(', ')}.`;
  return err({ status: 409, code: 'not_kept_here', message } satisfies AdminRefusal);
}

async function oneClaim(
  { claims: book }: RegisterStore,
  key: string,
): Promise<AdminAnswer<Page<ClaimRow> & { readonly unreachable: readonly string[] }>> {
  const found = await ask<ClaimRow | null>((done) => book.lookup(key, done));
  if (!found.ok) return found;
  return ok({ items: found.value === null ? [] : [found.value], next: null, unreachable: [] });
}

async function ownerOf({ names }: RegisterStore, name: string): Promise<AdminAnswer<NameRow>> {
  const owner = await ask<string | null>((done) => names.ownerOf(name, done));
  return owner.ok ? ok({ name, owner: owner.value }) : owner;
}

async function changeNames(
  store: RegisterStore,
  engine: ControlEngine,
  { action, name, owner }: NamesBody,
  caller: Caller,
): Promise<AdminAnswer<NameRow>> {
  const { names } = store;
  const done = auditOf(caller, NOTHING_CLAIMED, `name ${name}: ${action} by ${owner}`);
  if (action === 'give') {
    const given = await ask<null>((done) => names.give(name, owner, done));
    if (!given.ok) return given;
    recordOperation({ engine }, done);
    return ownerOf(store, name);
  }
  const taken = await ask((done: Parameters<typeof names.take>[2]) =>
    names.take(name, owner, done),
  );
  if (!taken.ok) return taken;
  if (taken.value.kind === 'yours') recordOperation({ engine }, done);
  return ok({ name, owner: taken.value.kind === 'yours' ? owner : taken.value.owner });
}

/**
 * A claim that is given back may be won again, so that work is done twice: that is in the audit log. To
 * claim and to settle is what workers do all day, and would push everything else out of it.
 */
async function changeClaims(
  { claims: book }: RegisterStore,
  engine: ControlEngine,
  body: ClaimsBody,
  caller: Caller,
): Promise<AdminAnswer<ClaimsChanged>> {
  const key = `job/${body.key}`;
  const { owner, about } = body;
  if (body.action === 'claim') {
    const told = await ask<ClaimAnswer>((done) => book.claim(key, owner, about, done));
    if (!told.ok) return told;
    const { value } = told;
    return value.kind === 'won'
      ? ok({ won: true, place: value.claim.place })
      : ok({ won: false, claim: value.claim });
  }
  const won: WonClaim = { key, owner, about, place: body.place };
  const done = await ask<null>((told) => {
    if (body.action === 'settle') book.settle(won, body.result, told);
    else book.release(won, told);
  });
  if (!done.ok) return done;
  if (body.action === 'release') {
    recordOperation(
      { engine },
      auditOf(caller, NOTHING_CLAIMED, `claim ${key}: release of ${owner}`),
    );
  }
  return ok({ done: true });
}

/** It is in the audit log before it is done. */
async function free(
  { leases }: RegisterStore,
  engine: ControlEngine,
  body: LeasesBody,
  caller: Caller,
): Promise<AdminAnswer<LeasesChanged>> {
  const { name, dryRun } = body;
  const audit = auditOf(caller, body, `leases free ${name}`);
  if (dryRun) return ok({ dryRun, would: audit.what });
  const refusal = await recorded(engine, name, audit);
  if (refusal !== null) return err(refusal);
  const wasHeld = await ask<boolean>((done) => leases.free(name, done));
  return wasHeld.ok ? ok({ name, wasHeld: wasHeld.value }) : wasHeld;
}

function recorded(
  engine: ControlEngine,
  name: string,
  audit: AuditInput,
): Promise<AdminRefusal | null> {
  const value = encodeUtf8(JSON.stringify({ name }));
  const success = [
    { kind: 'put', key: 'registers/freed', type: 'register-freed/1', value },
  ] as const;
  const transaction: Transaction = {
    kind: 'transaction',
    audit,
    compares: [],
    success,
    failure: [],
  };
  return new Promise((resolve) => {
    engine.transact(transaction, (outcome) => {
      if (outcome.ok) return resolve(null);
      const message = 'It could not be written into the audit log, so nothing was changed.';
      resolve({ status: 503, code: 'no_quorum', message });
    });
  });
}
