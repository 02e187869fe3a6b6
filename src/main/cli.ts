/** The `banyan` command: builds the verbs, runs one, and gives its exit code. */

import { Command, CommanderError } from 'commander';

import { registerBackup } from './commands/backup.ts';
import { useCredentials } from './adminClient.ts';
import { ADMIN_ENVIRONMENT } from './adminCredentials.ts';
import { registerAdminKeys } from './commands/adminKeys.ts';
import { registerCerts } from './commands/certs.ts';
import { registerChat } from './commands/chat.ts';
import { registerConfig } from './commands/config.ts';
import { registerFault } from './commands/fault.ts';
import { registerGet } from './commands/get.ts';
import { registerKeys } from './commands/keys.ts';
import { registerKv } from './commands/kv.ts';
import { registerLease } from './commands/lease.ts';
import { registerMember } from './commands/member.ts';
import { registerModelServe } from './commands/modelServe.ts';
import { registerRecover } from './commands/recover.ts';
import { registerRegion } from './commands/region.ts';
import { registerRoute } from './commands/route.ts';
import { registerServe } from './commands/serve.ts';
import { registerStatus } from './commands/status.ts';
import { registerTop } from './commands/top.ts';
import { registerUp } from './commands/up.ts';
import { registerWitness } from './commands/witness.ts';
import { EXIT, EXIT_MEANINGS } from './exitCodes.ts';
import { language, reportFailure, say } from './verb.ts';
import { VERSION } from './version.ts';

/** Builds the program with all its verbs. */
export function buildProgram(): Command {
  const program = new Command('banyan')
    .description(say('cli.about'))
    .version(VERSION, '-V, --version', say('cli.version'))
    .helpOption('-h, --help', say('cli.help'))
    // Options of a verb are its own: `get config --version 3` is not `--version`.
    .enablePositionalOptions()
    .addHelpText('after', () => `\n${say('client.environment', { table: environmentTable() })}`)
    .addHelpText('after', () => `\n${say('cli.exitCodes', { table: exitTable() })}`)
    .hook('preAction', (_program, verb) => {
      const keyFile: unknown = verb.opts()['adminKeyFile'];
      if (typeof keyFile === 'string') useCredentials(keyFile);
    });
  registerServe(program);
  registerWitness(program);
  registerConfig(program);
  registerGet(program);
  registerStatus(program);
  registerTop(program);
  registerRoute(program);
  registerKeys(program);
  registerAdminKeys(program);
  registerMember(program);
  registerRegion(program);
  registerBackup(program);
  registerRecover(program);
  registerLease(program);
  registerCerts(program);
  registerModelServe(program);
  registerUp(program);
  registerFault(program);
  registerChat(program);
  if (process.env['BANYAN_DEVELOPER'] === '1') registerKv(program);
  localise(program);
  return program;
}

function exitTable(): string {
  const names = Object.keys(EXIT) as (keyof typeof EXIT)[];
  const lines = names.map((name) => `  ${EXIT[name]}  ${EXIT_MEANINGS[name][language()]}`);
  return lines.join('\n');
}

function environmentTable(): string {
  const rows = Object.entries(ADMIN_ENVIRONMENT);
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, about]) => `  ${name.padEnd(width)}  ${say(about)}`).join('\n');
}

/** Headings of the help in the terminal's language; errors as exceptions. For all subcommands. */
function localise(command: Command): void {
  const titles: Readonly<Record<string, string>> = {
    'Usage:': say('cli.usage'),
    'Options:': say('cli.options'),
    'Commands:': say('cli.commands'),
    'Arguments:': say('cli.arguments'),
  };
  command
    .exitOverride()
    .helpCommand(false)
    .helpOption('-h, --help', say('cli.help'))
    .configureHelp({ styleTitle: (title) => titles[title] ?? title });
  for (const child of command.commands) localise(child);
}

/** Runs one command line; sets the exit code and lets the process end by itself. */
export async function main(args: readonly string[]): Promise<void> {
  // The reader of a pipe may leave before we are done (`banyan get … | head -1`); that is no error.
  process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
    process.exit(cause.code === 'EPIPE' ? EXIT.ok : EXIT.failed);
  });
  try {
    await buildProgram().parseAsync(args, { from: 'user' });
  } catch (cause) {
    if (cause instanceof CommanderError) {
      // Commander has printed it. Help and version are wishes fulfilled; all else is usage.
      const isWish = cause.code === 'commander.helpDisplayed' || cause.code === 'commander.version';
      process.exitCode = isWish ? EXIT.ok : EXIT.usage;
    } else {
      reportFailure(cause);
    }
  }
}

if (import.meta.main) await main(process.argv.slice(2));
