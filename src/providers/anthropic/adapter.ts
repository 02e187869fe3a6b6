/**
 * Anthropic and servers that speak its dialect. A client of the same dialect gets the bytes as they
 * came; a client of OpenAI's gets a translation.
 */

import { unreachable } from '../../base/assert.ts';
import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { failure, type Failure } from '../../base/errors.ts';
import type { HeaderList } from '../../base/headers.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type {
  Adapter,
  AdapterTarget,
  ParsedRequest,
  PreparedCall,
  StreamReader,
  UnaryAnswer,
  UpstreamError,
} from '../../protocol/adapter.ts';
import { decodeAnthropicAnswer } from '../../protocol/anthropicAnswer.ts';
import { encodeAnthropicRequest } from '../../protocol/anthropicRequestOut.ts';
import { AnthropicStreamDecoder } from '../../protocol/anthropicStream.ts';
import { parseJson } from '../../protocol/json.ts';
import { encodeOpenaiAnswer } from '../../protocol/openaiAnswer.ts';
import { decodeOpenaiRequest } from '../../protocol/openaiRequest.ts';
import { OpenaiStreamEncoder } from '../../protocol/openaiStream.ts';
import { PassThroughReader } from '../../protocol/passThrough.ts';
import { TranslatingReader } from '../../protocol/translate.ts';
import { passHeaders, passUnary } from '../../protocol/unary.ts';
import { readUpstreamError } from '../../protocol/upstreamError.ts';
import { countOption, textOption, type OptionTable } from '../options.ts';
import { bodyForTarget, callOf, planTarget, type TargetPlan } from '../plan.ts';
import { AnthropicMeter } from './meter.ts';

/** Options of a target of this kind. */
export const ANTHROPIC_OPTIONS: OptionTable = {
  authHeader: {
    kind: 'text',
    about: 'Field that carries the key: `x-api-key` (default) or `authorization` (as Bearer).',
  },
  version: { kind: 'text', about: '`anthropic-version` where the client sends none.' },
  maxTokensDefault: {
    kind: 'count',
    about: '`max_tokens` where an OpenAI client sets none. Default 4096.',
  },
  continuation: {
    kind: 'text',
    oneOf: ['prefill', 'message', 'regenerate', 'none'],
    about: 'How it goes on with an answer that another target began. Default `prefill`.',
  },
  structuredOutput: {
    kind: 'text',
    oneOf: ['format', 'tool'],
    about: 'How a JSON schema is asked for: `output_config.format` (default) or a forced tool.',
  },
  thinking: {
    kind: 'text',
    oneOf: ['none', 'budget', 'adaptive'],
    about: 'What `reasoning_effort` becomes. Default `none`: it is dropped.',
  },
};

const VERSION_DEFAULT = '2023-06-01';
const MAX_TOKENS_DEFAULT = 4096;

/** Plans of targets; a target is an object of the configuration and goes with it. */
const plans = new WeakMap<AdapterTarget, TargetPlan>();

function planOf(target: AdapterTarget): TargetPlan {
  const known = plans.get(target);
  if (known !== undefined) return known;
  const version = textOption(target.options, 'version', VERSION_DEFAULT);
  const plan = planTarget(target, ['anthropic-version', version, ...authFields(target)]);
  plans.set(target, plan);
  return plan;
}

function authFields(target: AdapterTarget): HeaderList {
  if (target.apiKey === null) return [];
  const field = textOption(target.options, 'authHeader', 'x-api-key').toLowerCase();
  return [field, field === 'authorization' ? `Bearer ${target.apiKey}` : target.apiKey];
}

/** The adapter of kind `anthropic`. */
export const anthropicAdapter: Adapter = {
  kind: 'anthropic',
  dialect: 'anthropic',
  continuation: 'prefill',
  refusal: refuseAnthropic,
  prepare: prepareAnthropic,
  readError: readUpstreamError,
  readUnary: readUnaryAnthropic,
  openStream: openStreamAnthropic,
};

function refuseAnthropic(request: ParsedRequest): Failure | null {
  switch (request.operation) {
    case 'messages':
    case 'count_tokens':
      return null;
    case 'completions':
    case 'embeddings':
      return failure('unsupported_feature', `Anthropic has no ${request.operation}.`);
    case 'chat': {
      const decoded = decodeOpenaiRequest(request.json());
      return decoded.ok ? null : decoded.error;
    }
    default:
      return unreachable(request.operation);
  }
}

const AS_SENT = { asksUsage: false, maxTokensField: '' } as const;

function prepareAnthropic(
  request: ParsedRequest,
  target: AdapterTarget,
): Result<PreparedCall, Failure> {
  if (request.operation === 'chat') return prepareTranslated(request, target);
  const refused = refuseAnthropic(request);
  if (refused !== null) return err(refused);
  const plan = planOf(target);
  const path = request.operation === 'count_tokens' ? '/messages/count_tokens' : '/messages';
  const body = bodyForTarget(request, target, plan, AS_SENT);
  return ok(callOf(plan, path, request.providerHeaders, body));
}

/** A request of OpenAI's dialect. Its header fields mean nothing here. */
function prepareTranslated(
  request: ParsedRequest,
  target: AdapterTarget,
): Result<PreparedCall, Failure> {
  const decoded = decodeOpenaiRequest(request.json());
  if (!decoded.ok) return decoded;
  const { options } = target;
  const thinking = textOption(options, 'thinking', 'none');
  const body = encodeAnthropicRequest(decoded.value, {
    model: target.model,
    maxTokensDefault: countOption(options, 'maxTokensDefault', MAX_TOKENS_DEFAULT),
    structuredOutput: options['structuredOutput'] === 'tool' ? 'tool' : 'format',
    thinking: thinking === 'budget' || thinking === 'adaptive' ? thinking : 'none',
  });
  return ok(callOf(planOf(target), '/messages', [], [encodeUtf8(JSON.stringify(body))]));
}

function readUnaryAnthropic(
  request: ParsedRequest,
  headers: HeaderList,
  body: Uint8Array,
  createdSeconds = 0,
): Result<UnaryAnswer, UpstreamError> {
  if (request.dialect === 'anthropic') return passUnary(headers, body);
  const decoded = decodeAnthropicAnswer(parseJson(decodeUtf8(body)));
  if (!decoded.ok) return decoded;
  const context = { model: request.model, createdSeconds, wantsUsage: request.wantsUsage };
  const translated = encodeOpenaiAnswer(decoded.value, context);
  return ok({
    body: encodeUtf8(JSON.stringify(translated)),
    usage: decoded.value.usage,
    headers: passHeaders(headers),
  });
}

function openStreamAnthropic(
  request: ParsedRequest,
  modelShown: string,
  createdSeconds = 0,
): StreamReader {
  if (request.dialect === 'anthropic') return new PassThroughReader(new AnthropicMeter(request));
  const context = { model: modelShown, createdSeconds, wantsUsage: request.wantsUsage };
  const encoder = new OpenaiStreamEncoder(context);
  return new TranslatingReader(request, new AnthropicStreamDecoder(), encoder);
}
