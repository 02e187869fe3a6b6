/**
 * The client's side of an exchange: one head, then pieces, then one end, and how a failure is told
 * at each point. @hot
 */

import { encodeUtf8 } from '../base/bytes.ts';
import { failureStatus, type Failure } from '../base/errors.ts';
import type { HeaderList } from '../base/headers.ts';
import type { ClientReply } from '../base/ports.ts';
import type { ContinuationMode, UnaryAnswer } from '../protocol/adapter.ts';
import type { Dialect } from '../protocol/dialect.ts';
import { keepAliveComment, renderFailure, renderStreamFailure } from '../protocol/errorBody.ts';
import type { Place } from './place.ts';

/** The comment that tells that another place goes on with a stream. */
const CONTINUED = 'x-banyan-continued';

/** What is sent to one client. */
export class ClientSide {
  hasHead = false;
  status = 0;
  sentBytes = 0;
  /** Clock.nowMs() of the last piece that was sent. */
  lastSentMs: number;
  private readonly reply: ClientReply;
  private readonly dialect: Dialect;

  constructor(reply: ClientReply, dialect: Dialect, nowMs: number) {
    this.reply = reply;
    this.dialect = dialect;
    this.lastSentMs = nowMs;
  }

  /** The head of a stream. `headers` is added to. */
  streamHead(headers: string[]): void {
    this.hasHead = true;
    this.status = 200;
    headers.push('content-type', 'text/event-stream; charset=utf-8');
    headers.push('cache-control', 'no-cache', 'x-accel-buffering', 'no');
    this.reply.head(200, headers, { kind: 'stream' });
  }

  /** A piece of a stream. False: the client is slow. */
  send(bytes: Uint8Array, nowMs: number): boolean {
    this.sentBytes += bytes.length;
    this.lastSentMs = nowMs;
    return this.reply.write(bytes);
  }

  /** A comment that keeps the connection awake. */
  comment(nowMs: number): void {
    this.lastSentMs = nowMs;
    this.reply.write(keepAliveComment(this.dialect));
  }

  /** `place` goes on with the answer from here, as a comment: the head went out long before. */
  continued(mode: ContinuationMode, { kind, name }: Place): void {
    this.reply.write(encodeUtf8(`: ${CONTINUED} ${mode} ${kind}=${name}\n\n`));
  }

  /** What the exchange went through, as a comment: no client takes it for a part of the answer. */
  metadata(json: string | null): void {
    if (json !== null) this.reply.write(encodeUtf8(`: banyan-metadata ${json}\n\n`));
  }

  /** A whole answer. `headers` is added to. */
  whole(answer: UnaryAnswer, headers: string[]): void {
    this.hasHead = true;
    this.status = 200;
    this.sentBytes = answer.body.length;
    for (const text of answer.headers) headers.push(text);
    headers.push('content-type', 'application/json');
    this.reply.head(200, headers, { kind: 'length', bytes: answer.body.length });
    this.reply.end(answer.body);
  }

  /** The clean end of a stream. */
  end(): void {
    this.reply.end();
  }

  /** A failure: as a response, or as an event and an aborted connection once the head is out. */
  fail(told: Failure, requestId: string, headers: () => string[]): void {
    if (this.hasHead) {
      this.reply.write(renderStreamFailure(this.dialect, told, requestId));
      this.reply.abort();
      return;
    }
    this.status = failureStatus(told);
    sendFailure(this.reply, this.dialect, told, requestId, headers());
  }
}

/** Answers a failure before any head was sent, in the client's dialect. */
export function sendFailure(
  reply: ClientReply,
  dialect: Dialect,
  told: Failure,
  requestId: string,
  headers: readonly string[],
): void {
  const body = renderFailure(dialect, told, requestId);
  const all: string[] = [...headers, 'content-type', 'application/json'];
  if (told.retryAfterMs !== null) {
    all.push('retry-after', String(Math.max(1, Math.ceil(told.retryAfterMs / 1000))));
  }
  const list: HeaderList = all;
  reply.head(failureStatus(told), list, { kind: 'length', bytes: body.length });
  reply.end(body);
}
