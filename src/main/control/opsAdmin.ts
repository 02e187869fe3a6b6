/** Handlers of `opsRoutes.ts`. */

import { randomBytes } from 'node:crypto';

import { err, ok } from '../../base/result.ts';
import type { Clock } from '../../base/ports.ts';
import type { AdminAnswer, AdminHandlers, Caller } from '../../io/admin/route.ts';
import { captureBackup, encodeBackup } from '../../replica/control/backup.ts';
import { FEATURE_LEVEL_MAX } from '../../replica/control/features.ts';
import { VERSION } from '../version.ts';
import { auditOf, NOTHING_CLAIMED, recordOperation } from './audit.ts';
import type { ControlBackend } from './backend.ts';
import { sha256 } from './backupFile.ts';
import { findingRows } from './findings.ts';
import type { BackupBegun, BackupPiece, OPS_ROUTES, OutlookAnswer } from './opsRoutes.ts';
import type { Surveyed, Surveyor } from './survey.ts';

/** Backups under way: each holds what it was taken of. */
const BACKUPS_MAX = 4;
/** One that nobody reads goes after this, with the next call, ms. */
const BACKUP_IDLE_MS = 60_000;
/** A piece is ended behind the frame that takes it past this, bytes. */
const PIECE_BYTES = 2 * 1024 * 1024;

/** What a node's own member of the control state is looked after with. */
export interface OpsParts {
  readonly side: ControlBackend;
  readonly surveyor: Surveyor;
  /** Of this node, as a peer. */
  readonly name: string;
  readonly engine: string;
  readonly clock: Clock;
}

export function opsHandlers(parts: OpsParts): AdminHandlers<typeof OPS_ROUTES> {
  const desk = new BackupDesk(parts);
  return {
    getOutlook: async () => ok(outlookAnswer(parts, await parts.surveyor.survey())),
    beginBackup: ({ body, caller }) => desk.begin(body.dryRun, caller),
    readBackup: ({ query }) => desk.read(query.backup, query.piece),
  };
}

function outlookAnswer({ side, name, engine }: OpsParts, surveyed: Surveyed): OutlookAnswer {
  const { outlook, cluster, level, leaderSeenMsAgo, versions, state } = surveyed;
  const peerOf = (id: number): string | null =>
    outlook?.members.find((member) => member.id === id)?.peer ?? null;
  const isMember = outlook !== null && state.kind === 'member';
  return {
    verdict: isMember ? outlook.verdict : 'no-group',
    asked: name,
    engine,
    cluster,
    leader: peerOf(outlook?.leader ?? 0),
    leaderSeenMsAgo,
    term: outlook?.term ?? 0,
    revision: side.engine.view.revision,
    level,
    supports: FEATURE_LEVEL_MAX,
    quorum: outlook?.quorum ?? null,
    regions: outlook?.regions ?? [],
    items: (outlook?.members ?? []).map((member) => ({
      ...member,
      version: member.isPresent ? (versions.get(member.peer) ?? null) : null,
    })),
    findings: findingRows(surveyed),
    unreachable: [],
  };
}

interface Held {
  readonly pieces: Iterator<Uint8Array>;
  /** The one that was given last: it may be asked for again. */
  piece: number;
  last: BackupPiece | null;
  usedMs: number;
}

/** Backups between their beginning and their last piece. */
class BackupDesk {
  readonly #parts: OpsParts;
  readonly #held = new Map<string, Held>();
  /** Those that wait for the word of a quorum. */
  #beginning = 0;

  constructor(parts: OpsParts) {
    this.#parts = parts;
  }

  async begin(isDry: boolean, caller: Caller): Promise<AdminAnswer<BackupBegun>> {
    const { side, engine, clock } = this.#parts;
    const { cluster } = side;
    this.#endIdle();
    if (cluster === null) {
      const message = 'This node is in no group yet: there is nothing to keep.';
      return err({ status: 503, code: 'unavailable', message });
    }
    if (this.#held.size + this.#beginning >= BACKUPS_MAX) {
      const message = `${BACKUPS_MAX} backups are under way here; one that nobody reads ends after a minute.`;
      return err({ status: 409, code: 'too_many_backups', message });
    }
    if (isDry) {
      const { revision } = side.engine.view;
      return ok({ dryRun: true, would: `back up ${cluster} at revision ${revision} or later` });
    }
    this.#beginning += 1;
    const isConfirmed = await new Promise<boolean>((resolve) => {
      side.engine.confirm((told) => resolve(told.ok));
    });
    this.#beginning -= 1;
    const product = `banyan ${VERSION}`;
    const about = { cluster, isConfirmed, madeMs: clock.wallMs(), product, engine };
    const backup = captureBackup(side.engine.view, about);
    const name = randomBytes(8).toString('hex');
    const pieces = encodeBackup(backup, sha256());
    this.#held.set(name, { pieces, piece: -1, last: null, usedMs: clock.nowMs() });
    const { revision } = backup.about;
    const what = `backup of ${cluster} at revision ${revision}`;
    recordOperation(side, auditOf(caller, NOTHING_CLAIMED, what));
    return ok({ backup: name, cluster, revision, isConfirmed, keys: backup.items.length });
  }

  read(name: string, piece: number): AdminAnswer<BackupPiece> {
    this.#endIdle();
    const held = this.#held.get(name);
    if (held === undefined) {
      const message = 'No such backup is under way here; begin again.';
      return err({ status: 404, code: 'unknown_backup', message });
    }
    held.usedMs = this.#parts.clock.nowMs();
    if (held.last !== null && piece === held.piece) return ok(held.last);
    if (piece !== held.piece + 1 || held.last?.isLast === true) {
      return err({ status: 409, code: 'wrong_piece', message: `The next is ${held.piece + 1}.` });
    }
    held.piece = piece;
    held.last = nextPiece(held.pieces);
    return ok(held.last);
  }

  #endIdle(): void {
    const nowMs = this.#parts.clock.nowMs();
    for (const [name, { usedMs }] of this.#held) {
      if (nowMs - usedMs >= BACKUP_IDLE_MS) this.#held.delete(name);
    }
  }
}

function nextPiece(pieces: Iterator<Uint8Array>): BackupPiece {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let isLast = false;
  while (bytes < PIECE_BYTES && !isLast) {
    const next = pieces.next();
    isLast = next.done === true;
    if (next.done === true) break;
    chunks.push(next.value);
    bytes += next.value.length;
  }
  return { base64: Buffer.concat(chunks).toString('base64'), isLast };
}
