/**
 * Commands and replies of the key-value machine as bytes. Decoders take any bytes and refuse what
 * is malformed; values are views of what was given.
 */

import { KV_LIMITS } from '../../base/groupLimits.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import type { Index } from '../../raft/types.ts';

export type KvCommand =
  /** A read through the log; `GroupMember.read` is the cheaper way. */
  | { readonly kind: 'get'; readonly key: string }
  | { readonly kind: 'put'; readonly key: string; readonly value: Uint8Array }
  /** Writes only over the version named; 0: only where nothing is. */
  | {
      readonly kind: 'cas';
      readonly key: string;
      readonly version: Index;
      readonly value: Uint8Array;
    }
  | { readonly kind: 'delete'; readonly key: string }
  /** Puts `value` behind what is there. */
  | { readonly kind: 'append'; readonly key: string; readonly value: Uint8Array };

/** A version is the log index of the write: higher is later, and none comes twice. */
export type KvReply =
  | { readonly kind: 'value'; readonly version: Index; readonly value: Uint8Array }
  | { readonly kind: 'missing' }
  | { readonly kind: 'stored'; readonly version: Index }
  /** What is there has this version; 0: nothing is. */
  | { readonly kind: 'conflict'; readonly version: Index }
  | { readonly kind: 'deleted' }
  /** The key is empty or too long, or the value would be too long. */
  | { readonly kind: 'tooLarge' }
  /** All pairs together would take too much. */
  | { readonly kind: 'full' }
  | { readonly kind: 'malformed' };

/** Places are numbers in the log: new ones go to the end. */
const COMMANDS = ['get', 'put', 'cas', 'delete', 'append'] as const;
const REPLIES = [
  'value',
  'missing',
  'stored',
  'conflict',
  'deleted',
  'tooLarge',
  'full',
  'malformed',
] as const;

export function encodeKvCommand(command: KvCommand): Uint8Array {
  const writer = new ByteWriter().u8(COMMANDS.indexOf(command.kind)).text(command.key);
  if (command.kind === 'cas') writer.u64(command.version);
  if ('value' in command) writer.blob(command.value);
  return writer.finish();
}

/** The command of `bytes`, or null where they are none. Too long is the machine's to say. */
export function decodeKvCommand(bytes: Uint8Array): KvCommand | null {
  const reader = new ByteReader(bytes);
  const kind = COMMANDS[reader.u8()];
  if (kind === undefined) return null;
  const key = reader.text(bytes.length);
  const command = readCommand(reader, kind, key, bytes.length);
  return reader.isDone() ? command : null;
}

function readCommand(
  reader: ByteReader,
  kind: (typeof COMMANDS)[number],
  key: string,
  bytesMax: number,
): KvCommand {
  switch (kind) {
    case 'get':
    case 'delete':
      return { kind, key };
    case 'cas':
      return { kind, key, version: reader.u64(), value: reader.blob(bytesMax) };
    case 'put':
    case 'append':
      return { kind, key, value: reader.blob(bytesMax) };
    default:
      return kind satisfies never;
  }
}

export function encodeKvReply(reply: KvReply): Uint8Array {
  const writer = new ByteWriter().u8(REPLIES.indexOf(reply.kind));
  if ('version' in reply) writer.u64(reply.version);
  if (reply.kind === 'value') writer.blob(reply.value);
  return writer.finish();
}

/** The reply of `bytes`, or null where they are none. */
export function decodeKvReply(bytes: Uint8Array): KvReply | null {
  const reader = new ByteReader(bytes);
  const kind = REPLIES[reader.u8()];
  if (kind === undefined) return null;
  const reply = readReply(reader, kind);
  return reader.isDone() ? reply : null;
}

function readReply(reader: ByteReader, kind: (typeof REPLIES)[number]): KvReply {
  if (kind === 'value') {
    return { kind, version: reader.u64(), value: reader.blob(KV_LIMITS.valueBytesMax) };
  }
  return kind === 'stored' || kind === 'conflict' ? { kind, version: reader.u64() } : { kind };
}
