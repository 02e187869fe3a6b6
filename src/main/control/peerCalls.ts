/** What the nodes of a group ask each other beside Raft's messages: one small JSON each way. */

import { z } from 'zod';

import { concatBytes, decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { nodeOrigin } from '../../base/peerName.ts';
import type { ClientReply, ClientRequest, Timers, Upstream } from '../../base/ports.ts';
import { RAFT_LIMITS } from '../../base/limits.ts';
import { foundingSchema, peersSchema, placesSchema } from './memberFile.ts';

export const HELLO_PATH = '/group/hello';
export const FOUND_PATH = '/group/found';
export const JOIN_PATH = '/group/join';
/** A member passes on to the leader what another node asked it with `JOIN_PATH`. */
export const ADMIT_PATH = '/group/admit';
export const OPERATE_PATH = '/group/operate';
/** What the leader would refuse of it: a path of its own, which an older program does not carry out. */
export const JUDGE_PATH = '/group/judge';
/** Where the nodes are that the one asked knows. */
export const PLACES_PATH = '/group/places';

const CONNECT_MS = 2_000;
/** Of an answer; a longer one counts as none. */
export const PEER_BODY_BYTES_MAX: number = 64 * 1024;

const number = z.int().min(1).max(RAFT_LIMITS.integerMax);
export const helloSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('new'),
    incarnation: number,
    priority: z.int().min(0),
    isWitness: z.boolean(),
    mayFound: z.boolean(),
  }),
  z.strictObject({
    kind: z.literal('member'),
    cluster: z.string().min(1),
    founding: foundingSchema.nullable(),
  }),
]);
export const joinSchema = z.strictObject({
  incarnation: number,
  priority: z.int().min(0),
  isWitness: z.boolean(),
});
export const admitSchema = joinSchema.extend({ name: z.string() });
export const admittedSchema = z.strictObject({ id: number });
export const knownPlacesSchema = z.strictObject({ places: placesSchema });
export const joinedSchema = z.strictObject({
  cluster: z.string().min(1),
  id: number,
  peers: peersSchema,
});

/** What a peer said; null: nothing in time, or nothing of this shape. */
export interface PeerAnswer<T> {
  readonly status: number;
  readonly value: T | null;
}

/** A way to ask other nodes, as `askPeer` does it; `body` null: a GET. */
export type AskPeer = <T>(
  peer: string,
  path: string,
  body: object | null,
  schema: z.ZodType<T>,
) => Promise<PeerAnswer<T> | null>;

/** Asks one node. Never rejects. */
export function askPeer<T>(
  upstream: Upstream,
  timers: Timers,
  peer: string,
  path: string,
  body: object | null,
  schema: z.ZodType<T>,
): Promise<PeerAnswer<T> | null> {
  return new Promise((resolve) => {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    let status = 0;
    const call = upstream.start(
      {
        origin: nodeOrigin(peer),
        method: body === null ? 'GET' : 'POST',
        path,
        headers: body === null ? [] : ['content-type', 'application/json'],
        body: encodeUtf8(body === null ? '' : JSON.stringify(body)),
        connectMs: CONNECT_MS,
      },
      {
        onHead: (told) => {
          status = told;
        },
        onBody: (chunk) => {
          bytes += chunk.length;
          if (bytes > PEER_BODY_BYTES_MAX) return over(null);
          parts.push(chunk.slice());
        },
        onEnd: () => finish({ status, value: parse(concatBytes(parts), schema) }),
        onFailure: () => finish(null),
      },
    );
    const timer = timers.after(CONTROL_LIMITS.peerAnswerMs, () => over(null));
    function over(answer: PeerAnswer<T> | null): void {
      call.cancel();
      finish(answer);
    }
    function finish(answer: PeerAnswer<T> | null): void {
      timer.cancel();
      resolve(answer);
    }
  });
}

/** Whether a request names another cluster than this one; older programs name none. */
export function isForOther({ query }: ClientRequest, cluster: string | null): boolean {
  const named = new URLSearchParams(query).get('cluster');
  return named !== null && named !== cluster;
}

/** The status of an answer to a program that is below the cluster's feature level. */
export const BELOW_LEVEL = 426;

/** The feature level that the program of whoever asks supports; older ones do not say it. */
export function levelOf({ query }: ClientRequest): number {
  return Number(new URLSearchParams(query).get('level') ?? 1);
}

/** The JSON of a body, or null where it is none of this shape. */
export function parse<T>(body: Uint8Array, schema: z.ZodType<T>): T | null {
  try {
    const parsed = schema.safeParse(JSON.parse(decodeUtf8(body)));
    return parsed.success ? parsed.data : null;
  } catch {
    return null; // Not JSON: the same as another shape.
  }
}

/** Answers a peer. */
export function answerPeer(reply: ClientReply, status: number, value: object): void {
  const bytes = encodeUtf8(JSON.stringify(value));
  reply.head(status, ['content-type', 'application/json'], {
    kind: 'length',
    bytes: bytes.length,
  });
  reply.end(bytes);
}
