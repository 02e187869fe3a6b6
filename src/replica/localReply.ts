/** Answers that the gateway gives itself, without an exchange, and their records. */

import { encodeUtf8 } from '../base/bytes.ts';
import type { ClientReply, ClientRequest } from '../base/ports.ts';
import { isDrained } from '../regions/desired.ts';
import type { NodeConfig } from './config.ts';
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

/**
 * What load balancers look at: 503 moves them on to another region. A node of a drained region is
 * no less able to serve what comes all the same.
 */
export function sendReadiness(reply: ClientReply, isReady: boolean, config: NodeConfig): void {
  const isLeaving = isDrained(config.wishes, config.region);
  const text = isReady && isLeaving ? 'drained: an operator drained this region' : 'draining';
  const isGood = isReady && !isLeaving;
  sendText(reply, isGood ? 200 : 503, `${isGood ? 'ready' : text}\n`);
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
