/**
 * Messages as bytes: one frame's payload each, in a fixed layout with a version in front. The
 * decoder takes any bytes: what is malformed, too long or of another version is refused (null), and
 * what it lets through keeps the form that the core asserts. The frame's checksum is the link's.
 */

import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { compareBallots, isZeroBallot } from './ballot.ts';
import {
  readBallot,
  readKey,
  readRegister,
  writeBallot,
  writeKey,
  writeRegister,
} from './codec.ts';
import { compareKeys } from './state.ts';
import { REFUSALS, type Body, type BodyOf, type Message, type MessageKind } from './types.ts';

const VERSION = 1;

/** A message's place here is its number on the wire: new kinds go to the end. */
const KINDS = [
  'prepare',
  'promise',
  'accept',
  'accepted',
  'query',
  'state',
  'refused',
  'scan',
  'page',
] as const satisfies readonly MessageKind[];

/** Those that are carried have numbers of their own, far behind those of the kinds. */
const CARRIED = ['prepare', 'accept'] as const;
const CARRIED_FROM = 128;

/** What a proposer sends. */
const ASKING: ReadonlySet<MessageKind> = new Set(['prepare', 'accept', 'query', 'scan']);

interface BodyCodec<Kind extends MessageKind> {
  readonly write: (writer: ByteWriter, body: BodyOf<Kind>) => void;
  readonly read: (reader: ByteReader) => Omit<BodyOf<Kind>, 'kind'>;
}

/** The bytes of `message`. */
export function encodeMessage(message: Message): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(VERSION).u8(numberOf(message));
  writer.text(message.cluster).u64(message.from).u64(message.to);
  writer.u64(message.incarnation).u64(message.epoch);
  const codec = CODECS[message.kind] as BodyCodec<MessageKind>;
  codec.write(writer, message);
  return writer.finish();
}

/** The message of `bytes`, whose values are views of them; null if it is none. */
export function decodeMessage(bytes: Uint8Array): Message | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const number = reader.u8();
  const carried = CARRIED[number - CARRIED_FROM];
  const kind = carried ?? KINDS[number];
  if (kind === undefined) return null;
  const cluster = reader.text(CASPAXOS_LIMITS.clusterCharsMax * 4);
  const from = reader.u64();
  const to = reader.u64();
  const incarnation = reader.u64();
  const epoch = reader.u64();
  const more = carried === undefined ? {} : { isCarried: true };
  const body = { kind, ...CODECS[kind].read(reader), ...more } as Body;
  if (!reader.isDone() || from === 0 || to === 0) return null;
  return isPlausible(epoch, body) ? { cluster, from, to, incarnation, epoch, ...body } : null;
}

function numberOf(message: Message): number {
  const { kind } = message;
  const isCarried = 'isCarried' in message && (kind === 'prepare' || kind === 'accept');
  return isCarried ? CARRIED_FROM + CARRIED.indexOf(kind) : KINDS.indexOf(kind);
}

/** What the core takes for granted of a peer that means well. */
function isPlausible(epoch: number, body: Body): boolean {
  if (isZeroBallot(body.ballot)) return false;
  // A round is of its epoch; whoever answers may have seen a newer one.
  if (ASKING.has(body.kind) ? body.ballot.epoch !== epoch : body.ballot.epoch > epoch) return false;
  if (body.kind === 'promise' || body.kind === 'state') {
    // Nothing accepted, nothing there; an absent register can be accepted too.
    return !isZeroBallot(body.accepted) || body.register.version === 0;
  }
  if (body.kind === 'accept') {
    return body.next.epoch === epoch && compareBallots(body.next, body.ballot) > 0;
  }
  if (body.kind !== 'page') return true;
  const { keys } = body;
  return keys.every((key, at) => {
    const before = keys[at - 1];
    return before === undefined || compareKeys(before, key) < 0;
  });
}

const KEYED: BodyCodec<'prepare'> = {
  write: (writer, { key, ballot }) => {
    writeKey(writer, key);
    writeBallot(writer, ballot);
  },
  read: (reader) => ({ key: readKey(reader), ballot: readBallot(reader) }),
};

const TOLD: BodyCodec<'promise'> = {
  write: (writer, body) => {
    KEYED.write(writer, { ...body, kind: 'prepare' });
    writeBallot(writer, body.accepted);
    writeRegister(writer, body.register);
  },
  read: (reader) => ({
    ...KEYED.read(reader),
    accepted: readBallot(reader),
    register: readRegister(reader),
  }),
};

const CODECS: { readonly [Kind in MessageKind]: BodyCodec<Kind> } = {
  prepare: KEYED,
  promise: TOLD,
  accept: {
    write: (writer, body) => {
      KEYED.write(writer, { ...body, kind: 'prepare' });
      writeRegister(writer, body.register);
      writeBallot(writer, body.next);
    },
    read: (reader) => ({
      ...KEYED.read(reader),
      register: readRegister(reader),
      next: readBallot(reader),
    }),
  },
  accepted: {
    write: (writer, body) => KEYED.write(writer, { ...body, kind: 'prepare' }),
    read: KEYED.read,
  },
  query: {
    write: (writer, body) => KEYED.write(writer, { ...body, kind: 'prepare' }),
    read: KEYED.read,
  },
  state: {
    write: (writer, body) => TOLD.write(writer, { ...body, kind: 'promise' }),
    read: TOLD.read,
  },
  refused: {
    write: (writer, body) => {
      KEYED.write(writer, { ...body, kind: 'prepare' });
      writer.u8(REFUSALS.indexOf(body.reason));
      writeBallot(writer, body.promised);
    },
    read: (reader) => {
      const keyed = KEYED.read(reader);
      const reason = REFUSALS[reader.u8()];
      if (reason === undefined) reader.isBad = true;
      return { ...keyed, reason: reason ?? 'ballot', promised: readBallot(reader) };
    },
  },
  scan: {
    write: (writer, body) => {
      writeBallot(writer, body.ballot);
      writer.bool(body.after !== null);
      if (body.after !== null) writeKey(writer, body.after);
    },
    read: (reader) => ({
      ballot: readBallot(reader),
      after: reader.bool() ? readKey(reader) : null,
    }),
  },
  page: {
    write: (writer, body) => {
      writeBallot(writer, body.ballot);
      writer.list(body.keys, (key) => writeKey(writer, key));
      writer.bool(body.isLast);
    },
    read: (reader) => ({
      ballot: readBallot(reader),
      keys: reader.list(CASPAXOS_LIMITS.scanKeysMax, () => readKey(reader)),
      isLast: reader.bool(),
    }),
  },
};
