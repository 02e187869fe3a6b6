/**
 * API keys in the control state: `keys/NAME` holds what a key may do and the SHA-256 of its secret,
 * never the secret. What decides is a transaction with a comparison, so that two operators at once
 * cannot both succeed.
 */

import { assert } from '../../base/assert.ts';
import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { PRIORITIES, type Priority } from '../../routing/admission.ts';
import type { KeyConfig } from '../config.ts';
import type { ControlView } from './engine.ts';
import type { AuditInput, Compare, KeyValue, Operation, Transaction } from './types.ts';

const PREFIX = 'keys/';
const TYPE = 'api-key/1';
const PAGE = 1_000;

/** One key as it is kept. Times are Unix ms. */
export interface KeyRecord extends KeyConfig {
  readonly createdMs: number;
  /** After a rotation the secret before goes on working until then. */
  readonly previous: { readonly sha256: string; readonly untilMs: number } | null;
}

export interface StoredKey {
  readonly record: KeyRecord;
  readonly item: KeyValue;
}

/** All keys, by name. What is no key of this version is left out. */
export function listKeys(view: ControlView): readonly StoredKey[] {
  const found: StoredKey[] = [];
  let after: string | null = '';
  while (after !== null) {
    const page = view.range({ prefix: PREFIX, after, keysMax: PAGE });
    for (const item of page.items) {
      const record = decodeKey(item);
      if (record !== null) found.push({ record, item });
    }
    after = page.next;
  }
  return found;
}

export function findKey(view: ControlView, name: string): StoredKey | null {
  const item = view.get(PREFIX + name);
  const record = item === null ? null : decodeKey(item);
  return item === null || record === null ? null : { record, item };
}

/** What the gateway may let in at this time, and when that changes by itself; null: never. */
export function keysInForce(
  view: ControlView,
  wallMs: number,
): { readonly keys: readonly KeyConfig[]; readonly changesMs: number | null } {
  const keys: KeyConfig[] = [];
  let changesMs: number | null = null;
  for (const { record } of listKeys(view)) {
    const { createdMs: _created, previous, ...config } = record;
    keys.push(config);
    if (previous === null || previous.untilMs <= wallMs) continue;
    keys.push({ ...config, sha256: previous.sha256 });
    changesMs = Math.min(changesMs ?? previous.untilMs, previous.untilMs);
  }
  return { keys, changesMs };
}

/** Does nothing where the name is taken. */
export function createKey(record: KeyRecord, audit: AuditInput): Transaction {
  const key = PREFIX + record.name;
  return transaction(audit, [{ kind: 'absent', key }], [put(record)]);
}

/** Does nothing where the key has changed since `stored` was read. */
export function revokeKey({ item }: StoredKey, audit: AuditInput): Transaction {
  return transaction(audit, [unchanged(item)], [{ kind: 'delete', key: item.key }]);
}

/** A new secret; the old one goes on for `graceMs`. Does nothing where the key has changed. */
export function rotateKey(
  { item, record }: StoredKey,
  sha256: string,
  graceMs: number,
  wallMs: number,
  audit: AuditInput,
): Transaction {
  assert(graceMs >= 0, 'a time of grace is not negative');
  const previous = graceMs === 0 ? null : { sha256: record.sha256, untilMs: wallMs + graceMs };
  return transaction(audit, [unchanged(item)], [put({ ...record, sha256, previous })]);
}

function transaction(
  audit: AuditInput,
  compares: readonly Compare[],
  success: readonly Operation[],
): Transaction {
  return { kind: 'transaction', audit, compares, success, failure: [] };
}

function unchanged(item: KeyValue): Compare {
  const { key, modRevision } = item;
  return { kind: 'number', key, field: 'modRevision', relation: 'equal', number: modRevision };
}

function put(record: KeyRecord): Operation {
  const key = PREFIX + record.name;
  return { kind: 'put', key, type: TYPE, value: encodeUtf8(JSON.stringify(record)) };
}

function decodeKey(item: KeyValue): KeyRecord | null {
  if (item.type !== TYPE) return null;
  const value = parse(item.value);
  if (value === null) return null;
  const { name, sha256, models, priority, createdMs, previous } = value;
  const isWhole =
    item.key === `${PREFIX}${String(name)}` &&
    isSha256(sha256) &&
    Array.isArray(models) &&
    models.every((model) => typeof model === 'string') &&
    isPriority(priority) &&
    typeof createdMs === 'number';
  if (!isWhole) return null;
  return {
    name: String(name),
    sha256,
    models,
    requestsPerMinute: limitOf(value['requestsPerMinute']),
    tokensPerMinute: limitOf(value['tokensPerMinute']),
    inFlightMax: limitOf(value['inFlightMax']),
    priority,
    createdMs,
    previous: previousOf(previous),
  };
}

function parse(bytes: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    return fieldsOf(JSON.parse(decodeUtf8(bytes)));
  } catch {
    return null; // Not JSON: no key of this version.
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | null {
  return typeof value === 'object' && value !== null ? { ...value } : null;
}

function isSha256(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

function isPriority(value: unknown): value is Priority {
  return PRIORITIES.some((known) => known === value);
}

function limitOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : null;
}

function previousOf(value: unknown): KeyRecord['previous'] {
  const fields = fieldsOf(value);
  const sha256 = fields?.['sha256'];
  const untilMs = fields?.['untilMs'];
  return isSha256(sha256) && typeof untilMs === 'number' ? { sha256, untilMs } : null;
}
