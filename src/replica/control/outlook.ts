/**
 * What a control group could lose now: who is there, how far each is, and which region's loss would
 * stop all changes. Decided from what the members say of themselves, as far as one of them hears it.
 *
 * O1: a region may be lost if the voters that are there and up to date are a majority without it, in
 *     both halves of a change of members that is under way.
 * O2: nobody counts for more than is known: who does not answer is not there.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { peerName } from '../../base/peerName.ts';
import type { ConfState, NodeId } from '../../raft/types.ts';

/** What one member says of itself. */
export interface MemberReport {
  readonly id: NodeId;
  readonly lastIndex: number;
  readonly applied: number;
  readonly term: number;
  readonly isLeader: boolean;
  /** Of a leader: the members that it hears. */
  readonly heard: readonly NodeId[];
  readonly isDiskWell: boolean;
}

export type OutlookConf = Pick<ConfState, 'voters' | 'votersOutgoing'> & {
  readonly members: readonly {
    readonly id: NodeId;
    readonly region: string;
    /** Of a further node; absent: the first. */
    readonly node?: string | undefined;
    readonly isWitness: boolean;
  }[];
};

export const VERDICTS = ['safe', 'at-risk', 'no-quorum', 'no-group'] as const;
export type Verdict = (typeof VERDICTS)[number];

export const MEMBER_ROLES = ['leader', 'voter', 'witness', 'learner'] as const;

export interface OutlookMember {
  readonly id: NodeId;
  readonly region: string;
  /** Its node's name as a peer. */
  readonly peer: string;
  readonly role: (typeof MEMBER_ROLES)[number];
  readonly isPresent: boolean;
  /** Entries that it has still to apply; null: nobody knows. */
  readonly lag: number | null;
}

export interface Outlook {
  readonly verdict: Verdict;
  readonly leader: NodeId;
  readonly term: number;
  /** `present`: voters that are there and up to date. */
  readonly quorum: { readonly voters: number; readonly needed: number; readonly present: number };
  readonly regions: readonly { readonly region: string; readonly canBeLost: boolean }[];
  readonly members: readonly OutlookMember[];
  readonly findings: readonly Finding[];
}

/** What an operator should know. The sentences stand in the catalogue of messages. */
export type Finding =
  | { readonly code: 'no-quorum'; readonly absent: readonly string[] }
  | { readonly code: 'no-leader' }
  | { readonly code: 'region-needed'; readonly region: string }
  // Of a member: `region` is its node's name as a peer, which is the region's where it is the first.
  | { readonly code: 'absent'; readonly region: string; readonly id: NodeId }
  | { readonly code: 'behind'; readonly region: string; readonly entries: number }
  | { readonly code: 'disk'; readonly region: string }
  | { readonly code: 'learner'; readonly region: string; readonly id: NodeId }
  /** The region's voter is not there, and another node of the region could vote in its place. */
  | {
      readonly code: 'stand-in';
      readonly region: string;
      readonly absent: NodeId;
      readonly peer: string;
      readonly id: NodeId;
    }
  | { readonly code: 'few-voters'; readonly voters: number }
  | { readonly code: 'even-voters'; readonly voters: number }
  | { readonly code: 'changing' };

/** `reports` are of members of this cluster that have answered. */
export function outlookOf(conf: OutlookConf, reports: readonly MemberReport[]): Outlook {
  const byId = new Map(reports.map((report) => [report.id, report]));
  const leader = reports
    .filter(({ isLeader }) => isLeader)
    .reduce<MemberReport | null>((best, one) => (one.term > (best?.term ?? 0) ? one : best), null);
  const end = leader?.lastIndex ?? Math.max(0, ...reports.map(({ lastIndex }) => lastIndex));
  const members = conf.members.map((member): OutlookMember => {
    const report = byId.get(member.id);
    const isHeard = leader?.heard.includes(member.id) === true;
    return {
      id: member.id,
      region: member.region,
      peer: peerName(member.region, member.node ?? null),
      role: roleOf(conf, member, leader?.id ?? 0),
      isPresent: report?.isDiskWell ?? isHeard,
      lag: report === undefined ? null : Math.max(0, end - report.applied),
    };
  });
  const counts = new Set(members.filter(isCounted).map(({ id }) => id));
  const halves = [conf.voters, conf.votersOutgoing].filter((half) => half.length > 0);
  const without = (region: string | null): boolean => {
    const lost = new Set(members.filter((member) => member.region === region).map(({ id }) => id));
    return halves.every((half) => hasQuorum(half, (id) => counts.has(id) && !lost.has(id)));
  };
  const voting = members.filter(({ id }) => halves.some((half) => half.includes(id)));
  const regions = [...new Set(voting.map(({ region }) => region))].toSorted();
  const judged = regions.map((region) => ({ region, canBeLost: without(region) }));
  const isUp = without(null) && leader !== null;
  const isSafe = isUp && judged.every(({ canBeLost }) => canBeLost);
  const verdict = isUp ? (isSafe ? 'safe' : 'at-risk') : 'no-quorum';
  return {
    verdict,
    leader: leader?.id ?? 0,
    term: Math.max(0, ...reports.map(({ term }) => term)),
    quorum: {
      voters: conf.voters.length,
      needed: majority(conf.voters),
      present: conf.voters.filter((id) => counts.has(id)).length,
    },
    regions: judged,
    members,
    findings: findingsOf(conf, byId, members, judged, { isUp, canVote: without(null) }),
  };
}

/** Whether its answer would count now. */
function isCounted({ isPresent, lag }: OutlookMember): boolean {
  return isPresent && (lag ?? 0) <= CONTROL_LIMITS.lagEntriesMax;
}

function majority(voters: readonly NodeId[]): number {
  return Math.floor(voters.length / 2) + 1;
}

function hasQuorum(voters: readonly NodeId[], counts: (id: NodeId) => boolean): boolean {
  return voters.filter(counts).length >= majority(voters);
}

function roleOf(
  { voters, votersOutgoing }: OutlookConf,
  { id, isWitness }: OutlookConf['members'][number],
  leader: NodeId,
): OutlookMember['role'] {
  if (id === leader) return 'leader';
  if (!voters.includes(id) && !votersOutgoing.includes(id)) return 'learner';
  return isWitness ? 'witness' : 'voter';
}

/** Beside the voter of its region a further node has no vote: that is as it should be. */
function isBesideVoter({ region }: OutlookMember, members: readonly OutlookMember[]): boolean {
  return members.some((member) => member.region === region && member.role !== 'learner');
}

function standInsOf(members: readonly OutlookMember[]): readonly Finding[] {
  return members.flatMap(({ id: absent, region, role, isPresent }): readonly Finding[] => {
    if (role === 'learner' || isPresent) return [];
    const ofRegion = members.filter((member) => member.region === region);
    if (ofRegion.some((member) => member.role !== 'learner' && member.isPresent)) return [];
    const ready = ofRegion.find((member) => member.role === 'learner' && isCounted(member));
    if (ready === undefined) return [];
    return [{ code: 'stand-in', region, absent, peer: ready.peer, id: ready.id }];
  });
}

function findingsOf(
  { voters, votersOutgoing }: OutlookConf,
  reports: ReadonlyMap<NodeId, MemberReport>,
  members: readonly OutlookMember[],
  regions: Outlook['regions'],
  { isUp, canVote }: { readonly isUp: boolean; readonly canVote: boolean },
): readonly Finding[] {
  const findings: Finding[] = [];
  if (!canVote) {
    const absent = members.filter((member) => member.role !== 'learner' && !isCounted(member));
    findings.push({ code: 'no-quorum', absent: absent.map(({ peer }) => peer) });
  } else if (!isUp) findings.push({ code: 'no-leader' });
  for (const { region, canBeLost } of regions) {
    if (isUp && !canBeLost) findings.push({ code: 'region-needed', region });
  }
  for (const member of members) {
    const { id, peer: region, lag } = member;
    const isWell = reports.get(id)?.isDiskWell;
    if (isWell === false) findings.push({ code: 'disk', region });
    else if (!member.isPresent) findings.push({ code: 'absent', region, id });
    else if (!isCounted(member)) findings.push({ code: 'behind', region, entries: lag ?? 0 });
    else if (member.role === 'learner' && !isBesideVoter(member, members)) {
      findings.push({ code: 'learner', region, id });
    }
  }
  findings.push(...standInsOf(members));
  const { length } = voters;
  if (votersOutgoing.length > 0) findings.push({ code: 'changing' });
  else if (length < 3) findings.push({ code: 'few-voters', voters: length });
  else if (length % 2 === 0) findings.push({ code: 'even-voters', voters: length });
  return findings;
}
