/** `banyan member remove|promote|demote ID` and `banyan transfer-leader REGION`. */

import type { Command } from 'commander';

import { say } from '../verb.ts';
import { change, tell, wholeNumber, withChange, type ChangeOptions } from './controlKeys.ts';

const ACTIONS = {
  remove: 'member.remove',
  promote: 'member.promote',
  demote: 'member.demote',
} as const;

/** Adds the verbs. */
export function registerMember(program: Command): void {
  const member = program.command('member').description(say('member.about'));
  for (const action of ['remove', 'promote', 'demote'] as const) {
    const verb = withChange(member.command(action).description(say(ACTIONS[action])));
    if (action !== 'promote') verb.option('--force', say('member.force'));
    verb
      .argument('<id>', say('member.id'), wholeNumber)
      .action(async (id: number, options: ChangeOptions & { readonly force?: true }) => {
        const body = { action, id, force: options.force === true };
        const answer = await change(options, 'members', body);
        tell(options, answer, () => `${say('control.done')}\n`);
      });
  }
  withChange(program.command('transfer-leader').description(say('leader.about')))
    .argument('<region>', say('leader.region'))
    .action(async (region: string, options: ChangeOptions) => {
      const answer = await change(options, 'leader', { region });
      tell(options, answer, () => `${say('control.done')}\n`);
    });
}
