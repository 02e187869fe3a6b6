/**
 * Scenarios as text: a command (one or more lines), `----`, the expected result, an empty line.
 * `#` begins a comment line between cases. The form of cockroachdb/datadriven, which etcd-io/raft
 * uses. A result that holds empty lines is not needed here and not supported.
 */

export interface ScenarioStep {
  /** Number of the command's first line, from 1. */
  readonly line: number;
  readonly command: string;
  /** Lines joined by \n, without a trailing one. */
  readonly expected: string;
}

/** Every step of `text`, in order. */
export function parseScenario(text: string): readonly ScenarioStep[] {
  const steps: ScenarioStep[] = [];
  const lines = text.split('\n');
  let at = 0;
  while (at < lines.length) {
    const first = lines[at] ?? '';
    if (first.trim() === '' || first.startsWith('#')) {
      at += 1;
      continue;
    }
    const begin = at;
    while (at < lines.length && lines[at] !== '----') at += 1;
    const command = lines.slice(begin, at).join('\n');
    const expectedFrom = at + 1;
    at = expectedFrom;
    while (at < lines.length && lines[at] !== '') at += 1;
    steps.push({ line: begin + 1, command, expected: lines.slice(expectedFrom, at).join('\n') });
  }
  return steps;
}

/** `text` with the result of each step replaced by what `run` gives; comments stay. */
export function rewriteScenario(text: string, run: (step: ScenarioStep) => string): string {
  const lines = text.split('\n');
  const parts: string[] = [];
  let copiedTo = 0;
  for (const step of parseScenario(text)) {
    const divider = lines.indexOf('----', step.line - 1);
    parts.push(...lines.slice(copiedTo, divider + 1));
    const result = run(step);
    if (result !== '') parts.push(...result.split('\n'));
    copiedTo = divider + 1 + (step.expected === '' ? 0 : step.expected.split('\n').length);
  }
  return [...parts, ...lines.slice(copiedTo)].join('\n');
}
