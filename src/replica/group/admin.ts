/**
 * A group for its operator, over HTTP:
 *
 *     GET    /v1/status            what this member knows, and the hash of its state
 *     POST   /v1/members/N         adds member N, which this node's configuration names
 *     DELETE /v1/members/N         removes member N
 *     POST   /v1/leader/N          hands leadership to member N
 */

import { encodeUtf8 } from '../../base/bytes.ts';
import type { ClientReply, ClientRequest } from '../../base/ports.ts';
import { RAFT_ERRORS } from '../../raft/errors.ts';
import type { Member, NodeId } from '../../raft/types.ts';
import type { GroupMember, GroupReply } from './types.ts';

const MEMBERS = /^\/v1\/(members|leader)\/(\d{1,15})$/;

export class GroupAdmin {
  readonly #group: GroupMember;
  readonly #known: ReadonlyMap<NodeId, Member>;
  /** What else the status shows. */
  readonly #more: () => object;

  constructor(group: GroupMember, known: readonly Member[], more: () => object) {
    this.#group = group;
    this.#known = new Map(known.map((member) => [member.id, member]));
    this.#more = more;
  }

  /** False: the request is not for the operator. */
  handle({ method, path }: ClientRequest, reply: ClientReply): boolean {
    if (path === '/v1/status' && method === 'GET') {
      const group = this.#group;
      const hash = group.machine.hash();
      answer(reply, 200, { ...group.status(), hash, drops: group.drops(), ...this.#more() });
      return true;
    }
    const [, what, digits] = MEMBERS.exec(path) ?? [];
    if (what === undefined) return false;
    this.#change(method, what, Number(digits), reply);
    return true;
  }

  #change(method: string, what: string, id: NodeId, reply: ClientReply): void {
    const told = (result: GroupReply<number>): void => tell(reply, result);
    if (what === 'leader') {
      if (method === 'POST') this.#group.transfer(id, told);
      else answer(reply, 405, { error: 'method' });
      return;
    }
    if (method === 'DELETE') {
      this.#group.changeMembers([{ kind: 'remove', id }], told);
      return;
    }
    const member = this.#known.get(id);
    if (method !== 'POST') answer(reply, 405, { error: 'method' });
    else if (member === undefined) answer(reply, 404, { error: 'unknown-member' });
    else this.#group.changeMembers([{ kind: 'add', member }], told);
  }
}

function tell(reply: ClientReply, result: GroupReply<number>): void {
  if (result.ok) {
    answer(reply, 200, { done: result.value });
    return;
  }
  const { error, leader } = result.error;
  const { definite, sentence } = RAFT_ERRORS[error];
  answer(reply, definite ? 503 : 504, { error, definite, leader, detail: sentence });
}

function answer(reply: ClientReply, status: number, value: object): void {
  const bytes = encodeUtf8(`${JSON.stringify(value)}\n`);
  const headers = ['content-type', 'application/json'];
  reply.head(status, headers, { kind: 'length', bytes: bytes.length });
  reply.end(bytes);
}
