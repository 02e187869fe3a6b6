/**
 * LiteLLM's configuration as ours. What has no counterpart is noted with its place: nothing goes
 * without a word, no secret is written, and every result loads.
 */

import { CONFIG_LIMITS, EXCHANGE_LIMITS } from '../../base/limits.ts';
import { FREE_NAME, LABEL } from '../../base/names.ts';
import type { ConfigPath } from '../config/document.ts';
import { readDeployment, type Deployment, type TargetDraft } from './deployments.ts';
import type { ImportNote } from './notes.ts';
import { noteUnknown, readSettings, type Settings } from './settings.ts';
import type { LitellmSource } from './source.ts';
import { clamp, ImportLedger, referencesIn, type Variable } from './values.ts';

/** A target with its name and what is said of it in a comment. */
export interface ImportedTarget {
  readonly name: string;
  readonly draft: TargetDraft;
  readonly comments: string[];
}

/** One way to run a model. */
export interface ImportedRoute {
  readonly target: string;
  readonly model: string;
  readonly weight: number | null;
  readonly priority: number | null;
  readonly inFlightMax: number | null;
}

/** A model as our file writes it. */
export interface ImportedModel {
  readonly name: string;
  readonly algorithm: string | null;
  readonly routes: readonly ImportedRoute[];
  readonly fallbacks: readonly string[];
  readonly deadlines: Readonly<Record<string, number>>;
  readonly attemptsMax: number | null;
  readonly health: Readonly<Record<string, number>>;
}

/** All of it. */
export interface Imported {
  readonly targets: readonly ImportedTarget[];
  readonly models: readonly ImportedModel[];
  readonly clientKey: string;
  readonly exchangesMax: number | null;
  readonly isVerbose: boolean;
  readonly notes: readonly ImportNote[];
  readonly variables: readonly Variable[];
}

/** Takes a file over. `text` is its text, searched for names of variables that are in use. */
export function convertLitellm(source: LitellmSource, text: string): Imported {
  const ledger = new ImportLedger(source, referencesIn(text));
  const settings = readSettings(source.root, ledger);
  const groups = readGroups(source, ledger);
  const targets = new TargetBook(ledger);
  const models = new Map<string, ImportedModel>();
  for (const [name, deployments] of groups) {
    if (models.size >= CONFIG_LIMITS.modelsMax) {
      noteFirst(deployments, 'too-many', CONFIG_LIMITS.modelsMax, ledger);
    } else {
      const routes = routesOf(deployments, targets, settings, ledger);
      if (routes.length > 0) {
        models.set(name, { ...modelOf(deployments, settings, ledger), name, routes });
      }
    }
  }
  for (const { name, model, path } of settings.aliases) {
    const meant = models.get(model);
    if (!FREE_NAME.test(name)) ledger.note('name-malformed', path);
    else if (meant === undefined || models.size >= CONFIG_LIMITS.modelsMax) {
      ledger.note('fallback-unknown', path);
    } else if (!models.has(name)) models.set(name, { ...meant, name });
  }
  const { root } = source;
  noteSections(root, ledger);
  const withFallbacks = [...models.values()].map((model) => ({
    ...model,
    fallbacks: fallbacksOf(model.name, models, settings, ledger),
  }));
  for (const [model, { path }] of settings.fallbacks) {
    if (model !== '*' && !models.has(model)) ledger.note('fallback-unknown', path);
  }
  const notes = ledger.notes.toSorted(
    (left, right) => left.place.line - right.place.line || left.place.column - right.place.column,
  );
  return {
    targets: targets.all,
    models: withFallbacks,
    clientKey: settings.masterKey,
    exchangesMax: settings.exchangesMax,
    isVerbose: settings.isVerbose,
    notes,
    variables: [...ledger.variables.values()],
  };
}

/** Sections beside the four known ones. */
function noteSections(root: LitellmSource['root'], ledger: ImportLedger): void {
  for (const [name, value] of Object.entries(root)) {
    if (name === 'include') ledger.note('included', [name]);
    else if (name === 'environment_variables' && typeof value === 'object' && value !== null) {
      for (const variable of Object.keys(value)) {
        ledger.note('secret-environment', [name, variable], { name: variable });
      }
    } else if (!/^(model_list|(router|litellm|general)_settings)$/.test(name)) {
      noteUnknown(name, [name], ledger);
    }
  }
}

function readGroups(
  source: LitellmSource,
  ledger: ImportLedger,
): ReadonlyMap<string, readonly Deployment[]> {
  const groups = new Map<string, Deployment[]>();
  const list = source.root['model_list'];
  if (!Array.isArray(list)) {
    if (list !== undefined && list !== null) ledger.note('not-usable', ['model_list']);
    return groups;
  }
  list.forEach((entry: unknown, index) => {
    const path = ['model_list', index];
    const deployment = readDeployment(entry, path, ledger);
    if (deployment === null) return;
    if (!FREE_NAME.test(deployment.group)) {
      return ledger.note('name-malformed', [...path, 'model_name']);
    }
    const group = groups.get(deployment.group) ?? [];
    groups.set(deployment.group, group);
    if (group.length < CONFIG_LIMITS.targetsPerModelMax) group.push(deployment);
    else ledger.note('too-many', path, { count: CONFIG_LIMITS.targetsPerModelMax });
  });
  return groups;
}

function noteFirst(
  deployments: readonly Deployment[],
  code: 'too-many',
  count: number,
  ledger: ImportLedger,
): void {
  const [first] = deployments;
  if (first !== undefined) ledger.note(code, first.path, { count });
}

/** Targets by what they are, so that deployments at one place share one. */
class TargetBook {
  readonly all: ImportedTarget[] = [];
  readonly #byDraft = new Map<string, ImportedTarget[]>();
  readonly #names = new Set<string>();
  readonly #ledger: ImportLedger;

  constructor(ledger: ImportLedger) {
    this.#ledger = ledger;
  }

  /** The target of a deployment that is not among `used`; null where there is no room for it. */
  find(deployment: Deployment, used: ReadonlySet<string>): ImportedTarget | null {
    const key = JSON.stringify(deployment.draft);
    const known = this.#byDraft.get(key) ?? [];
    const free = known.find(({ name }) => !used.has(name));
    if (free !== undefined) {
      if (free.comments.length < 8) free.comments.push(deployment.comment);
      return free;
    }
    if (this.all.length >= CONFIG_LIMITS.targetsMax) {
      this.#ledger.note('too-many', deployment.path, { count: CONFIG_LIMITS.targetsMax });
      return null;
    }
    const name = this.#newName(deployment.nameHint);
    const target = { name, draft: deployment.draft, comments: [deployment.comment] };
    this.all.push(target);
    this.#byDraft.set(key, [...known, target]);
    return target;
  }

  #newName(hint: string): string {
    const slug = hint
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, '-')
      .slice(0, 50)
      .replaceAll(/^-+|-+$/g, '');
    const base = LABEL.test(slug) ? slug : 'target';
    let name = base;
    for (let count = 2; this.#names.has(name); count += 1) name = `${base}-${count}`;
    this.#names.add(name);
    return name;
  }
}

function routesOf(
  deployments: readonly Deployment[],
  targets: TargetBook,
  settings: Settings,
  ledger: ImportLedger,
): readonly ImportedRoute[] {
  const unique = distinct(deployments, ledger);
  const weights = weightsOf(unique, ledger);
  const orders = [...new Set(unique.flatMap(({ order }) => order ?? []))].toSorted((a, b) => a - b);
  const used = new Set<string>();
  return unique.flatMap((deployment, index) => {
    const target = targets.find(deployment, used);
    if (target === null) return [];
    used.add(target.name);
    const place = deployment.order === null ? orders.length : orders.indexOf(deployment.order);
    const inFlight = deployment.inFlightMax ?? settings.inFlightMax;
    return {
      target: target.name,
      model: deployment.model,
      weight: weights?.every((weight) => weight === 1) === false ? (weights[index] ?? null) : null,
      priority: orders.length === 0 || place === 0 ? null : place,
      inFlightMax: inFlight === null ? null : clamp(inFlight, 1, 1_000_000),
    };
  });
}

/** Without those that call the same model at the same place a second time. */
function distinct(deployments: readonly Deployment[], ledger: ImportLedger): readonly Deployment[] {
  const seen = new Set<string>();
  return deployments.filter((deployment) => {
    const key = JSON.stringify([deployment.draft, deployment.model]);
    if (seen.has(key)) ledger.note('merged', deployment.path);
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew;
  });
}

/**
 * Weights as LiteLLM's simple-shuffle finds them: by `weight`, else `rpm`, else `tpm`; null where no
 * deployment has any, or there is only one.
 */
function weightsOf(
  deployments: readonly Deployment[],
  ledger: ImportLedger,
): readonly number[] | null {
  const field = (['weight', 'rpm', 'tpm'] as const).find((name) =>
    deployments.some((deployment) => deployment[name] !== null),
  );
  const isShared = deployments.length > 1;
  const weights = field === undefined || !isShared ? null : scaled(deployments, field);
  deployments.forEach((deployment, index) => {
    const { path } = deployment;
    const weight = weights?.[index] ?? 1;
    if (deployment.weight !== null && weights !== null && deployment.weight !== weight) {
      ledger.note('weight', [...path, 'weight'], { weight });
    }
    for (const name of ['rpm', 'tpm'] as const) {
      if (deployment[name] === null) continue;
      const isWeight = name === field && weights !== null;
      ledger.note(isWeight ? 'rate-weight' : 'rate-gone', [...path, name], { weight });
    }
  });
  return weights;
}

function scaled(deployments: readonly Deployment[], field: 'weight' | 'rpm' | 'tpm') {
  const given = deployments.flatMap((deployment) => deployment[field] ?? []);
  const least = Math.min(...given);
  const raw = deployments.map((deployment) => deployment[field] ?? least);
  const most = Math.max(...raw);
  const isPlain = raw.every(Number.isInteger) && most <= 1_000;
  const divisor = isPlain && field !== 'weight' ? raw.reduce(greatestDivisor) : 1;
  const factor = isPlain ? 1 / divisor : 1_000 / Math.max(most, Number.MIN_VALUE);
  return raw.map((value) => (value === 0 ? 0 : clamp(value * factor, 1, 1_000)));
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/** What holds for a model as a whole: the largest limits of its deployments. */
function modelOf(
  deployments: readonly Deployment[],
  settings: Settings,
  ledger: ImportLedger,
): Omit<ImportedModel, 'name' | 'routes'> {
  const retries = largest(deployments, 'retries', ledger) ?? settings.retries;
  const attemptsMax = retries === null ? null : clamp(retries + 1, 1, EXCHANGE_LIMITS.attemptsMax);
  const health: Record<string, number> = {};
  if (settings.consecutiveFailuresMax !== null) {
    health['consecutiveFailuresMax'] = settings.consecutiveFailuresMax;
  }
  if (settings.ejectBaseMs !== null) {
    health['ejectBaseMs'] = settings.ejectBaseMs;
    if (settings.ejectBaseMs > 300_000) health['ejectMaxMs'] = settings.ejectBaseMs;
  }
  const deadlines = deadlinesOf(deployments, settings, attemptsMax, ledger);
  return { algorithm: settings.algorithm, fallbacks: [], deadlines, attemptsMax, health };
}

function deadlinesOf(
  deployments: readonly Deployment[],
  settings: Settings,
  attemptsMax: number | null,
  ledger: ImportLedger,
): Readonly<Record<string, number>> {
  const timeout = largest(deployments, 'timeoutSeconds', ledger) ?? settings.timeoutSeconds;
  const stream =
    largest(deployments, 'streamTimeoutSeconds', ledger) ?? settings.streamTimeoutSeconds;
  if (timeout === null && stream === null) return {};
  const attempts = attemptsMax ?? EXCHANGE_LIMITS.attemptsDefault;
  const totalMs =
    timeout === null
      ? EXCHANGE_LIMITS.totalMsDefault
      : clamp(timeout * 1_000 * attempts, 1, EXCHANGE_LIMITS.deadlineMsMax);
  const within = (seconds: number): number => clamp(seconds * 1_000, 1, totalMs);
  if (timeout !== null) {
    const own = deployments.find(({ timeoutSeconds }) => timeoutSeconds !== null);
    const path = own === undefined ? settings.timeoutPath : [...own.path, 'timeout'];
    ledger.note('timeout', path, { ms: totalMs, attempts });
  }
  if (stream !== null) {
    const own = deployments.find(({ streamTimeoutSeconds }) => streamTimeoutSeconds !== null);
    const path = own === undefined ? settings.streamTimeoutPath : [...own.path, 'stream_timeout'];
    ledger.note('stream-timeout', path);
  }
  return {
    connectMs: Math.min(EXCHANGE_LIMITS.connectMsDefault, totalMs),
    firstByteMs: within(stream ?? timeout ?? EXCHANGE_LIMITS.firstByteMsDefault / 1_000),
    idleMs: within(stream ?? EXCHANGE_LIMITS.idleMsDefault / 1_000),
    totalMs,
  };
}

/** The largest of a field over the deployments of a model; a note where they differ. */
function largest(
  deployments: readonly Deployment[],
  field: 'retries' | 'timeoutSeconds' | 'streamTimeoutSeconds',
  ledger: ImportLedger,
): number | null {
  const given = new Set(deployments.map((deployment) => deployment[field]));
  const [first] = deployments;
  if (given.size > 1 && first !== undefined) ledger.note('differing-limits', first.path);
  const values = [...given].filter((value) => value !== null);
  return values.length === 0 ? null : Math.max(...values);
}

function fallbacksOf(
  name: string,
  models: ReadonlyMap<string, ImportedModel>,
  settings: Settings,
  ledger: ImportLedger,
): readonly string[] {
  const own = settings.fallbacks.get(name);
  const all = settings.fallbacks.get('*');
  const found: string[] = [];
  for (const entry of own === undefined ? [all] : [own]) {
    const path: ConfigPath = entry?.path ?? [];
    for (const model of entry?.models ?? []) {
      if (model === name || found.includes(model)) continue;
      if (!models.has(model)) {
        if (entry === own) ledger.note('fallback-unknown', path);
      } else if (found.length < EXCHANGE_LIMITS.fallbackModelsMax) found.push(model);
      else ledger.note('fallback-many', path, { count: EXCHANGE_LIMITS.fallbackModelsMax });
    }
  }
  return found;
}
