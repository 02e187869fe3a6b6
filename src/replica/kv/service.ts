/**
 * The key-value store for clients, over HTTP:
 *
 *     GET    /v1/kv/KEY            linearizable; `?read=local`: what is applied here, maybe stale
 *     PUT    /v1/kv/KEY            `?version=N`: only over version N, 0: only where nothing is
 *     POST   /v1/kv/KEY            appends the body
 *     DELETE /v1/kv/KEY
 *     POST   /v1/sessions          opens a session; DELETE /v1/sessions/N closes it
 *
 * Values are bodies; versions come back as `banyan-version`. A write with `banyan-session`,
 * `banyan-seq` and `banyan-unacked` (the lowest number without an answer) runs once however often it
 * is sent; without them as often as it arrives. A refusal says whether it is definite: 503 did not
 * take effect and never will, 504 may have.
 */

import { encodeUtf8, EMPTY_BYTES } from '../../base/bytes.ts';
import { headerValue, type HeaderList } from '../../base/headers.ts';
import type { ClientEvents, ClientReply, ClientRequest, RequestHandler } from '../../base/ports.ts';
import { RAFT_ERRORS } from '../../raft/errors.ts';
import {
  decodeSessionReply,
  encodeSessionCommand,
  type SessionReply,
} from '../../raft/sessions.ts';
import type { GroupMember, GroupRefusal } from '../group/types.ts';
import { decodeKvReply, encodeKvCommand, type KvCommand, type KvReply } from './codec.ts';
import type { KvMachine, KvPair } from './machine.ts';

const KV_PATH = '/v1/kv/';
const SESSIONS_PATH = '/v1/sessions';
const NO_EVENTS: ClientEvents = { onGone: () => {}, onDrain: () => {} };

export class KvService implements RequestHandler {
  readonly #group: GroupMember;
  readonly #kv: KvMachine;

  constructor(group: GroupMember, kv: KvMachine) {
    this.#group = group;
    this.#kv = kv;
  }

  handle(request: ClientRequest, reply: ClientReply): ClientEvents {
    const { path, method } = request;
    if (path.startsWith(KV_PATH)) this.#onKey(request, reply);
    else if (path === SESSIONS_PATH && method === 'POST') {
      this.#propose(encodeSessionCommand({ kind: 'open' }), reply);
    } else if (path.startsWith(`${SESSIONS_PATH}/`) && method === 'DELETE') {
      const session = numberOf(path.slice(SESSIONS_PATH.length + 1));
      if (session === null) refuse(reply, 400, 'bad-session');
      else this.#propose(encodeSessionCommand({ kind: 'close', session }), reply);
    } else refuse(reply, 404, 'no-such-path');
    return NO_EVENTS;
  }

  #onKey(request: ClientRequest, reply: ClientReply): void {
    const key = decodeKey(request.path.slice(KV_PATH.length));
    if (key === null) {
      refuse(reply, 400, 'bad-key');
    } else if (request.method === 'GET') {
      this.#read(key, request.query, reply);
    } else {
      const command = commandOf(request, key);
      const data = command === null ? null : inSession(request.headers, command);
      if (data === null) refuse(reply, 400, 'bad-request');
      else this.#propose(data, reply);
    }
  }

  #read(key: string, query: string, reply: ClientReply): void {
    if (query === 'read=local') {
      answerPair(reply, this.#kv.get(key));
      return;
    }
    this.#group.read((readable) => {
      if (readable.ok) answerPair(reply, this.#kv.get(key));
      else refuseByGroup(reply, readable.error);
    });
  }

  #propose(data: Uint8Array, reply: ClientReply): void {
    this.#group.propose(data, (result) => {
      if (!result.ok) {
        refuseByGroup(reply, result.error);
        return;
      }
      const answer = decodeSessionReply(result.value);
      if (answer === null) refuse(reply, 500, 'unreadable-reply');
      else answerSession(reply, answer);
    });
  }
}

/** The key of a path, or null where its escapes are none. */
function decodeKey(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null; // URIError is all that it throws.
  }
}

function commandOf({ method, query, body }: ClientRequest, key: string): KvCommand | null {
  if (method === 'DELETE') return query === '' ? { kind: 'delete', key } : null;
  if (method === 'POST') return query === '' ? { kind: 'append', key, value: body } : null;
  if (method !== 'PUT') return null;
  if (query === '') return { kind: 'put', key, value: body };
  const version = query.startsWith('version=') ? numberOf(query.slice(8)) : null;
  return version === null ? null : { kind: 'cas', key, version, value: body };
}

function inSession(headers: HeaderList, command: KvCommand): Uint8Array | null {
  const payload = encodeKvCommand(command);
  const text = headerValue(headers, 'banyan-session');
  if (text === null) return encodeSessionCommand({ kind: 'plain', payload });
  const session = numberOf(text);
  const seq = numberOf(headerValue(headers, 'banyan-seq') ?? '');
  const firstUnacked = numberOf(headerValue(headers, 'banyan-unacked') ?? '');
  if (session === null || seq === null || firstUnacked === null) return null;
  if (seq < 1 || firstUnacked > seq) return null;
  return encodeSessionCommand({ kind: 'call', session, seq, firstUnacked, payload });
}

function numberOf(text: string): number | null {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : -1;
  return Number.isSafeInteger(value) && value >= 0 ? value : null;
}

function answerSession(reply: ClientReply, answer: SessionReply): void {
  switch (answer.kind) {
    case 'opened':
      answerJson(reply, 201, { session: answer.session });
      return;
    case 'closed':
      answerJson(reply, 200, { closed: true });
      return;
    case 'done': {
      const kv = decodeKvReply(answer.payload);
      if (kv === null) refuse(reply, 500, 'unreadable-reply');
      else answerKv(reply, kv);
      return;
    }
    // Whether the call ran before is not known any more.
    case 'expired':
    case 'forgotten':
      refuse(reply, 410, `session-${answer.kind}`);
      return;
    case 'window':
      refuse(reply, 429, 'session-window');
      return;
    case 'tooLong':
      refuse(reply, 410, 'reply-too-long');
      return;
    case 'malformed':
      refuse(reply, 400, 'malformed');
      return;
    default:
      answer satisfies never;
  }
}

function answerKv(reply: ClientReply, answer: KvReply): void {
  switch (answer.kind) {
    case 'value':
      answerPair(reply, answer);
      return;
    case 'missing':
      refuse(reply, 404, 'missing');
      return;
    case 'stored':
      answerEmpty(reply, 200, ['banyan-version', String(answer.version)]);
      return;
    case 'conflict':
      answerEmpty(reply, 409, ['banyan-version', String(answer.version)]);
      return;
    case 'deleted':
      answerEmpty(reply, 200, []);
      return;
    case 'tooLarge':
      refuse(reply, 413, 'too-large');
      return;
    case 'full':
      refuse(reply, 507, 'full');
      return;
    case 'malformed':
      refuse(reply, 400, 'malformed');
      return;
    default:
      answer satisfies never;
  }
}

function answerPair(reply: ClientReply, pair: KvPair | null): void {
  if (pair === null) {
    refuse(reply, 404, 'missing');
    return;
  }
  const { version, value } = pair;
  reply.head(200, ['banyan-version', String(version)], { kind: 'length', bytes: value.length });
  reply.end(value);
}

function answerEmpty(reply: ClientReply, status: number, headers: HeaderList): void {
  reply.head(status, headers, { kind: 'length', bytes: 0 });
  reply.end(EMPTY_BYTES);
}

function refuseByGroup(reply: ClientReply, { error, leader }: GroupRefusal): void {
  const { definite, sentence } = RAFT_ERRORS[error];
  const status = error === 'too-large' ? 413 : definite ? 503 : 504;
  answerJson(reply, status, { error, definite, leader, detail: sentence });
}

function refuse(reply: ClientReply, status: number, error: string): void {
  answerJson(reply, status, { error });
}

function answerJson(reply: ClientReply, status: number, value: object): void {
  const bytes = encodeUtf8(JSON.stringify(value));
  const headers = ['content-type', 'application/json'];
  reply.head(status, headers, { kind: 'length', bytes: bytes.length });
  reply.end(bytes);
}
