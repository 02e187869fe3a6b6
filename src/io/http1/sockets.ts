/** What `node:net` does not offer by itself: adopting, breaking off, watching for stalls. */

import { Socket, type SocketConstructorOpts } from 'node:net';

import { READ_BUFFER } from './buffers.ts';

/** Takes bytes of a socket, borrowed until it returns. */
export type FeedBytes = (bytes: Buffer, start: number, end: number) => void;

/**
 * Reads an accepted plain socket through the one shared buffer. Node offers `onread` only for sockets
 * that it is asked to make, so a second socket takes over the accepted one's handle; where that is
 * not possible, bytes come by `data` events, which costs a buffer a read. `accepted` must not have
 * been read yet (`pauseOnConnect`).
 */
export function adoptSocket(accepted: Socket, feed: FeedBytes): Socket {
  // Undocumented properties of Node's sockets; where they are missing, `data` events serve.
  const handle: unknown = Reflect.get(accepted, '_handle');
  if (handle === undefined || handle === null) return feedByData(accepted, feed);
  Reflect.set(accepted, '_handle', null);
  const options: Omit<SocketConstructorOpts, 'handle'> & { readonly handle: unknown } = {
    handle,
    allowHalfOpen: true,
    onread: {
      buffer: READ_BUFFER,
      callback: (bytesRead: number): boolean => {
        feed(READ_BUFFER, 0, bytesRead);
        return true;
      },
    },
  };
  const socket: Socket = Reflect.construct(Socket, [options]);
  // The server counts its sockets down when they close.
  Reflect.set(socket, '_server', Reflect.get(accepted, '_server'));
  socket.resume();
  return socket;
}

/** Reads a socket by `data` events. */
export function feedByData(socket: Socket, feed: FeedBytes): Socket {
  socket.on('data', (bytes: Buffer) => feed(bytes, 0, bytes.length));
  return socket;
}

/** Closes with a reset, so that the other side cannot take it for an end; TLS just stops. */
export function abortSocket(socket: Socket): void {
  if (socket.destroyed) return;
  const isSecure = 'encrypted' in socket; // Closed without close_notify: a cut, for whoever looks.
  // A socket that has begun to shut down cannot be reset: libuv refuses, and its handle would leak.
  const isShutting = socket.writableEnded && socket.writableLength === 0;
  if (isSecure || isShutting || socket.connecting) {
    socket.destroy();
    return;
  }
  socket.resetAndDestroy();
}

/** Sees whether a socket that has bytes to write makes progress. */
export class StallWatch {
  readonly #socket: Socket;
  #sinceMs = -1;
  #seenBytes = 0;
  #writes = 0;
  #seenWrites = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** A write was taken by the kernel as a whole. */
  progress(): void {
    this.#writes += 1;
  }

  /** True once `pendingBytes` have waited for `stallMs` without a byte leaving. */
  isStalled(nowMs: number, pendingBytes: number, stallMs: number): boolean {
    if (pendingBytes === 0) {
      this.#sinceMs = -1;
      return false;
    }
    const queuedBytes = queuedBytesOf(this.#socket);
    const hasMoved = queuedBytes !== this.#seenBytes || this.#writes !== this.#seenWrites;
    this.#seenBytes = queuedBytes;
    this.#seenWrites = this.#writes;
    if (this.#sinceMs === -1 || hasMoved) {
      this.#sinceMs = nowMs;
      return false;
    }
    return nowMs - this.#sinceMs >= stallMs;
  }
}

/** Bytes of writes under way that the kernel has not taken; 0 where Node does not tell. */
function queuedBytesOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return 0;
  const bytes: unknown = Reflect.get(handle, 'writeQueueSize');
  return typeof bytes === 'number' ? bytes : 0;
}
