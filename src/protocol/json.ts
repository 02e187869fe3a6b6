/** Careful reading of JSON that others wrote: each helper says null for what is not of its kind. */

/** A JSON object whose members are not known. */
export type JsonRecord = Readonly<Record<string, unknown>>;

const NO_MEMBERS: JsonRecord = {};
const NO_ITEMS: readonly unknown[] = [];

/** True for an object that is neither null nor an array. */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object itself, else one without members. */
export function recordOf(value: unknown): JsonRecord {
  return isRecord(value) ? value : NO_MEMBERS;
}

/** The array itself, else an empty one. */
export function arrayOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : NO_ITEMS;
}

/** The string itself, else null. */
export function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

/** A finite number, else null. */
export function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** A whole number of at least 0, else null. */
export function countOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

/** Parses `text`; undefined where it is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // The only error of JSON.parse is malformed text.
  }
}
