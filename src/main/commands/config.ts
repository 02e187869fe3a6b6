/** `banyan config check|schema|show|import`, and what all regions share (configShared.ts). */

import type { Command } from 'commander';
import { stringify } from 'yaml';

import type { ConfigProblem } from '../config/document.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { renderJson, type OutputFormat } from '../output.ts';
import { note, print, say, withOutput } from '../verb.ts';
import { registerConfigImport } from './configImport.ts';
import { registerConfigShared } from './configShared.ts';

/** Adds the verbs. */
export function registerConfig(program: Command): void {
  const config = program.command('config').description(say('config.about'));
  withOutput(config.command('check').description(say('config.check')))
    .argument('<file>', say('config.file'))
    .action((file: string, options: { output: OutputFormat }) => check(file, options.output));
  config
    .command('schema')
    .description(say('config.schema'))
    .action(async () => {
      const { configJsonSchema } = await import('../config/schema.ts');
      process.stdout.write(renderJson(configJsonSchema()));
    });
  withOutput(config.command('show').description(say('config.show')))
    .argument('<file>', say('config.file'))
    .action((file: string, options: { output: OutputFormat }) => show(file, options.output));
  registerConfigImport(config);
  registerConfigShared(config);
}

async function check(file: string, output: OutputFormat): Promise<void> {
  const { loadConfig } = await import('../config/load.ts');
  const { renderProblems } = await import('../config/render.ts');
  const loaded = await loadConfig(file, process.env);
  const problems = loaded.ok ? loaded.value.warnings : loaded.error;
  const report = { ok: loaded.ok, file, problems: problems.map(problemRow) };
  if (output === 'json') process.stdout.write(renderJson(report));
  else process.stderr.write(renderProblems(file, problems));
  if (!loaded.ok) {
    const count = problems.filter(({ severity }) => severity === 'error').length;
    throw new CliError(EXIT.usage, output === 'json' ? '' : say('config.bad', { count }));
  }
  if (output === 'json') return;
  const node = loaded.value.config.node(new Map());
  const line = say('config.good', {
    file,
    region: node.region,
    targets: node.targets.length,
    models: node.models.length,
    keys: node.keys.length,
  });
  process.stdout.write(`${line}\n`);
}

function problemRow(problem: ConfigProblem): object {
  const { severity, place, path, message } = problem;
  return { severity, line: place.line, column: place.column, path, message };
}

async function show(file: string, output: OutputFormat): Promise<void> {
  const { parseConfigFile } = await import('../config/load.ts');
  const { renderProblems } = await import('../config/render.ts');
  const parsed = await parseConfigFile(file, process.env);
  if (!parsed.ok) {
    process.stderr.write(renderProblems(file, parsed.error));
    const count = parsed.error.filter(({ severity }) => severity === 'error').length;
    throw new CliError(EXIT.usage, say('config.bad', { count }));
  }
  const { config, warnings } = parsed.value;
  if (warnings.length > 0) note(renderProblems(file, warnings).trimEnd());
  const shown = config.masked();
  print(output, shown, () => stringify(shown));
}
