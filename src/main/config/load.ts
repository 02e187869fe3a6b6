/**
 * From the text of `banyan.yaml` to what the node runs on. All problems are found in one go; a file
 * with one error gives no configuration at all.
 */

import { access, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { z } from 'zod';

import { err, ok, type Result } from '../../base/result.ts';
import { buildConfig, type LoadedConfig, type ParsedConfig, type WithShared } from './build.ts';
import type { Address } from './address.ts';
import { crossCheck, type CheckView, type Listed, type NamedPlace } from './crossCheck.ts';
import { readDocument, renderPath } from './document.ts';
import type { ConfigPath, ConfigProblem, Environment, ReadDocument } from './document.ts';
import { findings, valueAt } from './issues.ts';
import { mergeDocuments } from './merge.ts';
import { readShared } from './shared.ts';
import {
  adminClientSchema,
  adminKeySchema,
  configSchema,
  keySchema,
  modelSchema,
  targetSchema,
} from './schema.ts';

/** Parses the text of a file. `file` is where it stands: paths inside are relative to its folder. */
export function parseConfig(
  text: string,
  file: string,
  env: Environment,
): Result<ParsedConfig, readonly ConfigProblem[]> {
  const document = readDocument(text, env);
  return checkDocument(document, file, (shared) => parseMerged(document, file, env, shared));
}

/** A node's file and the shared text as one; problems stand where the pushed text has them. */
async function parseMerged(
  own: ReadDocument,
  file: string,
  env: Environment,
  text: string,
): ReturnType<WithShared> {
  const shared = readShared(text, env);
  if (!shared.ok) return err(inOrder(shared.error));
  const region = valueAt(own.value, ['region']);
  const document = mergeDocuments(own, file, shared.value.document, String(region));
  const parsed = checkDocument(document, file, (next) => parseMerged(own, file, env, next));
  if (!parsed.ok) return parsed;
  const missing = await missingFiles(parsed.value.config, document);
  if (missing.length > 0) return err(inOrder(missing));
  // What is doubtful about the node's own file was told when it was read.
  const warnings = parsed.value.warnings.filter((each) => each.file === undefined);
  return ok({ ...parsed.value, warnings });
}

function checkDocument(
  document: ReadDocument,
  file: string,
  withShared: WithShared,
): Result<ParsedConfig, readonly ConfigProblem[]> {
  const problems: ConfigProblem[] = [...document.problems];
  if (document.value === undefined && problems.length === 0) {
    problems.push({
      severity: 'error',
      place: { line: 1, column: 1 },
      path: '',
      message: 'the file is empty',
    });
  }
  if (document.value === undefined) return err(problems);
  const parsed = configSchema.safeParse(document.value);
  if (!parsed.success) problems.push(...schemaProblems(parsed.error.issues, document));
  const known = new Set(problems.map(({ path, file: where = '' }) => `${where} ${path}`));
  crossCheck(viewOf(document), (severity, path, message) => {
    const at = standing(document, path);
    // One problem a field is enough.
    if (known.has(`${at.file ?? ''} ${at.path}`) && path.length > 2) return;
    problems.push({ severity, place: document.placeOf(path), message, ...at });
  });
  const errors = problems.filter(({ severity }) => severity === 'error');
  if (parsed.success && errors.length === 0) {
    const config = buildConfig(
      parsed.data,
      resolve(file),
      (path) => document.interpolationOf(path)?.isReference === true,
      withShared,
    );
    return ok({ config, warnings: problems });
  }
  return err(inOrder(problems));
}

/** A path as it is shown, and the file where that is another one. */
function standing(
  document: ReadDocument,
  path: ConfigPath,
): { readonly path: string; readonly file?: string } {
  const { path: at, file } = document.origin(path);
  return { path: renderPath(at), ...(file === null ? {} : { file }) };
}

/** Reads and parses a file. What it names (certificates, models) need not exist. */
export async function parseConfigFile(
  file: string,
  env: Environment,
): Promise<Result<ParsedConfig, readonly ConfigProblem[]>> {
  const text = await readText(file);
  return text.ok ? parseConfig(text.value, file, env) : text;
}

/** Reads and parses a file. What it names (certificates, models) must exist. */
export async function loadConfig(
  file: string,
  env: Environment,
): Promise<Result<ParsedConfig, readonly ConfigProblem[]>> {
  const text = await readText(file);
  if (!text.ok) return text;
  const parsed = parseConfig(text.value, file, env);
  if (!parsed.ok) return parsed;
  const document = readDocument(text.value, env);
  const missing = await missingFiles(parsed.value.config, document);
  return missing.length === 0 ? parsed : err(inOrder([...missing, ...parsed.value.warnings]));
}

async function missingFiles(
  { files }: LoadedConfig,
  document: ReadDocument,
): Promise<readonly ConfigProblem[]> {
  const missing: ConfigProblem[] = [];
  for (const { path, file: named } of files) {
    try {
      await access(named);
    } catch (cause) {
      const place = document.placeOf(path);
      const message = `the file cannot be read: ${systemError(cause)}`;
      missing.push({ severity: 'error', place, message, ...standing(document, path) });
    }
  }
  return missing;
}

async function readText(file: string): Promise<Result<string, readonly ConfigProblem[]>> {
  try {
    return ok(await readFile(file, 'utf8'));
  } catch (cause) {
    return err([wholeFile(`cannot be read: ${systemError(cause)}`)]);
  }
}

function wholeFile(message: string): ConfigProblem {
  return { severity: 'error', place: { line: 1, column: 1 }, path: '', message };
}

/** `ENOENT`, `EACCES` …: the code says enough, and the message would repeat the path. */
function systemError(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
}

/** By place in the file; what stands at one place in the order it was found. */
function inOrder(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  return problems.toSorted(
    (left, right) => left.place.line - right.place.line || left.place.column - right.place.column,
  );
}

function schemaProblems(
  issues: readonly z.core.$ZodIssue[],
  document: ReadDocument,
): readonly ConfigProblem[] {
  const mayQuote = (path: ConfigPath) => document.interpolationOf(path)?.isReference !== true;
  const unresolved = new Set(document.problems.map(({ path }) => path));
  return findings(issues, [], document.value, mayQuote)
    .filter(({ path }) => !unresolved.has(standing(document, path).path))
    .map(({ path, isKey, message }) => {
      const at = document.origin(path);
      return {
        severity: 'error' as const,
        place: isKey ? document.keyPlaceOf(path) : document.placeOf(path),
        message,
        path: renderPath(isKey ? at.path.slice(0, -1) : at.path),
        ...(at.file === null ? {} : { file: at.file }),
      };
    });
}

/** The well-formed parts of a file, field by field. */
function viewOf(document: ReadDocument): CheckView {
  const root = document.value;
  const { shape } = configSchema;
  const listen = fields(shape.listen.unwrap().shape, valueAt(root, ['listen']) ?? {});
  const peers = valueAt(root, ['peers']);
  const listens: { path: ConfigPath; address: Address }[] = [];
  if (listen.api !== undefined) listens.push({ path: ['listen', 'api'], address: listen.api });
  if (listen.admin !== undefined && listen.admin !== 'off') {
    listens.push({ path: ['listen', 'admin'], address: listen.admin });
  }
  const peerShape = shape.peers.unwrap().shape;
  const peerListen = peerShape.listen.safeParse(valueAt(peers, ['listen']));
  if (peerListen.success) listens.push({ path: ['peers', 'listen'], address: peerListen.data });
  const regions = listed(root, ['peers', 'regions'], peerShape.regions.element.shape);
  return {
    region: shape.region.safeParse(valueAt(root, ['region'])).data ?? null,
    node: shape.node.safeParse(valueAt(root, ['node'])).data ?? null,
    isFurther: valueAt(root, ['role']) === 'further',
    listens,
    peerRegions: peers === undefined ? null : regions,
    adminKeys: listed(root, ['admin', 'keys'], adminKeySchema.shape),
    adminClients: listed(root, ['admin', 'clients'], adminClientSchema.shape),
    keys: listed(root, ['keys'], keySchema.shape),
    targets: listed(root, ['targets'], anyTargetShape()),
    models: listed(root, ['models'], modelSchema.shape).map(({ index, name, value }) => ({
      index,
      name,
      value: {
        ...value,
        routes: namedPlaces(root, ['models', index, 'targets']),
        fallbacks: namedPlaces(root, ['models', index, 'fallbacks']),
      },
    })),
    control: fields(shape.control.unwrap().shape, valueAt(root, ['control']) ?? {}),
    otlp: fields(shape.tracing.unwrap().shape.otlp.shape, valueAt(root, ['tracing', 'otlp']) ?? {}),
    isAbsent: (path) => valueAt(root, path) === undefined,
    interpolationOf: (path) => document.interpolationOf(path),
  };
}

type Shape = Readonly<Record<string, z.ZodType>>;
type Fields<S extends Shape> = { [Name in keyof S]?: z.output<S[Name]> };

/** Those fields of `value` that fit their own schema. */
function fields<S extends Shape>(shape: S, value: unknown): Fields<S> {
  const found: Fields<S> = {};
  for (const name of Object.keys(shape) as (keyof S & string)[]) {
    const parsed = shape[name]?.safeParse(valueAt(value, [name]));
    // The key decides the type, which the compiler cannot follow through a loop.
    if (parsed?.success === true) found[name] = parsed.data as z.output<S[typeof name]>;
  }
  return found;
}

/** All fields that some kind of target has. */
function anyTargetShape() {
  const [openai, anthropic, llama] = targetSchema.options;
  const kind = z.enum([openai, anthropic, llama].map(({ shape }) => shape.kind.value));
  return { ...llama.shape, ...openai.shape, kind };
}

function listed<S extends Shape>(root: unknown, path: ConfigPath, shape: S): Listed<Fields<S>>[] {
  const list = valueAt(root, path);
  if (!Array.isArray(list)) return [];
  return list.map((element: unknown, index) => {
    const name = valueAt(element, ['name']);
    return {
      index,
      name: typeof name === 'string' ? name : null,
      value: fields(shape, element),
    };
  });
}

/** The names of a list whose elements are names, or mappings with `target`. */
function namedPlaces(root: unknown, path: ConfigPath): readonly NamedPlace[] {
  const list = valueAt(root, path);
  if (!Array.isArray(list)) return [];
  return list.flatMap((element: unknown, index): NamedPlace[] => {
    if (typeof element === 'string') return [{ name: element, path: [...path, index] }];
    const target = valueAt(element, ['target']);
    return typeof target === 'string' ? [{ name: target, path: [...path, index, 'target'] }] : [];
  });
}
