/** `banyan config import litellm FILE`: another gateway's configuration as ours. */

import { constants } from 'node:fs';
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';

import { Option, type Command } from 'commander';

import { assert } from '../../base/assert.ts';
import { LABEL } from '../../base/names.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import type { Imported } from '../litellm/convert.ts';
import { renderJson } from '../output.ts';
import { language, note, say } from '../verb.ts';

interface ImportOptions {
  readonly output: string;
  readonly region: string;
  readonly force?: true;
}

/** Adds the verb below `config`. */
export function registerConfigImport(config: Command): void {
  config
    .command('import')
    .description(say('import.about'))
    .command('litellm')
    .description(say('import.litellm'))
    .argument('<file>', say('import.file'))
    .addOption(new Option('-o, --output <file|json>', say('import.output')).default('table'))
    .option('--region <name>', say('import.region'), 'region-1')
    .option('--force', say('import.force'))
    .action(importLitellm);
}

async function importLitellm(file: string, options: ImportOptions): Promise<void> {
  if (!LABEL.test(options.region)) {
    throw new CliError(EXIT.usage, say('certs.badName', { name: options.region }));
  }
  const { readLitellm } = await import('../litellm/source.ts');
  const { convertLitellm } = await import('../litellm/convert.ts');
  const { renderImported } = await import('../litellm/render.ts');
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new CliError(EXIT.usage, `${file}: ${cause.code ?? cause.message}`, cause);
  });
  const source = readLitellm(text);
  if (!source.ok) {
    const { place, message } = source.error;
    throw new CliError(EXIT.usage, `${file}:${place.line}:${place.column}: ${message}`);
  }
  if (source.value.root['model_list'] === undefined) {
    throw new CliError(EXIT.usage, say('import.notLitellm', { file }));
  }
  const imported = convertLitellm(source.value, text);
  const yaml = renderImported(imported, { file, region: options.region, language: language() });
  await assertLoads(yaml, imported);
  const isJson = options.output === 'json';
  if (isJson) process.stdout.write(renderJson(await reportOf(file, yaml, imported)));
  else await tell(file, yaml, imported, options);
  if (imported.models.length === 0) {
    throw new CliError(EXIT.failed, isJson ? '' : say('import.nothing', { file }));
  }
}

/** What we write, we can read: anything else is a bug of the import. */
async function assertLoads(yaml: string, imported: Imported): Promise<void> {
  const { parseConfig } = await import('../config/load.ts');
  const env = Object.fromEntries(
    imported.variables.map(({ name, isAddress }) => [name, isAddress ? 'http://127.0.0.1:1' : 'x']),
  );
  assert(parseConfig(yaml, 'banyan.yaml', env).ok, 'an imported configuration loads');
}

async function tell(
  file: string,
  yaml: string,
  imported: Imported,
  options: ImportOptions,
): Promise<void> {
  const { noteText } = await import('../litellm/notes.ts');
  for (const each of imported.notes) {
    const { line, column } = each.place;
    note(`${file}:${line}:${column}: ${each.path}: ${noteText(each, language())}`);
  }
  if (options.output === 'table') process.stdout.write(yaml);
  else await writeNew(options.output, yaml, options.force === true);
  const values = {
    models: imported.models.length,
    targets: imported.targets.length,
    notes: imported.notes.length,
    variables: imported.variables.map(({ name }) => name).join(', '),
  };
  note(say('import.done', values));
}

/** Writes a file whole; refuses to replace one unless forced. */
async function writeNew(path: string, text: string, isForced: boolean): Promise<void> {
  if (isForced) return writeFile(path, text);
  const draft = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(draft, text, { flag: 'wx' });
    await copyFile(draft, path, constants.COPYFILE_EXCL);
  } catch (cause) {
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    const why = cause instanceof Error ? cause.message : String(cause);
    if (isThere) throw new CliError(EXIT.refused, say('import.exists', { file: path }), cause);
    throw new CliError(EXIT.failed, why, cause);
  } finally {
    await rm(draft, { force: true });
  }
}

async function reportOf(file: string, yaml: string, imported: Imported): Promise<object> {
  const { NOTES, noteText } = await import('../litellm/notes.ts');
  return {
    file,
    models: imported.models.length,
    targets: imported.targets.length,
    environment: imported.variables.map(({ name }) => name),
    notes: imported.notes.map((each) => ({
      kind: NOTES[each.code].kind,
      code: each.code,
      line: each.place.line,
      column: each.place.column,
      path: each.path,
      message: noteText(each, 'en'),
    })),
    config: yaml,
  };
}
