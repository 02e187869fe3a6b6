/** An etcd cluster over its JSON gateway: the port of `replica/etcd/store.ts`, and its members. */

import type { z } from 'zod';

import { err, ok, type Result } from '../../base/result.ts';
import type {
  EtcdDone,
  EtcdFailure,
  EtcdPage,
  EtcdRange,
  EtcdRevision,
  EtcdStore,
  EtcdTransacted,
  EtcdTransaction,
  EtcdWatch,
  EtcdWatchHandler,
} from '../../replica/etcd/store.ts';
import { EtcdGateway, type EtcdTls, type GatewayOptions } from './gateway.ts';
import {
  anyAnswer,
  compareBody,
  eventOf,
  grantAnswer,
  itemOf,
  keepAliveAnswer,
  memberListAnswer,
  operationBody,
  rangeAnswer,
  rangeBody,
  statusAnswer,
  transactionAnswer,
  watchAnswer,
  watchBody,
} from './json.ts';

/** One member of the etcd cluster. */
export interface EtcdMember {
  /** Hexadecimal, as etcdctl shows it. */
  readonly id: string;
  readonly name: string;
  readonly urls: readonly string[];
  readonly isLeader: boolean;
  readonly isLearner: boolean;
  /** It answered just now; null: no endpoint of it is configured. */
  readonly isHeard: boolean | null;
  /** How far its log is; null: not heard. */
  readonly index: number | null;
}

export interface EtcdMembers {
  readonly members: readonly EtcdMember[];
  readonly term: number | null;
}

export class EtcdClient implements EtcdStore {
  readonly #gateway: EtcdGateway;

  constructor(options: GatewayOptions) {
    this.#gateway = new EtcdGateway(options);
  }

  setTls(tls: EtcdTls): Result<null, string> {
    return this.#gateway.setTls(tls);
  }

  close(): void {
    this.#gateway.close();
  }

  turn(): void {
    this.#gateway.turn();
  }

  range(range: EtcdRange, done: EtcdDone<EtcdPage>): void {
    void this.#ask('/v3/kv/range', rangeBody(range), rangeAnswer, done, (answer) => {
      const { kvs, more, header } = answer;
      return { items: kvs.map(itemOf), hasMore: more, revision: header.revision };
    });
  }

  transact(transaction: EtcdTransaction, done: EtcdDone<EtcdTransacted>): void {
    const body = {
      compare: transaction.compares.map(compareBody),
      success: transaction.success.map(operationBody),
      failure: transaction.failure.map(operationBody),
    };
    void this.#ask('/v3/kv/txn', body, transactionAnswer, done, (answer) => {
      const ranges = answer.responses.flatMap(({ response_range: range }) =>
        range === undefined ? [] : [range.kvs.map(itemOf)],
      );
      return { isSuccess: answer.succeeded, revision: answer.header.revision, ranges };
    });
  }

  watch(key: string, end: string, from: EtcdRevision, handler: EtcdWatchHandler): EtcdWatch {
    let isOver = false;
    const close = this.#gateway.lines('/v3/watch', watchBody(key, end, from), {
      onLine: (line) => {
        if (isOver) return;
        const parsed = watchAnswer.safeParse(parseJson(line));
        const answer = parsed.success ? parsed.data : { error: { message: 'not understood' } };
        if (answer.result === undefined) return over(answer.error?.message ?? 'no result', null);
        const {
          events,
          canceled,
          compact_revision: compactedTo,
          cancel_reason: why,
        } = answer.result;
        if (events.length > 0) handler.onEvents(events.map(eventOf));
        if (!canceled) return;
        if (compactedTo > 0) over('the revision is compacted', compactedTo);
        else over(why === '' ? 'etcd ended the watch' : why, null);
      },
      onEnd: (detail) => over(detail, null),
    });
    const over = (detail: string, compactedTo: EtcdRevision | null): void => {
      if (isOver) return;
      isOver = true;
      close();
      handler.onEnd(detail, compactedTo);
    };
    return {
      close: () => {
        isOver = true;
        close();
      },
    };
  }

  grant(
    ttlSeconds: number,
    done: EtcdDone<{ readonly id: string; readonly ttlSeconds: number }>,
  ): void {
    const body = { TTL: String(ttlSeconds) };
    void this.#ask('/v3/lease/grant', body, grantAnswer, done, ({ ID, TTL }) => {
      return { id: ID, ttlSeconds: TTL };
    });
  }

  keepAlive(id: string, done: EtcdDone<number>): void {
    const path = '/v3/lease/keepalive';
    void this.#ask(path, { ID: id }, keepAliveAnswer, done, ({ result }) => result.TTL);
  }

  revoke(id: string, done: EtcdDone<null>): void {
    const gone: EtcdDone<null> = (result) => {
      done(result.ok || result.error.isLeaseGone ? ok(null) : result);
    };
    void this.#ask('/v3/lease/revoke', { ID: id }, anyAnswer, gone, () => null);
  }

  /** Who is in the cluster, as those that answer say. */
  async members(): Promise<Result<EtcdMembers, EtcdFailure>> {
    const list = await this.#gateway.call('/v3/cluster/member/list', {}, memberListAnswer);
    if (!list.ok) return list;
    const statuses = await this.#statuses();
    const newest = statuses.toSorted((a, b) => b.raftTerm - a.raftTerm)[0];
    const members = list.value.members.map((member): EtcdMember => {
      const { ID, name, clientURLs, isLearner } = member;
      const status = statuses.find(({ header }) => header.member_id === ID);
      const isKnown = clientURLs.some((url) => this.#gateway.endpoints.includes(url));
      return {
        id: BigInt(ID).toString(16),
        name,
        urls: clientURLs,
        isLeader: newest?.leader === ID,
        isLearner,
        isHeard: status !== undefined ? true : isKnown ? false : null,
        index: status?.raftIndex ?? null,
      };
    });
    return ok({ members, term: newest?.raftTerm ?? null });
  }

  /** Hands leadership to a member; only the leader can, so its own endpoint is asked. */
  async moveLeader(id: string): Promise<Result<null, EtcdFailure>> {
    const statuses = await this.#statuses();
    const leader = statuses.find(({ header, leader: led }) => header.member_id === led);
    if (leader === undefined) {
      const detail = 'no configured endpoint is that of the leader';
      return err({
        isDefinite: true,
        isFinal: true,
        isCompacted: false,
        isLeaseGone: false,
        detail,
      });
    }
    const body = { targetID: BigInt(`0x${id}`).toString() };
    const path = '/v3/maintenance/transfer-leadership';
    const moved = await this.#gateway.callAt(leader.endpoint, path, body, anyAnswer);
    return moved.ok ? ok(null) : moved;
  }

  async #ask<Answer, Value>(
    path: string,
    body: object,
    schema: z.ZodType<Answer>,
    done: EtcdDone<Value>,
    read: (answer: Answer) => Value,
  ): Promise<void> {
    const result = await this.#gateway.call(path, body, schema);
    done(result.ok ? ok(read(result.value)) : result);
  }

  async #statuses() {
    const all = await Promise.all(
      this.#gateway.endpoints.map(async (endpoint) => {
        const path = '/v3/maintenance/status';
        const status = await this.#gateway.callAt(endpoint, path, {}, statusAnswer);
        return status.ok ? [{ endpoint, ...status.value }] : [];
      }),
    );
    return all.flat();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // Whoever answers there is no etcd.
  }
}
