/** The real database: SQLite as Node brings it along, in one file with a write-ahead log. */

import { rmSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';

import {
  DatabaseError,
  type Database,
  type SqlStatement,
  type SqlValue,
} from '../../base/database.ts';
import { err, ok, type Result } from '../../base/result.ts';

/** Pages of the log before they are moved into the file, 4 KiB each: rare, and still short. */
const CHECKPOINT_PAGES = 4_096;

/** Why a database was not opened. */
export interface OpenFailure {
  /** True: what is in the file is no sound database. Else it may be, and must stay. */
  readonly isDamaged: boolean;
  readonly detail: string;
}

/** SQLITE_CORRUPT and SQLITE_NOTADB. */
const DAMAGED: ReadonlySet<unknown> = new Set([11, 26]);

/**
 * Opens `file`, or makes it, for this process alone: another one that has it is an error. A file
 * that is damaged is one, too: `removeDatabase`, and make its state again. Nothing is synced with a
 * commit: after a loss of power it may be an older state.
 */
export function openDatabase(file: string): Result<Database, OpenFailure> {
  let database: DatabaseSync | null = null;
  try {
    database = new DatabaseSync(file);
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL');
    database.exec('PRAGMA synchronous = NORMAL');
    database.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    // The lock is taken with the first write.
    database.exec('BEGIN IMMEDIATE; COMMIT');
    const checked = database.prepare('PRAGMA quick_check(1)').get();
    const said = String(checked?.['quick_check']);
    if (said === 'ok') return ok(new NodeDatabase(database));
    database.close();
    return err({ isDamaged: true, detail: said });
  } catch (cause) {
    if (database?.isOpen === true) database.close();
    const code = cause instanceof Error && 'errcode' in cause ? cause.errcode : null;
    const isDamaged = typeof code === 'number' && DAMAGED.has(code & 0xff);
    return err({ isDamaged, detail: sentenceOf(cause) });
  }
}

/** Removes a database with all its files. */
export function removeDatabase(file: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true });
}

class NodeDatabase implements Database {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  exec(sql: string): void {
    translated(() => this.#database.exec(sql));
  }

  prepare(sql: string): SqlStatement {
    const statement = translated(() => this.#database.prepare(sql));
    statement.setReturnArrays(true);
    return new NodeStatement(statement);
  }

  close(): void {
    translated(() => this.#database.close());
  }
}

class NodeStatement implements SqlStatement {
  readonly #statement: StatementSync;

  constructor(statement: StatementSync) {
    this.#statement = statement;
  }

  run(...values: readonly SqlValue[]): void {
    translated(() => this.#statement.run(...values));
  }

  get(...values: readonly SqlValue[]): readonly SqlValue[] | null {
    // `setReturnArrays` makes rows of arrays; the type of Node's method does not know.
    const row = translated(() => this.#statement.get(...values)) as unknown;
    return (row as readonly SqlValue[] | undefined) ?? null;
  }

  *rows(...values: readonly SqlValue[]): Iterable<readonly SqlValue[]> {
    const rows = translated(() => this.#statement.iterate(...values)) as unknown;
    yield* rows as Iterable<readonly SqlValue[]>;
  }
}

function translated<T>(run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw new DatabaseError(sentenceOf(cause), { cause });
  }
}

function sentenceOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
