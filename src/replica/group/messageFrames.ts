/** Messages in a stream of bytes: a length of 4 bytes (little-endian), then the message. @hot */

import { GROUP_LIMITS } from '../../base/groupLimits.ts';

const HEAD_BYTES = 4;

/** `messages` as one piece of the stream. */
export function frameMessages(messages: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const message of messages) length += HEAD_BYTES + message.length;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const message of messages) {
    view.setUint32(at, message.length, true);
    bytes.set(message, at + HEAD_BYTES);
    at += HEAD_BYTES + message.length;
  }
  return bytes;
}

/** Puts the messages of a stream together again. Each is a copy of its own. */
export class MessageAssembler {
  readonly #onMessage: (bytes: Uint8Array) => void;
  readonly #head = new Uint8Array(HEAD_BYTES);
  #message: Uint8Array | null = null;
  /** Bytes of the head, or of the message, that have come. */
  #filled = 0;

  constructor(onMessage: (bytes: Uint8Array) => void) {
    this.#onMessage = onMessage;
  }

  /** Takes a piece, borrowed. False: a message is longer than any may be; nothing more is taken. */
  take(piece: Uint8Array): boolean {
    let at = 0;
    while (at < piece.length) {
      const into = this.#message ?? this.#head;
      const count = Math.min(into.length - this.#filled, piece.length - at);
      into.set(piece.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === into.length && !this.#next()) return false;
    }
    return true;
  }

  /** The head or the message is whole. */
  #next(): boolean {
    const message = this.#message;
    if (message === null) {
      const length = new DataView(this.#head.buffer).getUint32(0, true);
      if (length === 0 || length > GROUP_LIMITS.messageBytesMax) return false;
      this.#message = new Uint8Array(length);
    } else {
      this.#message = null;
      this.#onMessage(message);
    }
    this.#filled = 0;
    return true;
  }
}
