/**
 * Writes what is generated from the code's own registries; `--check` only compares and fails on a
 * difference. Part of `npm run check`.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { metricsReference } from '../src/io/observe/reference.ts';
import { adminDocument } from '../src/main/adminRoutes.ts';
import { buildProgram } from '../src/main/cli.ts';
import { cliReference } from '../src/main/cliReference.ts';
import { configReference } from '../src/main/config/reference.ts';
import { configJsonSchema } from '../src/main/config/schema.ts';
import type { Language } from '../src/main/messages.ts';
import { dashboardJson } from './dashboard.ts';
import { renderErrorsReference } from './errorsReference.ts';
import { headersReference } from './headersReference.ts';
import { CONFIG_WORDS_ZH } from './zh/config.ts';
import { METRICS_WORDS_ZH } from './zh/metrics.ts';

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
  {
    path: 'docs/reference/openapi.json',
    text: () => `${JSON.stringify(adminDocument(), null, 2)}\n`,
  },
  { path: 'docs/reference/configuration.md', text: () => configReference() },
  { path: 'docs/reference/metrics.md', text: () => metricsReference() },
  { path: 'deploy/grafana/banyan.json', text: dashboardJson },
  { path: 'docs/reference/cli.md', text: () => cliPage('en') },
  { path: 'docs/reference/errors.md', text: () => renderErrorsReference('en') },
  { path: 'docs/reference/headers.md', text: () => headersReference('en') },
  { path: 'docs/reference/zh/configuration.md', text: () => configReference(CONFIG_WORDS_ZH) },
  { path: 'docs/reference/zh/metrics.md', text: () => metricsReference(METRICS_WORDS_ZH) },
  { path: 'docs/reference/zh/cli.md', text: () => cliPage('zh') },
  { path: 'docs/reference/zh/errors.md', text: () => renderErrorsReference('zh') },
  { path: 'docs/reference/zh/headers.md', text: () => headersReference('zh') },
];

/** The program speaks the language of the environment; the page is in `language` whatever that is. */
function cliPage(language: Language): string {
  const before = process.env['LC_ALL'];
  process.env['LC_ALL'] = language === 'zh' ? 'zh_CN.UTF-8' : 'C';
  const page = cliReference(buildProgram(), language);
  if (before === undefined) delete process.env['LC_ALL'];
  else process.env['LC_ALL'] = before;
  return page;
}

/** Paths of generated files that differ from what the code gives now. */
export function staleFiles(root: string): readonly string[] {
  return GENERATED.filter(({ path, text }) => {
    const file = join(root, path);
    return !existsSync(file) || readFileSync(file, 'utf8') !== text();
  }).map(({ path }) => path);
}

if (import.meta.main) {
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
