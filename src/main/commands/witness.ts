/** `banyan witness --config FILE`: a member that votes and serves nothing. */

import type { Command } from 'commander';

import { say } from '../verb.ts';

/** Adds the verb. */
export function registerWitness(program: Command): void {
  program
    .command('witness')
    .description(say('witness.about'))
    .requiredOption('-c, --config <file>', say('witness.config'))
    .action(async ({ config }: { readonly config: string }) => {
      const { witness } = await import('../witness.ts');
      await witness(config);
    });
}
