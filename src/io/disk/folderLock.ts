/**
 * One process a data folder. Node has no call for a file lock, SQLite does: an open exclusive
 * transaction on a file of its own holds the system's lock, which goes with the process whatever
 * ends it. A file with a process number would stay after kill -9, and numbers are used again.
 */

import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { DiskError, DiskLock } from '../../base/disk.ts';
import { err, ok, type Result } from '../../base/result.ts';

/** The lock's own file in the folder; nothing else opens it. */
export const LOCK_FILE = 'lock';

const SQLITE_BUSY = 5;
const SQLITE_CANTOPEN = 14;

/** Takes the folder, without waiting: `locked` where another process or handle has it. */
export function takeFolderLock(folder: string): Result<DiskLock, DiskError> {
  let database: DatabaseSync | null = null;
  try {
    database = new DatabaseSync(join(folder, LOCK_FILE), { timeout: 0 });
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY');
    database.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    database?.close();
    return err(lockError(folder, cause));
  }
  const held = database;
  let isClosed = false;
  return ok({
    close(done) {
      const wasClosed = isClosed;
      isClosed = true;
      if (!wasClosed) held.close();
      setImmediate(() => {
        if (wasClosed) done(err({ kind: 'closed', detail: `unlock ${folder}: given back before` }));
        else done(ok(null));
      });
    },
  });
}

function lockError(folder: string, cause: unknown): DiskError {
  const code = cause instanceof Error && 'errcode' in cause ? Number(cause.errcode) % 256 : 0;
  const said = cause instanceof Error ? cause.message : String(cause);
  if (code === SQLITE_BUSY) {
    return { kind: 'locked', detail: `${folder} is in use by another process` };
  }
  return { kind: code === SQLITE_CANTOPEN ? 'missing' : 'io', detail: `lock ${folder}: ${said}` };
}
