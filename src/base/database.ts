/**
 * The database port: one embedded SQL database, used by one process, synchronously. For state that
 * can be made again from the log: what is committed survives the end of the process whole or not at
 * all, and after a loss of power may be an older state, never a torn one.
 *
 * Errors are thrown as `DatabaseError`: after one the caller stops using the database.
 */

export type SqlValue = number | string | Uint8Array | null;

export interface SqlStatement {
  run(...values: readonly SqlValue[]): void;
  /** The first row's columns, or null. */
  get(...values: readonly SqlValue[]): readonly SqlValue[] | null;
  /** The rows, one after another; the database is not written to meanwhile. */
  rows(...values: readonly SqlValue[]): Iterable<readonly SqlValue[]>;
}

export interface Database {
  exec(sql: string): void;
  prepare(sql: string): SqlStatement;
  close(): void;
}

export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
}
