/**
 * The durable log: takes what Raft must not forget, and says when it is safe.
 *
 * Persists are written in order, as many at once as have come (group commit): one write and one
 * sync a group, and nothing of the next group is written before that sync. All of a persist is
 * there after a crash, or nothing of it. The rules, by number: FORMAT.md. @hot
 */

import { assert } from '../base/assert.ts';
import type { Disk, DiskError, DiskFile, DiskLock } from '../base/disk.ts';
import { STORAGE_LIMITS } from '../base/limits.ts';
import { ok, type Result } from '../base/result.ts';
import { type FoundLog, RESERVE, segmentName } from './folder.ts';
import { GroupWriter } from './group.ts';
import type { SnapshotRef } from './replay.ts';
import { snapshotName, snapshotRef, writeSnapshot } from './snapshotFile.ts';
import { runSteps, type Steps, wait } from './steps.ts';
import type {
  LogDiskState,
  LogEvents,
  LogOptions,
  LogPersist,
  LogRecovered,
  LogSnapshot,
} from './types.ts';

/** The file that is written to, or will be. */
export interface Segment {
  readonly number: number;
  readonly file: DiskFile;
  readonly bytes: number;
}

/** An open log. Made by `openLog` (open.ts) only. */
export class DurableLog {
  readonly #disk: Disk;
  readonly #options: LogOptions;
  readonly #events: LogEvents;
  readonly #lock: DiskLock;
  readonly #identity: LogRecovered['identity'];
  readonly #writer: GroupWriter;
  readonly #queue: LogPersist[] = [];
  /** Closed segments, oldest first, with the highest entry in each. */
  readonly #older: { readonly number: number; readonly indexMax: number }[];
  #current: Segment;
  #currentIndexMax: number;
  #next: Segment | null = null;
  #state: LogDiskState = 'ok';
  #isBusy = false;
  #isPreparing = false;
  #isSnapshotting = false;
  #isClosing = false;
  #isSettled = false;
  #snapshotWaiting: LogSnapshot | null = null;
  #snapshotDurable: SnapshotRef;
  #compactAsked = 0;
  #hasReserve: boolean;
  #waiting: (() => void)[] = [];
  /** Appended since it was opened, for figures. */
  groups = 0;

  constructor(
    disk: Disk,
    options: LogOptions,
    events: LogEvents,
    lock: DiskLock,
    found: FoundLog,
    current: Segment,
  ) {
    const { scan, replay, segments, indexMax } = found;
    this.#disk = disk;
    this.#options = options;
    this.#events = events;
    this.#lock = lock;
    this.#identity = found.identity;
    this.#current = current;
    this.#currentIndexMax = indexMax[scan.end.segment] ?? 0;
    this.#older = segments
      .slice(0, scan.end.segment)
      .map((segment, position) => ({ number: segment.number, indexMax: indexMax[position] ?? 0 }));
    this.#writer = new GroupWriter(options.kinds, replay.state, scan.sequence, scan.link);
    this.#writer.open(scan.end.at, current.bytes);
    this.#snapshotDurable = replay.state.snapshot;
    this.#hasReserve = found.hasReserve;
  }

  get diskState(): LogDiskState {
    return this.#state;
  }

  /** Takes a persist; `persisted` comes once it and all before it are durable. Never inside. */
  persist(persist: LogPersist): void {
    assert(!this.#isClosing, 'a closed log takes nothing');
    if (this.#state === 'failed') return; // It will never be acknowledged; the host was told.
    this.#queue.push(persist);
    this.#kick();
  }

  /**
   * Says on the disk that all so far is durable, so that later damage to the last writes is known
   * for what it is. For idle moments: costs one sync, and nothing where nothing was written since.
   */
  settle(done: (result: Result<null, DiskError>) => void): void {
    const isIdle = !this.#isBusy && this.#queue.length === 0 && this.#state !== 'failed';
    if (this.#isSettled || !isIdle || !this.#writer.hasRoomForMark()) {
      done(ok(null));
      return;
    }
    this.#isBusy = true;
    const { offset, bytes } = this.#writer.mark();
    const { file } = this.#current;
    file.write(offset, bytes, (written) => {
      file.sync((synced) => {
        this.#isBusy = false;
        const failure = written.ok ? synced : written;
        if (failure.ok) this.#isSettled = true;
        else this.#fail(failure.error);
        done(failure);
        this.#kick();
        this.#wakeUp(); // Whoever closes may have waited for this.
      });
    });
  }

  /** Space may have come back: tries again what a full disk stopped. */
  retrySpace(): void {
    if (this.#state !== 'full') return;
    if (this.#next !== null) this.#enter('ok', 'there is space again');
    this.prepareNext();
    this.#kickSnapshot();
    this.#wakeUp();
  }

  /** Finishes what was asked, as far as there is space for it, then gives the folder back. */
  close(done: () => void): void {
    this.#isClosing = true;
    this.#wakeUp();
    const finish = (): void => {
      if (this.#isBusy || this.#isPreparing || this.#isSnapshotting) {
        this.#waiting.push(finish);
        return;
      }
      if (this.#queue.length > 0 && this.#state === 'ok') {
        this.#waiting.push(finish);
        this.#kick();
        return;
      }
      this.settle(() => {
        this.#current.file.close(() => {
          const close = (): void => this.#lock.close(() => done());
          if (this.#next === null) close();
          else this.#next.file.close(close);
        });
      });
    };
    finish();
  }

  /** Has the next segment made, zeros and all, so that a switch waits for nobody. */
  prepareNext(): void {
    if (this.#next !== null || this.#isPreparing || this.#state === 'failed') return;
    this.#isPreparing = true;
    const number = this.#current.number + 1;
    runSteps(this.#prepare(number), (made) => {
      this.#isPreparing = false;
      if (made.ok) {
        this.#next = made.value;
        if (this.#state === 'full') this.#enter('ok', 'there is space again');
        this.#kick();
      } else if (made.error.kind === 'full') this.#enter('full', made.error.detail);
      else this.#fail(made.error);
      this.#wakeUp();
    });
  }

  *#prepare(number: number): Steps<Result<Segment, DiskError>> {
    const next = yield* this.#makeZeros(segmentName(number));
    if (!next.ok || this.#hasReserve) return next;
    const reserve = yield* this.#makeZeros(RESERVE);
    if (reserve.ok) {
      this.#hasReserve = true;
      yield* wait<null>((done) => reserve.value.file.close(done));
    } else if (reserve.error.kind !== 'full') return reserve;
    return next;
  }

  /** Gives back the space that was kept for this. False where it was given back before. */
  *#releaseReserve(): Steps<boolean> {
    if (!this.#hasReserve) return false;
    this.#hasReserve = false;
    const { folder } = this.#options;
    const removed = yield* wait<null>((done) => this.#disk.remove(`${folder}/${RESERVE}`, done));
    const synced = yield* wait<null>((done) => this.#disk.syncFolder(folder, done));
    return removed.ok && synced.ok;
  }

  *#makeZeros(name: string): Steps<Result<Segment, DiskError>> {
    const path = `${this.#options.folder}/${name}`;
    const bytes = this.#options.segmentBytes;
    const number = this.#current.number + 1;
    const opened = yield* wait<DiskFile>((done) => this.#disk.open(path, 'create', done));
    if (!opened.ok) return opened;
    const file = opened.value;
    const made = yield* this.#fillWithZeros(file, bytes);
    if (made.ok) return ok({ number, file, bytes });
    // What it took is given back: a full disk needs the space to delete with.
    yield* wait<null>((done) => file.close(done));
    yield* wait<null>((done) => this.#disk.remove(path, done));
    return made;
  }

  *#fillWithZeros(file: DiskFile, bytes: number): Steps<Result<null, DiskError>> {
    const zeros = new Uint8Array(Math.min(bytes, STORAGE_LIMITS.fillChunkBytes));
    for (let at = 0; at < bytes; at += zeros.length) {
      const part = zeros.subarray(0, Math.min(zeros.length, bytes - at));
      const written = yield* wait<null>((done) => file.write(at, part, done));
      if (!written.ok) return written;
    }
    const synced = yield* wait<null>((done) => file.sync(done));
    if (!synced.ok) return synced;
    return yield* wait<null>((done) => this.#disk.syncFolder(this.#options.folder, done));
  }

  #kick(): void {
    if (this.#isBusy || this.#queue.length === 0 || this.#state === 'failed') return;
    this.#isBusy = true;
    this.#isSettled = false;
    runSteps(this.#commit(), (failure) => {
      if (failure !== null) this.#fail(failure);
      this.#isBusy = false;
      this.#kickSnapshot();
      this.#kick();
      this.#wakeUp();
    });
  }

  /** One group: from the queue to the platter. */
  *#commit(): Steps<DiskError | null> {
    const writer = this.#writer;
    writer.begin();
    let seq = 0;
    let bytes = 0;
    while (bytes < STORAGE_LIMITS.groupBytesMax) {
      const persist = this.#queue[0];
      if (persist === undefined) break;
      const inOrder = this.#snapshotInOrder(persist);
      if (inOrder !== null) {
        if (seq > 0) break; // What came before is acknowledged first: a snapshot takes its time.
        const written = yield* this.#writeSnapshotFile(inOrder);
        if (written !== null) return written;
      } else if (persist.snapshot !== null) this.#snapshotWaiting = persist.snapshot;
      this.#queue.shift();
      this.#compactAsked = Math.max(this.#compactAsked, persist.compactTo);
      const failure = yield* this.#encode(persist, inOrder);
      if (failure !== null) return failure;
      seq = Math.max(seq, persist.seq);
      bytes = writer.pendingBytes;
    }
    const flushed = yield* this.#flush();
    if (flushed !== null) return flushed;
    this.groups += 1;
    if (seq > 0) this.#events.persisted(seq);
    return yield* this.#collect();
  }

  /** A snapshot that the log cannot do without: it must be durable before what follows. */
  #snapshotInOrder(persist: LogPersist): LogSnapshot | null {
    const { snapshot } = persist;
    if (snapshot === null) return null;
    const isAhead = persist.isLogDiscarded || snapshot.index > this.#writer.state.lastIndex;
    return isAhead ? snapshot : null;
  }

  *#encode(persist: LogPersist, snapshot: LogSnapshot | null): Steps<DiskError | null> {
    const writer = this.#writer;
    const records = writer.plan(persist, snapshot === null ? null : snapshotRef(snapshot));
    for (let place = 0; place < records; place += 1) {
      if (!writer.fits(place)) {
        const failure = yield* this.#switchSegment();
        if (failure !== null) return failure;
      }
      writer.put(place);
      const entry = writer.plannedIndex(place);
      if (entry > 0) this.#currentIndexMax = Math.max(this.#currentIndexMax, entry);
    }
    return null;
  }

  /** Writes what is encoded and makes it durable. */
  *#flush(): Steps<DiskError | null> {
    const { offset, bytes } = this.#writer.pending();
    const { file } = this.#current;
    const synced = yield* wait<null>((done) => {
      let written: Result<null, DiskError> = ok(null);
      file.write(offset, bytes, (result) => {
        written = result;
      });
      file.sync((result) => done(written.ok ? result : written));
    });
    if (!synced.ok) return synced.error;
    this.#writer.flushed();
    return null;
  }

  *#switchSegment(): Steps<DiskError | null> {
    const failure = yield* this.#flush();
    if (failure !== null) return failure;
    if (this.#next === null) {
      if (this.#stateNow() === 'full') yield* this.#releaseReserve();
      this.prepareNext();
      // Waits for space as long as it takes: nothing is acknowledged meanwhile.
      while (this.#next === null && !this.#isGivingUp()) yield* this.#untilWoken();
    }
    const next = this.#next;
    if (next === null) return { kind: 'io', detail: 'no further segment could be made' };
    yield* wait<null>((done) => this.#current.file.close(done));
    this.#older.push({ number: this.#current.number, indexMax: this.#currentIndexMax });
    this.#current = next;
    this.#currentIndexMax = 0;
    this.#next = null;
    this.#writer.openFresh(next.bytes, next.number, this.#identity);
    this.prepareNext();
    return null;
  }

  /** Space is not waited for any longer: what needed it was never acknowledged. */
  #isGivingUp(): boolean {
    return this.#state === 'failed' || (this.#isClosing && this.#state === 'full');
  }

  #stateNow(): LogDiskState {
    return this.#state;
  }

  *#untilWoken(): Steps<null> {
    yield* wait<null>((done) => {
      this.#waiting.push(() => done(ok(null)));
    });
    return null;
  }

  #wakeUp(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  *#writeSnapshotFile(snapshot: LogSnapshot): Steps<DiskError | null> {
    for (;;) {
      const { folder } = this.#options;
      const written = yield* writeSnapshot(this.#disk, folder, this.#identity, snapshot);
      if (written.ok) return null;
      if (written.error.kind !== 'full') return written.error;
      this.#enter('full', written.error.detail);
      if (yield* this.#releaseReserve()) continue;
      if (!this.#isGivingUp()) yield* this.#untilWoken();
      if (this.#isGivingUp()) return written.error;
    }
  }

  /** A snapshot that only shortens the log is written beside the commits. */
  #kickSnapshot(): void {
    const snapshot = this.#snapshotWaiting;
    if (snapshot === null || this.#isSnapshotting || this.#state === 'failed') return;
    this.#snapshotWaiting = null;
    if (snapshot.index <= this.#snapshotDurable.index) return;
    this.#isSnapshotting = true;
    runSteps(this.#writeBeside(snapshot), (written) => {
      this.#isSnapshotting = false;
      if (written.ok) {
        this.#queue.push(COMPACTION);
        this.#writer.nameSnapshot(snapshotRef(snapshot));
        this.#kick();
      } else if (written.error.kind === 'full') {
        this.#snapshotWaiting ??= snapshot;
        this.#enter('full', written.error.detail);
      } else this.#fail(written.error);
      this.#wakeUp();
    });
  }

  *#writeBeside(snapshot: LogSnapshot): Steps<Result<null, DiskError>> {
    const { folder } = this.#options;
    const written = yield* writeSnapshot(this.#disk, folder, this.#identity, snapshot);
    if (written.ok || written.error.kind !== 'full') return written;
    this.#enter('full', written.error.detail);
    if (!(yield* this.#releaseReserve())) return written;
    return yield* writeSnapshot(this.#disk, folder, this.#identity, snapshot);
  }

  /** Behind a durable snapshot: records how far the log may go, then removes what is behind. */
  *#collect(): Steps<DiskError | null> {
    const { state } = this.#writer;
    const compactTo = Math.min(this.#compactAsked, state.snapshot.index);
    if (compactTo > state.compactTo) {
      this.#writer.begin();
      this.#writer.planCompact(compactTo);
      if (!this.#writer.fits(0)) {
        const failure = yield* this.#switchSegment();
        if (failure !== null) return failure;
      }
      this.#writer.put(0);
      const failure = yield* this.#flush();
      if (failure !== null) return failure;
    }
    const old = this.#snapshotDurable;
    this.#snapshotDurable = state.snapshot;
    const names: string[] = [];
    if (old.index > 0 && old !== state.snapshot) names.push(snapshotName(old));
    while ((this.#older[0]?.indexMax ?? Infinity) <= state.compactTo) {
      names.push(segmentName(this.#older.shift()?.number ?? 0));
    }
    for (const name of names) {
      const path = `${this.#options.folder}/${name}`;
      const removed = yield* wait<null>((done) => this.#disk.remove(path, done));
      if (!removed.ok && removed.error.kind !== 'missing') return removed.error;
      // Oldest first, each for good: a gap in the middle would read as damage.
      const { folder } = this.#options;
      const synced = yield* wait<null>((done) => this.#disk.syncFolder(folder, done));
      if (!synced.ok) return synced.error;
    }
    if (names.length > 0) this.retrySpace();
    return null;
  }

  #fail(error: DiskError): void {
    if (this.#state === 'failed') return;
    this.#queue.length = 0;
    this.#enter('failed', error.detail);
    this.#wakeUp();
  }

  #enter(state: LogDiskState, detail: string): void {
    if (this.#state === state || this.#state === 'failed') return;
    this.#state = state;
    this.#events.disk(state, detail);
  }
}

/** Stands in the queue for a snapshot that has become durable beside the commits. */
const COMPACTION: LogPersist = {
  seq: 0,
  hardState: null,
  snapshot: null,
  isLogDiscarded: false,
  entries: [],
  compactTo: 0,
};
