/** Checks that neither the type checker nor the linter can express. Part of `npm run check`. */

import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';

/** Which folders of src/ a folder may import. Lower layers never see higher ones. */
const CORES = [
  'base',
  'protocol',
  'raft',
  'caspaxos',
  'causal',
  'storage',
  'routing',
  'providers',
  'exchange',
  'regions',
  'models',
] as const;
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  protocol: ['base'],
  raft: ['base'],
  caspaxos: ['base'],
  causal: ['base'],
  storage: ['base'],
  routing: ['base', 'protocol'],
  providers: ['base', 'protocol'],
  exchange: ['base', 'protocol', 'routing'],
  regions: ['base', 'protocol', 'routing'],
  models: ['base', 'protocol', 'routing'],
  replica: CORES,
  sim: [...CORES, 'replica'],
  io: ['base', 'protocol', 'storage', 'replica'],
  main: [...CORES, 'replica', 'sim', 'io'],
};
const SHELLS: ReadonlySet<string> = new Set(['io', 'main']);

const FILE_LINES_MAX = 500;
/** The formatter breaks code at 100; prose and strings may run a little over. */
const LINE_COLUMNS_MAX = 110;
const IMPORT = new RegExp(
  String.raw`^\s*(?:import|export)\b[^'"]*?from\s+['"]([^'"]+)['"]` +
    String.raw`|^\s*import\s+['"]([^'"]+)['"]` +
    String.raw`|\bimport\(\s*['"]([^'"]+)['"]`,
  'gm',
);
const BANNED: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/\bFIXME\b|\bdebugger\b|\.only\(/, 'remove it before merging'],
  [/@ts-ignore/, 'use @ts-expect-error and say why'],
  [/:\s*Function\b/, 'write the function type'],
];

/** Returns one `path:line: problem` per problem in a file. Pure, so that tests can call it. */
export function tidyFile(path: string, text: string): readonly string[] {
  const problems: string[] = [];
  const lines = text.split('\n');
  const isTest = path.endsWith('.test.ts');
  if (lines.length > FILE_LINES_MAX && !isTest) {
    problems.push(`${path}:1: ${lines.length} lines; the limit is ${FILE_LINES_MAX}`);
  }
  lines.forEach((line, index) => {
    const at = `${path}:${index + 1}`;
    if (line.length > LINE_COLUMNS_MAX && !line.includes('https://')) {
      problems.push(`${at}: line is over ${LINE_COLUMNS_MAX} columns`);
    }
    if (path.startsWith('tools')) return;
    for (const [pattern, instead] of BANNED) {
      if (pattern.test(line)) problems.push(`${at}: ${pattern.source}: ${instead}`);
    }
  });
  const [root, layer] = path.split(sep);
  if (root !== 'src' || layer === undefined) return problems;
  const allowed = LAYERS[layer];
  if (allowed === undefined) return [...problems, `${path}:1: src/${layer} is not in LAYERS`];
  for (const match of text.matchAll(IMPORT)) {
    const specifier = match[1] ?? match[2] ?? match[3] ?? '';
    const reason = forbidden(path, layer, allowed, specifier, isTest);
    if (reason === null) continue;
    const line = text.slice(0, match.index).split('\n').length;
    problems.push(`${path}:${line}: ${reason}`);
  }
  return problems;
}

/** Returns why `layer` may not import `specifier`, or null when it may. */
function forbidden(
  path: string,
  layer: string,
  allowed: readonly string[],
  specifier: string,
  isTest: boolean,
): string | null {
  if (specifier.startsWith('.')) {
    const [root, target] = normalize(join(dirname(path), specifier)).split(sep);
    if (root !== 'src') return `import leaves src/: ${specifier}`;
    if (target === layer || allowed.includes(target ?? '')) return null;
    return `src/${layer} may not import src/${target}`;
  }
  if (isTest || SHELLS.has(layer)) return null;
  return `src/${layer} is sans-IO and has no dependencies: ${specifier}`;
}

if (import.meta.main) {
  const paths = globSync('{src,tools,test,bench,examples}/**/*.ts');
  const problems = paths.flatMap((path) => tidyFile(path, readFileSync(path, 'utf8')));
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
