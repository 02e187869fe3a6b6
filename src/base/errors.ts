/**
 * The catalogue of errors: every failure that a client or an operator can be told, with its code,
 * HTTP status, whether it is definite (the request certainly did not take effect), one sentence and
 * what to do. `docs/reference/errors.md` is held against it both ways by a test.
 *
 * `type` is the error's class in each dialect; the dialect's codec writes the body.
 */

/** One entry of the catalogue. */
export interface ErrorEntry {
  readonly status: number;
  /** True: the request certainly had no effect, so that repeating it is safe. */
  readonly definite: boolean;
  /** `error.type` in the OpenAI dialect. */
  readonly openaiType: string;
  /** `error.type` in the Anthropic dialect. */
  readonly anthropicType: string;
  /** One sentence for the client; details are appended by the place that knows them. */
  readonly sentence: string;
  /** What the client or the operator can do. */
  readonly action: string;
}

function entry(
  status: number,
  definite: boolean,
  openaiType: string,
  anthropicType: string,
  sentence: string,
  action: string,
): ErrorEntry {
  return { status, definite, openaiType, anthropicType, sentence, action };
}

const INVALID = ['invalid_request_error', 'invalid_request_error'] as const;
const AUTH = ['authentication_error', 'authentication_error'] as const;
const DENIED = ['permission_error', 'permission_error'] as const;
const MISSING = ['not_found_error', 'not_found_error'] as const;
const RATE = ['rate_limit_error', 'rate_limit_error'] as const;
const BUSY = ['server_error', 'overloaded_error'] as const;
const SERVER = ['server_error', 'api_error'] as const;
const TIMEOUT = ['server_error', 'timeout_error'] as const;

/** Every error by its code. Codes are stable: clients may match on them. */
export const ERRORS = {
  invalid_json: entry(
    400,
    true,
    ...INVALID,
    'The body is not valid JSON.',
    'Send one JSON object in UTF-8.',
  ),
  invalid_request: entry(
    400,
    true,
    ...INVALID,
    'The request is malformed.',
    'Correct the field that the message names.',
  ),
  body_too_large: entry(
    413,
    true,
    ...INVALID,
    'The body is larger than this gateway accepts.',
    'Send a smaller body or raise limits.requestBodyBytesMax.',
  ),
  headers_too_large: entry(
    431,
    true,
    ...INVALID,
    'The header section is larger than this gateway accepts.',
    'Send fewer or shorter header fields.',
  ),
  bad_http: entry(
    400,
    true,
    ...INVALID,
    'The request is not HTTP/1.1 that this gateway accepts.',
    'Correct the client or the proxy in front of it.',
  ),
  request_timeout: entry(
    408,
    true,
    ...INVALID,
    'The request did not arrive in time.',
    'Send the whole request without long pauses.',
  ),
  missing_key: entry(
    401,
    true,
    ...AUTH,
    'No API key was presented.',
    'Send Authorization: Bearer KEY or x-api-key: KEY.',
  ),
  unknown_key: entry(
    401,
    true,
    ...AUTH,
    'The API key is not known here.',
    'Check the key, or create one.',
  ),
  model_not_allowed: entry(
    403,
    true,
    ...DENIED,
    'This API key may not use that model.',
    'Ask for the model to be added to the key.',
  ),
  residency_refused: entry(
    403,
    true,
    ...DENIED,
    'No region may serve this API key.',
    "Operator: give a region one of the key's labels (banyan region set), or change them (banyan keys set).",
  ),
  residency_unavailable: entry(
    503,
    true,
    ...BUSY,
    'No region that may serve this API key can take the request.',
    'Retry as Retry-After says; operator: banyan get regions.',
  ),
  residency_elsewhere: entry(
    421,
    true,
    ...INVALID,
    'This region may not serve this API key.',
    'Told to another region only, which asks elsewhere.',
  ),
  model_not_found: entry(
    404,
    true,
    ...MISSING,
    'No such model is configured.',
    'GET /v1/models lists the models of this key.',
  ),
  not_found: entry(404, true, ...MISSING, 'No such path.', 'Check the base URL and the path.'),
  method_not_allowed: entry(
    405,
    true,
    ...INVALID,
    'The path does not take that method.',
    'The Allow header names those that it takes.',
  ),
  unsupported_media_type: entry(
    415,
    true,
    ...INVALID,
    'The content type is not JSON.',
    'Send Content-Type: application/json.',
  ),
  unsupported_feature: entry(
    400,
    true,
    ...INVALID,
    'No target of this model can do what the request asks.',
    'Drop the field that the message names, or configure a target that takes it.',
  ),
  rate_limited: entry(
    429,
    true,
    ...RATE,
    'This API key is over its rate limit.',
    'Wait as Retry-After says.',
  ),
  too_many_requests: entry(
    429,
    true,
    ...RATE,
    'This API key has as many requests under way as it may.',
    'Wait until some are over, or raise keys[].inFlightMax.',
  ),
  no_share: entry(
    429,
    true,
    ...RATE,
    'This API key has no share of its limits in this region.',
    'Use a region that the message names; operator: banyan keys allot.',
  ),
  idempotency_in_progress: entry(
    409,
    true,
    ...INVALID,
    'Another request with this Idempotency-Key is under way, or whoever took it is gone.',
    'Wait for its answer; with a new key the work is done again.',
  ),
  idempotency_done: entry(
    409,
    true,
    ...INVALID,
    'A request with this Idempotency-Key has run already.',
    'Its answer is not kept; with a new key the work is done again.',
  ),
  idempotency_mismatch: entry(
    422,
    true,
    ...INVALID,
    'This Idempotency-Key was used for another request.',
    'Use one key for one request: the same path and the same body at each retry.',
  ),
  idempotency_unavailable: entry(
    503,
    true,
    ...BUSY,
    'Whether this Idempotency-Key was used cannot be known now, so the request did not run.',
    'Retry with the same key as Retry-After says; operator: see banyan_registers_ready.',
  ),
  idempotency_full: entry(
    503,
    true,
    ...BUSY,
    'No more Idempotency-Keys can be kept until older ones end, so the request did not run.',
    'Retry with the same key as Retry-After says; operator: shorten control.registers.claimMs.',
  ),
  upstream_rate_limited: entry(
    429,
    true,
    ...RATE,
    'Every target of this model is over its rate limit.',
    'Wait as Retry-After says, or add targets.',
  ),
  upstream_rejected: entry(
    400,
    true,
    ...INVALID,
    'The model server refused the request.',
    'Correct what its message names.',
  ),
  upstream_unauthorized: entry(
    502,
    true,
    ...SERVER,
    'The model server refused the credentials of this gateway.',
    'Operator: check the API key of the target.',
  ),
  upstream_failed: entry(
    502,
    false,
    ...SERVER,
    'The model server failed and no other target could take over.',
    'Retry; operator: see the decision trace of the request id.',
  ),
  upstream_unreachable: entry(
    503,
    true,
    ...BUSY,
    'No model server could be reached.',
    'Retry as Retry-After says; operator: see banyan get targets.',
  ),
  upstream_timeout: entry(
    504,
    false,
    ...TIMEOUT,
    'The model server did not answer in time.',
    'Retry, or raise the deadline that the message names.',
  ),
  upstream_malformed: entry(
    502,
    false,
    ...SERVER,
    'The model server sent a response that cannot be understood.',
    'Operator: check the kind and the version of the target.',
  ),
  stream_broken: entry(
    502,
    false,
    ...SERVER,
    'The answer broke off before its end.',
    'Retry; what arrived so far is not the whole answer.',
  ),
  no_target: entry(
    503,
    true,
    ...BUSY,
    'No healthy target can take the request.',
    'Retry as Retry-After says; operator: banyan route explain --model M.',
  ),
  overloaded: entry(
    503,
    true,
    ...BUSY,
    'This node has more to do than it can.',
    'Retry as Retry-After says, or use another region; operator: see banyan_shed_total.',
  ),
  draining: entry(
    503,
    true,
    ...BUSY,
    'This node is shutting down.',
    'Retry: another node takes over.',
  ),
  region_unreachable: entry(
    503,
    true,
    ...BUSY,
    'The region that should serve this cannot be reached.',
    'Retry as Retry-After says.',
  ),
  internal: entry(
    500,
    false,
    ...SERVER,
    'A fault inside the gateway.',
    'Operator: the log holds the request id.',
  ),
} as const satisfies Readonly<Record<string, ErrorEntry>>;

/** The code of one error. */
export type ErrorCode = keyof typeof ERRORS;

/** One failure to tell: its code, the details of this case, and the field at fault where known. */
export interface Failure {
  readonly code: ErrorCode;
  /** Appended to the sentence: what was wrong and where. No secret, no stack. Empty: nothing. */
  readonly detail: string;
  /** The request field at fault (`messages.0.role`), or null. */
  readonly param: string | null;
  /** When to retry, ms; null: not said. */
  readonly retryAfterMs: number | null;
  /** Overrides the catalogue's status where an upstream's own status is passed on; else null. */
  readonly status: number | null;
  /** The provider's own error code, shown in place of ours where it is passed on; else null. */
  readonly providerCode: string | null;
}

/** Makes a failure; `more` gives what differs from the plain case. */
export function failure(
  code: ErrorCode,
  detail = '',
  more: { param?: string; retryAfterMs?: number; status?: number; providerCode?: string } = {},
): Failure {
  return {
    code,
    detail,
    param: more.param ?? null,
    retryAfterMs: more.retryAfterMs ?? null,
    status: more.status ?? null,
    providerCode: more.providerCode ?? null,
  };
}

/** The HTTP status of a failure. */
export function failureStatus(value: Failure): number {
  return value.status ?? ERRORS[value.code].status;
}

/** The message of a failure: the catalogue's sentence, then the details of this case. */
export function failureMessage(value: Failure): string {
  const { sentence } = ERRORS[value.code];
  return value.detail === '' ? sentence : `${sentence} ${value.detail}`;
}
