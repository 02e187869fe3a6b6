/** What the schemas of `banyan.yaml` are made of. */

import { z } from 'zod';

import { CONFIG_LIMITS } from '../../base/limits.ts';
import { parseBaseUrl } from './address.ts';
import { nearestWord } from './nearest.ts';

/** A mapping without unknown keys. Its message carries one line for each unknown key, in order. */
export function mapping<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
): z.ZodObject<Shape, z.core.$strict> {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return undefined;
      return issue.keys.map((key) => unknownKey(key, known)).join('\n');
    },
  });
}

function unknownKey(key: string, known: readonly string[]): string {
  const near = nearestWord(key, known);
  const hint = near === null ? `known here: ${known.join(', ')}` : `did you mean "${near}"?`;
  return `unknown key "${key.slice(0, 64)}"; ${hint}`;
}

export const text = (): z.ZodString => z.string().min(1).max(CONFIG_LIMITS.textCharsMax);

export const baseUrl = text().transform((value, context) => {
  const parsed = parseBaseUrl(value);
  if (parsed.ok) return parsed.value;
  context.issues.push({ code: 'custom', message: parsed.error, input: value });
  return z.NEVER;
});

export const whole = (least: number, most: number) => z.int().min(least).max(most);
