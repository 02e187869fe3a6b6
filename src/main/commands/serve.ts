/** `banyan serve --config FILE`: runs one node until a signal ends it. */

import type { Command } from 'commander';

import { say } from '../verb.ts';

/** Adds the verb. */
export function registerServe(program: Command): void {
  program
    .command('serve')
    .description(say('serve.about'))
    .requiredOption('-c, --config <file>', say('serve.config'))
    .option('--stop-with-stdin', say('serve.stdin'))
    .action(async (options: { config: string; stopWithStdin?: true }) => {
      if (options.stopWithStdin === true) {
        // However a parent dies, the kernel closes our standard input.
        const leave = (): void => void process.kill(process.pid, 'SIGTERM');
        process.stdin.on('end', leave).on('error', leave).resume();
      }
      const { serve } = await import('../serve.ts');
      await serve(options.config);
    });
}
