/**
 * The response side of one request (`ClientReply`): head, body framing, end or abort. Calls after
 * the client has gone do nothing; calls out of order are bugs. @hot
 *
 * R1: a body leaves with exactly the bytes that its head announced, or the connection is broken off.
 * R2: an abort never looks like an end: a chunked body lacks its last chunk, one with a length lacks
 *     bytes, anything else is reset. What was written before (an error event) is still delivered
 *     where the framing allows; a reset would throw it away in the kernel.
 */

import { assert } from '../../base/assert.ts';
import type { HeaderList } from '../../base/headers.ts';
import type { BodyFraming, ClientReply } from '../../base/ports.ts';
import type { SocketWriter } from './buffers.ts';
import { fieldLines, statusLine } from './fields.ts';

/** What a reply needs of its connection. */
export interface ReplyHost {
  readonly writer: SocketWriter;
  readonly writeHighWaterBytes: number;
  /** The client asked for the head only. */
  readonly isHeadRequest: boolean;
  /** HTTP/1.0 knows no chunks: its bodies of unknown length end with the connection. */
  readonly knowsChunks: boolean;
  dateLine(): string;
  /** Asked once, when the head is written: may the connection live on? */
  keepsAlive(): boolean;
  /** The write buffer is over high water. */
  blocked(): void;
  /** The response is complete. */
  replyEnded(): void;
  /**
   * The response is broken off. `isCutVisible`: the framing tells the client that bytes are missing,
   * so that what was written may still be delivered; else only a reset tells it.
   */
  replyAborted(isCutVisible: boolean): void;
}

const STAGE = { fresh: 0, body: 1, over: 2 } as const;
const BODY = { none: 0, length: 1, chunked: 2, close: 3 } as const;

export class Reply implements ClientReply {
  #host: ReplyHost | null;
  #stage: number = STAGE.fresh;
  #body: number = BODY.none;
  #leftBytes = 0;

  constructor(host: ReplyHost) {
    this.#host = host;
  }

  head(status: number, headers: HeaderList, framing: BodyFraming): void {
    const host = this.#host;
    if (host === null) return;
    assert(this.#stage === STAGE.fresh, 'a response has one head');
    this.#stage = STAGE.body;
    let text = statusLine(status) + host.dateLine() + fieldLines(headers, false);
    let isClosing = !host.keepsAlive();
    if (status === 204 || status === 304) {
      this.#body = BODY.none;
    } else if (framing.kind === 'length') {
      this.#body = host.isHeadRequest ? BODY.none : BODY.length;
      this.#leftBytes = framing.bytes;
      text += `content-length: ${framing.bytes}\r\n`;
    } else if (host.knowsChunks) {
      this.#body = host.isHeadRequest ? BODY.none : BODY.chunked;
      text += 'transfer-encoding: chunked\r\n';
    } else {
      this.#body = host.isHeadRequest ? BODY.none : BODY.close;
      isClosing = true;
    }
    if (isClosing) text += 'connection: close\r\n';
    host.writer.push(text, null, '\r\n');
  }

  write(chunk: Uint8Array): boolean {
    const host = this.#host;
    if (host === null) return true;
    assert(this.#stage === STAGE.body, 'a body follows its head');
    this.#piece(host, chunk, '');
    if (host.writer.pendingBytes <= host.writeHighWaterBytes) return true;
    host.blocked();
    return false;
  }

  /** Frames one piece; `tail` follows it. */
  #piece(host: ReplyHost, chunk: Uint8Array, tail: string): void {
    const bytes = chunk.length;
    if (bytes === 0) {
      if (tail !== '') host.writer.push(tail, null, '');
      return;
    }
    switch (this.#body) {
      case BODY.chunked:
        host.writer.push(`${bytes.toString(16)}\r\n`, chunk, `\r\n${tail}`);
        break;
      case BODY.length:
        assert(bytes <= this.#leftBytes, 'a body is no longer than its head says');
        this.#leftBytes -= bytes;
        host.writer.push('', chunk, '');
        break;
      case BODY.close:
        host.writer.push('', chunk, '');
        break;
      default:
        break; // The answer to HEAD, a 204 or a 304: the body is the caller's business only.
    }
  }

  end(last?: Uint8Array): void {
    const host = this.#host;
    if (host === null) return;
    assert(this.#stage === STAGE.body, 'a body ends after its head');
    const tail = this.#body === BODY.chunked ? '0\r\n\r\n' : '';
    if (last !== undefined) this.#piece(host, last, tail);
    else if (tail !== '') host.writer.push(tail, null, '');
    if (this.#body === BODY.length && this.#leftBytes > 0) {
      this.abort(); // R1: the client must not take a short body for the whole.
      return;
    }
    this.detach();
    host.replyEnded();
  }

  abort(): void {
    const host = this.#host;
    if (host === null) return;
    const isChunked = this.#body === BODY.chunked;
    const isShort = this.#body === BODY.length && this.#leftBytes > 0;
    this.detach();
    host.replyAborted(isChunked || isShort);
  }

  /** Cuts the reply off from its connection: whatever comes is ignored. */
  detach(): void {
    this.#host = null;
    this.#stage = STAGE.over;
  }
}
