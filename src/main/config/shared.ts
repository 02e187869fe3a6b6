/** Reads the text of a shared configuration. What it means for a node is `merge.ts`'s. */

import { stringify } from 'yaml';

import { err, ok, type Result } from '../../base/result.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { readDocument, renderPath } from './document.ts';
import type { ConfigPath, ConfigProblem, Environment, Place, ReadDocument } from './document.ts';
import { findings } from './issues.ts';
import { sharedFor } from './merge.ts';
import { nearestWord } from './nearest.ts';
import { sharedSchema } from './sharedSchema.ts';

const START: Place = { line: 1, column: 1 };

export interface SharedDocument {
  readonly document: ReadDocument;
  readonly bakeMs: number;
  readonly order: readonly string[];
}

/** The document, or all that is wrong with it by itself. */
export function readShared(
  text: string,
  env: Environment,
): Result<SharedDocument, readonly ConfigProblem[]> {
  if (Buffer.byteLength(text) > SHARED_CONFIG_LIMITS.textBytesMax) {
    const message = `is over ${SHARED_CONFIG_LIMITS.textBytesMax} bytes`;
    return err([{ severity: 'error', place: START, path: '', message }]);
  }
  const document = readDocument(text, env);
  const problems = [...document.problems];
  if (document.value === undefined && problems.length === 0) {
    problems.push({ severity: 'error', place: START, path: '', message: 'is empty' });
  }
  if (document.value === undefined) return err(problems);
  const parsed = sharedSchema.safeParse(document.value);
  const mayQuote = (path: ConfigPath) => document.interpolationOf(path)?.isReference !== true;
  for (const { path, isKey, message } of findings(
    parsed.error?.issues ?? [],
    [],
    document.value,
    mayQuote,
  )) {
    problems.push({
      severity: 'error',
      place: isKey ? document.keyPlaceOf(path) : document.placeOf(path),
      path: renderPath(isKey ? path.slice(0, -1) : path),
      message,
    });
  }
  if (!parsed.success || problems.length > 0) return err(problems);
  const { rollout } = parsed.data;
  return ok({ document, ...rollout });
}

/** Names of regions that are none of `known`: a word that is misspelt would change nothing. */
export function unknownRegions(
  { document, order }: SharedDocument,
  known: readonly string[],
): readonly ConfigProblem[] {
  const root = document.value;
  const regions =
    typeof root === 'object' && root !== null && 'regions' in root
      ? Object.keys(root.regions ?? {})
      : [];
  const named: readonly (readonly [string, ConfigPath])[] = [
    ...regions.map((name) => [name, ['regions', name]] as const),
    ...order.map((name, index) => [name, ['rollout', 'order', index]] as const),
  ];
  return named
    .filter(([name]) => !known.includes(name))
    .map(([name, path]) => {
      const near = nearestWord(name, known);
      const hint = near === null ? `there are ${known.join(', ')}` : `did you mean "${near}"?`;
      const place = document.keyPlaceOf(path);
      return {
        severity: 'error' as const,
        place,
        path: renderPath(path),
        message: `there is no such region; ${hint}`,
      };
    });
}

/** The text of what a region gets, references as they stand; null: `text` cannot be read. */
export function textFor(text: string, region: string): string | null {
  const names = [...text.matchAll(/\$\{(\w+)/g)].map(([, name = '']) => name);
  const env = Object.fromEntries(names.map((name) => [name, `\${${name}}`]));
  const shared = readShared(text, env);
  return shared.ok ? stringify(sharedFor(shared.value.document, region)) : null;
}
