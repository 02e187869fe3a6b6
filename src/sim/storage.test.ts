import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { encodeUtf8 } from '../base/bytes.ts';
import { createPrng, type Prng } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import type { DurableLog } from '../storage/log.ts';
import { openLog, type OpenedLog } from '../storage/open.ts';
import type { LogEntry, LogOpenFailure, LogOptions, LogPersist } from '../storage/types.ts';
import { type DiskFaults, SimDisk } from './disk.ts';

const KINDS = ['noop', 'command'];
const SEGMENT = 8_192;

interface State {
  hardState: { term: number; votedFor: number; commit: number };
  snapshotIndex: number;
  lastIndex: number;
  /** index -> text of the entry. */
  entries: Map<number, string>;
}

function emptyModel(): State {
  return {
    hardState: { term: 0, votedFor: 0, commit: 0 },
    snapshotIndex: 0,
    lastIndex: 0,
    entries: new Map(),
  };
}

function applyModel(before: State, persist: LogPersist): State {
  const state: State = { ...before, entries: new Map(before.entries) };
  const { snapshot, entries, hardState } = persist;
  if (snapshot !== null) {
    state.snapshotIndex = snapshot.index;
    if (persist.isLogDiscarded || snapshot.index > state.lastIndex) {
      state.entries.clear();
      state.lastIndex = snapshot.index;
    }
  }
  const first = entries[0];
  if (first !== undefined) {
    for (let index = first.index; index <= state.lastIndex; index += 1) state.entries.delete(index);
  }
  for (const entry of entries) {
    state.entries.set(entry.index, text(entry));
    state.lastIndex = entry.index;
  }
  if (hardState !== null) state.hardState = hardState;
  return state;
}

function text(entry: LogEntry): string {
  const { term, index, kind, timeMs, data } = entry;
  return `${term} ${index} ${kind} ${timeMs} ${data.join('')}`;
}

class World {
  readonly time = new VirtualTime();
  readonly disk: SimDisk;
  readonly options: LogOptions;
  acked = 0;
  states: string[] = [];
  log: DurableLog | null = null;

  constructor(seed: number, faults: Partial<DiskFaults> = {}, segmentBytes = SEGMENT) {
    this.disk = new SimDisk(this.time, createPrng(seed), faults);
    this.options = {
      folder: 'log',
      cluster: 'c1',
      node: 3,
      mode: { kind: 'create', incarnation: 77 },
      kinds: KINDS,
      segmentBytes,
    };
  }

  run(): void {
    for (let due = this.time.nextDueMs(); due !== null; due = this.time.nextDueMs()) {
      this.time.advance(due - this.time.nowMs());
    }
  }

  /** Runs `count` timers at most. */
  runSome(count: number): void {
    for (let step = 0; step < count; step += 1) {
      const due = this.time.nextDueMs();
      if (due === null) return;
      this.time.advance(due - this.time.nowMs());
    }
  }

  tryOpen(more: Partial<LogOptions> = {}): OpenedLog | LogOpenFailure {
    let opened: OpenedLog | LogOpenFailure | null = null;
    this.acked = 0;
    this.states = [];
    const events = {
      persisted: (seq: number): void => {
        this.acked = seq;
      },
      disk: (state: string): void => {
        this.states.push(state);
      },
    };
    openLog(this.disk.mount(), { ...this.options, ...more }, events, (result) => {
      opened = result.ok ? result.value : result.error;
    });
    this.run();
    ok(opened !== null, 'opening ends');
    return opened;
  }

  create(): OpenedLog {
    return this.expectOpen(this.tryOpen());
  }

  reopen(): OpenedLog {
    return this.expectOpen(this.tryOpen(REOPEN));
  }

  private expectOpen(opened: OpenedLog | LogOpenFailure): OpenedLog {
    ok('log' in opened, JSON.stringify(opened));
    this.log = opened.log;
    return opened;
  }
}

const REOPEN = { mode: { kind: 'open', incarnation: 77 } } as const;

function entry(index: number, term = 1, bytes = 40): LogEntry {
  const data = new Uint8Array(bytes).fill(index % 251);
  return { term, index, kind: 'command', timeMs: index * 2, data };
}

function persist(seq: number, more: Partial<LogPersist>): LogPersist {
  return {
    seq,
    hardState: null,
    snapshot: null,
    isLogDiscarded: false,
    entries: [],
    compactTo: 0,
    ...more,
  };
}

/** A fingerprint of what was recovered, in the terms of the model. */
function recoveredState(opened: OpenedLog): State {
  const { hardState, snapshot, entries } = opened.recovered;
  return {
    hardState: { ...hardState },
    snapshotIndex: snapshot?.index ?? 0,
    lastIndex: entries.at(-1)?.index ?? snapshot?.index ?? 0,
    entries: new Map(entries.map((found) => [found.index, text(found)])),
  };
}

/** Equal as far as recovery goes: entries behind the snapshot may be there or not. */
function isSame(found: State, model: State): boolean {
  if (JSON.stringify(found.hardState) !== JSON.stringify(model.hardState)) return false;
  // A snapshot beside the log becomes durable a little later: an older one is as good.
  if (found.snapshotIndex > model.snapshotIndex) return false;
  if (Math.max(found.lastIndex, found.snapshotIndex) !== model.lastIndex) return false;
  for (let index = found.snapshotIndex + 1; index <= model.lastIndex; index += 1) {
    if (found.entries.get(index) !== model.entries.get(index)) return false;
  }
  return [...found.entries].every(([index, value]) => {
    const expected = model.entries.get(index);
    return expected === undefined ? index <= model.snapshotIndex : expected === value;
  });
}

/** Draws the next persist: appends, conflicts, votes, snapshots of both kinds. */
function drawPersist(prng: Prng, seq: number, state: State): LogPersist {
  const term = state.hardState.term + (prng.nextBelow(4) === 0 ? 1 : 0);
  const hardState =
    prng.nextBelow(3) === 0 ? { term, votedFor: prng.nextBelow(5), commit: seq } : null;
  const draw = prng.nextBelow(20);
  let { lastIndex } = state;
  let snapshot = null;
  let isLogDiscarded = false;
  if (draw === 0 && lastIndex > state.snapshotIndex + 2) {
    snapshot = { index: lastIndex - 1, term, meta: encodeUtf8('m'), data: new Uint8Array(700) };
  } else if (draw === 1) {
    lastIndex += 5;
    isLogDiscarded = true;
    snapshot = { index: lastIndex, term, meta: encodeUtf8('m'), data: new Uint8Array(1_500) };
  }
  const floor = snapshot?.index ?? state.snapshotIndex;
  const conflict = draw < 6 ? prng.nextBelow(4) : 0;
  const from = Math.max(floor, lastIndex - conflict) + 1;
  const count = prng.nextBelow(6);
  const entries = Array.from({ length: count }, (_, place) => {
    const made = entry(from + place, term, prng.nextBelow(300));
    return { ...made, timeMs: seq };
  });
  return persist(seq, { hardState, snapshot, isLogDiscarded, entries, compactTo: floor });
}

/** Crashes a log again and again; after each, everything acknowledged and nothing made up. */
function storm(seed: number, faults: Partial<DiskFaults>, mayFail: boolean): number {
  const world = new World(seed, faults);
  const prng = createPrng(seed + 1_000_000);
  const calm = { ...world.disk.faults };
  Object.assign(world.disk.faults, { syncErrorChance: 0, writeErrorChance: 0 });
  world.create();
  let base = emptyModel();
  let crashes = 0;
  for (let round = 0; round < 6; round += 1) {
    Object.assign(world.disk.faults, calm);
    const models = [base];
    let latest = base;
    const count = 1 + prng.nextBelow(25);
    for (let seq = 1; seq <= count; seq += 1) {
      const next = drawPersist(prng, seq, latest);
      latest = applyModel(latest, next);
      models.push(latest);
      world.log?.persist(next);
      if (prng.nextBelow(2) === 0) world.runSome(prng.nextBelow(12));
      if (prng.nextBelow(12) === 0) world.log?.settle(() => undefined);
    }
    if (prng.nextBelow(3) === 0) world.run();
    const acked = world.acked;
    if (prng.nextBelow(4) === 0) world.disk.kill();
    else world.disk.losePower();
    crashes += 1;
    // Reading back goes well here: a device that fails for good is another story.
    Object.assign(world.disk.faults, { syncErrorChance: 0, writeErrorChance: 0 });
    const opened = world.reopen();
    const found = recoveredState(opened);
    const at = models.findLastIndex((model) => isSame(found, model));
    ok(at >= acked, `seed ${seed} round ${round}: acknowledged ${acked}, found ${at}`);
    if (!mayFail) ok(!world.states.includes('failed'));
    base = { ...found };
  }
  return crashes;
}

test('after any crash a log holds all that was acknowledged and nothing made up (150 seeds)', () => {
  for (let seed = 1; seed <= 150; seed += 1) storm(seed, { latencySpreadMs: 5 }, false);
});

test('the same with torn sectors, stalls, failing syncs and failing writes (150 seeds)', () => {
  const faults = {
    latencySpreadMs: 5,
    tornChance: 0.3,
    stallChance: 0.1,
    stallMs: 500,
    syncErrorChance: 0.02,
    writeErrorChance: 0.02,
  };
  for (let seed = 1; seed <= 150; seed += 1) storm(seed, faults, true);
});

/** A settled log of `count` persists of one entry each. */
function settledWorld(seed: number, count: number, segmentBytes = SEGMENT): World {
  const world = new World(seed, {}, segmentBytes);
  const { log } = world.create();
  for (let seq = 1; seq <= count; seq += 1) {
    const hardState = { term: 1, votedFor: 2, commit: seq };
    log.persist(persist(seq, { hardState, entries: [entry(seq)] }));
    world.run();
  }
  equal(world.acked, count);
  log.close(() => undefined);
  world.run();
  return world;
}

test('a log that is closed while it settles gives its folder back', () => {
  const world = new World(7, {});
  const { log } = world.create();
  log.persist(persist(1, { entries: [entry(1)] }));
  world.run();
  let settled = 0;
  let closed = 0;
  log.settle(() => (settled += 1));
  log.close(() => (closed += 1));
  world.run();
  deepEqual([settled, closed], [1, 1]);
  equal(world.reopen().recovered.entries.length, 1);
});

/** Bytes of all log files, one after another, as far as they are in use. */
function usedBytes(world: World): { path: string; offset: number }[] {
  const places: { path: string; offset: number }[] = [];
  for (const path of world.disk.names.paths().filter((name) => name.endsWith('.log'))) {
    const bytes = world.disk.peek(path);
    const last = bytes.findLastIndex((byte) => byte !== 0);
    for (let offset = 0; offset <= last; offset += 1) places.push({ path, offset });
  }
  return places;
}

/** Where the records end: behind them zeros, then perhaps a mark in a page of its own. */
function usedEnd(world: World, path: string): number {
  const bytes = world.disk.peek(path);
  let end = 512;
  while (end < bytes.length && bytes.subarray(end, end + 32).some((byte) => byte !== 0)) {
    const length = (bytes[end + 4] ?? 0) + 256 * (bytes[end + 5] ?? 0);
    end += 32 + Math.ceil(length / 8) * 8;
  }
  return end;
}

test('every byte of a settled log, flipped in turn, is found: damage, or nothing that a record needs', () => {
  const world = settledWorld(1, 12, 4_096);
  const backup = world.disk.backup();
  const outcomes = { damaged: 0, refused: 0, whole: 0 };
  const ends = new Map(usedBytes(world).map(({ path }) => [path, usedEnd(world, path)]));
  for (const { path, offset } of usedBytes(world)) {
    world.disk.restore(backup);
    world.disk.flip(path, offset, 1 << (offset % 8));
    const opened = world.tryOpen(REOPEN);
    if ('log' in opened) {
      outcomes.whole += 1;
      ok(offset >= (ends.get(path) ?? 0), `byte ${offset} of a record of ${path}`);
      equal(opened.recovered.entries.length, 12, `byte ${offset} of ${path}`);
      equal(opened.recovered.hardState.commit, 12);
    } else if (opened.kind === 'damaged') outcomes.damaged += 1;
    else outcomes.refused += 1;
  }
  ok(outcomes.damaged > 1_500, JSON.stringify(outcomes));
});

test('every sector of a settled log, zeroed or written elsewhere in turn, is found', () => {
  const world = settledWorld(2, 40);
  const backup = world.disk.backup();
  for (const { path, offset } of usedBytes(world).filter((place) => place.offset % 512 === 0)) {
    world.disk.restore(backup);
    world.disk.zero(path, offset, 512);
    const opened = world.tryOpen(REOPEN);
    const isWhole = 'log' in opened && opened.recovered.entries.length === 40;
    ok(isWhole || (!('log' in opened) && opened.kind === 'damaged'), `${path} ${offset}`);
  }
});

test('every torn prefix of an unacknowledged write is cut, and what came before it stays', () => {
  for (let keep = 0; keep <= 700; keep += 7) {
    const world = settledWorld(3, 5);
    const { log } = world.reopen();
    const path = 'log/0000000000000001.log';
    const before = usedEnd(world, path);
    log.persist(persist(1, { entries: [entry(6, 1, 500), entry(7, 1, 100)] }));
    world.run();
    const after = usedEnd(world, path);
    world.disk.kill();
    const cut = Math.min(before + keep, after - 8);
    world.disk.zero(path, cut, SEGMENT);
    const { recovered } = world.reopen();
    equal(recovered.entries.length, 5, `kept ${keep}`);
  }
});

test('a process that dies after a failed sync does not trust what the cache shows (R-20)', () => {
  const world = settledWorld(4, 3);
  world.disk.faults.keptChance = 0;
  const { log } = world.reopen();
  world.disk.failNext('sync', 'io');
  log.persist(persist(1, { entries: [entry(4)] }));
  world.run();
  deepEqual(world.states, ['failed']);
  equal(world.acked, 0);
  log.persist(persist(2, { entries: [entry(5)] }));
  world.run();
  equal(world.acked, 0, 'never again');
  world.disk.kill();
  const second = world.reopen();
  const shown = second.recovered.entries.length;
  second.log.persist(persist(1, { entries: [entry(shown + 1)] }));
  world.run();
  equal(world.acked, 1);
  world.disk.losePower();
  equal(world.reopen().recovered.entries.length, shown + 1, 'what a restart relied on is durable');
});

test('a conflict replaces the suffix at once or not at all, and a restart sees no old entry (R-12)', () => {
  const world = settledWorld(5, 10);
  const { log } = world.reopen();
  log.persist(persist(1, { entries: [entry(4, 2), entry(5, 2)] }));
  world.run();
  world.disk.losePower();
  const { recovered } = world.reopen();
  deepEqual(
    recovered.entries.map((found) => found.term),
    [1, 1, 1, 2, 2],
  );
});

test('a snapshot lets old segments go, and only once it is durable itself (R-14, R-24)', () => {
  const world = settledWorld(6, 100);
  const { log } = world.reopen();
  const before = world.disk.names.paths().filter((name) => name.endsWith('.log')).length;
  ok(before >= 3);
  const snapshot = { index: 90, term: 1, meta: encodeUtf8('meta'), data: encodeUtf8('state') };
  log.persist(persist(1, { snapshot, compactTo: 80 }));
  world.run();
  equal(world.acked, 1);
  const after = world.disk.names.paths().filter((name) => name.endsWith('.log')).length;
  ok(after < before, `${before} -> ${after}`);
  world.disk.losePower();
  const { recovered } = world.reopen();
  equal(recovered.snapshot?.index, 90);
  deepEqual(recovered.snapshot?.meta, encodeUtf8('meta'));
  deepEqual(recovered.snapshot?.data, encodeUtf8('state'));
  equal(recovered.entries[0]?.index, 81);
  equal(recovered.entries.at(-1)?.index, 100);
});

test('a received snapshot past the log replaces it whole', () => {
  const world = settledWorld(7, 10);
  const { log } = world.reopen();
  const snapshot = { index: 500, term: 4, meta: encodeUtf8(''), data: new Uint8Array(9_000) };
  const entries = [entry(501, 4)];
  log.persist(persist(1, { snapshot, isLogDiscarded: true, entries, compactTo: 500 }));
  world.run();
  world.disk.losePower();
  const { recovered } = world.reopen();
  equal(recovered.snapshot?.index, 500);
  deepEqual(
    recovered.entries.map((found) => found.index),
    [501],
  );
});

test('every byte of a snapshot that the log names, flipped, stops the replica', () => {
  const world = settledWorld(8, 10);
  const { log } = world.reopen();
  const snapshot = { index: 9, term: 1, meta: encodeUtf8('meta'), data: new Uint8Array(300) };
  log.persist(persist(1, { snapshot, compactTo: 9 }));
  log.close(() => undefined);
  world.run();
  const path = world.disk.names.paths().find((name) => name.endsWith('.snapshot')) ?? '';
  const backup = world.disk.backup();
  for (let offset = 0; offset < world.disk.peek(path).length; offset += 1) {
    world.disk.restore(backup);
    world.disk.flip(path, offset, 0x10);
    const opened = world.tryOpen(REOPEN);
    ok(!('log' in opened), `byte ${offset}`);
    ok(opened.kind === 'damaged' || opened.kind === 'future-version', opened.kind);
  }
});

test('temporary files of an interrupted snapshot are ignored and removed (R-14)', () => {
  const world = settledWorld(9, 10);
  const { log } = world.reopen();
  const snapshot = { index: 9, term: 1, meta: encodeUtf8(''), data: new Uint8Array(3_000) };
  log.persist(persist(1, { snapshot, compactTo: 9 }));
  world.runSome(4);
  world.disk.kill();
  const { recovered } = world.reopen();
  equal(recovered.entries.at(-1)?.index, 10);
  ok(!world.disk.names.paths().some((name) => name.endsWith('.tmp')));
});

test('a full disk is told before anything is lost, and a snapshot makes room again (S-06)', () => {
  const world = settledWorld(10, 3);
  const { log } = world.reopen();
  world.disk.faults.capacityBytes = world.disk.usedBytes();
  let seq = 0;
  for (; seq < 500 && !world.states.includes('full');) {
    seq += 1;
    log.persist(persist(seq, { entries: [entry(3 + seq)] }));
    world.run();
  }
  equal(world.acked, seq, 'everything so far is acknowledged');
  deepEqual(world.states, ['full']);
  const last = 3 + seq;
  const snapshot = { index: last, term: 1, meta: encodeUtf8(''), data: new Uint8Array(2_000) };
  seq += 1;
  log.persist(persist(seq, { snapshot, compactTo: last }));
  world.run();
  equal(world.acked, seq);
  for (let more = 0; more < 30; more += 1) {
    seq += 1;
    log.persist(persist(seq, { entries: [entry(last + more + 1)] }));
    world.run();
  }
  equal(world.acked, seq, `with room again: ${world.states.join(' ')}`);
  world.disk.losePower();
  equal(world.reopen().recovered.entries.at(-1)?.index, last + 30);
});

test('a lost segment, a missing beginning and a wiped disk are told apart from an empty log', () => {
  const world = settledWorld(11, 200);
  const backup = world.disk.backup();
  const paths = world.disk.names.paths().filter((name) => name.endsWith('.log'));
  for (const path of paths.slice(0, -2)) {
    const files = new Map(backup);
    files.delete(path);
    world.disk.restore(files);
    const opened = world.tryOpen(REOPEN);
    ok(!('log' in opened) && opened.kind === 'damaged', `without ${path}`);
  }
  world.disk.wipe();
  const wiped = world.tryOpen(REOPEN);
  ok(!('log' in wiped) && wiped.kind === 'no-log');
});

test('a folder of another cluster, node or disk, or of a newer program, is refused unwritten', () => {
  const world = settledWorld(12, 5);
  const backup = world.disk.backup();
  const refused = (more: Partial<LogOptions>): string => {
    const writes = world.disk.counts.writes;
    const opened = world.tryOpen(more);
    ok(!('log' in opened));
    equal(world.disk.counts.writes, writes, 'nothing is written');
    return opened.kind;
  };
  equal(refused({ ...REOPEN, cluster: 'c2' }), 'wrong-cluster');
  equal(refused({ ...REOPEN, node: 4 }), 'wrong-node');
  equal(refused({ mode: { kind: 'open', incarnation: 78 } }), 'wrong-incarnation');
  equal(refused({ mode: { kind: 'create', incarnation: 77 } }), 'not-empty');
  equal(refused({ ...REOPEN, folder: 'elsewhere' }), 'no-log');
  for (const path of ['log/identity', 'log/0000000000000001.log']) {
    world.disk.restore(backup);
    world.disk.flip(path, 8, 0x80);
    equal(refused(REOPEN), 'future-version', path);
  }
  world.disk.restore(backup);
  world.reopen();
  equal(refused(REOPEN), 'locked');
});

test('a log whose creation was cut off at any step is made again, whatever names are kept', () => {
  for (let run = 3; run < 120; run += 1) {
    const steps = Math.floor(run / 3);
    const world = new World(run, { keptChance: [0, 0.5, 1][run % 3] ?? 0 });
    openLog(
      world.disk.mount(),
      world.options,
      { persisted: () => undefined, disk: () => undefined },
      () => undefined,
    );
    world.runSome(steps);
    world.disk.losePower();
    const opened = world.tryOpen();
    if ('log' in opened) continue;
    ok(opened.kind === 'not-empty', `${steps}: ${JSON.stringify(opened)}`);
    world.reopen();
  }
});

test('persists that wait together share one sync', () => {
  const world = new World(13);
  const { log } = world.create();
  const syncs = world.disk.counts.syncs;
  for (let seq = 1; seq <= 50; seq += 1) log.persist(persist(seq, { entries: [entry(seq, 1, 8)] }));
  world.run();
  equal(world.acked, 50);
  ok(world.disk.counts.syncs - syncs <= 4, `${world.disk.counts.syncs - syncs} syncs`);
});
