/**
 * OpenAI and every server that speaks its dialect. A client of the same dialect gets the bytes as
 * they came, its `model` field included: OpenAI itself answers with a dated name of its own there.
 * A client of Anthropic's dialect gets a translation (`protocol/…`), and the name it asked for.
 */

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
import type { Operation } from '../../protocol/dialect.ts';
import { PassThroughReader } from '../../protocol/passThrough.ts';
import { passUnary } from '../../protocol/unary.ts';
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
  refusal: refuseOpenai,
  prepare: prepareOpenai,
  readError: readUpstreamError,
  readUnary: readUnaryOpenai,
  openStream: openStreamOpenai,
};

function refuseOpenai(request: ParsedRequest): Failure | null {
  if (request.dialect === 'openai') return null;
  return failure('unsupported_feature', 'Translation follows.');
}

function prepareOpenai(
  request: ParsedRequest,
  target: AdapterTarget,
): Result<PreparedCall, Failure> {
  const refused = refuseOpenai(request);
  if (refused !== null) return err(refused);
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

function readUnaryOpenai(
  _request: ParsedRequest,
  headers: HeaderList,
  body: Uint8Array,
): Result<UnaryAnswer, UpstreamError> {
  return passUnary(headers, body);
}

function openStreamOpenai(request: ParsedRequest): StreamReader {
  return new PassThroughReader(new OpenaiMeter(request));
}
