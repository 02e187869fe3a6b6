/** `banyan serve --config FILE`: runs one node until a signal ends it. */

import type { Command } from 'commander';

import { say } from '../verb.ts';

/** Adds the verb. */
export function registerServe(program: Command): void {
  program
    .command('serve')
    .description(say('serve.about'))
    .requiredOption('-c, --config <file>', say('serve.config'))
    .action(async (options: { config: string }) => {
      const { serve } = await import('../serve.ts');
      await serve(options.config);
    });
}
