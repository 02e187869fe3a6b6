/**
 * `banyan kv init|serve|get|put|cas|delete|status`: a replicated key-value store on the product's
 * own log, for developers. Only there with BANYAN_DEVELOPER=1; not part of the product's surface, so
 * its words are English only.
 */

import type { Command } from 'commander';

import { CliError, EXIT } from '../exitCodes.ts';

/** Adds the verbs. */
export function registerKv(program: Command): void {
  const kv = program.command('kv').description('a replicated key-value store, for developers');
  withConfig(kv.command('init').description('make the data folder of a new member')).action(
    async ({ config }: { config: string }) => {
      const { init } = await import('../kv/serve.ts');
      await init(config);
    },
  );
  withConfig(kv.command('serve').description('run one member')).action(
    async ({ config }: { config: string }) => {
      const { serve } = await import('../kv/serve.ts');
      await serve(config);
    },
  );
  withApi(kv.command('get').description('read a key'))
    .argument('<key>')
    .option('--local', 'what is applied there, maybe stale', false)
    .action((key: string, { server, local }: { server: string; local: boolean }) =>
      ask(server, 'GET', `/v1/kv/${encodeURIComponent(key)}${local ? '?read=local' : ''}`),
    );
  withApi(kv.command('put').description('write a key'))
    .argument('<key>')
    .argument('<value>')
    .action((key: string, value: string, { server }: { server: string }) =>
      ask(server, 'PUT', `/v1/kv/${encodeURIComponent(key)}`, value),
    );
  withApi(kv.command('cas').description('write a key over a version; 0: where nothing is'))
    .argument('<key>')
    .argument('<version>')
    .argument('<value>')
    .action((key: string, version: string, value: string, { server }: { server: string }) => {
      const query = `?version=${encodeURIComponent(version)}`;
      return ask(server, 'PUT', `/v1/kv/${encodeURIComponent(key)}${query}`, value);
    });
  withApi(kv.command('delete').description('remove a key'))
    .argument('<key>')
    .action((key: string, { server }: { server: string }) =>
      ask(server, 'DELETE', `/v1/kv/${encodeURIComponent(key)}`),
    );
  withApi(kv.command('status').description('what one member knows')).action(
    ({ server }: { server: string }) => ask(server, 'GET', '/v1/status'),
  );
}

function withConfig(command: Command): Command {
  return command.requiredOption('-c, --config <file>', 'the file of the member');
}

function withApi(command: Command): Command {
  return command.requiredOption('--server <url>', 'the API of any member');
}

/** Prints the body; the version, where there is one, goes to standard error. */
async function ask(server: string, method: string, path: string, body?: string): Promise<void> {
  const response = await fetch(new URL(path, server), { method, body: body ?? null }).catch(
    (cause: unknown) => {
      throw new CliError(EXIT.unreachable, `${server}: ${String(cause)}`, cause);
    },
  );
  const text = await response.text();
  const version = response.headers.get('banyan-version');
  if (version !== null) process.stderr.write(`version ${version}\n`);
  process.stdout.write(text.endsWith('\n') || text === '' ? text : `${text}\n`);
  if (!response.ok) throw new CliError(EXIT.refused, `HTTP ${response.status}`);
}
