/**
 * Writes what is generated from the code's own registries; `--check` only compares and fails on a
 * difference. Part of `npm run check`.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { metricsReference } from '../src/io/observe/reference.ts';
import { buildProgram } from '../src/main/cli.ts';
import { cliReference } from '../src/main/cliReference.ts';
import { configReference } from '../src/main/config/reference.ts';
import { configJsonSchema } from '../src/main/config/schema.ts';
import { dashboardJson } from './dashboard.ts';

/** One generated file, relative to the repository's root. */
export interface Generated {
  readonly path: string;
  readonly text: () => string;
}

/** Everything that is generated. */
export const GENERATED: readonly Generated[] = [
  {
    path: 'docs/reference/config.schema.json',
    text: () => `${JSON.stringify(configJsonSchema(), null, 2)}\n`,
  },
  { path: 'docs/reference/configuration.md', text: configReference },
  { path: 'docs/reference/metrics.md', text: metricsReference },
  { path: 'deploy/grafana/banyan.json', text: dashboardJson },
  { path: 'docs/reference/cli.md', text: () => cliReference(buildProgram()) },
];

/** Paths of generated files that differ from what the code gives now. */
export function staleFiles(root: string): readonly string[] {
  return GENERATED.filter(({ path, text }) => {
    const file = join(root, path);
    return !existsSync(file) || readFileSync(file, 'utf8') !== text();
  }).map(({ path }) => path);
}

if (import.meta.main) {
  process.env['LC_ALL'] = 'C'; // The pages are in English whatever the locale.
  const root = dirname(import.meta.dirname);
  const stale = staleFiles(root);
  if (process.argv.includes('--check')) {
    for (const path of stale) console.error(`${path}: not current; run node tools/generate.ts`);
    process.exitCode = stale.length === 0 ? 0 : 1;
  } else {
    for (const { path, text } of GENERATED.filter((each) => stale.includes(each.path))) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text());
      console.log(path);
    }
  }
}
