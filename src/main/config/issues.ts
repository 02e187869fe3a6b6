/** Turns the schema's findings into sentences for people. Repeats no value of the file. */

import type { z } from 'zod';

import type { ConfigPath } from './document.ts';
import { nearestWord } from './nearest.ts';

type Issue = z.core.$ZodIssue;

/** One finding. `isKey`: it is about the key at `path`, not about its value. */
export interface Finding {
  readonly path: ConfigPath;
  readonly isKey: boolean;
  readonly message: string;
}

const KINDS: Readonly<Record<string, string>> = {
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};

/** What a value is, in the words of YAML. */
function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return KINDS[typeof value] ?? 'nothing';
}

/** The value at `path` below `root`; undefined where there is none. */
export function valueAt(root: unknown, path: ConfigPath): unknown {
  let value = root;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = Object.hasOwn(value, part) ? Reflect.get(value, part) : undefined;
  }
  return value;
}

/**
 * Findings of `issues`, whose paths are relative to `base`. `mayQuote` tells whether the value at a
 * path may be repeated (it did not come from the environment).
 */
export function findings(
  issues: readonly Issue[],
  base: ConfigPath,
  root: unknown,
  mayQuote: (path: ConfigPath) => boolean,
): readonly Finding[] {
  return issues.flatMap((issue) => {
    const path = [...base, ...issue.path.map((part) => (typeof part === 'symbol' ? '?' : part))];
    const value = valueAt(root, path);
    // The rest are plain sentences about a value.
    // oxlint-disable-next-line typescript/switch-exhaustiveness-check
    switch (issue.code) {
      case 'unrecognized_keys': {
        const messages = issue.message.split('\n');
        return issue.keys.map((key, index) => ({
          path: [...path, key],
          isKey: true,
          message: messages[index] ?? 'unknown key',
        }));
      }
      case 'invalid_union':
        return unionFindings(issue, path, root, mayQuote);
      case 'invalid_key':
        return [{ path, isKey: true, message: issue.issues[0]?.message ?? 'is not allowed here' }];
      default: {
        const quoted = typeof value === 'string' && mayQuote(path) ? value : null;
        return [{ path, isKey: false, message: sentence(issue, value, quoted) }];
      }
    }
  });
}

/** Of several shapes the one that was meant: that of the value's own kind. */
function unionFindings(
  issue: z.core.$ZodIssueInvalidUnion,
  path: ConfigPath,
  root: unknown,
  mayQuote: (path: ConfigPath) => boolean,
): readonly Finding[] {
  const value = valueAt(root, path);
  if (issue.errors.length === 0) {
    // A discriminated union whose discriminator is wrong or missing.
    const options = 'options' in issue && Array.isArray(issue.options) ? issue.options : [];
    const message = oneOf(options, value, mayQuote(path));
    return [{ path, isKey: false, message }];
  }
  const meant = issue.errors.filter(
    (branch) => !branch.some(({ code, path: at }) => isOtherKind(code) && at.length === 0),
  );
  const [branch] = meant;
  if (branch !== undefined) return findings(branch, path, root, mayQuote);
  const kinds = issue.errors.flatMap((errors) =>
    errors.flatMap((error) => (error.code === 'invalid_type' ? [kindName(error.expected)] : [])),
  );
  const wanted = [...new Set(kinds)].join(' or ');
  return [{ path, isKey: false, message: `must be ${wanted}, not ${kindOf(value)}` }];
}

function isOtherKind(code: Issue['code']): boolean {
  return code === 'invalid_type' || code === 'invalid_value';
}

function kindName(expected: string): string {
  return KINDS[expected] ?? expected;
}

function oneOf(options: readonly unknown[], value: unknown, mayQuote: boolean): string {
  const words = options.map(String);
  if (value === undefined) return `is required: one of ${words.join(', ')}`;
  const near = mayQuote && typeof value === 'string' ? nearestWord(value, words) : null;
  const hint = near === null ? '' : `; did you mean "${near}"?`;
  return `must be one of ${words.join(', ')}${hint}`;
}

function sentence(issue: Issue, value: unknown, quoted: string | null): string {
  // The rest cannot come from this schema, or have been split into others by `findings`.
  // oxlint-disable-next-line typescript/switch-exhaustiveness-check
  switch (issue.code) {
    case 'invalid_type': {
      if (value === undefined) return 'is required';
      if (issue.expected === 'int' && typeof value === 'number') return 'must be a whole number';
      const quotes = issue.expected === 'string' && typeof value !== 'object';
      const hint = quotes ? '; put it in quotes' : '';
      return `must be ${kindName(issue.expected)}, not ${kindOf(value)}${hint}`;
    }
    case 'invalid_value':
      return oneOf(issue.values, value, quoted !== null);
    case 'too_small':
      return bound('least', issue.origin, issue.minimum);
    case 'too_big':
      return bound('most', issue.origin, issue.maximum);
    case 'invalid_format':
    case 'custom':
      return issue.message;
    default:
      return 'is not valid';
  }
}

function bound(word: 'least' | 'most', origin: string, limit: number | bigint): string {
  if (origin === 'string' && word === 'least' && limit === 1) return 'must not be empty';
  if (origin === 'string') return `must have at ${word} ${limit} characters`;
  if (origin === 'array') return `must have at ${word} ${limit} elements`;
  return `must be at ${word} ${limit}`;
}
