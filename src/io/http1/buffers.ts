/**
 * Memory of connections: one read buffer for all of them (a read is handled before the next one
 * happens), and blocks for staged output. @hot
 */

import type { Socket } from 'node:net';

import { HTTP_LIMITS } from '../../base/limits.ts';
import { holdBytes, releaseBytes } from './bodies.ts';

/** Every socket reads into this; what is kept beyond the callback is copied. */
export const READ_BUFFER: Buffer = Buffer.allocUnsafeSlow(HTTP_LIMITS.readBufferBytes);

const BLOCK_BYTES = HTTP_LIMITS.writeBlockBytes;
/** Pieces of a message up to this are copied next to their neighbours. */
const COPIED_BYTES_MAX = 4 * 1024;
const FREE_BLOCKS_MAX = 256;
const freeBlocks: Buffer[] = [];

function takeBlock(): Buffer {
  return freeBlocks.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
}

function giveBlock(block: Buffer): void {
  if (freeBlocks.length < FREE_BLOCKS_MAX) freeBlocks.push(block);
}

/** Room for a read of a stream with its frame, used for one write after another. */
const LARGE_BYTES = HTTP_LIMITS.readBufferBytes + 2 * BLOCK_BYTES;
let freeLarge: Buffer | null = null;

function takeLarge(bytes: number): Buffer {
  if (bytes > LARGE_BYTES) return Buffer.allocUnsafeSlow(bytes);
  const large = freeLarge ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
  freeLarge = null;
  return large;
}

function giveLarge(large: Buffer): void {
  if (large.length === LARGE_BYTES) freeLarge = large;
}

/**
 * Writers with staged bytes, flushed once all sockets that were ready have been read. A write wakes
 * the peer, and waking one that sleeps costs more than the write: written together, they find it
 * awake. An answer waits for the other events of its turn of the loop, never for another turn.
 */
let staged: SocketWriter[] = [];
let spare: SocketWriter[] = [];

/** Hands to the sockets what all writers have staged. */
export function flushStaged(): void {
  const writers = staged;
  staged = spare;
  spare = writers;
  for (let index = 0; index < writers.length; index += 1) writers[index]?.flush();
  writers.length = 0;
}

/**
 * Output of one socket. Pieces are copied into a block and go out together: with `flush`, when the
 * block is full, or at the end of the current turn of the event loop, whichever comes first.
 */
export class SocketWriter {
  readonly #socket: Socket;
  readonly #onWritten: () => void;
  #block: Buffer | null = null;
  #used = 0;
  #isStaged = false;
  /** The kernel refused a write at once: no byte of it left. */
  isRefused = false;

  /** `onWritten` is called, later, whenever the socket has taken a write. */
  constructor(socket: Socket, onWritten: () => void) {
    this.#socket = socket;
    this.#onWritten = onWritten;
  }

  /** Bytes that were not handed to the socket yet. */
  get stagedBytes(): number {
    return this.#used;
  }

  /** Bytes that the kernel has not taken yet. */
  get pendingBytes(): number {
    return this.#used + this.#socket.writableLength;
  }

  /** Stages `prefix`, `chunk`, `suffix`; the texts are Latin-1, the chunk is copied. */
  push(prefix: string, chunk: Uint8Array | null, suffix: string): void {
    const bytes = prefix.length + (chunk === null ? 0 : chunk.length) + suffix.length;
    if (bytes > BLOCK_BYTES - this.#used) {
      if (bytes > BLOCK_BYTES) {
        this.#pushLarge(bytes, prefix, chunk, suffix);
        return;
      }
      this.flush();
    }
    this.#block ??= takeBlock();
    this.#used = fill(this.#block, this.#used, prefix, chunk, suffix);
    this.#stage();
  }

  /**
   * Sends `prefix`, `chunk` and `rest` in one system call. Small messages are staged; of others the
   * large pieces leave at once and are not copied: they are held until they are written.
   */
  pushMessage(prefix: string, chunk: Uint8Array, rest: readonly Uint8Array[]): void {
    if (rest.length === 0 && prefix.length + chunk.length <= BLOCK_BYTES) {
      this.push(prefix, chunk, '');
      return;
    }
    this.#socket.cork();
    this.push(prefix, null, '');
    this.#pushPiece(chunk);
    for (const piece of rest) this.#pushPiece(piece);
    this.flush();
    this.#socket.uncork();
  }

  #pushPiece(piece: Uint8Array): void {
    if (piece.length <= COPIED_BYTES_MAX) {
      this.push('', piece, '');
      return;
    }
    this.flush();
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return;
    holdBytes(piece);
    socket.write(Buffer.from(piece.buffer, piece.byteOffset, piece.length), () => {
      releaseBytes(piece);
      this.#onWritten();
    });
  }

  #stage(): void {
    if (this.#isStaged) return;
    this.#isStaged = true;
    if (staged.push(this) === 1) setImmediate(flushStaged);
  }

  /** A piece over a block's size leaves at once, in one write with what was staged before it. */
  #pushLarge(bytes: number, prefix: string, chunk: Uint8Array | null, suffix: string): void {
    const length = this.#used + bytes;
    const out = takeLarge(length);
    if (this.#block !== null) this.#block.copy(out, 0, 0, this.#used);
    fill(out, this.#used, prefix, chunk, suffix);
    this.#release();
    // What the kernel has taken as a whole is nobody's any more.
    if (this.#write(out.subarray(0, length))) giveLarge(out);
  }

  /** Hands what is staged to the socket. */
  flush(): void {
    this.#isStaged = false;
    const block = this.#block;
    if (block === null) return;
    this.#block = null;
    const used = this.#used;
    this.#used = 0;
    const socket = this.#socket;
    const bytes = block.subarray(0, used);
    if (socket.writableLength > 0 || socket.writableCorked > 0) {
      socket.write(bytes, () => {
        giveBlock(block);
        this.#onWritten();
      });
    } else if (this.#write(bytes)) giveBlock(block); // Taken in one go: the block is free again.
  }

  /** Forgets what is staged. */
  discard(): void {
    this.#release();
  }

  #release(): void {
    if (this.#block !== null) giveBlock(this.#block);
    this.#block = null;
    this.#used = 0;
  }

  #write(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return true;
    const isFirst = socket.writableLength === 0;
    socket.write(bytes, this.#onWritten);
    if (isFirst && socket.errored !== null) this.isRefused = true;
    return socket.writableLength === 0;
  }
}

function fill(
  out: Buffer,
  from: number,
  prefix: string,
  chunk: Uint8Array | null,
  suffix: string,
): number {
  let at = from;
  if (prefix !== '') at += out.write(prefix, at, 'latin1');
  if (chunk !== null) {
    out.set(chunk, at);
    at += chunk.length;
  }
  if (suffix !== '') at += out.write(suffix, at, 'latin1');
  return at;
}
