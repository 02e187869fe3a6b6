/** The admin API of what operators say of regions: the handler of `regionRoutes.ts`. */

import { err, ok } from '../../base/result.ts';
import { REGION_RECORD_LIMITS } from '../../base/regionLimits.ts';
import type { AdminAnswer, AdminHandlers, AdminRefusal, Caller } from '../../io/admin/route.ts';
import { drainRefusal, type DrainRefusal, type RegionWish } from '../../regions/desired.ts';
import type { ControlFailure, ControlOutcome } from '../../replica/control/engine.ts';
import { putRegion, readRegion, type StoredRegion } from '../../replica/control/regions.ts';
import type { Transaction } from '../../replica/control/types.ts';
import type { Heard } from '../sharedConfig/runner.ts';
import { auditOf } from './audit.ts';
import type { ControlBackend } from './backend.ts';
import type { REGION_ROUTES, RegionBody, RegionSet } from './regionRoutes.ts';
import { controlFailed } from './secretsAdmin.ts';

export interface RegionAdminParts {
  readonly backend: ControlBackend;
  /** Every region that is known, and how it fares; null: it does not answer. */
  readonly shared: {
    readonly regions: readonly string[];
    askReport(region: string): Promise<Heard>;
  };
}

export function regionHandlers(parts: RegionAdminParts): AdminHandlers<typeof REGION_ROUTES> {
  return { setRegion: ({ body, caller }) => setRegion(parts, body, caller) };
}

async function setRegion(
  parts: RegionAdminParts,
  body: RegionBody,
  caller: Caller,
): Promise<AdminAnswer<RegionSet>> {
  const { region } = body;
  const { regions } = parts.shared;
  if (!regions.includes(region)) {
    const message = `There is no region "${region}"; there are ${regions.join(', ')}.`;
    return refused(404, 'unknown_region', message);
  }
  if (body.desired === undefined && body.weight === undefined && body.residency === undefined) {
    return refused(400, 'nothing_to_set', 'Say what to set: desired, weight or residency.');
  }
  // Asked once: what is compared in the state are the wishes.
  const heard = body.desired === 'drained' ? await othersHeard(parts, region) : [];
  for (let attempt = 0; attempt < REGION_RECORD_LIMITS.triesMax; attempt += 1) {
    const done = await attemptSet(parts, body, heard, caller);
    if (done !== null) return done;
  }
  return refused(
    409,
    'changed',
    'The regions are being changed by somebody else; look, try again.',
  );
}

interface OtherHeard {
  readonly region: string;
  readonly isHeard: boolean;
}

/** The regions beside one; whoever only votes is none. */
async function othersHeard(
  { shared, backend }: RegionAdminParts,
  region: string,
): Promise<readonly OtherHeard[]> {
  const members = backend.group?.status().conf.members ?? [];
  const witnesses = new Set(members.flatMap((each) => (each.isWitness ? [each.region] : [])));
  const others = shared.regions.filter((other) => other !== region && !witnesses.has(other));
  const reports = await Promise.all(others.map((other) => shared.askReport(other)));
  return others.flatMap((other, at) =>
    reports[at] === 'none' ? [] : [{ region: other, isHeard: reports[at] !== null }],
  );
}

/** Null: what it was decided by has changed meanwhile. */
async function attemptSet(
  { backend }: RegionAdminParts,
  body: RegionBody,
  heard: readonly OtherHeard[],
  caller: Caller,
): Promise<AdminAnswer<RegionSet> | null> {
  const { engine } = backend;
  const unconfirmed = await new Promise<ControlFailure | null>((resolve) => {
    engine.confirm((result) => resolve(result.ok ? null : result.error));
  });
  if (unconfirmed !== null) return controlFailed(unconfirmed);
  const before = readRegion(engine.view, body.region);
  const others = heard.map(({ region }) => readRegion(engine.view, region));
  if (before === null || !others.every((other) => other !== null)) {
    return refused(409, 'newer_format', 'A newer program has written this; update this node.');
  }
  const wish = wishedFor(before.wish, body);
  const refusal = wish.desired === 'drained' ? drainRefused(heard, others) : null;
  if (refusal !== null && !body.force) return refusedDrain(body.region, refusal);
  const what = whatOf(wish, body);
  if (body.dryRun) return ok({ dryRun: true, would: what });
  const transaction = putRegion(wish, before, others, auditOf(caller, body, what));
  const outcome = await transact(backend, transaction);
  if (!outcome.ok) return controlFailed(outcome.error);
  if (!outcome.value.isSuccess) return null;
  return ok({ ...wish, version: before.version + 1, revision: outcome.value.revision });
}

function wishedFor(before: RegionWish, { desired, weight, residency }: RegionBody): RegionWish {
  return {
    region: before.region,
    desired: desired ?? before.desired,
    weight: weight ?? before.weight,
    residency: residency === undefined ? before.residency : residency,
  };
}

function drainRefused(
  heard: readonly OtherHeard[],
  others: readonly StoredRegion[],
): DrainRefusal | null {
  const standings = heard.map(({ region, isHeard }, at) => {
    return { region, isHeard, desired: others[at]?.wish.desired ?? 'active' };
  });
  return drainRefusal(standings);
}

function refusedDrain(region: string, refusal: DrainRefusal) {
  if (refusal.code === 'last_active_region') {
    const message = `No other region is active and answers: ${region} is not drained without force.`;
    return refused(409, refusal.code, message);
  }
  const out = refusal.out.map((other) => {
    return `${other.region} ${other.isHeard ? 'is drained' : 'does not answer'}`;
  });
  const message = `One region at a time: ${out.join(', ')}; ${region} is not drained without force.`;
  return refused(409, refusal.code, message);
}

/** As the audit log tells it. */
function whatOf({ region, desired, weight, residency }: RegionWish, body: RegionBody): string {
  const parts = [
    ...(body.desired === undefined ? [] : [`desired ${desired}`]),
    ...(body.weight === undefined ? [] : [`weight ${weight}`]),
    ...(body.residency === undefined ? [] : [`residency ${residency ?? 'none'}`]),
  ];
  return `region set ${region}: ${parts.join(', ')}${body.force ? ', by force' : ''}`;
}

function transact({ engine }: ControlBackend, transaction: Transaction): Promise<ControlOutcome> {
  return new Promise((resolve) => engine.transact(transaction, resolve));
}

function refused(status: number, code: string, message: string) {
  return err<AdminRefusal>({ status, code, message });
}
