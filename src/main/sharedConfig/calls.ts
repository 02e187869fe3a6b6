/** What nodes ask each other about the shared configuration: one small JSON each way. */

import { z } from 'zod';

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { ConfigProblem } from '../config/document.ts';
import { PEER_BODY_BYTES_MAX } from '../control/peerCalls.ts';

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
/** All of them together as JSON in UTF-8: an answer that is too long to be read refuses nothing. */
const PROBLEMS_BYTES_MAX = 48 * 1024;
/** What is around them, or around the texts of one. */
const AROUND_BYTES = 256;

assert(
  PROBLEMS_BYTES_MAX + AROUND_BYTES <= PEER_BODY_BYTES_MAX,
  'whoever asks reads the whole answer',
);
// Path, message and file; a character takes six bytes at most: `\u0001`.
assert(
  3 * CHARS_MAX * 6 + AROUND_BYTES <= PROBLEMS_BYTES_MAX,
  'an answer holds one problem at least: an error stays an error',
);

/** As much as fits into an answer, errors first: one of them is what refuses a text. */
export function shortened(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  const isError = ({ severity }: ConfigProblem) => severity === 'error';
  const ordered = [...problems.filter(isError), ...problems.filter((each) => !isError(each))];
  const kept: ConfigProblem[] = [];
  let bytes = 0;
  for (const problem of ordered.slice(0, PROBLEMS_MAX).map(cut)) {
    bytes += encodeUtf8(JSON.stringify(problem)).length + 1; // A comma.
    if (bytes > PROBLEMS_BYTES_MAX) break;
    kept.push(problem);
  }
  return kept;
}

function cut({ path, message, file, ...rest }: ConfigProblem): ConfigProblem {
  const short = { path: path.slice(0, CHARS_MAX), message: message.slice(0, CHARS_MAX) };
  // The end of a file's name tells more than its beginning.
  return { ...rest, ...short, ...(file === undefined ? {} : { file: file.slice(-CHARS_MAX) }) };
}

/** What zod reads, as a problem: an absent file is no file. */
export function problemOf({ file, ...rest }: z.output<typeof problem>): ConfigProblem {
  return file === undefined ? rest : { ...rest, file };
}
