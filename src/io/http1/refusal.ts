/** What the transport itself answers when a request never reaches the gateway. */

import { ERRORS, failureMessage, failureStatus, type Failure } from '../../base/errors.ts';
import { fieldLines, statusLine } from './fields.ts';

/** True for paths that Anthropic's clients call. */
export function isAnthropicPath(path: string): boolean {
  return isBelow(path, '/v1/messages') || isBelow(path, '/anthropic');
}

function isBelow(path: string, prefix: string): boolean {
  if (!path.startsWith(prefix)) return false;
  const next = path[prefix.length];
  return next === undefined || next === '/' || next === '?';
}

/** The whole response to a refused request, in the dialect of its path; the connection closes. */
export function refusalText(failure: Failure, path: string, dateLine: string): string {
  const entry = ERRORS[failure.code];
  const message = failureMessage(failure);
  const body = JSON.stringify(
    isAnthropicPath(path)
      ? { type: 'error', error: { type: entry.anthropicType, message } }
      : { error: { message, type: entry.openaiType, code: failure.code, param: failure.param } },
  );
  const retryAfter =
    failure.retryAfterMs === null
      ? ''
      : `retry-after: ${Math.max(1, Math.ceil(failure.retryAfterMs / 1000))}\r\n`;
  return (
    statusLine(failureStatus(failure)) +
    dateLine +
    fieldLines(['content-type', 'application/json'], false) +
    retryAfter +
    `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`
  );
}
