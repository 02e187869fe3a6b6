/**
 * The first state of a cluster that goes on from another one: from a backup, or from the log of one
 * member that is left. It has a name of its own and one voter, and says in its audit log where it
 * comes from; all others join it anew.
 *
 * R1: revisions go on behind those of the state before: no watcher and no comparison meets one twice.
 * FL2: the feature level is that of the state before (`features.ts`).
 * R2: where the state comes from is part of it: the key `cluster/origin`, and its audit record.
 */

import { encodeUtf8 } from '../../base/bytes.ts';
import { crc32c } from '../../base/crc32c.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { decodeConf, decodeLevel } from '../../raft/codec.ts';
import { bootstrapConf } from '../../raft/membership.ts';
import { recoverAlone } from '../../raft/recovery.ts';
import { decodeSessionReply, encodeSessionCommand } from '../../raft/sessions.ts';
import type {
  ConfState,
  HardState,
  Member,
  NodeId,
  Snapshot,
  SnapshotMeta,
  Stored,
} from '../../raft/types.ts';
import { createMemoryMachine } from '../group/memoryMachine.ts';
import type { GroupMachine } from '../group/types.ts';
import type { Backup } from './backup.ts';
import { decodeReply, encodeCommand } from './codec.ts';
import { clusterFeatureLevel, FEATURE_LEVEL_MAX, isFeatureOn, levelRefusal } from './features.ts';
import { ControlMachine } from './machine.ts';
import { encodeState } from './snapshot.ts';
import { ControlState } from './state.ts';
import type { AuditInput } from './types.ts';

const ORIGIN_KEY = 'cluster/origin';
const ORIGIN_TYPE = 'cluster-origin/1';

/** Of the new cluster. */
export interface Birth {
  readonly cluster: string;
  readonly audit: AuditInput;
  /** What is kept under `cluster/origin`, as JSON. */
  readonly origin: Readonly<Record<string, string | number | boolean | null>>;
}

/** What the new log begins with. */
export interface Reborn {
  readonly hardState: HardState;
  readonly snapshot: Snapshot;
  readonly revision: number;
}

/** `member` is the only one, and votes. The error is for people. */
export function rebornFromBackup(
  backup: Backup,
  member: Member,
  birth: Birth,
): Result<Reborn, string> {
  const machine = new ControlMachine();
  if (!machine.restore(stateBytes(backup))) {
    return err('the keys and records of the backup do not belong together');
  }
  const timeMs = backup.audit.at(-1)?.timeMs ?? 0;
  const level = clusterFeatureLevel(machine);
  const refusal = levelRefusal(level, FEATURE_LEVEL_MAX);
  if (refusal !== null) return err(refusal);
  if (member.node !== undefined && !isFeatureOn(level, 'furtherNodes')) {
    const why = `the backup is of feature level ${level}, where a group has no further nodes`;
    return err(`${why}: restore at the first node of a region`);
  }
  const meta = { index: 2, term: 1, timeMs, level, conf: bootstrapConf([member]) };
  return reborn(machine, createMemoryMachine(machine), meta, birth);
}

/**
 * Everything that the log of `id` holds counts, committed or not: nobody is left who could say.
 * `stored` is as it was found, with nothing applied.
 */
export function rebornFromLog(stored: Stored, id: NodeId, birth: Birth): Result<Reborn, string> {
  const alone = recoverAlone(stored, id, birth.cluster);
  const last = alone.entries.at(-1);
  const conf = last === undefined ? null : decodeConf(last.data);
  if (last === undefined || conf === null) return err('the log holds no members');
  const machine = new ControlMachine();
  const behindSessions = createMemoryMachine(machine);
  const { snapshot } = stored;
  if (snapshot !== null && !behindSessions.restore(snapshot.data)) {
    return err('the snapshot of the log cannot be read');
  }
  const covered = snapshot?.meta.index ?? 0;
  let level = snapshot?.meta.level ?? 0;
  for (const { kind, index, timeMs, data } of stored.entries) {
    if (index <= covered) continue;
    if (kind === 'command') behindSessions.apply(index, timeMs, data);
    if (kind === 'level') level = decodeLevel(data) ?? level;
  }
  const refusal = levelRefusal(level, FEATURE_LEVEL_MAX);
  if (refusal !== null) return err(refusal);
  const meta = { index: last.index + 1, term: last.term, timeMs: last.timeMs, level, conf };
  return reborn(machine, behindSessions, meta, birth);
}

/** The keys and records, without the changes: watchers take a fresh list. */
function stateBytes({ about, items, audit }: Backup): Uint8Array {
  const state = new ControlState();
  state.revision = about.revision;
  state.compactedTo = about.revision;
  const isWhole = (audit.at(-1)?.revision ?? about.revision) === about.revision;
  if (!isWhole) return new Uint8Array(0);
  for (const item of items) {
    if (state.get(item.key) !== null) return new Uint8Array(0);
    state.put(item);
  }
  for (const record of audit) state.keepRecord(record);
  return encodeState(state);
}

function reborn(
  machine: ControlMachine,
  behindSessions: GroupMachine,
  at: Pick<SnapshotMeta, 'index' | 'term' | 'timeMs' | 'level'> & { readonly conf: ConfState },
  { cluster, audit, origin }: Birth,
): Result<Reborn, string> {
  const { index, term, timeMs } = at;
  const value = encodeUtf8(JSON.stringify(origin));
  const payload = encodeCommand({
    kind: 'transaction',
    audit,
    compares: [],
    success: [{ kind: 'put', key: ORIGIN_KEY, type: ORIGIN_TYPE, value }],
    failure: [],
  });
  const told = behindSessions.apply(
    index,
    timeMs,
    encodeSessionCommand({ kind: 'plain', payload }),
  );
  const session = decodeSessionReply(told);
  const reply = session?.kind === 'done' ? decodeReply(session.payload) : null;
  if (reply?.kind !== 'done') {
    return err(
      `the state does not take its origin: ${reply?.kind === 'refused' ? reply.error : '?'}`,
    );
  }
  const data = behindSessions.snapshot();
  const meta = { ...at, cluster, dataBytes: data.length, checksum: crc32c(data) };
  return ok({
    hardState: { term, votedFor: 0, commit: index },
    snapshot: { meta, data },
    revision: machine.revision,
  });
}
