/** Answers that the gateway gives itself, without an exchange, and their records. */

import { encodeUtf8 } from '../base/bytes.ts';
import type { ClientReply, ClientRequest } from '../base/ports.ts';
import type { ExchangeRecord } from './observer.ts';

/** The record of a request that was answered without an attempt. */
export function localRecord(
  request: ClientRequest,
  requestId: string,
  operation: ExchangeRecord['operation'],
  nowMs: number,
  more: { model?: string; keyName?: string },
): ExchangeRecord {
  const totalMs = nowMs - request.receivedMs;
  return {
    requestId,
    operation,
    model: more.model ?? '',
    modelServed: '',
    keyName: more.keyName ?? '',
    isStream: false,
    end: 'refused',
    status: 0,
    errorCode: null,
    providerKind: '',
    target: '',
    servedRegion: '',
    forwardedFrom: request.forwardedFrom ?? '',
    attempts: 0,
    tries: [],
    hedge: null,
    usage: null,
    outracedUsage: null,
    totalMs,
    firstContentMs: null,
    overheadMs: totalMs,
    requestBytes: request.body.length,
    responseBytes: 0,
    trace: [],
  };
}

/** A short text, never kept by a cache. */
export function sendText(reply: ClientReply, status: number, text: string): void {
  const body = encodeUtf8(text);
  const headers = ['content-type', 'text/plain; charset=utf-8', 'cache-control', 'no-store'];
  reply.head(status, headers, { kind: 'length', bytes: body.length });
  reply.end(body);
}

/** A whole JSON body with status 200. */
export function sendJson(reply: ClientReply, body: Uint8Array, fields: readonly string[]): void {
  const headers = [...fields, 'content-type', 'application/json'];
  reply.head(200, headers, { kind: 'length', bytes: body.length });
  reply.end(body);
}

/** Client text inside a message: bounded. */
export function clip(text: string): string {
  return text.length <= 128 ? text : `${text.slice(0, 128)}…`;
}
