/**
 * The last known state on this node's own disk, so that a node whose etcd is gone restarts and serves
 * on: a snapshot, and behind it a journal of the changes since.
 *
 * EK1: what `append` or `replace` has called back well is there after any crash.
 * EK2: what is not as it was written is not taken: a torn end of the journal is cut, a damaged
 *      snapshot is none. Checked by `src/sim/etcdEngine.test.ts`.
 *
 * `state`: magic, CRC-32C, length, payload; put in place by a rename. `journal`: frames of length,
 * CRC-32C, payload. A frame may be older than the snapshot (a crash between the two): whoever reads
 * knows its own revisions and passes it over.
 */

import { crc32c } from '../../base/crc32c.ts';
import type { Disk, DiskError, DiskFile, DiskLock } from '../../base/disk.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { readWhole } from '../../storage/snapshotFile.ts';
import { runSteps, wait, type Steps } from '../../storage/steps.ts';

const MAGIC = encodeUtf8('BANYANEC');
const HEAD_BYTES = 4 + MAGIC.length + 4 + 8;
const FRAME_BYTES = 8;

export interface Kept {
  /** Null: there is none, or it is damaged. */
  readonly snapshot: Uint8Array | null;
  readonly frames: readonly Uint8Array[];
  readonly isDamaged: boolean;
}

type KeepDone = (result: Result<null, DiskError>) => void;

export class EtcdKeep {
  readonly #disk: Disk;
  readonly #folder: string;
  #lock: DiskLock | null = null;
  #journal: DiskFile | null = null;
  #journalBytes = 0;
  readonly #tasks: { readonly steps: () => Steps<Result<null, DiskError>>; done: KeepDone }[] = [];
  #isBusy = false;
  /** The end of the journal is not known since a write failed: only a new snapshot helps. */
  #isBroken = false;

  constructor(disk: Disk, folder: string) {
    this.#disk = disk;
    this.#folder = folder;
  }

  /** Bytes behind the snapshot. */
  get journalBytes(): number {
    return this.#journalBytes;
  }

  open(done: (result: Result<Kept, DiskError>) => void): void {
    runSteps(this.#open(), done);
  }

  /** Adds frames at the end, durable when it calls back. */
  append(frames: readonly Uint8Array[], done: KeepDone): void {
    this.#run(() => this.#append(frames), done);
  }

  /** Puts a snapshot in the place of all that is there. */
  replace(snapshot: Uint8Array, done: KeepDone): void {
    this.#run(() => this.#replace(snapshot), done);
  }

  close(done: () => void): void {
    this.#run(
      () => this.#close(),
      () => done(),
    );
  }

  #run(steps: () => Steps<Result<null, DiskError>>, done: KeepDone): void {
    this.#tasks.push({ steps, done });
    this.#next();
  }

  #next(): void {
    const [task] = this.#tasks;
    if (this.#isBusy || task === undefined) return;
    this.#isBusy = true;
    this.#tasks.shift();
    runSteps(task.steps(), (result) => {
      this.#isBusy = false;
      task.done(result);
      this.#next();
    });
  }

  *#open(): Steps<Result<Kept, DiskError>> {
    const made = yield* wait<null>((done) => this.#disk.makeFolder(this.#folder, done));
    if (!made.ok) return made;
    const locked = yield* wait<DiskLock>((done) => this.#disk.lockFolder(this.#folder, done));
    if (!locked.ok) return locked;
    this.#lock = locked.value;
    const snapshot = yield* this.#read('state');
    if (!snapshot.ok) return snapshot;
    const journal = yield* this.#read('journal');
    if (!journal.ok) return journal;
    const payload = snapshot.value === null ? null : openSnapshot(snapshot.value);
    const frames = journal.value === null ? [] : openFrames(journal.value);
    const bytes = frames.reduce((sum, frame) => sum + FRAME_BYTES + frame.length, 0);
    const opened = yield* this.#openJournal(journal.value === null, bytes);
    if (!opened.ok) return opened;
    const isDamaged = snapshot.value !== null && payload === null;
    return ok({ snapshot: payload, frames: payload === null ? [] : frames, isDamaged });
  }

  *#read(name: string): Steps<Result<Uint8Array | null, DiskError>> {
    const read = yield* readWhole(this.#disk, `${this.#folder}/${name}`);
    return !read.ok && read.error.kind === 'missing' ? ok(null) : read;
  }

  *#openJournal(isNew: boolean, bytes: number): Steps<Result<null, DiskError>> {
    const path = `${this.#folder}/journal`;
    const mode = isNew ? 'create' : 'write';
    const opened = yield* wait<DiskFile>((done) => this.#disk.open(path, mode, done));
    if (!opened.ok) return opened;
    this.#journal = opened.value;
    this.#journalBytes = bytes;
    const cut = yield* wait<null>((done) => opened.value.truncate(bytes, done));
    if (!cut.ok) return cut;
    return yield* wait<null>((done) => this.#disk.syncFolder(this.#folder, done));
  }

  *#append(frames: readonly Uint8Array[]): Steps<Result<null, DiskError>> {
    const journal = this.#journal;
    if (journal === null || this.#isBroken) return err(BROKEN);
    const bytes = joinFrames(frames);
    const written = yield* wait<null>((done) => journal.write(this.#journalBytes, bytes, done));
    const synced = written.ok ? yield* wait<null>((done) => journal.sync(done)) : written;
    if (synced.ok) this.#journalBytes += bytes.length;
    else this.#isBroken = true;
    return synced;
  }

  *#replace(snapshot: Uint8Array): Steps<Result<null, DiskError>> {
    const journal = this.#journal;
    if (journal === null) return err(BROKEN);
    const temporary = `${this.#folder}/state.tmp`;
    const removed = yield* wait<null>((done) => this.#disk.remove(temporary, done));
    if (!removed.ok && removed.error.kind !== 'missing') return removed;
    const opened = yield* wait<DiskFile>((done) => this.#disk.open(temporary, 'create', done));
    if (!opened.ok) return opened;
    const file = opened.value;
    const bytes = sealSnapshot(snapshot);
    const written = yield* wait<null>((done) => file.write(0, bytes, done));
    const synced = written.ok ? yield* wait<null>((done) => file.sync(done)) : written;
    const closed = yield* wait<null>((done) => file.close(done));
    if (!synced.ok) return synced;
    if (!closed.ok) return closed;
    const renamed = yield* wait<null>((done) =>
      this.#disk.rename(temporary, `${this.#folder}/state`, done),
    );
    if (!renamed.ok) return renamed;
    const named = yield* wait<null>((done) => this.#disk.syncFolder(this.#folder, done));
    if (!named.ok) return named;
    const cut = yield* wait<null>((done) => journal.truncate(0, done));
    if (!cut.ok) return cut;
    this.#journalBytes = 0;
    this.#isBroken = false;
    return ok(null);
  }

  *#close(): Steps<Result<null, DiskError>> {
    const [journal, lock] = [this.#journal, this.#lock];
    this.#journal = null;
    this.#lock = null;
    if (journal !== null) yield* wait<null>((done) => journal.close(done));
    if (lock !== null) yield* wait<null>((done) => lock.close(done));
    return ok(null);
  }
}

const BROKEN: DiskError = { kind: 'closed', detail: 'an earlier write failed' };

function sealSnapshot(payload: Uint8Array): Uint8Array {
  const writer = new ByteWriter().blob(MAGIC).u32(crc32c(payload)).u64(payload.length);
  const head = writer.finish();
  const bytes = new Uint8Array(head.length + payload.length);
  bytes.set(head);
  bytes.set(payload, head.length);
  return bytes;
}

function openSnapshot(bytes: Uint8Array): Uint8Array | null {
  const reader = new ByteReader(bytes);
  const magic = reader.blob(MAGIC.length);
  const crc = reader.u32();
  const length = reader.u64();
  const payload = bytes.subarray(HEAD_BYTES);
  const isOurs = magic.length === MAGIC.length && magic.every((byte, at) => byte === MAGIC[at]);
  if (!isOurs || reader.isBad || payload.length !== length) return null;
  return crc32c(payload) === crc ? payload : null;
}

function joinFrames(frames: readonly Uint8Array[]): Uint8Array {
  const writer = new ByteWriter();
  for (const frame of frames) writer.u32(crc32c(frame)).blob(frame);
  return writer.finish();
}

/** The whole frames from the beginning on. */
function openFrames(bytes: Uint8Array): readonly Uint8Array[] {
  const reader = new ByteReader(bytes);
  const frames: Uint8Array[] = [];
  while (reader.left >= FRAME_BYTES) {
    const crc = reader.u32();
    const frame = reader.blob(reader.left);
    if (reader.isBad || crc32c(frame) !== crc) break;
    frames.push(frame);
  }
  return frames;
}
