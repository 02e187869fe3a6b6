/**
 * The key-value machine and its sessions in a database: what is applied and how far are one
 * transaction, so that a start replays only what is missing.
 *
 * Q1: the database holds the state after `durableIndex`, whole, whenever the process ends.
 * Q2: it is of this node's disk alone: another cluster, node or incarnation is refused.
 * Q3: it can always be made again: what cannot be read is thrown away, and rebuilt from the snapshot
 *     and the log.
 */

import { decodeUtf8, EMPTY_BYTES, encodeUtf8 } from '../../base/bytes.ts';
import type { Database, SqlStatement, SqlValue } from '../../base/database.ts';
import { RAFT_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { createSessionMachine, type SessionMachine } from '../../raft/sessions.ts';
import type { Index } from '../../raft/types.ts';
import type { LogIdentity } from '../../storage/types.ts';
import type { GroupMachine } from '../group/types.ts';
import { KvMachine, type KvPair, type KvStore, type KvSums } from './machine.ts';

const FORMAT = 1;
const TABLES = `
  CREATE TABLE IF NOT EXISTS meta (
    one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, cluster TEXT NOT NULL,
    node INTEGER NOT NULL, incarnation INTEGER NOT NULL, applied INTEGER NOT NULL,
    bytes INTEGER NOT NULL, hash INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS pairs (
    key BLOB PRIMARY KEY, version INTEGER NOT NULL, value BLOB NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY, place INTEGER NOT NULL, encoded BLOB NOT NULL
  ) STRICT;
`;

/** Why a database was not taken. */
export type SqlMachineFailure =
  /** It belongs to another node. */
  | { readonly kind: 'foreign'; readonly detail: string }
  /** A newer program has written it. */
  | { readonly kind: 'future'; readonly detail: string }
  /** It cannot be read: remove it, and it is made again. */
  | { readonly kind: 'unreadable'; readonly detail: string };

export interface SqlMachine extends GroupMachine {
  readonly kv: KvMachine;
}

/** The machine of `identity` on `database`, which holds nothing yet or its state. */
export function openSqlMachine(
  database: Database,
  identity: LogIdentity,
): Result<SqlMachine, SqlMachineFailure> {
  database.exec(TABLES);
  const row = database.prepare('SELECT * FROM meta').get();
  if (row === null) {
    const { cluster, node, incarnation } = identity;
    database
      .prepare('INSERT INTO meta VALUES (1, ?, ?, ?, ?, 0, 0, 0)')
      .run(FORMAT, cluster, node, incarnation);
    return ok(new Machine(database, 0, { bytes: 0, hash: 0 }));
  }
  const [, format, cluster, node, incarnation, applied, bytes, hash] = row;
  if (format !== FORMAT) {
    const kind = Number(format) > FORMAT ? 'future' : 'unreadable';
    return err({ kind, detail: `its format is ${String(format)}, not ${FORMAT}` });
  }
  const isOwn =
    cluster === identity.cluster && node === identity.node && incarnation === identity.incarnation;
  if (!isOwn) {
    const whose = `node ${String(node)} (${String(incarnation)}) of cluster ${String(cluster)}`;
    return err({ kind: 'foreign', detail: `it holds the state of ${whose}` });
  }
  const machine = new Machine(database, Number(applied), {
    bytes: Number(bytes),
    hash: Number(hash),
  });
  if (machine.load()) return ok(machine);
  return err({ kind: 'unreadable', detail: 'a session cannot be read' });
}

class Machine implements SqlMachine {
  readonly kv: KvMachine;
  readonly #database: Database;
  readonly #store: SqlStore;
  readonly #sessions: SessionMachine;
  readonly #putMeta: SqlStatement;
  readonly #putSession: SqlStatement;
  readonly #endSession: SqlStatement;
  #durable: Index;
  #isInside = false;
  /** Of the session used last: those used later get higher ones. */
  #place = 0;

  constructor(database: Database, durable: Index, sums: KvSums) {
    this.#database = database;
    this.#durable = durable;
    this.#store = new SqlStore(database, sums);
    this.kv = new KvMachine(this.#store);
    this.#sessions = createSessionMachine(this.kv, RAFT_LIMITS, true);
    this.#putMeta = database.prepare('UPDATE meta SET applied = ?, bytes = ?, hash = ?');
    this.#putSession = database.prepare('INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)');
    this.#endSession = database.prepare('DELETE FROM sessions WHERE id = ?');
  }

  /** Reads the sessions back. False: one cannot be read. */
  load(): boolean {
    const encoded: Uint8Array[] = [];
    const rows = this.#database.prepare('SELECT place, encoded FROM sessions ORDER BY place');
    for (const [place, bytes] of rows.rows()) {
      this.#place = Number(place);
      if (bytes instanceof Uint8Array) encoded.push(bytes);
    }
    return this.#sessions.adopt(encoded);
  }

  apply(index: Index, timeMs: number, data: Uint8Array): Uint8Array {
    this.#begin();
    return this.#sessions.apply(index, timeMs, data);
  }

  snapshot(): Uint8Array {
    return this.#sessions.snapshot();
  }

  restore(data: Uint8Array): boolean {
    this.#begin();
    return this.#sessions.restore(data);
  }

  hash(): number {
    return (this.#sessions.sessionsHash() ^ this.kv.hash()) >>> 0;
  }

  durableIndex(): Index {
    return this.#durable;
  }

  settle(index: Index): void {
    this.#begin();
    const { isWhole, ended, used } = this.#sessions.takeChanges();
    if (isWhole) this.#database.exec('DELETE FROM sessions');
    for (const id of ended) this.#endSession.run(id);
    for (const { id, encoded } of used) {
      this.#place += 1;
      this.#putSession.run(id, this.#place, encoded);
    }
    const { bytes, hash } = this.#store.sums;
    this.#putMeta.run(index, bytes, hash);
    this.#database.exec('COMMIT');
    this.#isInside = false;
    this.#durable = index;
  }

  #begin(): void {
    if (this.#isInside) return;
    this.#database.exec('BEGIN IMMEDIATE');
    this.#isInside = true;
  }
}

class SqlStore implements KvStore {
  sums: KvSums;
  readonly #database: Database;
  readonly #get: SqlStatement;
  readonly #set: SqlStatement;
  readonly #delete: SqlStatement;
  readonly #all: SqlStatement;

  constructor(database: Database, sums: KvSums) {
    this.sums = sums;
    this.#database = database;
    this.#get = database.prepare('SELECT version, value FROM pairs WHERE key = ?');
    this.#set = database.prepare('INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)');
    this.#delete = database.prepare('DELETE FROM pairs WHERE key = ?');
    this.#all = database.prepare('SELECT key, version, value FROM pairs ORDER BY key');
  }

  get(key: string): KvPair | null {
    const row = this.#get.get(encodeUtf8(key));
    return row === null ? null : pairOf(row[0], row[1]);
  }

  set(key: string, { version, value }: KvPair): void {
    this.#set.run(encodeUtf8(key), version, value);
  }

  delete(key: string): void {
    this.#delete.run(encodeUtf8(key));
  }

  *pairs(): Iterable<readonly [string, KvPair]> {
    for (const [key, version, value] of this.#all.rows()) {
      yield [decodeUtf8(bytesOf(key)), pairOf(version, value)];
    }
  }

  clear(): void {
    this.#database.exec('DELETE FROM pairs');
  }
}

function pairOf(version: SqlValue | undefined, value: SqlValue | undefined): KvPair {
  return { version: Number(version), value: bytesOf(value) };
}

function bytesOf(value: SqlValue | undefined): Uint8Array {
  return value instanceof Uint8Array ? value : EMPTY_BYTES;
}
