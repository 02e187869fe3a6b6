/** `banyan recover --force|--rejoin`: when a majority of the control group is gone for good. */

import { hostname } from 'node:os';

import type { Command } from 'commander';

import type { Recovered } from '../control/offline.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import type { OutputFormat } from '../output.ts';
import { note, print, say, withOutput } from '../verb.ts';
import { whoAmI } from './controlKeys.ts';
import { onDisk, placeOf, withPlace, type PlaceOptions } from './place.ts';

interface RecoverOptions extends PlaceOptions {
  readonly output: OutputFormat;
  readonly force?: true;
  readonly rejoin?: true;
  readonly dryRun?: true;
  readonly why?: string;
}

/** Adds the verb. */
export function registerRecover(program: Command): void {
  withPlace(withOutput(program.command('recover').description(say('recover.about'))))
    .option('--force', say('recover.force'))
    .option('--rejoin', say('recover.rejoin'))
    .option('--dry-run', say('control.dryRun'))
    .option('--why <text>', say('control.why'))
    .action(recover);
}

async function recover(options: RecoverOptions): Promise<void> {
  const { force, output, dryRun } = options;
  if (force === true && options.rejoin === true) {
    throw new CliError(EXIT.usage, say('recover.oneOfTwo'));
  }
  const { folder } = await placeOf(options);
  if (options.rejoin === true) return rejoinGroup(folder, options);
  const { recoverFrom } = await import('../control/offline.ts');
  const doer = { who: whoAmI(), from: hostname(), why: options.why ?? '', wallMs: Date.now() };
  const isDry = dryRun === true || force !== true;
  const done = await onDisk(() => recoverFrom(folder, doer, isDry));
  if (!done.ok) throw new CliError(EXIT.refused, done.error);
  const { value } = done;
  print(output, { ...value, isDone: !isDry }, () => `${story(value, isDry)}\n`);
  if (isDry && dryRun !== true) throw new CliError(EXIT.refused, say('recover.notWithout'));
}

async function rejoinGroup(folder: string, { output, dryRun }: RecoverOptions): Promise<void> {
  const { rejoin } = await import('../control/offline.ts');
  const done = await onDisk(() => rejoin(folder, Date.now(), dryRun === true));
  if (!done.ok) throw new CliError(EXIT.refused, done.error);
  const { cluster, aside } = done.value;
  const told = dryRun === true ? 'recover.wouldRejoin' : 'recover.rejoined';
  print(output, done.value, () => `${say(told, { cluster, aside })}\n`);
  if (output === 'table' && dryRun !== true) note(say('recover.startIt'));
}

function story(told: Recovered, isDry: boolean): string {
  const others = told.voters.filter(({ id }) => id !== told.id);
  const uncertain = Math.max(0, told.lastIndex - told.commit);
  return [
    say('recover.here', { region: told.region, id: told.id, cluster: told.cluster }),
    say('recover.voters', {
      voters: told.voters.map(({ id, region }) => `${id} ${region}`).join(', '),
    }),
    say('recover.log', {
      lastIndex: told.lastIndex,
      term: told.term,
      written: new Date(told.writtenMs).toISOString(),
    }),
    ...(uncertain === 0
      ? []
      : [say('recover.uncertain', { count: uncertain, commit: told.commit })]),
    ...(others.length === 0
      ? []
      : [
          say('recover.loss', {
            regions: others.map(({ region }) => region).join(', '),
            lastIndex: told.lastIndex,
          }),
        ]),
    say(isDry ? 'recover.would' : 'recover.done', {
      cluster: told.newCluster,
      revision: told.revision,
    }),
    ...(told.aside === null ? [] : [say('recover.kept', { aside: told.aside })]),
    say('recover.next'),
  ].join('\n');
}
