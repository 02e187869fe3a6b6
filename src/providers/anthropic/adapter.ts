/**
 * Anthropic and servers that speak its dialect. A client of the same dialect gets the bytes as they
 * came; a client of OpenAI's gets a translation.
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
import { PassThroughReader } from '../../protocol/passThrough.ts';
import { passUnary } from '../../protocol/unary.ts';
import { readUpstreamError } from '../../protocol/upstreamError.ts';
import { textOption, type OptionTable } from '../options.ts';
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
  refusal: refuseAnthropic,
  prepare: prepareAnthropic,
  readError: readUpstreamError,
  readUnary: readUnaryAnthropic,
  openStream: openStreamAnthropic,
};

function refuseAnthropic(request: ParsedRequest): Failure | null {
  if (request.dialect === 'anthropic') return null;
  return failure('unsupported_feature', 'Translation follows.');
}

const AS_SENT = { asksUsage: false, maxTokensField: '' } as const;

function prepareAnthropic(
  request: ParsedRequest,
  target: AdapterTarget,
): Result<PreparedCall, Failure> {
  const refused = refuseAnthropic(request);
  if (refused !== null) return err(refused);
  const plan = planOf(target);
  const path = request.operation === 'count_tokens' ? '/messages/count_tokens' : '/messages';
  const body = bodyForTarget(request, target, plan, AS_SENT);
  return ok(callOf(plan, path, request.providerHeaders, body));
}

function readUnaryAnthropic(
  _request: ParsedRequest,
  headers: HeaderList,
  body: Uint8Array,
): Result<UnaryAnswer, UpstreamError> {
  return passUnary(headers, body);
}

function openStreamAnthropic(request: ParsedRequest): StreamReader {
  return new PassThroughReader(new AnthropicMeter(request));
}
