/**
 * Keys with a secret in the control state: `PREFIX/NAME` holds the SHA-256 of the secret, never the
 * secret, and what its kind of key may do. What decides is a transaction with a comparison, so that
 * two operators at once cannot both succeed.
 */

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import type { ControlView } from './engine.ts';
import { fieldsOf, readFields, unchanged, type Fields } from './records.ts';
import type { AuditInput, Compare, KeyValue, Operation, Transaction } from './types.ts';

const PAGE = 1_000;

/** What every kind of key has. Times are Unix ms. */
export interface KeptSecret {
  readonly name: string;
  readonly sha256: string;
  readonly createdMs: number;
  /** After a rotation the secret before goes on working until then. */
  readonly previous: { readonly sha256: string; readonly untilMs: number } | null;
}

/** A kind of key. */
export interface KeyKind<Own extends object> {
  /** Of its keys in the state, with its `/`. */
  readonly prefix: string;
  /** Of its values. */
  readonly type: string;
  /** What is its own, of a value of this type; null: it is none of this version. */
  readonly read: (fields: Fields) => Own | null;
}

/** One key as it stands in the state. */
export interface StoredSecret<Own extends object> {
  readonly record: Own & KeptSecret;
  readonly item: KeyValue;
}

/** All keys of a kind, by name. What is none of this version is left out. */
export function listSecrets<Own extends object>(
  kind: KeyKind<Own>,
  view: ControlView,
): readonly StoredSecret<Own>[] {
  const found: StoredSecret<Own>[] = [];
  let after: string | null = '';
  while (after !== null) {
    const page = view.range({ prefix: kind.prefix, after, keysMax: PAGE });
    for (const item of page.items) {
      const record = decode(kind, item);
      if (record !== null) found.push({ record, item });
    }
    after = page.next;
  }
  return found;
}

export function findSecret<Own extends object>(
  kind: KeyKind<Own>,
  view: ControlView,
  name: string,
): StoredSecret<Own> | null {
  const item = view.get(kind.prefix + name);
  const record = item === null ? null : decode(kind, item);
  return item === null || record === null ? null : { record, item };
}

/**
 * Each key once for each secret that counts at this time, and when that changes by itself; null:
 * never.
 */
export function secretsInForce<Own extends object>(
  kind: KeyKind<Own>,
  view: ControlView,
  wallMs: number,
): { readonly records: readonly (Own & KeptSecret)[]; readonly changesMs: number | null } {
  const records: (Own & KeptSecret)[] = [];
  let changesMs: number | null = null;
  for (const { record } of listSecrets(kind, view)) {
    records.push(record);
    const { previous } = record;
    if (previous === null || previous.untilMs <= wallMs) continue;
    records.push({ ...record, sha256: previous.sha256 });
    changesMs = Math.min(changesMs ?? previous.untilMs, previous.untilMs);
  }
  return { records, changesMs };
}

/** Does nothing where the name is taken. */
export function createSecret<Own extends object>(
  kind: KeyKind<Own>,
  record: Own & KeptSecret,
  audit: AuditInput,
): Transaction {
  const key = kind.prefix + record.name;
  return transaction(audit, [{ kind: 'absent', key }], [put(kind, record)]);
}

/** Does nothing where the key has changed since `stored` was read. */
export function revokeSecret(
  { item }: { readonly item: KeyValue },
  audit: AuditInput,
): Transaction {
  return transaction(
    audit,
    [unchanged(item.key, item.modRevision)],
    [{ kind: 'delete', key: item.key }],
  );
}

/** What it may do, anew; its secrets stay. Does nothing where the key has changed. */
export function replaceOwn<Own extends object>(
  kind: KeyKind<Own>,
  { item, record }: StoredSecret<Own>,
  own: Partial<Own>,
  audit: AuditInput,
): Transaction {
  return transaction(
    audit,
    [unchanged(item.key, item.modRevision)],
    [put(kind, { ...record, ...own })],
  );
}

/** A new secret; the old one goes on for `graceMs`. Does nothing where the key has changed. */
export function rotateSecret<Own extends object>(
  kind: KeyKind<Own>,
  { item, record }: StoredSecret<Own>,
  rotation: { readonly sha256: string; readonly graceMs: number; readonly wallMs: number },
  audit: AuditInput,
): Transaction {
  const { sha256, graceMs, wallMs } = rotation;
  assert(graceMs >= 0, 'a time of grace is not negative');
  const previous = graceMs === 0 ? null : { sha256: record.sha256, untilMs: wallMs + graceMs };
  return transaction(
    audit,
    [unchanged(item.key, item.modRevision)],
    [put(kind, { ...record, sha256, previous })],
  );
}

function transaction(
  audit: AuditInput,
  compares: readonly Compare[],
  success: readonly Operation[],
): Transaction {
  return { kind: 'transaction', audit, compares, success, failure: [] };
}

function put<Own extends object>(kind: KeyKind<Own>, record: Own & KeptSecret): Operation {
  const key = kind.prefix + record.name;
  const value = encodeUtf8(JSON.stringify(record));
  return { kind: 'put', key, type: kind.type, value };
}

function decode<Own extends object>(kind: KeyKind<Own>, item: KeyValue): (Own & KeptSecret) | null {
  const fields = item.type === kind.type ? readFields(item.value) : null;
  if (fields === null) return null;
  const { name, sha256, createdMs } = fields;
  const own = kind.read(fields);
  const isWhole =
    own !== null &&
    typeof name === 'string' &&
    item.key === kind.prefix + name &&
    isSha256(sha256) &&
    typeof createdMs === 'number';
  if (!isWhole) return null;
  return { ...own, name, sha256, createdMs, previous: previousOf(fields['previous']) };
}

function isSha256(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

function previousOf(value: unknown): KeptSecret['previous'] {
  const fields = fieldsOf(value);
  const sha256 = fields?.['sha256'];
  const untilMs = fields?.['untilMs'];
  return isSha256(sha256) && typeof untilMs === 'number' ? { sha256, untilMs } : null;
}
