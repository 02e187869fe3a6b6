/**
 * Commands and replies as bytes. Canonical: equal values have equal bytes. Decoders take any bytes
 * and give null where they are malformed; whether a well-formed command may run is `checkCommand`'s.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { readAudit, readItem, writeAudit, writeItem } from './parts.ts';
import {
  CONTROL_ERRORS,
  NUMBER_FIELDS,
  RELATIONS,
  type Compare,
  type ControlCommand,
  type ControlReply,
  type Operation,
  type OperationResult,
} from './types.ts';

const VERSION = 1;
const COMMANDS = ['transaction', 'compact'] as const;
const COMPARES = ['absent', 'number', 'value'] as const;
const OPERATIONS = ['put', 'delete', 'range'] as const;
const REPLIES = ['done', 'compacted', 'refused'] as const;
/**
 * Commands over a limit are decoded, so that the refusal can say which one, but not without end:
 * an entry of the log is bounded, and so are these.
 */
const LIST_MAX = 4_096;
const TEXT_BYTES_MAX = 4_096;

export function encodeCommand(command: ControlCommand): Uint8Array {
  const writer = new ByteWriter().u8(VERSION).u8(COMMANDS.indexOf(command.kind));
  if (command.kind === 'compact') return writer.u64(command.revision).finish();
  writeAudit(writer, command.audit);
  writer.list(command.compares, (compare) => writeCompare(writer, compare));
  writer.list(command.success, (operation) => writeOperation(writer, operation));
  writer.list(command.failure, (operation) => writeOperation(writer, operation));
  return writer.finish();
}

export function decodeCommand(bytes: Uint8Array): ControlCommand | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const kind = COMMANDS[reader.u8()];
  if (kind === undefined) return null;
  const command: ControlCommand =
    kind === 'compact'
      ? { kind, revision: reader.u64() }
      : {
          kind,
          audit: readAudit(reader),
          compares: reader.list(LIST_MAX, () => readCompare(reader)),
          success: reader.list(LIST_MAX, () => readOperation(reader)),
          failure: reader.list(LIST_MAX, () => readOperation(reader)),
        };
  return reader.isDone() ? command : null;
}

function writeCompare(writer: ByteWriter, compare: Compare): void {
  writer.u8(COMPARES.indexOf(compare.kind)).text(compare.key);
  if (compare.kind === 'value') writer.blob(compare.value);
  if (compare.kind !== 'number') return;
  writer.u8(NUMBER_FIELDS.indexOf(compare.field)).u8(RELATIONS.indexOf(compare.relation));
  writer.u64(compare.number);
}

function readCompare(reader: ByteReader): Compare {
  const kind = readOneOf(reader, COMPARES);
  const key = reader.text(TEXT_BYTES_MAX);
  if (kind === 'absent') return { kind, key };
  if (kind === 'value') return { kind, key, value: readBytes(reader) };
  const field = readOneOf(reader, NUMBER_FIELDS);
  return { kind, key, field, relation: readOneOf(reader, RELATIONS), number: reader.u64() };
}

function writeOperation(writer: ByteWriter, operation: Operation): void {
  writer.u8(OPERATIONS.indexOf(operation.kind));
  if (operation.kind === 'range') {
    writer.text(operation.prefix).text(operation.after).u32(operation.keysMax);
    return;
  }
  writer.text(operation.key);
  if (operation.kind === 'put') writer.text(operation.type).blob(operation.value);
}

function readOperation(reader: ByteReader): Operation {
  const kind = readOneOf(reader, OPERATIONS);
  if (kind === 'range') {
    const prefix = reader.text(TEXT_BYTES_MAX);
    return { kind, prefix, after: reader.text(TEXT_BYTES_MAX), keysMax: reader.u32() };
  }
  const key = reader.text(TEXT_BYTES_MAX);
  if (kind === 'delete') return { kind, key };
  return { kind, key, type: reader.text(TEXT_BYTES_MAX), value: readBytes(reader) };
}

/** A copy: an entry of the log is not kept in memory for the sake of one value in it. */
function readBytes(reader: ByteReader): Uint8Array {
  return reader.blob(CONTROL_LIMITS.stateBytesMax).slice();
}

function readOneOf<T>(reader: ByteReader, list: readonly [T, ...T[]]): T {
  const value = list[reader.u8()];
  if (value === undefined) reader.isBad = true;
  return value ?? list[0];
}

export function encodeReply(reply: ControlReply): Uint8Array {
  const writer = new ByteWriter().u8(VERSION).u8(REPLIES.indexOf(reply.kind));
  if (reply.kind === 'refused') return writer.u8(CONTROL_ERRORS.indexOf(reply.error)).finish();
  if (reply.kind === 'compacted') return writer.u64(reply.oldest).finish();
  writer.bool(reply.isSuccess).u64(reply.revision);
  return writer.list(reply.results, (result) => writeResult(writer, result)).finish();
}

export function decodeReply(bytes: Uint8Array): ControlReply | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const kind = REPLIES[reader.u8()];
  if (kind === undefined) return null;
  const reply = readReply(reader, kind);
  return reader.isDone() ? reply : null;
}

function readReply(reader: ByteReader, kind: (typeof REPLIES)[number]): ControlReply {
  if (kind === 'refused') return { kind, error: readOneOf(reader, CONTROL_ERRORS) };
  if (kind === 'compacted') return { kind, oldest: reader.u64() };
  const isSuccess = reader.bool();
  const revision = reader.u64();
  const results = reader.list(CONTROL_LIMITS.operationsMax, () => readResult(reader));
  return { kind, isSuccess, revision, results };
}

function writeResult(writer: ByteWriter, result: OperationResult): void {
  writer.u8(OPERATIONS.indexOf(result.kind));
  if (result.kind === 'put') writer.u64(result.version);
  if (result.kind === 'delete') writer.bool(result.isFound);
  if (result.kind !== 'range') return;
  writer.list(result.items, (item) => writeItem(writer, item));
  writer.bool(result.next !== null);
  if (result.next !== null) writer.text(result.next);
}

function readResult(reader: ByteReader): OperationResult {
  const kind = readOneOf(reader, OPERATIONS);
  if (kind === 'put') return { kind, version: reader.u64() };
  if (kind === 'delete') return { kind, isFound: reader.bool() };
  const items = reader.list(CONTROL_LIMITS.rangeKeysMax, () => readItem(reader));
  const hasNext = reader.bool();
  return { kind, items, next: hasNext ? reader.text(CONTROL_LIMITS.keyCharsMax) : null };
}
