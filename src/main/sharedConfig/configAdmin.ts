/** The admin API of the shared configuration: the handlers of `configRoutes.ts`. */

import { regionOfPeer } from '../../base/peerName.ts';
import { err, ok } from '../../base/result.ts';
import type { AdminAnswer, AdminHandlers, AdminRefusal, Caller } from '../../io/admin/route.ts';
import type { ControlEngine, ControlFailure } from '../../replica/control/engine.ts';
import type { Transaction } from '../../replica/control/types.ts';
import { endRollout, resumeRollout, startVersion } from '../../replica/sharedConfig/changes.ts';
import {
  assignedTo,
  listVersions,
  readHead,
  readText,
  type ConfigHead,
  type StoredHead,
} from '../../replica/sharedConfig/records.ts';
import { combined, namesOf, type NodeReport } from '../../replica/sharedConfig/regionReport.ts';
import { inOrder } from '../../replica/sharedConfig/rollout.ts';
import { readShared, textFor, unknownRegions } from '../config/shared.ts';
import { auditOf } from '../control/audit.ts';
import type { ControlBackend } from '../control/backend.ts';
import type {
  ConfigAnswer,
  ConfigBody,
  ConfigChanged,
  ConfigRegionRow,
  CONFIG_ROUTES,
  VersionRow,
} from './configRoutes.ts';
import { problemLines } from './problems.ts';
import type { SharedConfigNode } from './sharedNode.ts';

/** A roll-out's own steps change the head, too: so often a change is tried again. */
const TRIES = 5;

export interface ConfigAdminParts {
  readonly backend: ControlBackend;
  readonly shared: SharedConfigNode;
  readonly wallMs: () => number;
}

type Body<Action extends ConfigBody['action']> = Extract<ConfigBody, { readonly action: Action }>;

export function configHandlers(parts: ConfigAdminParts): AdminHandlers<typeof CONFIG_ROUTES> {
  return {
    getConfig: ({ query }) => view(parts, query.version ?? null, query.region ?? null),
    getConfigHistory: () => ok({ items: history(parts), unreachable: [] }),
    changeConfig: ({ body, caller }) => {
      if (body.action === 'push') return push(parts, body, caller);
      return body.action === 'resume' ? resume(parts, body, caller) : rollback(parts, body, caller);
    },
  };
}

// What is there.

async function view(
  { backend, shared }: ConfigAdminParts,
  version: number | null,
  region: string | null,
): Promise<AdminAnswer<ConfigAnswer>> {
  const state = backend.engine.view;
  const stored = readHead(state);
  if (stored === null) return newerFormat();
  const { head } = stored;
  if (region !== null && !shared.regions.includes(region)) {
    const message = `There is no region "${region}"; there are ${shared.regions.join(', ')}.`;
    return refused(404, 'unknown_region', message);
  }
  const wanted = version ?? (region === null ? null : assignedTo(head, region));
  const whole = wanted === null || wanted === 0 ? null : readText(state, wanted);
  if (version !== null && whole === null) return unknownVersion(version);
  const text = whole === null || region === null ? whole : textFor(whole, region);
  const heard = await Promise.all(
    shared.peers.map(async (peer) => ({ peer, report: await shared.lastReport(peer) })),
  );
  const known = heard.flatMap(({ peer, report }) => (report === 'none' ? [] : [{ peer, report }]));
  const { newest, base, rollout } = head;
  return ok({
    newest,
    base,
    rollout:
      rollout === null
        ? null
        : {
            version: rollout.version,
            bakeMs: rollout.bakeMs,
            region: rollout.stage?.region ?? null,
            done: rollout.done,
            halted: rollout.halted === '' ? null : rollout.halted,
            startedAt: new Date(rollout.startedMs).toISOString(),
          },
    items: shared.regions.flatMap((name) => {
      const nodes = known.filter(({ peer }) => regionOfPeer(peer) === name);
      return nodes.length === 0 ? [] : [regionRow(head, name, nodes)];
    }),
    text,
    unreachable: known.filter(({ report }) => report === null).map(({ peer }) => peer),
  });
}

interface KnownNode {
  readonly peer: string;
  /** Null: it does not answer. */
  readonly report: NodeReport | null;
}

function regionRow(head: ConfigHead, region: string, nodes: readonly KnownNode[]): ConfigRegionRow {
  const heard = new Map(
    nodes.flatMap(({ peer, report }) => (report === null ? [] : [[peer, report] as const])),
  );
  const report = heard.size === 0 ? null : combined(heard);
  const refused = report?.refused ?? null;
  const who = refused === null ? '' : namesOf([refused.peer], nodes.length === 1, '');
  return {
    region,
    assigned: assignedTo(head, region),
    applied: report?.applied ?? null,
    state: stateOf(head, region),
    refused: refused === null ? null : `${who === '' ? '' : `${who}: `}${refused.why}`,
    nodes: nodes.map((node) => ({
      peer: node.peer,
      applied: node.report?.applied ?? null,
      refused: node.report?.refused?.why ?? null,
    })),
  };
}

function stateOf({ rollout }: ConfigHead, region: string): ConfigRegionRow['state'] {
  if (rollout === null) return 'base';
  if (rollout.done.includes(region)) return 'done';
  if (rollout.stage?.region !== region) return 'base';
  if (rollout.halted !== '') return 'halted';
  return rollout.stage.bake === null ? 'applying' : 'baking';
}

function history({ backend }: ConfigAdminParts): readonly VersionRow[] {
  return listVersions(backend.engine.view)
    .toReversed()
    .map(({ timeMs, ...row }) => ({ ...row, at: new Date(timeMs).toISOString() }));
}

// What is changed.

async function push(
  parts: ConfigAdminParts,
  body: Body<'push'>,
  caller: Caller,
): Promise<AdminAnswer<ConfigChanged>> {
  const { text, expect, label, emergency, dryRun } = body;
  const checked = await check(parts, text, label, true);
  if (!checked.ok) return checked;
  const { bakeMs, order, warnings, unchecked } = checked.value;
  return change(parts, expect ?? null, (stored) => {
    const { head } = stored;
    if (head.rollout !== null && !emergency) return underWay(head.rollout.version);
    if (head.rollout === null && readText(parts.backend.engine.view, head.base) === text) {
      const message = `This is what counts everywhere already: version ${head.base}.`;
      return refused(409, 'unchanged', message);
    }
    const version = head.newest + 1;
    const what = `config push ${version}${emergency ? ' --emergency' : ''}`;
    if (dryRun) return ok({ would: `${what}: ${way(parts, bakeMs, order, emergency)}` });
    const timeMs = Math.round(parts.wallMs());
    const next = { text, of: 0, isEmergency: emergency, bakeMs, order, timeMs };
    const audit = auditOf(caller, body, what);
    const transaction = startVersion(parts.backend.engine.view, stored, next, audit);
    const told = { version, bakeMs: emergency ? null : bakeMs, warnings, unchecked };
    return ok({ transaction, told });
  });
}

async function rollback(
  parts: ConfigAdminParts,
  body: Body<'rollback'>,
  caller: Caller,
): Promise<AdminAnswer<ConfigChanged>> {
  const { version: of, emergency, dryRun } = body;
  const { engine } = parts.backend;
  if (of === undefined) return end(parts, body, caller);
  // A node that is behind may not have heard of the version yet.
  const failure = await confirm(engine);
  if (failure !== null) return failed(failure);
  const text = readText(engine.view, of);
  if (text === null) return unknownVersion(of);
  const checked = await check(parts, text, `version ${of}`, false);
  if (!checked.ok) return checked;
  const { bakeMs, order, warnings, unchecked } = checked.value;
  return change(parts, null, (stored) => {
    const { head } = stored;
    // Back to what the other regions have: no new version is needed for that.
    if (head.rollout !== null && of === head.base) return ended(parts, stored, body, caller);
    if (head.rollout !== null && !emergency) return underWay(head.rollout.version);
    const version = head.newest + 1;
    const what = `config rollback ${of} as ${version}${emergency ? ' --emergency' : ''}`;
    if (dryRun) return ok({ would: `${what}: ${way(parts, bakeMs, order, emergency)}` });
    const timeMs = Math.round(parts.wallMs());
    const next = { text, of, isEmergency: emergency, bakeMs, order, timeMs };
    const transaction = startVersion(engine.view, stored, next, auditOf(caller, body, what));
    const told = { version, bakeMs: emergency ? null : bakeMs, warnings, unchecked };
    return ok({ transaction, told });
  });
}

function end(parts: ConfigAdminParts, body: Body<'rollback'>, caller: Caller) {
  return change(parts, null, (stored) => ended(parts, stored, body, caller));
}

function ended(
  parts: ConfigAdminParts,
  stored: StoredHead,
  body: Body<'rollback'>,
  caller: Caller,
): Planned {
  const { base, rollout } = stored.head;
  if (rollout === null) return noRollout();
  const what = `config rollback: ${rollout.version} ended, ${base} counts everywhere`;
  if (body.dryRun) return ok({ would: what });
  const audit = auditOf(caller, body, what);
  const transaction = endRollout(parts.backend.engine.view, stored, audit);
  return ok({ transaction, told: { version: base, bakeMs: null, warnings: [], unchecked: [] } });
}

function resume(parts: ConfigAdminParts, body: Body<'resume'>, caller: Caller) {
  return change(parts, null, (stored) => {
    const { rollout } = stored.head;
    if (rollout === null) return noRollout();
    if (rollout.halted === '') {
      return refused(409, 'not_halted', `The roll-out of ${rollout.version} is not halted.`);
    }
    const what = `config resume ${rollout.version}, halted in ${rollout.halted}`.slice(0, 256);
    if (body.dryRun) return ok({ would: what });
    const nowMs = Math.round(parts.wallMs());
    const transaction = resumeRollout(stored, rollout, nowMs, auditOf(caller, body, what));
    const { version, bakeMs } = rollout;
    return ok({ transaction, told: { version, bakeMs, warnings: [], unchecked: [] } });
  });
}

/** What is to be sent and said, decided from one head. */
type Planned = AdminAnswer<
  | { readonly would: string }
  | {
      readonly transaction: Transaction;
      readonly told: Omit<Extract<ConfigChanged, { readonly version: number }>, 'revision'>;
    }
>;

async function change(
  { backend }: ConfigAdminParts,
  expected: number | null,
  plan: (stored: StoredHead) => Planned,
): Promise<AdminAnswer<ConfigChanged>> {
  const { engine } = backend;
  let newest: number | null = expected;
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const failure = await confirm(engine);
    if (failure !== null) return failed(failure);
    const stored = readHead(engine.view);
    if (stored === null) return newerFormat();
    newest ??= stored.head.newest;
    if (stored.head.newest !== newest) return conflict(newest, stored.head.newest);
    const planned = plan(stored);
    if (!planned.ok) return planned;
    if ('would' in planned.value) return ok({ dryRun: true, would: planned.value.would });
    const { transaction, told } = planned.value;
    const outcome = await new Promise<Parameters<Parameters<ControlEngine['transact']>[1]>[0]>(
      (resolve) => engine.transact(transaction, resolve),
    );
    if (!outcome.ok) return failed(outcome.error);
    if (outcome.value.isSuccess) return ok({ ...told, revision: outcome.value.revision });
  }
  return conflict(newest ?? 0, null);
}

function confirm(engine: ControlEngine): Promise<ControlFailure | null> {
  return new Promise((resolve) => {
    engine.confirm((result) => resolve(result.ok ? null : result.error));
  });
}

interface CheckedText {
  readonly bakeMs: number;
  readonly order: readonly string[];
  readonly warnings: readonly string[];
  readonly unchecked: readonly string[];
}

/** Every node has to take it. `isNew`: a region that it names has to be there. */
async function check(
  { shared }: ConfigAdminParts,
  text: string,
  label: string,
  isNew: boolean,
): Promise<AdminAnswer<CheckedText>> {
  const checked = await shared.checkEverywhere(text);
  const errors = problemLines(checked, label, 'error');
  if (errors.length > 0) return invalid(errors);
  const read = readShared(text, process.env);
  if (!read.ok) return invalid(problemLines(new Map([['', read.error]]), label, 'error'));
  const unknown = isNew ? unknownRegions(read.value, shared.regions) : [];
  if (unknown.length > 0) {
    return invalid(problemLines(new Map([['', unknown]]), label, 'error'));
  }
  const unchecked = [...checked].flatMap(([peer, problems]) => (problems === null ? [peer] : []));
  const warnings = problemLines(checked, label, 'warning');
  const { bakeMs, order } = read.value;
  return ok({ bakeMs, order, warnings, unchecked });
}

/** How it would go out. */
function way(
  { backend, shared }: ConfigAdminParts,
  bakeMs: number,
  order: readonly string[],
  isEmergency: boolean,
): string {
  const { regions } = shared;
  if (isEmergency) return `to all regions at once (${regions.toSorted().join(', ')})`;
  const status = backend.group?.status();
  const leader = status?.conf.members.find(({ id }) => id === status.leader)?.region ?? null;
  return `to ${inOrder(regions, order, leader).join(', then ')}; ${bakeMs / 1_000} s in each`;
}

// Refusals.

function invalid(lines: readonly string[]): ReturnType<typeof refused> {
  return refused(400, 'invalid_config', lines.join('\n'));
}

function underWay(version: number): ReturnType<typeof refused> {
  const message =
    `Version ${version} is on its way through the regions: wait, or end it with ` +
    '"banyan config rollback"; --emergency goes before it.';
  return refused(409, 'rollout_under_way', message);
}

function noRollout(): ReturnType<typeof refused> {
  const message = 'No roll-out is under way; name a version to go back to it.';
  return refused(409, 'no_rollout', message);
}

function conflict(expected: number, found: number | null): ReturnType<typeof refused> {
  const message =
    found === null
      ? 'The configuration is being changed by somebody else; look, and try again.'
      : `The newest version is ${found}, not ${expected}: somebody else was first. ` +
        'Look at it ("banyan config diff"), and push again.';
  return refused(409, 'version_conflict', message);
}

function unknownVersion(version: number): ReturnType<typeof refused> {
  const message = `There is no version ${version}; "banyan config history" shows those that are kept.`;
  return refused(404, 'unknown_version', message);
}

function newerFormat(): ReturnType<typeof refused> {
  const message = 'The shared configuration was written by a newer program; update this node.';
  return refused(409, 'newer_format', message);
}

function failed(failure: ControlFailure): ReturnType<typeof refused> {
  if (failure.kind === 'refused') {
    return refused(400, failure.error.replaceAll('-', '_'), 'The control state does not take it.');
  }
  const isKnown = failure.kind === 'unavailable';
  const message = isKnown
    ? `Nothing was changed: ${failure.detail} Requests are served as before.`
    : `It may have been done, or may yet be: ${failure.detail} Look before you try again.`;
  return refused(isKnown ? 503 : 504, isKnown ? 'no_quorum' : 'outcome_unknown', message);
}

function refused(status: number, code: string, message: string) {
  return err<AdminRefusal>({ status, code, message });
}
