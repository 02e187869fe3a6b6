/**
 * Errors in the client's dialect: whole bodies, in-band events of a stream that failed, and the
 * comment that keeps a quiet stream awake. Also which failure a client is told of for an error
 * that an upstream gave.
 */

import { encodeUtf8 } from '../base/bytes.ts';
import { ERRORS, failure, failureMessage, failureStatus, type Failure } from '../base/errors.ts';
import { unreachable } from '../base/assert.ts';
import type { UpstreamError } from './adapter.ts';
import type { Dialect } from './dialect.ts';

/** The body of a failed request, as JSON in `dialect`. */
export function renderFailure(dialect: Dialect, value: Failure, requestId: string): Uint8Array {
  return encodeUtf8(JSON.stringify(failureJson(dialect, value, requestId)));
}

/**
 * The last event of a stream that failed after its head. No `[DONE]` and no `message_stop` follows:
 * a client must not take the answer for whole.
 */
export function renderStreamFailure(
  dialect: Dialect,
  value: Failure,
  requestId: string,
): Uint8Array {
  const json = JSON.stringify(failureJson(dialect, value, requestId));
  return encodeUtf8(
    dialect === 'anthropic' ? `event: error\ndata: ${json}\n\n` : `data: ${json}\n\n`,
  );
}

const COMMENT = encodeUtf8(': keep-alive\n\n');
const PING = encodeUtf8('event: ping\ndata: {"type":"ping"}\n\n');

/** What keeps a stream awake while nothing is to be told. Shared bytes: do not write to them. */
export function keepAliveComment(dialect: Dialect): Uint8Array {
  return dialect === 'anthropic' ? PING : COMMENT;
}

/** The failure that a client is told of when an upstream's error ends its exchange. */
export function failureOfUpstream(error: UpstreamError): Failure {
  const wait = error.retryAfterMs === null ? {} : { retryAfterMs: error.retryAfterMs };
  switch (error.class) {
    case 'rate-limited':
      return failure('upstream_rate_limited', error.message, wait);
    case 'overloaded':
      return failure('upstream_failed', error.message, { ...wait, status: 503 });
    case 'server':
      return failure('upstream_failed', error.message, wait);
    case 'timeout':
      return failure('upstream_timeout', error.message, wait);
    case 'context-length':
      // The code that clients of OpenAI look for, whoever said so.
      return rejected(error, error.code ?? 'context_length_exceeded');
    case 'content-policy':
      return rejected(error, error.code ?? 'content_filter');
    case 'invalid-request':
      return rejected(error, error.code);
    case 'unauthorized':
      // The provider's words may quote the gateway's key: they are for the operator only.
      return failure('upstream_unauthorized');
    case 'model-missing':
      return failure('upstream_failed', 'The target does not have the model.');
    case 'misdirected':
      return failure('upstream_unreachable', error.message, wait);
    case 'different':
    case 'malformed':
      return failure('upstream_malformed', error.message);
    default:
      return unreachable(error.class);
  }
}

/** The client's own doing: status, words, code and field of the provider are passed on. */
function rejected(error: UpstreamError, code: string | null): Failure {
  return failure('upstream_rejected', error.message, {
    status: error.status >= 400 && error.status < 500 ? error.status : 400,
    ...(code === null ? {} : { providerCode: code }),
    ...(error.param === null ? {} : { param: error.param }),
  });
}

function failureJson(dialect: Dialect, value: Failure, requestId: string): object {
  const message = failureMessage(value);
  const status = failureStatus(value);
  const isPassedOn = value.status !== null;
  if (dialect === 'anthropic') {
    const type = isPassedOn ? anthropicTypeOf(status) : ERRORS[value.code].anthropicType;
    return { type: 'error', error: { type, message }, request_id: requestId };
  }
  return {
    error: {
      message,
      type: isPassedOn ? openaiTypeOf(status) : ERRORS[value.code].openaiType,
      code: value.providerCode ?? value.code,
      param: value.param,
    },
  };
}

/** Anthropic's error type of an HTTP status. */
export function anthropicTypeOf(status: number): string {
  switch (status) {
    case 401:
      return 'authentication_error';
    case 402:
      return 'billing_error';
    case 403:
      return 'permission_error';
    case 404:
      return 'not_found_error';
    case 413:
      return 'request_too_large';
    case 429:
      return 'rate_limit_error';
    case 504:
      return 'timeout_error';
    case 503:
    case 529:
      return 'overloaded_error';
    default:
      return status < 500 ? 'invalid_request_error' : 'api_error';
  }
}

/** OpenAI's error type of an HTTP status. */
export function openaiTypeOf(status: number): string {
  switch (status) {
    case 401:
      return 'authentication_error';
    case 403:
      return 'permission_error';
    case 404:
      return 'not_found_error';
    case 429:
      return 'rate_limit_error';
    default:
      return status < 500 ? 'invalid_request_error' : 'server_error';
  }
}
