/**
 * Where nodes are, as operators say it: `banyan member add` writes it into the control state, and
 * every node links to it from then on. It says nothing of votes, and works with etcd as well.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { CONFIG_LIMITS } from '../../base/limits.ts';
import { nodeOfPeer, regionOfPeer } from '../../base/peerName.ts';
import { err, ok } from '../../base/result.ts';
import type { AdminAnswer, AdminRefusal, Caller } from '../../io/admin/route.ts';
import { nameOf } from '../../raft/membership.ts';
import type { ControlFailure, ControlOutcome } from '../../replica/control/engine.ts';
import {
  deletePeer,
  listPeers,
  putPeer,
  readPeer,
  type PeerPlace,
  type StoredPeer,
} from '../../replica/control/peers.ts';
import type { AuditInput, Transaction } from '../../replica/control/types.ts';
import { parseAddress, renderAddress } from '../config/address.ts';
import { auditOf } from './audit.ts';
import type { ControlBackend } from './backend.ts';
import type { MembersBody, MembersChanged } from './controlRoutes.ts';
import type { PeerBook } from './peerBook.ts';
import { controlFailed } from './secretsAdmin.ts';

type Body<Action extends MembersBody['action']> = Extract<MembersBody, { readonly action: Action }>;

export interface PeersDesk {
  readonly side: ControlBackend;
  readonly book: PeerBook;
  /** This node's own name as a peer. */
  readonly name: string;
  /** What the first node of a region calls itself there; null: not known here. */
  readonly firstOf: (region: string) => string | null;
}

/** Says where a node is, or is to be. */
export async function addPeer(
  desk: PeersDesk,
  body: Body<'add'>,
  caller: Caller,
): Promise<AdminAnswer<MembersChanged>> {
  const { peer, force, dryRun } = body;
  const address = parseAddress(body.address);
  if (!address.ok || address.value.port === 0) {
    return refused(400, 'malformed_address', `"${body.address}" is no HOST:PORT.`);
  }
  const place: PeerPlace = { peer, ...address.value };
  const read = await readNow(desk, peer);
  if (!read.ok) return read;
  const before = read.value;
  const refusal =
    nameRefused(desk, peer) ??
    roomRefused(desk, peer, before) ??
    (force ? null : addRefused(desk, place, before));
  if (refusal !== null) return refusal;
  const what = `member add ${peer} at ${renderAddress(place)}${force ? ', by force' : ''}`;
  if (dryRun) return ok({ dryRun, would: what });
  const done = { action: 'add', peer, address: renderAddress(place), done: true as const };
  if (before.place !== null && isSame(before.place, place)) {
    return ok({ ...done, revision: before.modRevision });
  }
  const outcome = await transact(desk.side, putPeer(place, before, auditOf(caller, body, what)));
  if (!outcome.ok) return controlFailed(outcome.error);
  if (!outcome.value.isSuccess) return changedMeanwhile(peer);
  return ok({ ...done, revision: outcome.value.revision });
}

/** Takes the address of a node away that is no member: one that never came, or came by etcd. */
export async function forgetPeer(
  desk: PeersDesk,
  body: Body<'forget'>,
  caller: Caller,
): Promise<AdminAnswer<MembersChanged>> {
  const { peer, dryRun } = body;
  const read = await readNow(desk, peer);
  if (!read.ok) return read;
  const member = membersOf(desk.side).findLast((one) => nameOf(one) === peer);
  if (member !== undefined) {
    const message = `${peer} is member ${member.id}: "banyan member remove ${member.id}" takes it out.`;
    return refused(409, 'is_member', message);
  }
  if (read.value.place === null) {
    return refused(404, 'unknown_peer', `The control state has no address of "${peer}".`);
  }
  const what = `member remove ${peer}: its address`;
  if (dryRun) return ok({ dryRun, would: what });
  const transaction = deletePeer(peer, read.value, auditOf(caller, body, what));
  const outcome = await transact(desk.side, transaction);
  if (!outcome.ok) return controlFailed(outcome.error);
  if (!outcome.value.isSuccess) return changedMeanwhile(peer);
  return ok({ action: 'forget', peer, done: true, revision: outcome.value.revision });
}

/**
 * After the last member of a name was taken out: its address goes, with the audit record of that.
 * False: there was none, or it stays for now; then `banyan member remove PEER` takes it.
 */
export async function forgetAfter(
  { side }: PeersDesk,
  peer: string,
  audit: AuditInput,
): Promise<boolean> {
  const before = readPeer(side.engine.view, peer);
  if (before === null || before.place === null) return false;
  const outcome = await transact(side, deletePeer(peer, before, audit));
  return outcome.ok && outcome.value.isSuccess;
}

function addRefused(
  desk: PeersDesk,
  place: PeerPlace,
  before: StoredPeer,
): ReturnType<typeof refused> | null {
  const { peer } = place;
  const [region, node] = [regionOfPeer(peer), nodeOfPeer(peer)];
  const known = before.place ?? desk.book.placeOf(peer);
  if (known !== null && !isSame(known, place)) {
    const message = `${peer} is at ${renderAddress(known)} already; --force moves it.`;
    return refused(409, 'peer_exists', message);
  }
  const regions = regionsOf(desk);
  if (node !== null && !regions.has(region)) {
    const message =
      `There is no region "${region}" yet: add its first node before a further one ` +
      `("banyan member add ${region}"); there are ${[...regions].toSorted().join(', ')}.`;
    return refused(409, 'unknown_region', message);
  }
  if (node !== null && known === null && desk.firstOf(region) === null) {
    const message =
      `No link to the first node of ${region} says what it is called, and with the name ${node} for ` +
      `two of them the first one would be shut out. Bring it back, or ask a node that has a link to ` +
      'it; --force adds it all the same, where you know that the names differ.';
    return refused(409, 'no_link', message);
  }
  return null;
}

/** By force neither: every node would take the first one's certificate for that of the further one. */
function nameRefused(desk: PeersDesk, peer: string): ReturnType<typeof refused> | null {
  const [region, node] = [regionOfPeer(peer), nodeOfPeer(peer)];
  if (node === null || node !== desk.firstOf(region)) return null;
  const message = `The first node of ${region} is called ${node}: a further one needs another name.`;
  return refused(409, 'peer_exists', message);
}

/** By force neither: nodes read so many and no more, and tell each other of so many regions. */
function roomRefused(desk: PeersDesk, peer: string, { place }: StoredPeer) {
  const { side } = desk;
  const { peerRecordsMax } = CONTROL_LIMITS;
  const { regionsMax } = CONFIG_LIMITS;
  const regions = regionsOf(desk);
  if (regions.size > regionsMax && !regions.has(regionOfPeer(peer))) {
    return refused(409, 'too_many_peers', `${regionsMax} other regions are there already.`);
  }
  if (place !== null || listPeers(side.engine.view).length < peerRecordsMax) return null;
  return refused(409, 'too_many_peers', `${peerRecordsMax} nodes are there already.`);
}

/** All that this node knows, its own too. */
function regionsOf({ side, book, name }: PeersDesk): ReadonlySet<string> {
  const members = membersOf(side).map(({ region }) => region);
  return new Set([...[name, ...book.names].map(regionOfPeer), ...members]);
}

/** What the state says at least as new as this call. */
async function readNow(
  { side }: PeersDesk,
  peer: string,
): Promise<{ ok: true; value: StoredPeer } | ReturnType<typeof refused>> {
  const unconfirmed = await new Promise<ControlFailure | null>((resolve) => {
    side.engine.confirm((result) => resolve(result.ok ? null : result.error));
  });
  if (unconfirmed !== null) return controlFailed(unconfirmed);
  const stored = readPeer(side.engine.view, peer);
  if (stored !== null) return ok(stored);
  return refused(409, 'newer_format', 'A newer program has written this; update this node.');
}

function membersOf({ group }: ControlBackend) {
  return group?.status().conf.members ?? [];
}

function isSame(a: PeerPlace, b: PeerPlace): boolean {
  return a.host === b.host && a.port === b.port;
}

function changedMeanwhile(peer: string) {
  return refused(409, 'changed', `${peer} was changed by somebody else just now; look, try again.`);
}

function transact({ engine }: ControlBackend, transaction: Transaction): Promise<ControlOutcome> {
  return new Promise((resolve) => engine.transact(transaction, resolve));
}

function refused(status: number, code: string, message: string) {
  return err<AdminRefusal>({ status, code, message });
}
