/** What records of the control state have in common: JSON fields, changed only as they were read. */

import { decodeUtf8 } from '../../base/bytes.ts';
import type { Compare } from './types.ts';

/** What JSON held, unchecked. */
export type Fields = Readonly<Record<string, unknown>>;

/** The fields of a record; null: it is no JSON object, so of no version of this program. */
export function readFields(bytes: Uint8Array): Fields | null {
  try {
    return fieldsOf(JSON.parse(decodeUtf8(bytes)));
  } catch {
    return null; // Not JSON.
  }
}

/** The fields of an object within a record; null: it is none. */
export function fieldsOf(value: unknown): Fields | null {
  return typeof value === 'object' && value !== null ? { ...value } : null;
}

/** Holds while a key is as it was read; 0: while it is not there. */
export function unchanged(key: string, modRevision: number): Compare {
  return { kind: 'number', key, field: 'modRevision', relation: 'equal', number: modRevision };
}
