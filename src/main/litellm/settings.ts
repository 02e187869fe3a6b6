/** The parts of a LiteLLM file that hold for all models: three sections that overlap. */

import { CONFIG_LIMITS, EXCHANGE_LIMITS } from '../../base/limits.ts';
import type { ConfigPath } from '../config/document.ts';
import { isRow, type JsonRow } from '../json.ts';
import type { NoteCode } from './notes.ts';
import { LITELLM_STRATEGIES } from './providers.ts';
import { clamp, numberOf, referenceOf, textOf, type ImportLedger } from './values.ts';

/** What one fallback entry says: the models to try, and where it stands. */
export interface Fallback {
  readonly models: readonly string[];
  readonly path: ConfigPath;
}

/** Settings in force for all models; null where the file says nothing. */
export interface Settings {
  readonly algorithm: string | null;
  readonly retries: number | null;
  readonly timeoutSeconds: number | null;
  readonly streamTimeoutSeconds: number | null;
  /** Where the two stand. */
  readonly timeoutPath: ConfigPath;
  readonly streamTimeoutPath: ConfigPath;
  readonly consecutiveFailuresMax: number | null;
  readonly ejectBaseMs: number | null;
  readonly inFlightMax: number | null;
  readonly exchangesMax: number | null;
  readonly isVerbose: boolean;
  /** By model; `*` for all. */
  readonly fallbacks: ReadonlyMap<string, Fallback>;
  /** Another name for a group, with its place. */
  readonly aliases: readonly {
    readonly name: string;
    readonly model: string;
    readonly path: ConfigPath;
  }[];
  /** `${NAME}` of the key of clients. */
  readonly masterKey: string;
}

/** Fields without a counterpart of which more can be said than that; by pattern of their name. */
const HINTS: readonly (readonly [RegExp, NoteCode, string?])[] = [
  [/^context_window_fallbacks$|^enable_pre_call_checks$/, 'context-window'],
  [/^content_policy_fallbacks$/, 'content-policy'],
  [/cache/, 'cache'],
  [/callback|langfuse|otel|alert/, 'callbacks'],
  [/redis/, 'redis'],
  [/database|spend|budget|store_|db_|ui_|key_management|jwt|custom_auth/, 'database'],
  [/^json_logs$/, 'always-so', 'the log is JSON'],
  [/^turn_off_message_logging$/, 'always-so', 'no message is logged'],
  [/^redact_/, 'always-so', 'no key is logged'],
  [/^drop_params$/, 'always-so', 'a translation leaves out what the target cannot take'],
  [/health_check/, 'always-so', 'targets are judged by their answers'],
];

type Handler = (value: unknown, path: ConfigPath) => void;

type Draft = { -readonly [Name in keyof Settings]: Settings[Name] };

/** What a file says that says nothing. */
const NOTHING: Settings = {
  algorithm: null,
  retries: null,
  timeoutSeconds: null,
  streamTimeoutSeconds: null,
  timeoutPath: [],
  streamTimeoutPath: [],
  consecutiveFailuresMax: null,
  ejectBaseMs: null,
  inFlightMax: null,
  exchangesMax: null,
  isVerbose: false,
  fallbacks: new Map(),
  aliases: [],
  masterKey: '',
};

/** Reads the three sections; every field of them is either used or noted. */
export function readSettings(root: JsonRow, ledger: ImportLedger): Settings {
  const found: Draft = { ...NOTHING };
  const fallbacks = new Map<string, Fallback>();
  const number =
    (least: number, take: (value: number, path: ConfigPath) => void): Handler =>
    (value, path) => {
      const given = numberOf(value);
      if (given === null || given < least) ledger.note('not-usable', path);
      else take(given, path);
    };
  const shared: Readonly<Record<string, Handler>> = {
    num_retries: number(0, (value, path) => {
      found.retries ??= value;
      noteRetries(value, path, ledger);
    }),
    fallbacks: (value, path) => readFallbacks(value, path, fallbacks, ledger),
    default_fallbacks: (value, path) => {
      fallbacks.set('*', { models: names(value, path, ledger), path });
    },
    allowed_fails: number(0, (value, path) => {
      const count = clamp(value + 1, 1, 1_000);
      found.consecutiveFailuresMax = count;
      ledger.note('failures', path, { count });
    }),
    cooldown_time: number(0, (value, path) => {
      const ms = clamp(value * 1_000, 0, EXCHANGE_LIMITS.deadlineMsMax);
      found.ejectBaseMs = ms;
      ledger.note('cooldown', path, { ms });
    }),
    model_group_alias: (value, path) => (found.aliases = readAliases(value, path, ledger)),
    set_verbose: (value) => (found.isVerbose ||= value === true),
  };
  const timeout = number(0.001, (value, path) => {
    if (found.timeoutSeconds === null) found.timeoutPath = path;
    found.timeoutSeconds ??= value;
  });
  const inFlight = number(1, (value) => (found.inFlightMax ??= clamp(value, 1, 1_000_000)));
  section(root, 'router_settings', ledger, {
    ...shared,
    routing_strategy: (value, path) => {
      found.algorithm = LITELLM_STRATEGIES.get(String(value)) ?? null;
      if (found.algorithm === null) ledger.note('strategy-unknown', path);
      else ledger.note('strategy', path, { algorithm: found.algorithm });
    },
    timeout,
    stream_timeout: number(0.001, (value, path) => {
      found.streamTimeoutSeconds ??= value;
      found.streamTimeoutPath = path;
    }),
    default_max_parallel_requests: inFlight,
  });
  section(root, 'litellm_settings', ledger, {
    ...shared,
    request_timeout: timeout,
  });
  section(root, 'general_settings', ledger, {
    master_key: (value, path) => (found.masterKey = masterKey(value, path, ledger)),
    max_parallel_requests: inFlight,
    global_max_parallel_requests: number(1, (value) => {
      found.exchangesMax = clamp(value, 1, EXCHANGE_LIMITS.exchangesMax);
    }),
  });
  if (found.masterKey === '') {
    ledger.note('key-needed', ['general_settings'], { name: 'BANYAN_API_KEY' });
    found.masterKey = ledger.refer('BANYAN_API_KEY');
  }
  return { ...found, fallbacks };
}

/** Notes a field that nothing here takes, with the best hint there is. */
export function noteUnknown(name: string, path: ConfigPath, ledger: ImportLedger): void {
  const hint = HINTS.find(([pattern]) => pattern.test(name));
  if (hint === undefined) ledger.note('no-counterpart', path);
  else ledger.note(hint[1], path, hint[2] === undefined ? {} : { what: hint[2] });
}

/** Notes what became of a number of retries. */
export function noteRetries(value: number, path: ConfigPath, ledger: ImportLedger): void {
  const attempts = clamp(value + 1, 1, EXCHANGE_LIMITS.attemptsMax);
  ledger.note('retries', path, { attempts });
}

function section(
  root: JsonRow,
  name: string,
  ledger: ImportLedger,
  handlers: Readonly<Record<string, Handler>>,
): void {
  const value = root[name];
  if (value === undefined || value === null) return;
  if (!isRow(value)) return ledger.note('not-usable', [name]);
  for (const [field, given] of Object.entries(value)) {
    const handler = Object.hasOwn(handlers, field) ? handlers[field] : undefined;
    if (handler === undefined) noteUnknown(field, [name, field], ledger);
    else handler(given, [name, field]);
  }
}

function masterKey(value: unknown, path: ConfigPath, ledger: ImportLedger): string {
  const reference = referenceOf(value);
  ledger.note('master-key', path);
  if (reference !== null) return ledger.refer(reference);
  const text = textOf(value);
  if (text === null) return '';
  const name = ledger.invent('LITELLM_MASTER_KEY', text);
  ledger.note('secret-key', path, { name });
  return ledger.refer(name);
}

/** `[{model: [other, …]}, …]`, or the same as one mapping. */
function readFallbacks(
  value: unknown,
  path: ConfigPath,
  into: Map<string, Fallback>,
  ledger: ImportLedger,
): void {
  const entries: readonly unknown[] = Array.isArray(value) ? value : [value];
  entries.forEach((entry, index) => {
    const at = Array.isArray(value) ? [...path, index] : path;
    if (!isRow(entry)) return ledger.note('not-usable', at);
    for (const [model, others] of Object.entries(entry)) {
      const models = names(others, [...at, model], ledger);
      if (models.length > 0) into.set(model, { models, path: [...at, model] });
    }
  });
}

function names(value: unknown, path: ConfigPath, ledger: ImportLedger): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.flatMap((each, index) => {
    if (typeof each === 'string' && each !== '') return [each];
    ledger.note('not-usable', [...path, index]);
    return [];
  });
}

function readAliases(
  value: unknown,
  path: ConfigPath,
  ledger: ImportLedger,
): readonly Settings['aliases'][number][] {
  if (!isRow(value)) {
    ledger.note('not-usable', path);
    return [];
  }
  const entries = Object.entries(value).slice(0, CONFIG_LIMITS.modelsMax);
  return entries.flatMap(([name, given]) => {
    const model = isRow(given) ? given['model'] : given;
    if (typeof model === 'string') return [{ name, model, path: [...path, name] }];
    ledger.note('not-usable', [...path, name]);
    return [];
  });
}
