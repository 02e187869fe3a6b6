/** What nodes ask each other about the shared configuration: one small JSON each way. */

import { z } from 'zod';

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { ConfigProblem } from '../config/document.ts';

export const REPORT_PATH = '/group/config-report';
export const CHECK_PATH = '/group/config-check';

const count = z.int().min(0);
const counts = z.strictObject({ requests: count, errors: count });

/** How a node fares: `NodeReport`. */
export const reportSchema = z.strictObject({
  boot: count,
  applied: count,
  refused: z.strictObject({ version: count, why: z.string() }).nullable(),
  counts,
  before: counts,
  out: z.array(z.string()).max(SHARED_CONFIG_LIMITS.outMax),
});

export const checkSchema = z.strictObject({ text: z.string() });

const problem = z.strictObject({
  severity: z.enum(['error', 'warning']),
  place: z.strictObject({ line: z.int(), column: z.int() }),
  path: z.string(),
  message: z.string(),
  file: z.string().optional(),
});
export const problemsSchema = z.strictObject({ problems: z.array(problem) });

/** An answer holds so many, and so much of each. */
const PROBLEMS_MAX = 50;
const CHARS_MAX = 400;

/** As much as fits into an answer. */
export function shortened(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  return problems.slice(0, PROBLEMS_MAX).map((each) => ({
    ...each,
    path: each.path.slice(0, CHARS_MAX),
    message: each.message.slice(0, CHARS_MAX),
  }));
}

/** What zod reads, as a problem: an absent file is no file. */
export function problemOf({ file, ...rest }: z.output<typeof problem>): ConfigProblem {
  return file === undefined ? rest : { ...rest, file };
}
