/**
 * Bytes of what is both stored and sent, and of the control state that the Raft log holds.
 * Canonical: equal values have equal bytes. Decoders take any bytes and refuse what is malformed.
 */

import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { isWellFormedControl } from './control.ts';
import type { Acceptor, Ballot, Control, Key, Register } from './types.ts';

const CONTROL_VERSION = 1;

export function writeBallot(writer: ByteWriter, ballot: Ballot): void {
  writer.u64(ballot.epoch).u64(ballot.counter).u64(ballot.proposer);
}

export function readBallot(reader: ByteReader): Ballot {
  const ballot = { epoch: reader.u64(), counter: reader.u64(), proposer: reader.u64() };
  // All begin with 1; all are 0 in the zero ballot.
  const isZero = ballot.counter === 0;
  if ((ballot.epoch === 0) !== isZero || (ballot.proposer === 0) !== isZero) reader.isBad = true;
  return ballot;
}

export function writeKey(writer: ByteWriter, key: Key): void {
  writer.u64(key.bucket).text(key.name);
}

export function readKey(reader: ByteReader): Key {
  const key = { bucket: reader.u64(), name: reader.text(CASPAXOS_LIMITS.keyNameBytesMax) };
  if (key.name === '') reader.isBad = true;
  return key;
}

export function writeRegister(writer: ByteWriter, register: Register): void {
  writer.u64(register.version).blob(register.value);
  writer.list(register.recent, (id) => writer.text(id));
}

/** The value is a view of the bytes. */
export function readRegister(reader: ByteReader): Register {
  const { valueBytesMax, recentMax, requestIdBytesMax } = CASPAXOS_LIMITS;
  const version = reader.u64();
  const value = reader.blob(valueBytesMax);
  const recent = reader.list(recentMax, () => reader.text(requestIdBytesMax));
  const isAbsentGood = version > 0 || value.length === 0;
  const isRingGood = recent.length === Math.min(version, recentMax) && !recent.includes('');
  if (!isAbsentGood || !isRingGood) reader.isBad = true;
  return { version, value, recent };
}

/** The control state as the Raft log's state machine keeps it. */
export function encodeControl(control: Control): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(CONTROL_VERSION);
  writeControl(writer, control);
  return writer.finish();
}

/** The control state of `bytes`, or null where they are none. */
export function decodeControl(bytes: Uint8Array): Control | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== CONTROL_VERSION) return null;
  const control = readControl(reader);
  return reader.isDone() ? control : null;
}

export function writeControl(writer: ByteWriter, control: Control): void {
  const acceptors = (list: readonly Acceptor[]): void => {
    writer.list(list, (one) => writer.u64(one.id).u64(one.incarnation));
  };
  writer.u64(control.index).u64(control.epoch);
  acceptors(control.acceptors);
  acceptors(control.acceptorsNext);
  writer.u64(control.floor).u64(control.openTo);
  writer.list(control.closed, (bucket) => writer.u64(bucket));
}

export function readControl(reader: ByteReader): Control {
  const { acceptorsMax, bucketsMax } = CASPAXOS_LIMITS;
  const acceptors = (): readonly Acceptor[] =>
    reader.list(acceptorsMax, () => ({ id: reader.u64(), incarnation: reader.u64() }));
  const control: Control = {
    index: reader.u64(),
    epoch: reader.u64(),
    acceptors: acceptors(),
    acceptorsNext: acceptors(),
    floor: reader.u64(),
    openTo: reader.u64(),
    closed: reader.list(bucketsMax, () => reader.u64()),
  };
  if (!isWellFormedControl(control)) reader.isBad = true;
  return control;
}
