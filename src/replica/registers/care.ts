/**
 * What is to be done about acceptors and generations: one step at a time, decided from what the
 * control state says. Pure. Each step is a transaction that does nothing where somebody else was
 * faster, so that two who decide at once do no harm.
 *
 * MC1: acceptors change through a joint set and its rescan only (K1 of src/caspaxos/SPEC.md).
 * MC2: a generation is the newest one for a part of `claimMs` (GENERATIONS_KEPT parts), then stays open
 *      for as many parts as there are: a claim stands for `claimMs` at least, and for one part more
 *      at most. Fewer parts keep more claims that are over, more cost more: each claim looks into
 *      every generation that is open.
 * MC3: a wall clock alone closes nothing: whoever decides has itself seen the newest generation for
 *      a tenth of its part.
 * MC4: generations are changed by whoever holds their lease, and never under a lower number than the
 *      state has seen (L3 of src/caspaxos/SPEC.md).
 * MC5: a region has one acceptor: the node that votes for it in the group, else its first node, else
 *      the first by name. One that has not announced itself is passed over until it has.
 * MC6: what is known of a node goes once no member of the group has its name and it is no acceptor.
 */

import { regionOfPeer } from '../../base/peerName.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import {
  beginChange,
  closeBucket,
  finishChange,
  firstControl,
  isClosed,
  isJoint,
  openBuckets,
} from '../../caspaxos/control.ts';
import { admitFence } from '../../caspaxos/leases.ts';
import type { Acceptor, Control } from '../../caspaxos/types.ts';
import type { RegisterNode } from './state.ts';

/** What the control state says, and is to say. */
export interface Agreed {
  readonly control: Control;
  readonly openedMs: number;
  /** The highest number under which generations were changed. */
  readonly fence: number;
}

/** A member of the group that keeps the control state. */
export interface GroupPlace {
  /** Its peer name. */
  readonly peer: string;
  readonly isVoter: boolean;
}

export interface CareView {
  /** Null: nothing is agreed on yet. */
  readonly state: Agreed | null;
  /** This node looks after the acceptors. */
  readonly isLeading: boolean;
  /** Of the lease of the generations; null: another's. */
  readonly fence: number | null;
  /** Those who announced themselves. */
  readonly nodes: readonly RegisterNode[];
  readonly members: readonly GroupPlace[];
  readonly claimMs: number;
  readonly wallMs: number;
  /** How long this process has seen the newest generation, or that there is none, ms. */
  readonly seenMs: number;
}

export type CareStep =
  | { readonly kind: 'none' }
  | { readonly kind: 'put'; readonly what: string; readonly next: Agreed }
  /** Bring every key to the new set; then call `afterRescan`. */
  | { readonly kind: 'rescan' }
  /** MC6. */
  | { readonly kind: 'forget'; readonly node: RegisterNode };

/** Generations that are open behind the newest one. */
export const GENERATIONS_KEPT = 2;

const NONE: CareStep = { kind: 'none' };

/** The next step. */
export function nextStep(view: CareView): CareStep {
  const { state, wallMs, isLeading, fence } = view;
  const wanted = wantedAcceptors(view);
  if (state === null) {
    if (!isLeading || !isWhole(view, wanted)) return NONE;
    const next = { control: firstControl(wanted, 1, 0), openedMs: wallMs, fence: 0 };
    return { kind: 'put', what: 'found', next };
  }
  const { control } = state;
  if (isJoint(control)) return isLeading ? { kind: 'rescan' } : NONE;
  if (isLeading && wanted.length > 0 && !isSame(control.acceptors, wanted)) {
    const next = beginChange(control, wanted, 0);
    if (next.ok) {
      return { kind: 'put', what: 'begin change', next: { ...state, control: next.value } };
    }
  }
  const gone = isLeading ? goneNode(view, control) : null;
  if (gone !== null) return { kind: 'forget', node: gone };
  if (fence === null || !admitFence(state.fence, fence).isAdmitted) return NONE;
  return isGenerationOver(view, state.openedMs) ? rotate(control, wallMs, fence) : NONE;
}

/** The end of a change, once its epoch was rescanned; null: it is not what is under way. */
export function afterRescan(control: Control, epoch: number): Control | null {
  const next = finishChange(control, epoch, 0);
  return next.ok ? next.value : null;
}

/** MC5. */
function wantedAcceptors({ nodes, members }: CareView): readonly Acceptor[] {
  const chosen = new Map<string, { readonly rank: number; readonly node: RegisterNode }>();
  for (const node of nodes) {
    const place = members.find(({ peer }) => peer === node.peer);
    if (place === undefined) continue;
    const region = regionOfPeer(node.peer);
    const rank = place.isVoter ? 0 : node.peer === region ? 1 : 2;
    const best = chosen.get(region);
    const isBetter =
      best === undefined || rank < best.rank || (rank === best.rank && node.peer < best.node.peer);
    if (isBetter) chosen.set(region, { rank, node });
  }
  return [...chosen.values()]
    .map(({ node: { id, incarnation } }) => ({ id, incarnation }))
    .toSorted((a, b) => a.id - b.id);
}

/** All regions have come; or most have, and the others were waited for. */
function isWhole({ members, seenMs }: CareView, wanted: readonly Acceptor[]): boolean {
  const regions = new Set(members.map(({ peer }) => regionOfPeer(peer))).size;
  const isMost = wanted.length * 2 > regions;
  return isMost && (wanted.length === regions || seenMs >= REGISTER_LIMITS.foundingMs);
}

/** MC6. Without a member there is no word on who is gone. */
function goneNode({ nodes, members }: CareView, { acceptors }: Control): RegisterNode | null {
  if (members.length === 0) return null;
  const isGone = ({ peer, id }: RegisterNode): boolean =>
    !members.some((member) => member.peer === peer) && !acceptors.some((one) => one.id === id);
  return nodes.find(isGone) ?? null;
}

function isSame(a: readonly Acceptor[], b: readonly Acceptor[]): boolean {
  return a.length === b.length && a.every(({ id }, at) => id === b[at]?.id);
}

/** MC3. */
function isGenerationOver({ claimMs, wallMs, seenMs }: CareView, openedMs: number): boolean {
  const partMs = Math.ceil(claimMs / GENERATIONS_KEPT);
  if (seenMs >= partMs) return true;
  return wallMs - openedMs >= partMs && seenMs * 10 >= partMs;
}

/** MC2. */
function rotate(control: Control, wallMs: number, fence: number): CareStep {
  let next = control;
  const closeTo = control.openTo - GENERATIONS_KEPT;
  for (let bucket = control.floor + 1; bucket <= closeTo; bucket += 1) {
    if (isClosed(next, bucket)) continue;
    const closed = closeBucket(next, bucket, 0);
    if (closed.ok) next = closed.value;
  }
  const opened = openBuckets(next, control.openTo + 1, 0);
  if (!opened.ok) return NONE;
  const agreed = { control: opened.value, openedMs: wallMs, fence };
  return { kind: 'put', what: 'next generation', next: agreed };
}
