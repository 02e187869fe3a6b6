/**
 * What an acceptor must not forget, on disk: each persist is one record of the durable log
 * (src/storage), and a snapshot of the log is a few persists that stand for all before them.
 *
 * AL1: persists become durable in order, and `persisted` names only what an fsync has covered.
 * AL2: a record that cannot be read is damage: the disk takes part no more under its number.
 * AL3: a digest may be made while the state goes on: it stands for all records before it began, holds
 *      each slot as it was then or later, and counts once all records are durable that it has seen.
 *      Those since it began are kept and folded over it, in order, so that what comes out is the last.
 */

import { concatBytes } from '../../base/bytes.ts';
import type { Disk } from '../../base/disk.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { decodePersist, encodePersist } from '../../caspaxos/persistCodec.ts';
import { emptyStored, foldPersist } from '../../caspaxos/start.ts';
import type { CasOptions, Persist, Stored } from '../../caspaxos/types.ts';
import type { DurableLog } from '../../storage/log.ts';
import { openLog } from '../../storage/open.ts';
import type { LogDiskState, LogOpenFailure, LogOptions, LogPersist } from '../../storage/types.ts';
import { frameMessages, MessageAssembler } from '../group/messageFrames.ts';

const KINDS = ['persist'] as const;
const TERM = 1;

export interface AcceptorLogEvents {
  /** Everything up to this persist is durable. */
  persisted(seq: number): void;
  disk(state: LogDiskState, detail: string): void;
}

export interface OpenedAcceptorLog {
  readonly log: AcceptorLog;
  readonly stored: Stored;
}

type Own = Pick<CasOptions, 'id' | 'cluster' | 'incarnation'>;

/** Opens or makes it. `done` is called once, later. */
export function openAcceptorLog(
  disk: Disk,
  folder: string,
  own: Own,
  kind: LogOptions['mode']['kind'],
  events: AcceptorLogEvents,
  done: (opened: Result<OpenedAcceptorLog, LogOpenFailure>) => void,
): void {
  const { segmentBytes } = REGISTER_LIMITS;
  const { id: node, cluster, incarnation } = own;
  const seqs: { readonly log: number; readonly core: number }[] = [];
  const durable = (seq: number): void => {
    let core = 0;
    while ((seqs[0]?.log ?? Infinity) <= seq) core = seqs.shift()?.core ?? core;
    if (core > 0) events.persisted(core);
  };
  openLog(
    disk,
    { folder, cluster, node, mode: { kind, incarnation }, kinds: KINDS, segmentBytes },
    { persisted: durable, disk: (state, detail) => events.disk(state, detail) },
    (opened) => {
      if (!opened.ok) return done(opened);
      const { log, recovered } = opened.value;
      const { snapshot, entries } = recovered;
      const stored = emptyStored(own);
      const isRead =
        (snapshot === null || foldDigest(stored, snapshot.data)) &&
        entries.every(({ data }) => foldRecord(stored, data));
      if (!isRead) {
        const detail = 'a record of the registers cannot be read';
        return log.close(() => done(err({ kind: 'damaged', file: '', offset: 0, detail })));
      }
      const last = entries.at(-1)?.index ?? snapshot?.index ?? 0;
      done(ok({ log: new AcceptorLog(log, seqs, last, entries.length), stored }));
    },
  );
}

function foldRecord(stored: Stored, data: Uint8Array): boolean {
  // The values are views: the bytes they were read from would be kept with them.
  const persist = decodePersist(data.slice());
  if (persist !== null) foldPersist(stored, persist);
  return persist !== null;
}

function foldDigest(stored: Stored, data: Uint8Array): boolean {
  let isRead = true;
  const records = new MessageAssembler((record) => {
    isRead &&= foldRecord(stored, record);
  });
  return records.take(data) && isRead;
}

/** One piece of a digest. */
export function encodeDigest(persist: Persist): Uint8Array {
  return frameMessages([encodePersist(persist)]);
}

/** An open log. Made by `openAcceptorLog` only. */
export class AcceptorLog {
  readonly #log: DurableLog;
  readonly #seqs: { readonly log: number; readonly core: number }[];
  #seq = 0;
  #index: number;
  #records: number;

  constructor(
    log: DurableLog,
    seqs: { readonly log: number; readonly core: number }[],
    index: number,
    records: number,
  ) {
    this.#log = log;
    this.#seqs = seqs;
    this.#index = index;
    this.#records = records;
  }

  get diskState(): LogDiskState {
    return this.#log.diskState;
  }

  /** It has grown enough to be shortened, with so many keys in all. */
  isLong(keys: number): boolean {
    return this.#records >= Math.max(REGISTER_LIMITS.digestRecords, keys);
  }

  persist(persist: Persist): void {
    const data = encodePersist(persist);
    this.#index += 1;
    this.#records += 1;
    const entry = { term: TERM, index: this.#index, kind: KINDS[0], timeMs: 0, data };
    this.#put(persist.seq, { snapshot: null, entries: [entry], compactTo: 0 });
  }

  /** Where a digest that is begun now begins. */
  beginDigest(): number {
    this.#records = 0;
    return this.#index;
  }

  /** AL3. `pieces` (`encodeDigest`) stand for all persists up to where it began: those may go. */
  shorten(index: number, pieces: readonly Uint8Array[]): void {
    if (index === 0) return;
    const data = concatBytes(pieces);
    const snapshot = { index, term: TERM, meta: new Uint8Array(0), data };
    this.#put(0, { snapshot, entries: [], compactTo: index });
  }

  settle(): void {
    this.#log.settle(() => {}); // A failure comes as `disk`.
  }

  retrySpace(): void {
    this.#log.retrySpace();
  }

  close(done: () => void): void {
    this.#log.close(done);
  }

  #put(core: number, what: Pick<LogPersist, 'snapshot' | 'entries' | 'compactTo'>): void {
    this.#seq += 1;
    if (core > 0) this.#seqs.push({ log: this.#seq, core });
    this.#log.persist({ seq: this.#seq, hardState: null, isLogDiscarded: false, ...what });
  }
}
