/**
 * What other nodes, and operators, ask of a member of the group: a number, an operation on the
 * members, where others are. Only the leader can do the first two; whoever is asked passes them on.
 */

import type { z } from 'zod';

import { isPeerName, nodeOfPeer } from '../../base/peerName.ts';
import type { ClientReply, ClientRequest } from '../../base/ports.ts';
import { nameOf } from '../../raft/membership.ts';
import type { NodeId } from '../../raft/types.ts';
import { isFeatureOn } from '../../replica/control/features.ts';
import type { GroupMember } from '../../replica/group/types.ts';
import {
  admit,
  judge,
  operate,
  operatedSchema,
  operationSchema,
  refusedWith,
  type Operated,
  type Operation,
} from './members.ts';
import type { PeerBook } from './peerBook.ts';
import {
  ADMIT_PATH,
  admitSchema,
  admittedSchema,
  answerPeer,
  BELOW_LEVEL,
  isForOther,
  JOIN_PATH,
  joinSchema,
  JUDGE_PATH,
  levelOf,
  OPERATE_PATH,
  parse,
  PLACES_PATH,
  type AskPeer,
} from './peerCalls.ts';

const NO_GROUP = 'This node is in no group yet.';
const NO_LEADER = 'No leader is known; an election may be under way.';
const NOT_REFUSED: Operated = { isDone: false, error: null };

export interface MemberDeskOptions {
  readonly book: PeerBook;
  /** Null: there is none (yet). */
  readonly group: () => GroupMember | null;
  readonly cluster: () => string | null;
  readonly ask: AskPeer;
}

export class MemberDesk {
  readonly #options: MemberDeskOptions;

  constructor(options: MemberDeskOptions) {
    this.#options = options;
  }

  /** False: it is for somebody else. `peer` is who asks, proved by its link. */
  handle(peer: string, request: ClientRequest, reply: ClientReply): boolean {
    const { path } = request;
    if (path === JOIN_PATH) {
      this.#onJoin(peer, request, reply);
    } else if (path === PLACES_PATH) {
      const others = this.#options.book.peers.filter((one) => one.peer !== peer);
      const places = others.map((one) => ({ peer: one.peer, host: one.host, port: one.port }));
      answerPeer(reply, 200, { places });
    } else if (path !== ADMIT_PATH && path !== OPERATE_PATH && path !== JUDGE_PATH) {
      return false;
    } else if (isForOther(request, this.#options.cluster())) {
      // A member of a cluster before this one still takes us for its leader.
      answerPeer(reply, 409, { error: 'other-cluster' });
    } else if (!this.#isMember(peer)) {
      // A node may have a link that is in no group yet, or no more.
      answerPeer(reply, 503, { error: 'no-group' });
    } else if (path === ADMIT_PATH) {
      this.#onAdmit(request, reply);
    } else {
      this.#onOperation(path, request, reply);
    }
    return true;
  }

  /** Carries an operation on the members out, here or at the leader. */
  async operate(operation: Operation): Promise<Operated> {
    const group = this.#options.group();
    if (group === null) return notNow(NO_GROUP);
    const { id, leader } = group.status();
    if (leader === id) return operate(group, operation);
    const name = leaderOf(group);
    if (name === null) return notNow(NO_LEADER);
    const answer = await this.#askLeader(name, OPERATE_PATH, operation, operatedSchema);
    return answer?.value ?? notNow(`The leader (${name}) did not answer.`, false);
  }

  /** What `operate` would refuse now, without doing it; null: nothing is known against it. */
  async judge(operation: Operation): Promise<Operated | 'leader-not-asked' | null> {
    const group = this.#options.group();
    if (group === null) return notNow(NO_GROUP);
    const status = group.status();
    if (status.leader === status.id) return judge(status, operation);
    const name = leaderOf(group);
    if (name === null) return notNow(NO_LEADER);
    const answer = await this.#askLeader(name, JUDGE_PATH, operation, operatedSchema);
    const judged = answer?.value ?? null;
    if (judged !== null) return judged.error === null ? null : judged;
    const isKnown = status.conf.members.some((member) => member.id === operation.id);
    return isKnown ? 'leader-not-asked' : refusedWith('unknown-member');
  }

  #askLeader<T>(
    name: string,
    path: string,
    body: object,
    schema: z.ZodType<T>,
    level: number | null = null,
  ) {
    const query = `cluster=${this.#options.cluster() ?? ''}${level === null ? '' : `&level=${level}`}`;
    return this.#options.ask(name, `${path}?${query}`, body, schema);
  }

  #isMember(peer: string): boolean {
    const members = this.#options.group()?.status().conf.members ?? [];
    return members.some((member) => nameOf(member) === peer);
  }

  /** The same disk gets the same number. */
  #onJoin(name: string, request: ClientRequest, reply: ClientReply): void {
    const group = this.#options.group();
    const asked = parse(request.body, joinSchema);
    const cluster = this.#options.cluster();
    if (asked === null) return answerPeer(reply, 400, { error: 'malformed' });
    if (group === null || cluster === null) return answerPeer(reply, 503, { error: 'no-group' });
    const supported = levelOf(request);
    if (refuseLevel(group, name, supported, reply)) return;
    void this.#admit(group, name, asked, supported).then((id) => {
      const { members } = group.status().conf;
      const peers = members.map((member) => ({ id: member.id, region: nameOf(member) }));
      if (id === null) answerPeer(reply, 503, { error: 'not-now' });
      else answerPeer(reply, 200, { cluster, id, peers });
    });
  }

  async #admit(
    group: GroupMember,
    name: string,
    asked: z.output<typeof joinSchema>,
    supported: number,
  ): Promise<NodeId | null> {
    const leader = leaderOf(group);
    if (leader === null || group.status().role === 'leader') return admit(group, name, asked);
    const body = { ...asked, name };
    const answer = await this.#askLeader(leader, ADMIT_PATH, body, admittedSchema, supported);
    return answer?.value?.id ?? null;
  }

  /** A member speaks for a node that may have no link to us yet. */
  #onAdmit(request: ClientRequest, reply: ClientReply): void {
    const group = this.#options.group();
    const asked = parse(request.body, admitSchema);
    if (asked === null || !isPeerName(asked.name)) {
      return answerPeer(reply, 400, { error: 'malformed' });
    }
    if (group === null) return answerPeer(reply, 503, { error: 'no-group' });
    const { name, ...disk } = asked;
    // Who passed it on may have been behind.
    if (refuseLevel(group, name, levelOf(request), reply)) return;
    void admit(group, name, disk).then((id) => {
      if (id === null) answerPeer(reply, 503, { error: 'not-now' });
      else answerPeer(reply, 200, { id });
    });
  }

  #onOperation(path: string, request: ClientRequest, reply: ClientReply): void {
    const operation = parse(request.body, operationSchema);
    const group = this.#options.group();
    if (operation === null) return answerPeer(reply, 400, { error: 'malformed' });
    if (group === null) return answerPeer(reply, 503, { error: 'no-group' });
    if (path === OPERATE_PATH) {
      void operate(group, operation).then((operated) => answerPeer(reply, 200, operated));
      return;
    }
    const status = group.status();
    // Only the leader hears the others.
    if (status.leader !== status.id) return answerPeer(reply, 503, { error: 'not-leader' });
    answerPeer(reply, 200, judge(status, operation) ?? NOT_REFUSED);
  }
}

/** FL3: answers for a node whose program, or whose kind, the level does not let in. */
function refuseLevel(
  group: GroupMember,
  name: string,
  supported: number,
  reply: ClientReply,
): boolean {
  const { level } = group.status();
  const isOn = nodeOfPeer(name) === null || isFeatureOn(level, 'furtherNodes');
  if (supported >= level && isOn) return false;
  answerPeer(reply, supported < level ? BELOW_LEVEL : 503, { error: 'level', level });
  return true;
}

/** Null: none is known. */
function leaderOf(group: GroupMember): string | null {
  const { leader, conf } = group.status();
  const member = conf.members.find(({ id }) => id === leader);
  return member === undefined ? null : nameOf(member);
}

function notNow(message: string, definite = true): Operated {
  return { isDone: false, error: { code: 'unavailable', message, definite } };
}
