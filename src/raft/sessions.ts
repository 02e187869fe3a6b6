/**
 * Client sessions: a deterministic state machine in front of the user's own. A client opens a
 * session through the log and numbers its calls; a call that comes twice, after a lost answer, a
 * new leader or a forwarded copy, runs once and is answered twice with the same reply.
 *
 * U1: a call of a live session runs at most once.
 * U2: what happens to a session depends on the log alone: expiry goes by log time, the oldest use
 *     goes first where there are too many, and a snapshot holds sessions and replies.
 * U3: sessions, calls kept of one and bytes of a reply are limited.
 * `expired` is indefinite for a call that was sent before: it may have run before the session went.
 * Source: Ongaro, thesis, §6.3.
 */

import { crc32c } from '../base/crc32c.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import type { Index } from './types.ts';

/** What the log drives. Deterministic: equal calls give equal results and equal snapshots. */
export interface StateMachine {
  /** Applies the data of one `command` entry; `timeMs` is log time. */
  apply(index: Index, timeMs: number, data: Uint8Array): Uint8Array;
  snapshot(): Uint8Array;
  /** False where the bytes are no snapshot; the state is then undefined. */
  restore(data: Uint8Array): boolean;
}

/** A state machine behind sessions. */
export interface SessionMachine extends StateMachine {
  /** CRC-32C of the sessions and their replies alone: the hash of `inner` is its own matter. */
  sessionsHash(): number;
  /** What has happened to sessions since the last call, for a host that keeps them one by one. */
  takeChanges(): SessionChanges;
  /** Takes back what was kept: encoded sessions, the oldest use first. False: they are none. */
  adopt(encoded: readonly Uint8Array[]): boolean;
}

export interface SessionChanges {
  /** All before are gone: `used` holds every session. */
  readonly isWhole: boolean;
  readonly ended: readonly number[];
  /** In order of use, each later than all that are not here. */
  readonly used: readonly { readonly id: number; readonly encoded: Uint8Array }[];
}

export interface SessionLimits {
  readonly sessionsMax: number;
  readonly sessionIdleMs: number;
  readonly sessionCallsMax: number;
  readonly sessionReplyBytesMax: number;
}

export type SessionCommand =
  | { readonly kind: 'open' }
  | {
      readonly kind: 'call';
      readonly session: number;
      /** 1 and up. */
      readonly seq: number;
      /** Every call below has been answered: its reply may go. */
      readonly firstUnacked: number;
      readonly payload: Uint8Array;
    }
  | { readonly kind: 'close'; readonly session: number }
  /** A call outside of any session: it runs as often as it is committed. */
  | { readonly kind: 'plain'; readonly payload: Uint8Array };

export type SessionReply =
  /** The session is the index of the entry that opened it. */
  | { readonly kind: 'opened'; readonly session: number }
  | { readonly kind: 'done'; readonly payload: Uint8Array }
  | { readonly kind: 'closed' }
  /** No such session any more. */
  | { readonly kind: 'expired' }
  /** The client said that it has this call's answer. */
  | { readonly kind: 'forgotten' }
  /** Too many calls without an answer: it did not run. */
  | { readonly kind: 'window' }
  /** It ran; its reply was too long to keep for a second answer. */
  | { readonly kind: 'tooLong' }
  | { readonly kind: 'malformed' };

/** Places are numbers in the log: new ones go to the end. */
const COMMANDS = ['open', 'call', 'close', 'plain'] as const;
const REPLIES = [
  'opened',
  'done',
  'closed',
  'expired',
  'forgotten',
  'window',
  'tooLong',
  'malformed',
] as const;

interface Session {
  readonly id: number;
  usedMs: number;
  firstUnacked: number;
  /** Replies by call; null: too long. */
  readonly replies: Map<number, Uint8Array | null>;
}

/** Puts sessions in front of `inner`. Entries hold `encodeSessionCommand`'s bytes. */
export function createSessionMachine(
  inner: StateMachine,
  limits: SessionLimits = RAFT_LIMITS,
  /** Whether `takeChanges` is going to be asked. */
  isTracked = false,
): SessionMachine {
  return new Sessions(inner, limits, isTracked);
}

class Sessions implements SessionMachine {
  readonly #inner: StateMachine;
  readonly #limits: SessionLimits;
  readonly #isTracked: boolean;
  /** In order of last use, the oldest first. */
  #sessions = new Map<number, Session>();
  /** Used or ended since the changes were taken, in order of last use. */
  #touched = new Set<number>();
  #isWhole = false;

  constructor(inner: StateMachine, limits: SessionLimits, isTracked: boolean) {
    this.#inner = inner;
    this.#limits = limits;
    this.#isTracked = isTracked;
  }

  apply(index: Index, timeMs: number, data: Uint8Array): Uint8Array {
    this.#expire(timeMs);
    const command = decodeSessionCommand(data);
    const reply = command === null ? MALFORMED : this.#run(command, index, timeMs);
    return encodeSessionReply(reply);
  }

  snapshot(): Uint8Array {
    return writeSessions(this.#sessions).blob(this.#inner.snapshot()).finish();
  }

  sessionsHash(): number {
    return crc32c(writeSessions(this.#sessions).finish());
  }

  restore(data: Uint8Array): boolean {
    const reader = new ByteReader(data);
    const { sessionsMax } = this.#limits;
    const list = reader.list(sessionsMax, () => readSession(reader, this.#limits));
    const rest = reader.blob(RAFT_LIMITS.snapshotBytesMax);
    if (!reader.isDone()) return false;
    this.#sessions = new Map(list.map((session) => [session.id, session]));
    this.#isWhole = true;
    return this.#inner.restore(rest);
  }

  takeChanges(): SessionChanges {
    const touched = [...this.#touched];
    const ids = this.#isWhole ? [...this.#sessions.keys()] : touched;
    const changes = {
      isWhole: this.#isWhole,
      ended: touched.filter((id) => !this.#sessions.has(id)),
      used: ids.flatMap((id) => {
        const session = this.#sessions.get(id);
        return session === undefined ? [] : [{ id, encoded: encodeSession(session) }];
      }),
    };
    this.#touched = new Set();
    this.#isWhole = false;
    return changes;
  }

  adopt(encoded: readonly Uint8Array[]): boolean {
    this.#sessions = new Map();
    return encoded.every((bytes) => {
      const reader = new ByteReader(bytes);
      const session = readSession(reader, this.#limits);
      this.#sessions.set(session.id, session);
      return reader.isDone();
    });
  }

  #run(command: SessionCommand, index: Index, timeMs: number): SessionReply {
    if (command.kind === 'call') return this.#call(command, index, timeMs);
    if (command.kind === 'plain') return done(this.#inner.apply(index, timeMs, command.payload));
    if (command.kind === 'close') {
      return this.#remove(command.session) ? { kind: 'closed' } : { kind: 'expired' };
    }
    this.#use({ id: index, usedMs: timeMs, firstUnacked: 1, replies: new Map() }, timeMs);
    this.#expire(timeMs);
    return { kind: 'opened', session: index };
  }

  #call(
    command: Extract<SessionCommand, { readonly kind: 'call' }>,
    index: Index,
    timeMs: number,
  ): SessionReply {
    const session = this.#sessions.get(command.session);
    if (session === undefined) return { kind: 'expired' };
    this.#use(session, timeMs);
    forgetBelow(session, command.firstUnacked);
    if (command.seq < session.firstUnacked) return { kind: 'forgotten' };
    const kept = session.replies.get(command.seq);
    if (kept !== undefined) return kept === null ? { kind: 'tooLong' } : done(kept);
    const { sessionCallsMax, sessionReplyBytesMax } = this.#limits;
    if (command.seq - session.firstUnacked >= sessionCallsMax) return { kind: 'window' };
    const payload = this.#inner.apply(index, timeMs, command.payload);
    session.replies.set(command.seq, payload.length > sessionReplyBytesMax ? null : payload);
    return done(payload);
  }

  #expire(timeMs: number): void {
    const { sessionIdleMs, sessionsMax } = this.#limits;
    for (const [id, session] of this.#sessions) {
      const isIdle = timeMs - session.usedMs > sessionIdleMs;
      if (!isIdle && this.#sessions.size <= sessionsMax) return;
      this.#remove(id);
    }
  }

  #use(session: Session, timeMs: number): void {
    session.usedMs = timeMs;
    this.#sessions.delete(session.id);
    this.#sessions.set(session.id, session);
    this.#touch(session.id);
  }

  #remove(id: number): boolean {
    this.#touch(id);
    return this.#sessions.delete(id);
  }

  #touch(id: number): void {
    if (!this.#isTracked) return;
    this.#touched.delete(id);
    this.#touched.add(id);
  }
}

const MALFORMED: SessionReply = { kind: 'malformed' };

function done(payload: Uint8Array): SessionReply {
  return { kind: 'done', payload };
}

function forgetBelow(session: Session, firstUnacked: number): void {
  if (firstUnacked <= session.firstUnacked) return;
  session.firstUnacked = firstUnacked;
  for (const seq of session.replies.keys()) {
    if (seq < firstUnacked) session.replies.delete(seq);
  }
}

function writeSessions(sessions: ReadonlyMap<number, Session>): ByteWriter {
  const writer = new ByteWriter();
  return writer.list([...sessions.values()], (session) => writeSession(writer, session));
}

function encodeSession(session: Session): Uint8Array {
  const writer = new ByteWriter();
  writeSession(writer, session);
  return writer.finish();
}

function writeSession(writer: ByteWriter, session: Session): void {
  writer.u64(session.id).u64(session.usedMs).u64(session.firstUnacked);
  const replies = [...session.replies].toSorted(([a], [b]) => a - b);
  writer.list(replies, ([seq, reply]) => {
    writer.u64(seq).bool(reply !== null);
    if (reply !== null) writer.blob(reply);
  });
}

function readSession(reader: ByteReader, limits: SessionLimits): Session {
  const id = reader.u64();
  const usedMs = reader.u64();
  const firstUnacked = reader.u64();
  const replies = reader.list(limits.sessionCallsMax, (): [number, Uint8Array | null] => {
    const seq = reader.u64();
    const isKept = reader.bool();
    return [seq, isKept ? reader.blob(limits.sessionReplyBytesMax).slice() : null];
  });
  return { id, usedMs, firstUnacked, replies: new Map(replies) };
}

export function encodeSessionCommand(command: SessionCommand): Uint8Array {
  const writer = new ByteWriter().u8(COMMANDS.indexOf(command.kind));
  if (command.kind === 'call') {
    writer.u64(command.session).u64(command.seq).u64(command.firstUnacked);
    writer.blob(command.payload);
  } else if (command.kind === 'close') {
    writer.u64(command.session);
  } else if (command.kind === 'plain') {
    writer.blob(command.payload);
  }
  return writer.finish();
}

/** The command of an entry, or null where the bytes are none. */
export function decodeSessionCommand(bytes: Uint8Array): SessionCommand | null {
  const reader = new ByteReader(bytes);
  const kind = COMMANDS[reader.u8()];
  if (kind === undefined) return null;
  const command = readCommand(reader, kind);
  return reader.isDone() ? command : null;
}

function readCommand(reader: ByteReader, kind: (typeof COMMANDS)[number]): SessionCommand {
  if (kind === 'open') return { kind };
  if (kind === 'close') return { kind, session: reader.u64() };
  if (kind === 'plain') return { kind, payload: reader.blob(RAFT_LIMITS.entryBytesMax) };
  return {
    kind,
    session: reader.u64(),
    seq: reader.u64(),
    firstUnacked: reader.u64(),
    payload: reader.blob(RAFT_LIMITS.entryBytesMax),
  };
}

export function encodeSessionReply(reply: SessionReply): Uint8Array {
  const writer = new ByteWriter().u8(REPLIES.indexOf(reply.kind));
  if (reply.kind === 'opened') writer.u64(reply.session);
  if (reply.kind === 'done') writer.blob(reply.payload);
  return writer.finish();
}

/** What a session machine answered, or null where the bytes are no answer. */
export function decodeSessionReply(bytes: Uint8Array): SessionReply | null {
  const reader = new ByteReader(bytes);
  const kind = REPLIES[reader.u8()];
  if (kind === undefined) return null;
  const reply: SessionReply =
    kind === 'opened'
      ? { kind, session: reader.u64() }
      : kind === 'done'
        ? { kind, payload: reader.blob(RAFT_LIMITS.snapshotBytesMax) }
        : { kind };
  return reader.isDone() ? reply : null;
}
