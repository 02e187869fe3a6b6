/** `banyan region set NAME`: what operators want of a region. */

import { Option, type Command } from 'commander';

import { DESIRED_STATES } from '../../regions/desired.ts';
import { printable } from '../output.ts';
import { say } from '../verb.ts';
import { change, tell, wholeNumber, withChange, type ChangeOptions } from './controlKeys.ts';
import { cell } from './get.ts';

/** Takes a label away. */
const NO_LABEL = 'none';

interface SetOptions extends ChangeOptions {
  readonly desired?: string;
  readonly weight?: number;
  readonly residency?: string;
  readonly force?: true;
}

/** Adds the verb. */
export function registerRegion(program: Command): void {
  const region = program.command('region').description(say('region.about'));
  withChange(region.command('set').description(say('region.set')))
    .argument('<region>', say('region.name'))
    .addOption(new Option('--desired <state>', say('region.desired')).choices(DESIRED_STATES))
    .option('--weight <number>', say('region.weight'), wholeNumber)
    .option('--residency <label>', say('region.residency'))
    .option('--force', say('region.force'))
    .action(set);
}

async function set(region: string, options: SetOptions): Promise<void> {
  const { desired, weight, residency, force } = options;
  const answer = await change(options, 'regions', {
    action: 'set',
    region,
    ...(desired === undefined ? {} : { desired }),
    ...(weight === undefined ? {} : { weight }),
    ...(residency === undefined ? {} : { residency: residency === NO_LABEL ? null : residency }),
    force: force === true,
  });
  tell(options, answer, () => {
    const shown = (name: string) => printable(String(cell(answer, name) ?? '-'));
    const values = { region, desired: shown('desired'), weight: shown('weight') };
    return `${say('region.done', { ...values, residency: shown('residency') })}\n`;
  });
}
