/**
 * Messages as bytes: one frame's payload each, in a fixed layout with a version in front. The
 * decoder takes any bytes: what is malformed, too long or of another version is refused (null), and
 * what it lets through keeps the form that the core asserts (consecutive entries, terms that do not
 * fall, configurations that can be read). The frame's own checksum is the link's matter.
 */

import { RAFT_LIMITS } from '../base/limits.ts';
import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import { decodeConf, decodeLevel, isWellFormed, readConf, writeConf } from './codec.ts';
import { RAFT_ERRORS, type RaftErrorCode } from './errors.ts';
import {
  ENTRY_KINDS,
  type Body,
  type Entry,
  type Message,
  type MessageKind,
  type Proposal,
  type SnapshotMeta,
} from './types.ts';

const VERSION = 1;

/** A message's place here is its number on the wire: new kinds go to the end. */
const KINDS = [
  'preVote',
  'vote',
  'preVoteReply',
  'voteReply',
  'append',
  'appendOk',
  'appendNo',
  'heartbeat',
  'heartbeatOk',
  'snapshotChunk',
  'snapshotOk',
  'timeoutNow',
  'forward',
  'forwardReply',
  'readAsk',
  'readReply',
  'removed',
] as const satisfies readonly MessageKind[];

/** An error's place here, plus one, is its number on the wire; 0 means none. */
const ERRORS = Object.keys(RAFT_ERRORS) as readonly RaftErrorCode[];

type BodyOf<Kind extends MessageKind> = Extract<Body, { readonly kind: Kind }>;
interface BodyCodec<Kind extends MessageKind> {
  readonly write: (writer: ByteWriter, body: BodyOf<Kind>) => void;
  readonly read: (reader: ByteReader) => Omit<BodyOf<Kind>, 'kind'>;
}

/** The bytes of `message`. */
export function encodeMessage(message: Message): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(VERSION).u8(KINDS.indexOf(message.kind));
  writer.text(message.cluster).u64(message.from).u64(message.to);
  writer.u64(message.incarnation).u64(message.term);
  const codec = CODECS[message.kind] as BodyCodec<MessageKind>;
  codec.write(writer, message);
  return writer.finish();
}

/** The message of `bytes`, whose entries and chunks are views of them; null if it is none. */
export function decodeMessage(bytes: Uint8Array): Message | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const kind = KINDS[reader.u8()];
  if (kind === undefined) return null;
  const cluster = reader.text(RAFT_LIMITS.clusterCharsMax * 4);
  const from = reader.u64();
  const to = reader.u64();
  const incarnation = reader.u64();
  const term = reader.u64();
  const body = { kind, ...CODECS[kind].read(reader) } as Body;
  if (!reader.isDone() || from === 0 || to === 0) return null;
  const message: Message = { cluster, from, to, incarnation, term, ...body };
  return isPlausible(message) ? message : null;
}

/** What the core takes for granted of a peer that means well. */
function isPlausible(message: Message): boolean {
  if (message.kind === 'snapshotChunk') return isWellFormed(message.meta.conf);
  if (message.kind !== 'append') return true;
  let { prevIndex: index, prevTerm: term } = message;
  for (const entry of message.entries) {
    if (entry.index !== index + 1 || entry.term < term || entry.term > message.term) return false;
    if (entry.kind === 'config' && decodeConf(entry.data) === null) return false;
    if (entry.kind === 'level' && decodeLevel(entry.data) === null) return false;
    ({ index, term } = entry);
  }
  return true;
}

const VOTE_ASK: BodyCodec<'vote'> = {
  write: (writer, body) => {
    writer.u64(body.lastIndex).u64(body.lastTerm).bool(body.isTransfer);
  },
  read: (reader) => ({
    lastIndex: reader.u64(),
    lastTerm: reader.u64(),
    isTransfer: reader.bool(),
  }),
};

const VOTE_REPLY: BodyCodec<'voteReply'> = {
  write: (writer, body) => {
    writer.bool(body.isGranted);
  },
  read: (reader) => ({ isGranted: reader.bool() }),
};

const CODECS: { readonly [Kind in MessageKind]: BodyCodec<Kind> } = {
  preVote: {
    write: (writer, body) => VOTE_ASK.write(writer, { ...body, kind: 'vote' }),
    read: VOTE_ASK.read,
  },
  vote: VOTE_ASK,
  preVoteReply: {
    write: (writer, body) => VOTE_REPLY.write(writer, { ...body, kind: 'voteReply' }),
    read: VOTE_REPLY.read,
  },
  voteReply: VOTE_REPLY,
  append: {
    write: (writer, body) => {
      writer.u64(body.prevIndex).u64(body.prevTerm).u64(body.commit);
      writer.list(body.entries, (entry) => writeEntry(writer, entry));
    },
    read: (reader) => ({
      prevIndex: reader.u64(),
      prevTerm: reader.u64(),
      commit: reader.u64(),
      entries: reader.list(RAFT_LIMITS.appendEntriesMax, () => readEntry(reader)),
    }),
  },
  appendOk: {
    write: (writer, body) => {
      writer.u64(body.match).u16(body.level);
    },
    read: (reader) => ({ match: reader.u64(), level: reader.u16() }),
  },
  appendNo: {
    write: (writer, body) => {
      writer.u64(body.prevIndex).u64(body.hintIndex).u64(body.hintTerm);
    },
    read: (reader) => ({
      prevIndex: reader.u64(),
      hintIndex: reader.u64(),
      hintTerm: reader.u64(),
    }),
  },
  heartbeat: {
    write: (writer, body) => {
      writer.u64(body.commit).u64(body.round);
    },
    read: (reader) => ({ commit: reader.u64(), round: reader.u64() }),
  },
  heartbeatOk: {
    write: (writer, body) => {
      writer.u64(body.round).u16(body.level);
      writer.u64(body.checkpoint.index).u32(body.checkpoint.hash);
    },
    read: (reader) => ({
      round: reader.u64(),
      level: reader.u16(),
      checkpoint: { index: reader.u64(), hash: reader.u32() },
    }),
  },
  snapshotChunk: {
    write: (writer, body) => {
      writeSnapshotMeta(writer, body.meta);
      writer.u64(body.offset).u32(body.checksum).blob(body.data);
    },
    read: (reader) => ({
      meta: readSnapshotMeta(reader),
      offset: reader.u64(),
      checksum: reader.u32(),
      data: reader.blob(RAFT_LIMITS.snapshotWindowBytes),
    }),
  },
  snapshotOk: {
    write: (writer, body) => {
      writer.u64(body.index).u32(body.checksum).u64(body.offset);
    },
    read: (reader) => ({ index: reader.u64(), checksum: reader.u32(), offset: reader.u64() }),
  },
  timeoutNow: { write: () => undefined, read: () => ({}) },
  forward: {
    write: (writer, body) => {
      writer.u32(body.nonce).u64(body.attempt);
      writer.list(body.proposals, ({ id, data }) => writer.u64(id).blob(data));
    },
    read: (reader) => ({
      nonce: reader.u32(),
      attempt: reader.u64(),
      proposals: reader.list(RAFT_LIMITS.appendEntriesMax, () => readProposal(reader)),
    }),
  },
  forwardReply: {
    write: (writer, body) => {
      writer.u32(body.nonce).u64(body.attempt).u64(body.firstIndex);
      writeError(writer, body.error);
    },
    read: (reader) => ({
      nonce: reader.u32(),
      attempt: reader.u64(),
      firstIndex: reader.u64(),
      error: readError(reader),
    }),
  },
  readAsk: {
    write: (writer, body) => {
      writer.u32(body.nonce).u64(body.attempt);
    },
    read: (reader) => ({ nonce: reader.u32(), attempt: reader.u64() }),
  },
  readReply: {
    write: (writer, body) => {
      writer.u32(body.nonce).u64(body.attempt).u64(body.index);
      writeError(writer, body.error);
    },
    read: (reader) => ({
      nonce: reader.u32(),
      attempt: reader.u64(),
      index: reader.u64(),
      error: readError(reader),
    }),
  },
  removed: {
    write: (writer, body) => {
      writer.u64(body.index);
    },
    read: (reader) => ({ index: reader.u64() }),
  },
};

function writeEntry(writer: ByteWriter, entry: Entry): void {
  writer.u64(entry.term).u64(entry.index).u8(ENTRY_KINDS.indexOf(entry.kind));
  writer.u64(entry.timeMs).blob(entry.data);
}

function readEntry(reader: ByteReader): Entry {
  const term = reader.u64();
  const index = reader.u64();
  const kind = ENTRY_KINDS[reader.u8()];
  if (kind === undefined) reader.isBad = true;
  const timeMs = reader.u64();
  const data = reader.blob(RAFT_LIMITS.entryBytesMax);
  return { term, index, kind: kind ?? 'noop', timeMs, data };
}

function readProposal(reader: ByteReader): Proposal {
  return { id: reader.u64(), data: reader.blob(RAFT_LIMITS.entryBytesMax) };
}

function writeError(writer: ByteWriter, error: RaftErrorCode | null): void {
  writer.u8(error === null ? 0 : ERRORS.indexOf(error) + 1);
}

function readError(reader: ByteReader): RaftErrorCode | null {
  const number = reader.u8();
  if (number > ERRORS.length) reader.isBad = true;
  return ERRORS[number - 1] ?? null;
}

/** What a snapshot says about itself, as the store keeps it beside the data. */
export function encodeSnapshotMeta(meta: SnapshotMeta): Uint8Array {
  const writer = new ByteWriter();
  writeSnapshotMeta(writer.u8(VERSION), meta);
  return writer.finish();
}

/** The meta data of stored bytes, or null where they are none. */
export function decodeSnapshotMeta(bytes: Uint8Array): SnapshotMeta | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const meta = readSnapshotMeta(reader);
  return reader.isDone() && isWellFormed(meta.conf) ? meta : null;
}

function writeSnapshotMeta(writer: ByteWriter, meta: SnapshotMeta): void {
  writer.text(meta.cluster).u64(meta.index).u64(meta.term).u64(meta.timeMs);
  writeConf(writer, meta.conf);
  writer.u16(meta.level).u64(meta.dataBytes).u32(meta.checksum);
}

function readSnapshotMeta(reader: ByteReader): SnapshotMeta {
  return {
    cluster: reader.text(RAFT_LIMITS.clusterCharsMax * 4),
    index: reader.u64(),
    term: reader.u64(),
    timeMs: reader.u64(),
    conf: readConf(reader),
    level: reader.u16(),
    dataBytes: reader.u64(),
    checksum: reader.u32(),
  };
}
