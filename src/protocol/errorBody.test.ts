import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeUtf8 } from '../base/bytes.ts';
import { ERRORS, failure, failureStatus, type ErrorCode } from '../base/errors.ts';
import { createPrng } from '../base/prng.ts';
import type { UpstreamErrorClass } from './adapter.ts';
import {
  failureOfUpstream,
  keepAliveComment,
  renderFailure,
  renderStreamFailure,
} from './errorBody.ts';
import { mintAnswerId, mintRequestId, translatedId } from './ids.ts';

test('every error of the catalogue is JSON of its dialect', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const value = failure(code, 'Because "x".', { param: 'messages.0' });
    const openai = JSON.parse(decodeUtf8(renderFailure('openai', value, 'req_1'))) as {
      error: Record<string, unknown>;
    };
    assert.deepEqual(Object.keys(openai.error), ['message', 'type', 'code', 'param']);
    assert.equal(openai.error['code'], code);
    assert.equal(openai.error['type'], ERRORS[code].openaiType);
    const anthropic: unknown = JSON.parse(decodeUtf8(renderFailure('anthropic', value, 'req_1')));
    assert.deepEqual(anthropic, {
      type: 'error',
      error: { type: ERRORS[code].anthropicType, message: openai.error['message'] },
      request_id: 'req_1',
    });
  }
});

test('a stream that failed ends with the error event of its dialect and nothing after it', () => {
  const value = failure('stream_broken');
  const openai = decodeUtf8(renderStreamFailure('openai', value, 'req_1'));
  assert.match(openai, /^data: \{"error":\{.*\}\}\n\n$/);
  const anthropic = decodeUtf8(renderStreamFailure('anthropic', value, 'req_1'));
  assert.match(anthropic, /^event: error\ndata: \{"type":"error".*\}\n\n$/);
  assert.ok(!openai.includes('[DONE]') && !anthropic.includes('message_stop'));
});

test('a quiet stream is kept awake in its dialect', () => {
  assert.equal(decodeUtf8(keepAliveComment('openai')), ': keep-alive\n\n');
  assert.equal(decodeUtf8(keepAliveComment('anthropic')), 'event: ping\ndata: {"type":"ping"}\n\n');
});

test("each class of an upstream's error is told as what it is for the client", () => {
  const expected: Readonly<Record<UpstreamErrorClass, readonly [ErrorCode, number]>> = {
    'rate-limited': ['upstream_rate_limited', 429],
    overloaded: ['upstream_failed', 503],
    server: ['upstream_failed', 502],
    timeout: ['upstream_timeout', 504],
    'invalid-request': ['upstream_rejected', 422],
    'context-length': ['upstream_rejected', 422],
    'content-policy': ['upstream_rejected', 422],
    unauthorized: ['upstream_unauthorized', 502],
    'model-missing': ['upstream_failed', 502],
    misdirected: ['upstream_unreachable', 503],
    different: ['upstream_malformed', 502],
    malformed: ['upstream_malformed', 502],
  };
  for (const [kind, [code, status]] of Object.entries(expected)) {
    const told = failureOfUpstream({
      class: kind as UpstreamErrorClass,
      status: 422,
      message: 'words',
      code: 'own_code',
      param: 'field',
      retryAfterMs: 5,
    });
    assert.equal(told.code, code, kind);
    assert.equal(failureStatus(told), status, kind);
    const isPassedOn = code === 'upstream_rejected';
    assert.equal(told.providerCode, isPassedOn ? 'own_code' : null, kind);
    assert.equal(told.param, isPassedOn ? 'field' : null, kind);
  }
});

test("the gateway's credentials are never told to a client", () => {
  const message = 'Incorrect API key provided: sk-secret';
  const error = { class: 'unauthorized', status: 401, message, code: null, param: null } as const;
  const told = failureOfUpstream({ ...error, retryAfterMs: null });
  assert.ok(!decodeUtf8(renderFailure('openai', told, 'r')).includes('secret'));
});

test('ids sort by time, carry randomness and keep the provider’s own part', () => {
  const random = createPrng(1);
  const ids = [1, 1_700_000_000_000, 1_700_000_000_001].map((ms) => mintRequestId(ms, random));
  assert.deepEqual(ids.toSorted(), ids);
  for (const id of ids) assert.match(id, /^req_[0-9a-hjkmnp-tv-z]{26}$/);
  assert.notEqual(mintRequestId(5, random), mintRequestId(5, random));
  assert.match(mintAnswerId('anthropic', 5, random), /^msg_/);
  assert.equal(translatedId('openai', 'msg_01Ab'), 'chatcmpl-01Ab');
  assert.equal(translatedId('anthropic', 'chatcmpl-9"\n'), 'msg_9__');
});
