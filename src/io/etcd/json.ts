/** Bodies of etcd's JSON gateway (its v3 API): numbers are text, keys and values are base64. */

import { z } from 'zod';

import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import {
  KEEP_LEASE,
  type EtcdCompare,
  type EtcdEvent,
  type EtcdItem,
  type EtcdOperation,
  type EtcdRange,
} from '../../replica/etcd/store.ts';

/** Numbers that are 0 are left out. */
const count = z
  .string()
  .regex(/^\d{1,16}$/)
  .transform(Number)
  .default(0);
const id = z.string().regex(/^\d{1,20}$/);
const header = z.object({ member_id: id.default('0'), revision: count });
const item = z.object({
  key: z.string(),
  value: z.string().default(''),
  create_revision: count,
  mod_revision: count,
});
const items = z.array(item).default([]);

export const rangeAnswer = z.object({ header, kvs: items, more: z.boolean().default(false) });
export const transactionAnswer = z.object({
  header,
  succeeded: z.boolean().default(false),
  responses: z.array(z.object({ response_range: z.object({ kvs: items }).optional() })).default([]),
});
export const watchAnswer = z.object({
  result: z
    .object({
      created: z.boolean().default(false),
      canceled: z.boolean().default(false),
      cancel_reason: z.string().default(''),
      compact_revision: count,
      events: z
        .array(z.object({ type: z.enum(['PUT', 'DELETE']).default('PUT'), kv: item }))
        .default([]),
    })
    .optional(),
  error: z.object({ message: z.string() }).optional(),
});
export const grantAnswer = z.object({ ID: id, TTL: count });
export const keepAliveAnswer = z.object({ result: z.object({ TTL: count }) });
export const tokenAnswer = z.object({ token: z.string() });
export const anyAnswer = z.object({});
export const memberListAnswer = z.object({
  members: z.array(
    z.object({
      ID: id,
      name: z.string().default(''),
      clientURLs: z.array(z.string()).default([]),
      isLearner: z.boolean().default(false),
    }),
  ),
});
export const statusAnswer = z.object({
  header,
  leader: id.default('0'),
  raftIndex: count,
  raftTerm: count,
  version: z.string(),
});
/** Older servers say `error`, all say `message` and a gRPC code. */
export const refusalAnswer = z.object({ message: z.string(), code: z.int() });

export function rangeBody({ key, end, limit, revision }: EtcdRange): object {
  return {
    key: base64(key),
    ...(end === null ? {} : { range_end: base64(end) }),
    ...(limit === 0 ? {} : { limit: String(limit) }),
    ...(revision === 0 ? {} : { revision: String(revision) }),
  };
}

export function compareBody({ key, field, equals }: EtcdCompare): object {
  const revision = String(equals);
  const target = field === 'mod' ? { mod_revision: revision } : { create_revision: revision };
  return { key: base64(key), result: 'EQUAL', target: field.toUpperCase(), ...target };
}

export function operationBody(operation: EtcdOperation): object {
  const { key } = operation;
  if (operation.kind === 'put') {
    const { value, lease } = operation;
    return {
      request_put: {
        key: base64(key),
        value: Buffer.from(value).toString('base64'),
        ...(lease === null ? {} : lease === KEEP_LEASE ? { ignore_lease: true } : { lease }),
      },
    };
  }
  const end = operation.end === null ? {} : { range_end: base64(operation.end) };
  if (operation.kind === 'delete') return { request_delete_range: { key: base64(key), ...end } };
  return { request_range: { key: base64(key), ...end } };
}

export function watchBody(key: string, end: string, from: number): object {
  return {
    create_request: {
      key: base64(key),
      range_end: base64(end),
      start_revision: String(from),
      progress_notify: true,
    },
  };
}

export function itemOf(read: z.output<typeof item>): EtcdItem {
  return {
    key: textOf(read.key),
    value: new Uint8Array(Buffer.from(read.value, 'base64')),
    createRevision: read.create_revision,
    modRevision: read.mod_revision,
  };
}

export function eventOf(read: {
  readonly type: 'PUT' | 'DELETE';
  readonly kv: z.output<typeof item>;
}): EtcdEvent {
  if (read.type === 'PUT') return { kind: 'put', item: itemOf(read.kv) };
  return { kind: 'delete', key: textOf(read.kv.key), modRevision: read.kv.mod_revision };
}

function base64(text: string): string {
  return Buffer.from(encodeUtf8(text)).toString('base64');
}

function textOf(text: string): string {
  return decodeUtf8(Buffer.from(text, 'base64'));
}
