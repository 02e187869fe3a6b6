/** Renders `docs/reference/errors.md` from the catalogue of errors. */

import { ERRORS } from '../src/base/errors.ts';

/** The page, whole. */
export function renderErrorsReference(): string {
  const rows = Object.entries(ERRORS).map(([code, entry]) => {
    const effect = entry.definite ? 'no' : 'possibly';
    const types = `\`${entry.openaiType}\` / \`${entry.anthropicType}\``;
    return `| \`${code}\` | ${entry.status} | ${types} | ${effect} | ${entry.sentence} | ${entry.action} |`;
  });
  return [
    '# Errors',
    '',
    'Every error that Banyan itself answers, generated from `src/base/errors.ts` by `npm run generate`.',
    'The body has the shape of the dialect that the client speaks:',
    '',
    '```json',
    '{"error":{"message":"…","type":"rate_limit_error","code":"rate_limited","param":null}}',
    '{"type":"error","error":{"type":"rate_limit_error","message":"…"},"request_id":"req_…"}',
    '```',
    '',
    'An error that a model server answers because of the request itself keeps its own status and message.',
    '"Ran?" says whether the request may have had an effect: after a `no` it is always safe to repeat it.',
    'A stream that fails after its head ends with the error as an event and an aborted connection.',
    '',
    '| code | status | type (OpenAI / Anthropic) | ran? | meaning | what to do |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
