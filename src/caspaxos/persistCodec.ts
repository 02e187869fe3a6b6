/**
 * A persist as one record of the durable log. The decoder takes any bytes: the log has its own
 * checksums, yet what comes back is never trusted to fit.
 */

import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { compareBallots, isZeroBallot } from './ballot.ts';
import {
  readBallot,
  readControl,
  readKey,
  readRegister,
  writeBallot,
  writeControl,
  writeKey,
  writeRegister,
} from './codec.ts';
import type { Persist, SlotRecord } from './types.ts';

const VERSION = 1;

/** The bytes of `persist`. */
export function encodePersist(persist: Persist): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(VERSION).u64(persist.seq).u64(persist.epoch);
  writer.bool(persist.control !== null);
  if (persist.control !== null) writeControl(writer, persist.control);
  writer.list(persist.slots, (slot) => writeSlot(writer, slot));
  return writer.finish();
}

/** The persist of `bytes`, whose values are views of them; null if it is none. */
export function decodePersist(bytes: Uint8Array): Persist | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const persist: Persist = {
    seq: reader.u64(),
    epoch: reader.u64(),
    control: reader.bool() ? readControl(reader) : null,
    slots: reader.list(CASPAXOS_LIMITS.persistSlotsMax, () => readSlot(reader)),
  };
  const isControlGood = persist.control === null || persist.control.epoch <= persist.epoch;
  return reader.isDone() && persist.seq > 0 && isControlGood ? persist : null;
}

function writeSlot(writer: ByteWriter, { key, promised, accepted }: SlotRecord): void {
  writeKey(writer, key);
  writeBallot(writer, promised);
  writer.bool(accepted !== null);
  if (accepted === null) return;
  writeBallot(writer, accepted.ballot);
  writeRegister(writer, accepted.register);
}

function readSlot(reader: ByteReader): SlotRecord {
  const key = readKey(reader);
  const promised = readBallot(reader);
  const accepted = reader.bool()
    ? { ballot: readBallot(reader), register: readRegister(reader) }
    : null;
  const isAcceptedGood =
    accepted === null ||
    (!isZeroBallot(accepted.ballot) && compareBallots(accepted.ballot, promised) <= 0);
  if (isZeroBallot(promised) || !isAcceptedGood) reader.isBad = true;
  return { key, promised, accepted };
}
