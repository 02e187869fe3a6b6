/** `banyan lease free NAME`. */

import type { Command } from 'commander';

import { say } from '../verb.ts';
import { change, tell, withChange, type ChangeOptions } from './controlKeys.ts';

/** Adds the verb. */
export function registerLease(program: Command): void {
  const lease = program.command('lease').description(say('lease.about'));
  withChange(lease.command('free').description(say('lease.free')))
    .argument('<name>', say('lease.name'))
    .action(async (name: string, options: ChangeOptions) => {
      const answer = await change(options, 'leases', { action: 'free', name });
      tell(options, answer, () => {
        const key = answer['wasHeld'] === false ? 'lease.wasFree' : 'control.done';
        return `${say(key)}\n`;
      });
    });
}
