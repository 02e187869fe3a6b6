/** One entry of `model_list`: the target that it needs, and how its model is routed there. */

import { CONFIG_LIMITS } from '../../base/limits.ts';
import { parseBaseUrl } from '../config/address.ts';
import { isSecretHeader, OWNED_HEADERS } from '../config/crossCheck.ts';
import type { ConfigPath } from '../config/document.ts';
import { isRow, type JsonRow } from '../json.ts';
import { printable } from '../output.ts';
import { LITELLM_PROVIDERS, splitModel, type LitellmProvider } from './providers.ts';
import { noteRetries, noteUnknown } from './settings.ts';
import { literal, numberOf, referenceOf, textOf, type ImportLedger } from './values.ts';

/** A target as our file writes it, without its name. */
export interface TargetDraft {
  readonly kind: 'openai' | 'anthropic';
  readonly baseUrl: string;
  readonly apiKey?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly options?: Readonly<Record<string, string | boolean>>;
}

/** One entry of `model_list`, understood. Numbers are null where it says nothing. */
export interface Deployment {
  readonly group: string;
  readonly model: string;
  readonly path: ConfigPath;
  readonly draft: TargetDraft;
  /** What its target is named after. */
  readonly nameHint: string;
  /** `line 12: azure/gpt-4o-eu`. */
  readonly comment: string;
  readonly weight: number | null;
  readonly rpm: number | null;
  readonly tpm: number | null;
  readonly order: number | null;
  readonly inFlightMax: number | null;
  readonly timeoutSeconds: number | null;
  readonly streamTimeoutSeconds: number | null;
  readonly retries: number | null;
}

/** A released version of Azure's interface. */
const AZURE_VERSION = '2024-10-21';

/** Fields that shape the target or the route; all others are noted. */
const USED = new Set([
  'model',
  'api_base',
  'base_url',
  'api_key',
  'api_version',
  'custom_llm_provider',
  'organization',
  'extra_headers',
  'weight',
  'rpm',
  'tpm',
  'order',
  'max_parallel_requests',
  'timeout',
  'stream_timeout',
  'max_retries',
  'num_retries',
]);
/** Parameters of requests that a LiteLLM file may preset. */
const PARAMETERS = new Set(
  (
    'temperature top_p top_k max_tokens max_completion_tokens stop seed n presence_penalty ' +
    'frequency_penalty reasoning_effort thinking response_format tools extra_body logit_bias ' +
    'user metadata stream'
  ).split(' '),
);
const INFORMATION =
  /cost|base_model|^mode$|^id$|supports_|^max_input|^max_output|^max_tokens|price/;

/** Understands one entry; null where it cannot be taken over, which is noted. */
export function readDeployment(
  entry: unknown,
  path: ConfigPath,
  ledger: ImportLedger,
): Deployment | null {
  const params = isRow(entry) ? entry['litellm_params'] : undefined;
  const group = isRow(entry) ? entry['model_name'] : undefined;
  const model = isRow(params) ? textOf(params['model']) : null;
  if (!isRow(entry) || !isRow(params) || typeof group !== 'string' || model === null) {
    ledger.note('not-usable', path);
    return null;
  }
  const at = [...path, 'litellm_params'];
  noteRest(entry, params, path, ledger);
  if (group.includes('*') || model.includes('*')) {
    ledger.note('wildcard', [...path, 'model_name']);
    return null;
  }
  const split = splitModel(model, textOf(params['custom_llm_provider']));
  const provider = LITELLM_PROVIDERS.get(split.prefix);
  if (provider === undefined || split.model === '') {
    const code = provider === undefined ? 'provider-unknown' : 'not-usable';
    ledger.note(code, [...at, 'model']);
    return null;
  }
  const baseUrl = baseOf(params, provider, split.prefix, at, ledger);
  if (baseUrl === null) return null;
  const number = (field: string, least: number): number | null => {
    if (params[field] === undefined || params[field] === null) return null;
    const value = numberOf(params[field]);
    if (value !== null && value >= least) return value;
    ledger.note('not-usable', [...at, field]);
    return null;
  };
  const hint = nameHint(split.prefix, baseUrl, provider);
  return {
    group,
    model: split.model,
    path: at,
    draft: draftOf(params, provider, { baseUrl, hint }, at, ledger),
    nameHint: hint,
    comment: ` line ${ledger.line(path)}: ${printable(model).slice(0, 80)}`,
    weight: number('weight', 0),
    rpm: number('rpm', 1),
    tpm: number('tpm', 1),
    order: number('order', 0),
    inFlightMax: number('max_parallel_requests', 1),
    timeoutSeconds: number('timeout', 0.001),
    streamTimeoutSeconds: number('stream_timeout', 0.001),
    retries: retriesOf(number, at, ledger),
  };
}

function retriesOf(
  number: (field: string, least: number) => number | null,
  at: ConfigPath,
  ledger: ImportLedger,
): number | null {
  for (const field of ['max_retries', 'num_retries']) {
    const value = number(field, 0);
    if (value === null) continue;
    noteRetries(value, [...at, field], ledger);
    return value;
  }
  return null;
}

/** Every field that is not used is noted. */
function noteRest(entry: JsonRow, params: JsonRow, path: ConfigPath, ledger: ImportLedger): void {
  for (const name of Object.keys(entry)) {
    if (name === 'model_name' || name === 'litellm_params') continue;
    const code = name === 'model_info' ? 'information' : 'no-counterpart';
    ledger.note(code, [...path, name]);
  }
  for (const name of Object.keys(params)) {
    if (USED.has(name)) continue;
    const at = [...path, 'litellm_params', name];
    if (PARAMETERS.has(name)) ledger.note('default-parameter', at);
    else if (INFORMATION.test(name)) ledger.note('information', at);
    else noteUnknown(name, at, ledger);
  }
}

/** The base URL as our file writes it; null where there is none that can be used, which is noted. */
function baseOf(
  params: JsonRow,
  provider: LitellmProvider,
  prefix: string,
  at: ConfigPath,
  ledger: ImportLedger,
): string | null {
  const field = params['api_base'] === undefined ? 'base_url' : 'api_base';
  const given = params[field];
  const reference = referenceOf(given);
  const suffix = provider.pathSuffix ?? '';
  let base: string;
  if (reference !== null) {
    base = ledger.refer(reference, true);
    if (prefix !== 'azure') return base + suffix;
  } else if (given === undefined || given === null || given === '') {
    if (provider.baseUrl === null) ledger.note('base-missing', [...at, 'model']);
    if (prefix.startsWith('ollama')) ledger.note('native-api', [...at, 'model']);
    return provider.baseUrl;
  } else {
    const text = textOf(given);
    // What LiteLLM lets people write at the end of it.
    base = (text ?? '')
      .trim()
      .replace(/\/(chat\/completions|messages)\/?$/, '')
      .replace(/\/+$/, '');
    const parsed = parseBaseUrl(base);
    if (!parsed.ok || base.includes('?') || base.includes('#') || /[\s{}]/.test(base)) {
      ledger.note('base-malformed', [...at, field]);
      return null;
    }
    base = literal(base);
    if (prefix.startsWith('ollama')) ledger.note('native-api', [...at, field]);
    if (prefix !== 'azure') return base.endsWith(suffix) ? base : base + suffix;
  }
  if (base.endsWith('/openai/v1')) return base; // Azure's newer interface has no versions.
  return azureBase(params, base.replace(/\/openai$/, ''), at, ledger);
}

function azureBase(params: JsonRow, base: string, at: ConfigPath, ledger: ImportLedger): string {
  const given = params['api_version'];
  const reference = referenceOf(given);
  const text = typeof given === 'string' && /^[\w.-]{1,40}$/.test(given) ? given : AZURE_VERSION;
  if (reference === null && text !== given) {
    ledger.note('azure-version', given === undefined ? at : [...at, 'api_version'], {
      version: AZURE_VERSION,
    });
  }
  const version = reference === null ? text : ledger.refer(reference);
  return `${base}/openai/deployments/{model}?api-version=${version}`;
}

function draftOf(
  params: JsonRow,
  provider: LitellmProvider,
  place: { readonly baseUrl: string; readonly hint: string },
  at: ConfigPath,
  ledger: ImportLedger,
): TargetDraft {
  const headers: Record<string, string> = {};
  const organization = params['organization'];
  if (organization !== undefined) {
    addHeader(headers, 'openai-organization', organization, [...at, 'organization'], ledger);
  }
  const extra = params['extra_headers'];
  if (isRow(extra)) {
    for (const [name, value] of Object.entries(extra)) {
      addHeader(headers, name, value, [...at, 'extra_headers', name], ledger);
    }
  } else if (extra !== undefined) ledger.note('not-usable', [...at, 'extra_headers']);
  const apiKey = keyOf(params, provider, place, at, ledger);
  return {
    kind: provider.kind,
    baseUrl: place.baseUrl,
    ...(apiKey === null ? {} : { apiKey }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(provider.options === undefined ? {} : { options: provider.options }),
  };
}

/**
 * `${NAME}` of the key; null: none. A key in plain text gets a variable of its own; the provider's
 * usual variable is only for the provider's own address, so that no other server is sent that key.
 */
function keyOf(
  params: JsonRow,
  provider: LitellmProvider,
  place: { readonly baseUrl: string; readonly hint: string },
  at: ConfigPath,
  ledger: ImportLedger,
): string | null {
  const given = params['api_key'];
  const reference = referenceOf(given);
  if (reference !== null) return ledger.refer(reference);
  const isOwn = provider.baseUrl === null || place.baseUrl === provider.baseUrl;
  const usual = isOwn ? provider.keyVariable : null;
  if (given === undefined || given === null || given === '') {
    if (usual !== null) {
      ledger.note('key-default', at, { name: usual });
      return ledger.refer(usual);
    }
    if (provider.keyVariable !== null) ledger.note('key-none', at, { name: provider.keyVariable });
    return null;
  }
  const name = ledger.invent(usual ?? variableName(`${place.hint}_API_KEY`), JSON.stringify(given));
  ledger.note('secret-key', [...at, 'api_key'], { name });
  return ledger.refer(name);
}

function variableName(text: string): string {
  return text
    .toUpperCase()
    .replaceAll(/[^A-Z0-9]+/g, '_')
    .replace(/^(?=\d)/, '_');
}

function addHeader(
  headers: Record<string, string>,
  name: string,
  value: unknown,
  path: ConfigPath,
  ledger: ImportLedger,
): void {
  const text = textOf(value);
  const isGood =
    /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name) &&
    name !== '__proto__' &&
    !OWNED_HEADERS.has(name.toLowerCase()) &&
    text !== null &&
    /^[\t\x20-\x7e]*$/.test(text) &&
    Object.keys(headers).length < CONFIG_LIMITS.headersPerTargetMax;
  if (!isGood) return ledger.note('not-usable', path);
  const reference = referenceOf(value);
  if (reference !== null) headers[name] = ledger.refer(reference);
  else if (isSecretHeader(name)) {
    const variable = ledger.invent(variableName(name), text);
    ledger.note('secret-header', path, { name: variable });
    headers[name] = ledger.refer(variable);
  } else headers[name] = literal(text);
}

/** `openai` at its own address, else `azure-my-endpoint-eu`. */
function nameHint(prefix: string, baseUrl: string, provider: LitellmProvider): string {
  if (baseUrl === provider.baseUrl) return prefix;
  const reference = /^\$\{(\w+)\}/.exec(baseUrl)?.[1];
  const host = reference ?? URL.parse(baseUrl.replaceAll('$${', ''))?.host ?? '';
  if (reference !== undefined) {
    return reference.toLowerCase().startsWith(prefix) ? reference : `${prefix}-${reference}`;
  }
  const isAddress = /^[\d.:[\]]+$/.test(host);
  return `${prefix}-${isAddress ? host : (host.split('.')[0] ?? '')}`;
}
