/** The admin API of the control state: the handlers of `controlRoutes.ts`. */

import { err, ok, type Err } from '../../base/result.ts';
import type { AdminHandlers, AdminRefusal, Caller } from '../../io/admin/route.ts';
import { nameOf } from '../../raft/membership.ts';
import { ADMIN_KEYS } from '../../replica/control/adminKeys.ts';
import { clusterFeatureLevel } from '../../replica/control/features.ts';
import { API_KEYS } from '../../replica/control/keys.ts';
import { auditOf, recordOperation } from './audit.ts';
import { renderAddress } from '../config/address.ts';
import type { ControlBackend } from './backend.ts';
import type {
  AdminKeysBody,
  AuditRow,
  CONTROL_ROUTES,
  GroupAnswer,
  LeaderBody,
  MembersBody,
} from './controlRoutes.ts';
import { keyChange, keyRow, tooEarly } from './keyChanges.ts';
import type { Operated, Operation } from './members.ts';
import { addPeer, forgetAfter, forgetPeer, type PeersDesk } from './peersAdmin.ts';
import { changeSecret, secretRows } from './secretsAdmin.ts';

const AUDIT_ROWS = 200;

const NOT_ASKED = 'the leader was not asked: it may refuse';

/** Why there are no answers where a node's file has no `control`. */
export const NO_CONTROL: AdminRefusal = {
  status: 404,
  code: 'no_control',
  message: 'This node has no control state: its file has no "control".',
};

/** What a node knows of keys beside the control state. */
export interface KeySurroundings {
  /** Whom a key's rates can be divided between. */
  readonly places: readonly string[];
  /** The configuration has a key of that name. */
  isConfigured(name: string): boolean;
}

export function controlHandlers(
  desk: PeersDesk,
  wallMs: () => number,
  around: KeySurroundings,
): AdminHandlers<typeof CONTROL_ROUTES> {
  const { side } = desk;
  const keys = { kind: API_KEYS, verb: 'keys', side, wallMs };
  const adminKeys = { kind: ADMIN_KEYS, verb: 'admin-keys', side, wallMs };
  return {
    getMembers: async () => ok(await groupView(desk)),
    getLeader: async () => ok(await groupView(desk)),
    getKeys: () => ok({ items: secretRows(keys).map(keyRow), unreachable: [] }),
    getAdminKeys: () => ok({ items: secretRows(adminKeys), unreachable: [] }),
    getAudit: () => ok({ items: auditRows(side), unreachable: [] }),
    changeKeys: ({ body, caller }) => {
      const refusal = tooEarly(body, clusterFeatureLevel(side.engine.view));
      if (refusal !== null) return err(refusal);
      if (body.action === 'create' && around.isConfigured(body.name)) return configured(body.name);
      return changeSecret(keys, keyChange(body, around.places), caller);
    },
    changeAdminKeys: ({ body, caller }) => changeSecret(adminKeys, adminKeyChange(body), caller),
    changeMembers: ({ body, caller }) => changeMembers(desk, body, caller),
    moveLeader: ({ body, caller }) => moveLeader(side, body, caller),
  };
}

function configured(name: string): Err<AdminRefusal> {
  const message = `The configuration of this node has a key "${name}"; take another name.`;
  return err({ status: 409, code: 'key_exists', message });
}

async function groupView({ side, book }: PeersDesk): Promise<GroupAnswer> {
  if (side.etcd !== null) return await side.etcd.members();
  const addressOf = (peer: string): string | null => {
    const place = book.placeOf(peer);
    return place === null ? null : renderAddress(place);
  };
  const status = side.group?.status() ?? null;
  const { state } = side;
  const leader = status?.conf.members.find((member) => member.id === status.leader) ?? null;
  return {
    engine: 'raft',
    cluster: side.cluster,
    state: state.kind,
    detail: 'detail' in state ? state.detail : null,
    term: status?.term ?? null,
    leader: leader === null ? null : nameOf(leader),
    revision: side.engine.view.revision,
    items:
      status?.conf.members.map((member) => {
        const peer = status.peers.find(({ id }) => id === member.id);
        const isSelf = member.id === status.id;
        return {
          id: member.id,
          region: member.region,
          peer: nameOf(member),
          address: addressOf(nameOf(member)),
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

function adminKeyChange(body: AdminKeysBody) {
  if (body.action !== 'create') return body;
  const { role, ...asked } = body;
  return { ...asked, own: { role } };
}

async function changeMembers(desk: PeersDesk, request: MembersBody, caller: Caller) {
  const { side } = desk;
  if (request.action === 'add') return addPeer(desk, request, caller);
  if (request.action === 'forget') return forgetPeer(desk, request, caller);
  const { action, id, dryRun } = request;
  const { members } = side.group?.status().conf ?? { members: [] };
  const member = members.find((one) => one.id === id);
  const name = member === undefined ? '' : ` (${nameOf(member)})`;
  const what = `${action} member ${id}${name}${howOf(request)}`;
  const own = action === 'remove' ? ownRefused(side, id) : null;
  if (own !== null) return own;
  if (dryRun) return dryRunOf(side, operationOf(request), what);
  const refusal = operated(await side.operate(operationOf(request)));
  if (refusal !== null) return refusal;
  const audit = auditOf(caller, request, what);
  const isLast =
    member !== undefined && !members.some((one) => one.id !== id && nameOf(one) === nameOf(member));
  const isForgotten =
    action === 'remove' && isLast ? await forgetAfter(desk, nameOf(member), audit) : false;
  if (!isForgotten) recordOperation(side, audit);
  return ok({ action, id, done: true as const });
}

/** Who is out of the group can no more write who did it, nor take its own address away. */
function ownRefused(side: ControlBackend, id: number): ReturnType<typeof refused> | null {
  const status = side.group?.status();
  if (status === undefined || status.id !== id) return null;
  const { members, voters } = status.conf;
  const others = members.filter((member) => member.id !== id);
  const other = others.find((member) => voters.includes(member.id)) ?? others[0];
  if (other === undefined) return null; // The group refuses it itself.
  const message =
    `Member ${id} is this node, which could not write down that it went: ` +
    `ask another node, ${nameOf(other)} for one.`;
  return refused(409, 'is_self', message);
}

type MemberChangeBody = Exclude<MembersBody, { readonly action: 'add' | 'forget' }>;

function howOf(request: MemberChangeBody): string {
  if (request.action === 'promote') {
    return request.replace ? ' in the place of the voter of its region' : '';
  }
  return request.force ? ' by force' : '';
}

function operationOf(request: MemberChangeBody): Operation {
  const { action, id } = request;
  if (action !== 'promote') return { kind: action, id, force: request.force };
  return request.replace ? { kind: action, id, replace: true } : { kind: action, id };
}

async function moveLeader(side: ControlBackend, request: LeaderBody, caller: Caller) {
  const { region, dryRun } = request;
  if (side.etcd !== null) {
    const moved = await side.etcd.moveLeader(region, dryRun);
    if (moved === 'unknown') {
      return refused(404, 'unknown_region', `No member of the etcd cluster is called "${region}".`);
    }
    const refusal = operated(moved);
    if (refusal !== null) return refusal;
    const what = `leadership of etcd goes to ${region}`;
    if (dryRun) return ok({ dryRun, would: what });
    recordOperation(side, auditOf(caller, request, what));
    return ok({ region, done: true as const });
  }
  const conf = side.group?.status().conf;
  const ofRegion = conf?.members.filter((one) => one.region === region || nameOf(one) === region);
  const to = ofRegion?.findLast((one) => conf?.voters.includes(one.id)) ?? ofRegion?.at(-1);
  if (to === undefined) return refused(404, 'unknown_region', `No member is in "${region}".`);
  const what = `leadership goes to ${region}`;
  if (dryRun) return dryRunOf(side, { kind: 'transfer', id: to.id }, what);
  const refusal = operated(await side.operate({ kind: 'transfer', id: to.id }));
  if (refusal !== null) return refusal;
  recordOperation(side, auditOf(caller, request, what));
  return ok({ region, done: true as const });
}

/** Refuses what would be refused. */
async function dryRunOf(side: ControlBackend, operation: Operation, what: string) {
  const judged = await side.judge(operation);
  const dryRun = true as const;
  if (judged === 'leader-not-asked') return ok({ dryRun, would: `${what}; ${NOT_ASKED}` });
  return (judged === null ? null : operated(judged)) ?? ok({ dryRun, would: what });
}

/** Null: it was done. */
function operated({ error }: Operated): ReturnType<typeof refused> | null {
  if (error === null) return null;
  const status = error.code === 'unavailable' || !error.definite ? 503 : 409;
  return refused(status, error.code.replaceAll('-', '_'), error.message);
}

function refused(status: number, code: string, message: string) {
  return err<AdminRefusal>({ status, code, message });
}
