/**
 * What an acceptor must not forget, on disk: each persist is one record of the durable log
 * (src/storage), and the log is shortened by a digest: persists that stand for all before them.
 *
 * AL1: persists become durable in order, and `persisted` names only what an fsync has covered.
 * AL2: a record that cannot be read is damage: the disk takes part no more under its number.
 * AL3: a digest may be made while the state goes on: it stands for all records before it began, and
 *      holds each slot as it was then or later. What was written since it began is kept.
 * AL4: a digest is written into the log itself, a few records at a time between those of the state: each
 *      is true where it stands. The end of it is a snapshot that holds no slots, only what
 *      the control state was where it began; what is before that goes. No more is in memory, or
 *      written at once, than a slice. A full disk has no space for that: what is small enough for
 *      the space that is kept for it becomes a snapshot with all its slots (`shorten` alone).
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
import type {
  LogDiskState,
  LogOpenFailure,
  LogOptions,
  LogPersist,
  LogRecovered,
} from '../../storage/types.ts';
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
    while ((seqs[0]?.log ?? Infinity) <= seq) core = Math.max(core, seqs.shift()?.core ?? 0);
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
      let slots = foldAll(stored, recovered);
      if (slots === null) {
        const detail = 'a record of the registers cannot be read';
        return log.close(() => done(err({ kind: 'damaged', file: '', offset: 0, detail })));
      }
      const last = entries.at(-1)?.index ?? snapshot?.index ?? 0;
      // What a digest has left is no reason for another one.
      for (const { size } of stored.buckets.values()) slots -= size;
      done(ok({ log: new AcceptorLog(log, seqs, last, Math.max(0, slots)), stored }));
    },
  );
}

/** AL2. Adds all that was found; how many slots were written, or null where something is no record. */
function foldAll(stored: Stored, { snapshot, entries }: LogRecovered): number | null {
  let slots = 0;
  let isRead = true;
  const fold = (data: Uint8Array): void => {
    // The values are views: the bytes they were read from would be kept with them.
    const persist = decodePersist(data.slice());
    isRead &&= persist !== null;
    if (persist === null) return;
    foldPersist(stored, persist);
    slots += persist.slots.length;
  };
  const digest = new MessageAssembler(fold);
  if (snapshot !== null && !digest.take(snapshot.data)) return null;
  for (const { data } of entries) fold(data);
  return isRead ? slots : null;
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
  /** Written since the last digest, and at the start all that was found. */
  #slots: number;
  #slotsBefore = 0;

  constructor(
    log: DurableLog,
    seqs: { readonly log: number; readonly core: number }[],
    index: number,
    slots: number,
  ) {
    this.#log = log;
    this.#seqs = seqs;
    this.#index = index;
    this.#slots = slots;
  }

  get diskState(): LogDiskState {
    return this.#log.diskState;
  }

  /** It has grown enough to be shortened, with so many keys in all. */
  isLong(keys: number): boolean {
    return this.diskState === 'ok' && this.#slots >= Math.max(REGISTER_LIMITS.digestSlotsMin, keys);
  }

  /** Writes that are not durable yet. */
  get backlog(): number {
    return this.#seqs.length;
  }

  persist(persist: Persist): void {
    this.#slots += persist.slots.length;
    this.#append(persist.seq, encodePersist(persist));
  }

  /** Where a digest that is begun now begins. */
  beginDigest(): number {
    this.#slotsBefore = this.#slots;
    return this.#index;
  }

  /** AL4. How many bytes it takes. */
  digest(persist: Persist): number {
    const data = encodePersist(persist);
    this.#append(0, data);
    return data.length;
  }

  /** AL3. `pieces` (`encodeDigest`) and what `digest` took stand for all persists up to `index`. */
  shorten(index: number, pieces: readonly Uint8Array[]): void {
    this.#slots -= this.#slotsBefore;
    if (index === 0) return;
    const data = concatBytes(pieces);
    const snapshot = { index, term: TERM, meta: new Uint8Array(0), data };
    this.#put(0, { snapshot, entries: [], compactTo: index });
  }

  #append(core: number, data: Uint8Array): void {
    this.#index += 1;
    const entry = { term: TERM, index: this.#index, kind: KINDS[0], timeMs: 0, data };
    this.#put(core, { snapshot: null, entries: [entry], compactTo: 0 });
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
    this.#seqs.push({ log: this.#seq, core });
    this.#log.persist({ seq: this.#seq, hardState: null, isLogDiscarded: false, ...what });
  }
}
