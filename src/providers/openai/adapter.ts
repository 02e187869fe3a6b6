/**
 * OpenAI and every server that speaks its dialect. A client of the same dialect gets the bytes as
 * they came, its `model` field included: OpenAI itself answers with a dated name of its own there.
 * A client of Anthropic's dialect gets a translation (`protocol/…`), and the name it asked for.
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
import { encodeAnthropicAnswer } from '../../protocol/anthropicAnswer.ts';
import { decodeAnthropicRequest } from '../../protocol/anthropicRequest.ts';
import { AnthropicStreamEncoder } from '../../protocol/anthropicStream.ts';
import type { Operation } from '../../protocol/dialect.ts';
import { parseJson } from '../../protocol/json.ts';
import { decodeOpenaiAnswer } from '../../protocol/openaiAnswer.ts';
import { encodeOpenaiRequest } from '../../protocol/openaiRequestOut.ts';
import { OpenaiStreamDecoder } from '../../protocol/openaiStream.ts';
import { PassThroughReader } from '../../protocol/passThrough.ts';
import { TranslatingReader } from '../../protocol/translate.ts';
import { passHeaders, passUnary } from '../../protocol/unary.ts';
import { readUpstreamError } from '../../protocol/upstreamError.ts';
import { flagOption, textOption, type OptionTable } from '../options.ts';
import { bodyForTarget, callOf, planTarget, type TargetPlan } from '../plan.ts';
import { OpenaiMeter } from './meter.ts';

/** Options of a target of this kind. */
export const OPENAI_OPTIONS: OptionTable = {
  authHeader: {
    kind: 'text',
    about: 'Field that carries the key: `authorization` (default, as Bearer) or e.g. `api-key`.',
  },
  continuation: {
    kind: 'text',
    oneOf: ['prefill', 'message', 'regenerate', 'none'],
    about:
      'How it goes on with an answer that another target began. Default `message`;' +
      ' `prefill` for kind `llama`.',
  },
  maxTokensField: {
    kind: 'text',
    oneOf: ['max_tokens', 'max_completion_tokens'],
    about: 'The name that the server knows for the limit of the answer. Default: as sent.',
  },
  streamUsage: {
    kind: 'flag',
    about: 'Ask for usage in streams (`stream_options`). Default true; false where refused.',
  },
  reasoningEffort: {
    kind: 'flag',
    about: "Translate Anthropic's thinking to `reasoning_effort`. Default false.",
  },
};

const PATHS: Readonly<Record<Operation, string>> = {
  chat: '/chat/completions',
  messages: '/chat/completions',
  completions: '/completions',
  embeddings: '/embeddings',
  count_tokens: '',
};

/** Plans of targets; a target is an object of the configuration and goes with it. */
const plans = new WeakMap<AdapterTarget, TargetPlan>();

function planOf(target: AdapterTarget): TargetPlan {
  const known = plans.get(target);
  if (known !== undefined) return known;
  const plan = planTarget(target, authFields(target));
  plans.set(target, plan);
  return plan;
}

function authFields(target: AdapterTarget): HeaderList {
  if (target.apiKey === null) return [];
  const field = textOption(target.options, 'authHeader', 'authorization').toLowerCase();
  return [field, field === 'authorization' ? `Bearer ${target.apiKey}` : target.apiKey];
}

/** The adapter of kind `openai`. */
export const openaiAdapter: Adapter = {
  kind: 'openai',
  dialect: 'openai',
  continuation: 'message',
  refusal: refuseOpenai,
  prepare: prepareOpenai,
  readError: readUpstreamError,
  readUnary: readUnaryOpenai,
  openStream: openStreamOpenai,
};

function refuseOpenai(request: ParsedRequest): Failure | null {
  switch (request.operation) {
    case 'chat':
    case 'completions':
    case 'embeddings':
      return null;
    case 'count_tokens':
      return failure('unsupported_feature', 'Only targets of kind `anthropic` count tokens.');
    case 'messages': {
      const decoded = decodeAnthropicRequest(request.json());
      return decoded.ok ? null : decoded.error;
    }
    default:
      return unreachable(request.operation);
  }
}

function prepareOpenai(
  request: ParsedRequest,
  target: AdapterTarget,
): Result<PreparedCall, Failure> {
  if (request.operation === 'messages') return prepareTranslated(request, target);
  if (request.operation === 'count_tokens') {
    return err(failure('unsupported_feature', 'Only targets of kind `anthropic` count tokens.'));
  }
  const plan = planOf(target);
  const isGeneration = request.operation !== 'embeddings';
  const body = bodyForTarget(request, target, plan, {
    asksUsage:
      isGeneration &&
      request.isStream &&
      !request.wantsUsage &&
      flagOption(target.options, 'streamUsage', true),
    maxTokensField: isGeneration ? textOption(target.options, 'maxTokensField', '') : '',
  });
  return ok(callOf(plan, PATHS[request.operation], request.providerHeaders, body));
}

/** A request of Anthropic's dialect. Its header fields mean nothing here. */
function prepareTranslated(
  request: ParsedRequest,
  target: AdapterTarget,
): Result<PreparedCall, Failure> {
  const decoded = decodeAnthropicRequest(request.json());
  if (!decoded.ok) return decoded;
  const { options } = target;
  const body = encodeOpenaiRequest(decoded.value, {
    model: target.model,
    maxTokensField: textOption(options, 'maxTokensField', 'max_tokens'),
    asksUsage: flagOption(options, 'streamUsage', true),
    hasReasoningEffort: flagOption(options, 'reasoningEffort', false),
  });
  return ok(callOf(planOf(target), PATHS.chat, [], [encodeUtf8(JSON.stringify(body))]));
}

function readUnaryOpenai(
  request: ParsedRequest,
  headers: HeaderList,
  body: Uint8Array,
  createdSeconds = 0,
): Result<UnaryAnswer, UpstreamError> {
  if (request.dialect === 'openai') return passUnary(headers, body);
  const decoded = decodeOpenaiAnswer(parseJson(decodeUtf8(body)));
  if (!decoded.ok) return decoded;
  const context = { model: request.model, createdSeconds, wantsUsage: true };
  const translated = encodeAnthropicAnswer(decoded.value, context);
  return ok({
    body: encodeUtf8(JSON.stringify(translated)),
    usage: decoded.value.usage,
    headers: passHeaders(headers),
  });
}

function openStreamOpenai(
  request: ParsedRequest,
  modelShown: string,
  createdSeconds = 0,
): StreamReader {
  if (request.dialect === 'openai') return new PassThroughReader(new OpenaiMeter(request));
  const context = { model: modelShown, createdSeconds, wantsUsage: true };
  const encoder = new AnthropicStreamEncoder(context);
  return new TranslatingReader(request, new OpenaiStreamDecoder(), encoder);
}
