/** What nodes say of one text, as lines for people: what all say once, else with who says it. */

import { CONFIG_LIMITS } from '../../base/limits.ts';
import type { ConfigProblem } from '../config/document.ts';
import { renderProblems } from '../config/render.ts';
import type { Checked } from './sharedNode.ts';

/** Lines for one severity, in order of their places. */
export function problemLines(
  checked: Checked,
  label: string,
  severity: ConfigProblem['severity'],
): readonly string[] {
  const found = new Map<string, { readonly problem: ConfigProblem; readonly by: string[] }>();
  for (const [peer, problems] of checked) {
    for (const problem of problems ?? []) {
      if (problem.severity !== severity) continue;
      const line = renderProblems(label, [problem]).trimEnd();
      const known = found.get(line) ?? { problem, by: [] };
      found.set(line, known);
      if (!known.by.includes(peer)) known.by.push(peer);
    }
  }
  const asked = [...checked.values()].filter((problems) => problems !== null).length;
  return [...found]
    .toSorted(([, a], [, b]) => order(a.problem) - order(b.problem))
    .slice(0, CONFIG_LIMITS.problemsMax)
    .map(([line, { by }]) => (by.length === asked ? line : `${line} (in ${by.join(', ')})`));
}

function order({ place }: ConfigProblem): number {
  return place.line * 100_000 + place.column;
}
