/** JSON of unknown shape. */

/** A JSON object as it came. */
export type JsonRow = Readonly<Record<string, unknown>>;

/** True for a JSON object. */
export function isRow(value: unknown): value is JsonRow {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
