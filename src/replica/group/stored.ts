/** Between what the core wants kept (raft) and what the durable log keeps (storage). */

import { err, ok, type Result } from '../../base/result.ts';
import { decodeSnapshotMeta, encodeSnapshotMeta } from '../../raft/messageCodec.ts';
import {
  ENTRY_KINDS,
  type Entry,
  type EntryKind,
  type Persist,
  type Snapshot,
  type Stored,
} from '../../raft/types.ts';
import type { LogOpenFailure, LogPersist, LogRecovered } from '../../storage/types.ts';

const KINDS: ReadonlySet<string> = new Set(ENTRY_KINDS);

/** `persist` for a log that has taken `before` persists of its own. */
export function logPersistOf(persist: Persist, before: number): LogPersist {
  const { snapshot } = persist;
  return {
    ...persist,
    seq: persist.seq + before,
    snapshot:
      snapshot === null
        ? null
        : {
            index: snapshot.meta.index,
            term: snapshot.meta.term,
            meta: encodeSnapshotMeta(snapshot.meta),
            data: snapshot.data,
          },
  };
}

/** What the log found, as the core starts from it. `applied` is the state machine's own. */
export function storedOf(
  recovered: LogRecovered,
  applied: number,
): Result<Omit<Stored, 'snapshot'> & { readonly snapshot: Snapshot | null }, LogOpenFailure> {
  const { hardState, entries } = recovered;
  const isKnown = (entry: { readonly kind: string }): boolean => KINDS.has(entry.kind);
  if (!entries.every(isKnown)) return damaged('an entry is of no known kind');
  const snapshot = snapshotOf(recovered);
  if (snapshot === 'damaged') return damaged('the description of the snapshot cannot be read');
  const known = entries.map((entry): Entry => ({ ...entry, kind: entry.kind as EntryKind }));
  return ok({ hardState, snapshot, entries: known, applied });
}

function snapshotOf({ snapshot }: LogRecovered): Snapshot | 'damaged' | null {
  if (snapshot === null) return null;
  const meta = decodeSnapshotMeta(snapshot.meta);
  const fits = meta?.index === snapshot.index && meta.term === snapshot.term;
  return fits ? { meta, data: snapshot.data } : 'damaged';
}

function damaged(detail: string): { readonly ok: false; readonly error: LogOpenFailure } {
  return err({ kind: 'damaged', file: '', offset: 0, detail });
}

/** Whether nothing was ever written to this log. */
export function isBlank({ hardState, snapshot, entries }: LogRecovered): boolean {
  return hardState.term === 0 && snapshot === null && entries.length === 0;
}
