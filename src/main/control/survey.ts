/**
 * What this node knows of the whole group: it asks every other node for what its member says of
 * itself, and remembers when it last heard of a leader. It needs no quorum, and says how old it is.
 *
 * V1: only members of the same cluster count; others are named as strangers.
 */

import { z } from 'zod';

import { peerName } from '../../base/peerName.ts';
import type { ClientEvents, ClientReply, ClientRequest, Clock } from '../../base/ports.ts';
import type { TimerHandle, Timers, Upstream } from '../../base/ports.ts';
import { RAFT_LIMITS } from '../../base/limits.ts';
import {
  clusterFeatureLevel,
  FEATURE_LEVEL_MAX,
  holdingBack,
  type FeatureSupport,
} from '../../replica/control/features.ts';
import {
  outlookOf,
  type MemberReport,
  type Outlook,
  type OutlookConf,
} from '../../replica/control/outlook.ts';
import { VERSION } from '../version.ts';
import type { ControlBackend, ControlState, EtcdPart } from './backend.ts';
import type { PeerBook } from './peerBook.ts';
import { answerPeer, askPeer } from './peerCalls.ts';

const REPORT_PATH = '/group/report';
/** Whether there is a leader is looked at as often, ms. */
const LOOK_MS = 500;
/** Without a leader others are asked for the name of their cluster as often, ms. */
const STRANGERS_MS = 5_000;

const id = z.int().min(1).max(RAFT_LIMITS.integerMax);
const count = z.int().min(0).max(RAFT_LIMITS.integerMax);
const ids = z.array(id).max(RAFT_LIMITS.membersMax);
// Not strict: a newer program may say more.
const reportSchema = z.object({
  cluster: z.string().nullable(),
  version: z.string(),
  level: count,
  /** What the program supports; programs before there were levels do not say it. */
  supports: count.default(1),
  member: z
    .object({
      id,
      lastIndex: count,
      applied: count,
      term: count,
      isLeader: z.boolean(),
      heard: ids,
      isDiskWell: z.boolean(),
    })
    .nullable(),
  conf: z
    .object({
      voters: ids,
      votersOutgoing: ids,
      members: z
        .array(
          z.object({
            id,
            region: z.string(),
            node: z.string().optional(),
            isWitness: z.boolean(),
          }),
        )
        .max(RAFT_LIMITS.membersMax),
    })
    .nullable(),
});
type Report = z.output<typeof reportSchema>;

/** A node of another cluster: the two never mix. */
export interface Stranger {
  readonly name: string;
  readonly cluster: string;
}

/** Everything together. Ages are ms; null: not since this node runs. */
export interface Surveyed {
  readonly state: ControlState;
  readonly cluster: string | null;
  readonly outlook: Outlook | null;
  readonly leaderSeenMsAgo: number | null;
  /** The cluster's feature level, as this node has it. */
  readonly level: number;
  /** Those for whom it does not rise to what this program supports. */
  readonly heldBackBy: readonly string[];
  /** The program of each node that answered, by its name as a peer. */
  readonly versions: ReadonlyMap<string, string>;
  readonly strangers: readonly Stranger[];
}

export interface SurveyorOptions {
  readonly side: ControlBackend;
  /** This node's own peer name. */
  readonly name: string;
  readonly book: Pick<PeerBook, 'names'>;
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly timers: Timers;
}

const NO_EVENTS: ClientEvents = { onGone: () => {}, onDrain: () => {} };

export class Surveyor {
  readonly #options: SurveyorOptions;
  #leaderSeenMs: number | null = null;
  #strangers: readonly Stranger[] = [];
  #strangersMs = Number.NEGATIVE_INFINITY;
  #timer: TimerHandle | null = null;

  constructor(options: SurveyorOptions) {
    this.#options = options;
    this.#look();
  }

  close(): void {
    this.#timer?.cancel();
  }

  /** Nodes of another cluster, as of when there was no leader. */
  get strangers(): readonly Stranger[] {
    return this.#strangers;
  }

  /** Answers what another node asks; null: it is not for us. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null {
    if (request.forwardedFrom === null || request.path !== REPORT_PATH) return null;
    answerPeer(reply, 200, this.#report());
    return NO_EVENTS;
  }

  /** Asks everyone. Takes as long as the slowest that answers, a few seconds at most. */
  async survey(): Promise<Surveyed> {
    const { side, name, clock } = this.#options;
    if (side.etcd !== null) return this.#surveyEtcd(side.etcd);
    const own = this.#report();
    const reports = new Map<string, Report>([[name, own]]);
    for (const [other, report] of await this.#askAll()) reports.set(other, report);
    const { cluster, state } = side;
    const ours = [...reports].filter(([, report]) => report.cluster === cluster);
    const members = ours.flatMap(([, { member }]) => (member === null ? [] : [member]));
    const conf = confOf(ours.map(([, report]) => report)) ?? own.conf;
    const isOfGroup = cluster !== null && conf !== null && conf.voters.length > 0;
    const seenMs = this.#isLeaderKnown() ? clock.nowMs() : this.#leaderSeenMs;
    const level = clusterFeatureLevel(side.engine.view);
    return {
      state,
      cluster,
      outlook: isOfGroup ? outlookOf(conf, members) : null,
      leaderSeenMsAgo: seenMs === null ? null : Math.round(clock.nowMs() - seenMs),
      level,
      heldBackBy: isOfGroup ? holdingBack(level, supportOf(conf, ours)) : [],
      versions: new Map(ours.map(([from, { version }]) => [from, version])),
      strangers: this.#noteStrangers(reports),
    };
  }

  /** An etcd cluster answers for itself: nobody else is asked. */
  async #surveyEtcd(etcd: EtcdPart): Promise<Surveyed> {
    const { side, clock } = this.#options;
    const { items, term } = await etcd.members();
    const members = items.map(({ region, role }, at) => ({
      id: at + 1,
      region,
      isWitness: false,
      isVoter: role !== 'learner',
    }));
    const voters = members.filter(({ isVoter }) => isVoter).map((member) => member.id);
    const reports = items.flatMap(({ isHeard, match, role }, at): MemberReport[] => {
      if (isHeard !== true) return [];
      const [index, isLeader] = [match ?? 0, role === 'leader'];
      const place = { id: at + 1, lastIndex: index, applied: index, term: term ?? 0 };
      return [{ ...place, isLeader, heard: [], isDiskWell: true }];
    });
    if (this.#isLeaderKnown()) this.#leaderSeenMs = clock.nowMs();
    const seenMs = this.#leaderSeenMs;
    return {
      state: side.state,
      cluster: side.cluster,
      outlook:
        voters.length === 0 ? null : outlookOf({ voters, votersOutgoing: [], members }, reports),
      leaderSeenMsAgo: seenMs === null ? null : Math.round(clock.nowMs() - seenMs),
      level: clusterFeatureLevel(side.engine.view),
      heldBackBy: etcd.heldBackBy(),
      versions: new Map(),
      strangers: [],
    };
  }

  #report(): Report {
    const { side } = this.#options;
    const status = side.group?.status() ?? null;
    const level = clusterFeatureLevel(side.engine.view);
    const supports = FEATURE_LEVEL_MAX;
    const about = { cluster: side.cluster, version: VERSION, level, supports };
    if (status === null) {
      return { ...about, member: null, conf: null };
    }
    const { conf } = status;
    return {
      ...about,
      member: {
        id: status.id,
        lastIndex: status.lastIndex,
        applied: status.applied,
        term: status.term,
        isLeader: status.role === 'leader',
        heard: status.peers.filter(({ isActive }) => isActive).map((peer) => peer.id),
        isDiskWell: status.disk !== 'failed' && !status.isRemoved,
      },
      conf: {
        voters: [...conf.voters],
        votersOutgoing: [...conf.votersOutgoing],
        members: conf.members.map((member) => ({
          id: member.id,
          region: member.region,
          ...(member.node === undefined ? {} : { node: member.node }),
          isWitness: member.isWitness,
        })),
      },
    };
  }

  async #askAll(): Promise<readonly (readonly [string, Report])[]> {
    const { book, upstream, timers } = this.#options;
    const asked = book.names.map(async (name) => {
      const answer = await askPeer(upstream, timers, name, REPORT_PATH, null, reportSchema);
      return [name, answer?.value ?? null] as const;
    });
    return (await Promise.all(asked)).flatMap(([name, report]) =>
      report === null ? [] : [[name, report]],
    );
  }

  #isLeaderKnown(): boolean {
    return this.#options.side.hasLeader;
  }

  #look(): void {
    const { clock, timers } = this.#options;
    const nowMs = clock.nowMs();
    if (this.#isLeaderKnown()) {
      this.#leaderSeenMs = nowMs;
      this.#strangers = [];
    } else if (this.#options.side.etcd === null && nowMs - this.#strangersMs >= STRANGERS_MS) {
      this.#strangersMs = nowMs;
      void this.#askAll().then((reports) => this.#noteStrangers(new Map(reports)));
    }
    this.#timer = timers.after(LOOK_MS, () => this.#look());
  }

  /** V1. */
  #noteStrangers(reports: ReadonlyMap<string, Report>): readonly Stranger[] {
    const own = this.#options.side.cluster;
    this.#strangers = [...reports].flatMap(([name, { cluster }]) =>
      own === null || cluster === null || cluster === own ? [] : [{ name, cluster }],
    );
    return this.#strangers;
  }
}

/** The members as the leader knows them; else as whoever is furthest does; null: nobody does. */
function confOf(reports: readonly Report[]): OutlookConf | null {
  let best: { readonly member: MemberReport; readonly conf: OutlookConf } | null = null;
  for (const { member, conf } of reports) {
    if (member === null || conf === null) continue;
    if (best === null || isNewer(member, best.member)) best = { member, conf };
  }
  return best?.conf ?? null;
}

function isNewer(a: MemberReport, b: MemberReport): boolean {
  if (a.term !== b.term) return a.term > b.term;
  if (a.isLeader !== b.isLeader) return a.isLeader;
  return a.lastIndex > b.lastIndex;
}

/** Of each member that has answered; null: it has not. */
function supportOf(
  { members }: OutlookConf,
  answered: readonly (readonly [string, Report])[],
): readonly FeatureSupport[] {
  const levels = new Map(answered.map(([name, { supports }]) => [name, supports]));
  return members.map(({ region, node }) => {
    const name = peerName(region, node ?? null);
    return { name, level: levels.get(name) ?? null };
  });
}
