/**
 * The shared configuration in the control state: `config/head` says which version counts where,
 * `config/versions/N` who made it and why, `config/texts/N` its text. Texts are YAML, which this
 * folder does not read.
 */

import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { ControlView } from '../control/engine.ts';
import type { KeyValue, Operation } from '../control/types.ts';

const HEAD = 'config/head';
const VERSIONS = 'config/versions/';
const TEXTS = 'config/texts/';
const HEAD_TYPE = 'config-head/1';
const VERSION_TYPE = 'config-version/1';
const TEXT_TYPE = 'config-text/1';

/** Requests, and those of them that went wrong in a way that a configuration can cause. */
export interface Counts {
  readonly requests: number;
  readonly errors: number;
}

/** A node's counts since its process began; `boot` tells one process from the next. */
export interface Mark {
  /** Its peer name: for a region's first node that of the region. */
  readonly peer: string;
  readonly boot: number;
  readonly counts: Counts;
}

/** The region that a roll-out is at. */
export interface Stage {
  readonly region: string;
  /** Wall clock of the node that led, ms; so are all times here. */
  readonly startedMs: number;
  /**
   * The region's errors, and its targets that were out, before it was told of the version. Null: an
   * operator let it go on as it is, and what was before is taken as its bake begins.
   */
  readonly before: { readonly counts: Counts; readonly out: readonly string[] } | null;
  /** Null: the region does not have the version yet. */
  readonly bake: {
    readonly sinceMs: number;
    /** All nodes that were heard as the bake began, those of this region included. */
    readonly marks: readonly Mark[];
  } | null;
}

/** A version on its way through the regions. */
export interface Rollout {
  readonly version: number;
  readonly startedMs: number;
  readonly bakeMs: number;
  /** Regions that go first, in this order; the others follow by name, the leader's last. */
  readonly order: readonly string[];
  /** Regions that have it for good. */
  readonly done: readonly string[];
  /** Null: the next one is still to be taken. */
  readonly stage: Stage | null;
  /** Why it does not go on; empty: it does. */
  readonly halted: string;
}

export interface ConfigHead {
  /** Number of the newest version; 0: there is none. */
  readonly newest: number;
  /** The version of every region that no roll-out has reached; 0: none. */
  readonly base: number;
  readonly rollout: Rollout | null;
}

/** Places in these lists are numbers on the wire. */
const KINDS = ['push', 'rollback'] as const;
const OUTCOMES = ['rolling-out', 'everywhere', 'rolled-back', 'replaced'] as const;

/** One version without its text. */
export interface ConfigVersion {
  readonly version: number;
  readonly kind: (typeof KINDS)[number];
  /** The version whose text a rollback took; 0: of a push. */
  readonly of: number;
  /** It went to all regions at once. */
  readonly isEmergency: boolean;
  readonly outcome: (typeof OUTCOMES)[number];
  readonly who: string;
  readonly from: string;
  readonly why: string;
  readonly timeMs: number;
  readonly bytes: number;
}

/** The head, and the revision that a change of it is compared with; 0: there is none yet. */
export interface StoredHead {
  readonly head: ConfigHead;
  readonly modRevision: number;
}

const NO_HEAD: ConfigHead = { newest: 0, base: 0, rollout: null };

/** Null: what is there is not of this version of the program. */
export function readHead(view: ControlView): StoredHead | null {
  const item = view.get(HEAD);
  if (item === null) return { head: NO_HEAD, modRevision: 0 };
  const head = item.type === HEAD_TYPE ? decodeHead(item.value) : null;
  return head === null ? null : { head, modRevision: item.modRevision };
}

/** The version that a region has, or is to have; 0: none. */
export function assignedTo({ base, rollout }: ConfigHead, region: string): number {
  if (rollout === null) return base;
  const isReached = rollout.done.includes(region) || rollout.stage?.region === region;
  return isReached ? rollout.version : base;
}

export function readVersion(view: ControlView, version: number): ConfigVersion | null {
  const item = view.get(versionKey(version));
  return item === null ? null : decodeVersion(item);
}

export function readText(view: ControlView, version: number): string | null {
  const item = view.get(textKey(version));
  return item?.type === TEXT_TYPE ? decodeUtf8(item.value) : null;
}

/** All that are kept, the oldest first. */
export function listVersions(view: ControlView): readonly ConfigVersion[] {
  const { items } = view.range({
    prefix: VERSIONS,
    after: '',
    keysMax: CONTROL_LIMITS.rangeKeysMax,
  });
  return items.map(decodeVersion).filter((version) => version !== null);
}

export function putHead(head: ConfigHead): Operation {
  return { kind: 'put', key: HEAD, type: HEAD_TYPE, value: encodeHead(head) };
}

export function putVersion(version: ConfigVersion): Operation {
  const key = versionKey(version.version);
  return { kind: 'put', key, type: VERSION_TYPE, value: encodeVersion(version) };
}

export function putText(version: number, text: string): Operation {
  return { kind: 'put', key: textKey(version), type: TEXT_TYPE, value: encodeUtf8(text) };
}

export function deleteVersion(version: number): readonly Operation[] {
  return [
    { kind: 'delete', key: versionKey(version) },
    { kind: 'delete', key: textKey(version) },
  ];
}

export const HEAD_KEY: string = HEAD;

/** Twelve digits: the order of keys is that of numbers. */
function versionKey(version: number): string {
  return VERSIONS + String(version).padStart(12, '0');
}

function textKey(version: number): string {
  return TEXTS + String(version).padStart(12, '0');
}

const NAME_BYTES = 256;
const TEXT_BYTES = SHARED_CONFIG_LIMITS.refusalCharsMax * 4;

function encodeHead({ newest, base, rollout }: ConfigHead): Uint8Array {
  const writer = new ByteWriter()
    .u64(newest)
    .u64(base)
    .bool(rollout !== null);
  if (rollout === null) return writer.finish();
  const { version, startedMs, bakeMs, order, done, stage, halted } = rollout;
  writer.u64(version).u64(startedMs).u64(bakeMs);
  writer.list(order, (region) => writer.text(region));
  writer.list(done, (region) => writer.text(region));
  writer.text(halted).bool(stage !== null);
  if (stage !== null) writeStage(writer, stage);
  return writer.finish();
}

function writeStage(writer: ByteWriter, { region, startedMs, before, bake }: Stage): void {
  writer
    .text(region)
    .u64(startedMs)
    .bool(before !== null);
  if (before !== null) {
    writeCounts(writer, before.counts);
    writer.list(before.out, (target) => writer.text(target));
  }
  writer.bool(bake !== null);
  if (bake === null) return;
  writer.u64(bake.sinceMs).list(bake.marks, (mark) => {
    writer.text(mark.peer).u64(mark.boot);
    writeCounts(writer, mark.counts);
  });
}

function writeCounts(writer: ByteWriter, { requests, errors }: Counts): void {
  writer.u64(requests).u64(errors);
}

function decodeHead(bytes: Uint8Array): ConfigHead | null {
  const reader = new ByteReader(bytes);
  const newest = reader.u64();
  const base = reader.u64();
  const rollout = reader.bool() ? readRollout(reader) : null;
  return reader.isDone() ? { newest, base, rollout } : null;
}

function readRollout(reader: ByteReader): Rollout {
  return {
    version: reader.u64(),
    startedMs: reader.u64(),
    bakeMs: reader.u64(),
    order: readNames(reader),
    done: readNames(reader),
    halted: reader.text(TEXT_BYTES),
    stage: reader.bool() ? readStage(reader) : null,
  };
}

function readStage(reader: ByteReader): Stage {
  return {
    region: reader.text(NAME_BYTES),
    startedMs: reader.u64(),
    before: reader.bool() ? { counts: readCounts(reader), out: readOut(reader) } : null,
    bake: reader.bool() ? { sinceMs: reader.u64(), marks: readMarks(reader) } : null,
  };
}

function readOut(reader: ByteReader): readonly string[] {
  return reader.list(SHARED_CONFIG_LIMITS.outMax, () => reader.text(NAME_BYTES));
}

function readMarks(reader: ByteReader): readonly Mark[] {
  return reader.list(SHARED_CONFIG_LIMITS.nodesMax, () => ({
    peer: reader.text(NAME_BYTES),
    boot: reader.u64(),
    counts: readCounts(reader),
  }));
}

function readCounts(reader: ByteReader): Counts {
  return { requests: reader.u64(), errors: reader.u64() };
}

function readNames(reader: ByteReader): readonly string[] {
  return reader.list(SHARED_CONFIG_LIMITS.regionsMax, () => reader.text(NAME_BYTES));
}

function encodeVersion(version: ConfigVersion): Uint8Array {
  const { kind, of, isEmergency, outcome, who, from, why, timeMs, bytes } = version;
  const writer = new ByteWriter().u64(version.version).u8(KINDS.indexOf(kind)).u64(of);
  writer.bool(isEmergency).u8(OUTCOMES.indexOf(outcome)).text(who).text(from).text(why);
  return writer.u64(timeMs).u64(bytes).finish();
}

function decodeVersion(item: KeyValue): ConfigVersion | null {
  if (item.type !== VERSION_TYPE) return null;
  const reader = new ByteReader(item.value);
  const version = reader.u64();
  const kind = KINDS[reader.u8()];
  const of = reader.u64();
  const isEmergency = reader.bool();
  const outcome = OUTCOMES[reader.u8()];
  const [who, from, why] = [
    reader.text(TEXT_BYTES),
    reader.text(TEXT_BYTES),
    reader.text(TEXT_BYTES),
  ];
  const timeMs = reader.u64();
  const bytes = reader.u64();
  if (kind === undefined || outcome === undefined || !reader.isDone()) return null;
  return { version, kind, of, isEmergency, outcome, who, from, why, timeMs, bytes };
}
