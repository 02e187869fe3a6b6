/** How problems of a configuration file are shown. */

import { CONFIG_LIMITS } from '../../base/limits.ts';
import type { ConfigProblem } from './document.ts';

/** Problems as lines `file:line:column: path: message`; warnings say so. */
export function renderProblems(file: string, problems: readonly ConfigProblem[]): string {
  const lines = problems.slice(0, CONFIG_LIMITS.problemsMax).map((problem) => {
    const { line, column } = problem.place;
    const warning = problem.severity === 'warning' ? 'warning: ' : '';
    const path = problem.path === '' ? '' : `${problem.path}: `;
    return `${problem.file ?? file}:${line}:${column}: ${warning}${path}${problem.message}`;
  });
  const more = problems.length - lines.length;
  if (more > 0) lines.push(`${file}: … and ${more} more`);
  return lines.map((line) => `${line}\n`).join('');
}
