/** `banyan top`: regions, targets, models and nodes, live. */

import { Option, type Command } from 'commander';

import { CliError, EXIT } from '../exitCodes.ts';
import { renderJson, type OutputFormat } from '../output.ts';
import { language, say, SERVER_DEFAULT, withAdminKey, withOutput } from '../verb.ts';
import type { Terminal } from '../top/loop.ts';
import type { ScreenOptions } from '../top/screen.ts';

interface TopOptions {
  readonly output: OutputFormat;
  readonly server: readonly string[];
  readonly interval: string;
  readonly once?: true;
}

/** Adds the verb. */
export function registerTop(program: Command): void {
  const server = new Option('--server <url...>', say('top.server'))
    .env('BANYAN_SERVER')
    .default([SERVER_DEFAULT], SERVER_DEFAULT);
  withAdminKey(withOutput(program.command('top').description(say('top.about'))))
    .addOption(server)
    .option('--interval <seconds>', say('top.interval'), '1')
    .option('--once', say('top.once'))
    .action(run);
}

async function run(options: TopOptions): Promise<void> {
  const intervalMs = Number(options.interval) * 1_000;
  if (!(intervalMs >= 200 && intervalMs <= 60_000)) {
    throw new CliError(EXIT.usage, say('top.badInterval'));
  }
  // The environment gives one text, the command line a list.
  const servers = [options.server].flat().flatMap((each) => each.split(/[,\s]+/).filter(Boolean));
  const { takeSnapshot } = await import('../top/snapshot.ts');
  const look = () => takeSnapshot(servers, Math.max(2_000, intervalMs));
  if (options.once === true || options.output === 'json' || !process.stdout.isTTY) {
    return printOnce(look, intervalMs, options.output);
  }
  await live(look, intervalMs);
}

type Look = () => ReturnType<(typeof import('../top/snapshot.ts'))['takeSnapshot']>;

/** Two looks, so that there are rates. */
async function printOnce(look: Look, intervalMs: number, output: OutputFormat): Promise<void> {
  const { History } = await import('../top/loop.ts');
  const { renderScreen } = await import('../top/screen.ts');
  const history = new History();
  history.add(await look());
  await new Promise((resolve) => setTimeout(resolve, intervalMs));
  history.add(await look());
  const figures = history.figures();
  if (output === 'json') return void process.stdout.write(renderJson(figures));
  const size = { columns: null, rows: null };
  const lines = renderScreen(figures, { ...screenOptions(), ...size, footer: '' });
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
}

/** Colours only where a terminal shows them and nobody asked for none (no-color.org). */
function screenOptions(): Pick<ScreenOptions, 'language' | 'isColoured'> {
  const { env, stdout } = process;
  const wantsNone = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return { language: language(), isColoured: stdout.isTTY && !wantsNone };
}

async function live(look: Look, intervalMs: number): Promise<void> {
  const { runLoop } = await import('../top/loop.ts');
  const { cutText, renderScreen } = await import('../top/screen.ts');
  await look(); // Nobody there is an answer on the ordinary screen, with its exit code.
  const killed = new AbortController();
  const onSignal = (): void => killed.abort();
  for (const name of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.once(name, onSignal);
  const terminal = realTerminal();
  const end = await runLoop({
    terminal,
    look,
    wait: (signal) => waitFor(intervalMs, signal),
    draw: (figures, size) =>
      renderScreen(figures, { ...screenOptions(), ...size, footer: say('top.keys') }),
    explain: (cause) => {
      if (!(cause instanceof CliError)) throw cause;
      return cutText(say('top.lost', { why: cause.message }), terminal.size().columns);
    },
    signal: killed.signal,
  });
  process.exitCode = end === 'quit' ? EXIT.ok : EXIT.interrupted;
}

function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done, { once: true });
  });
}

function realTerminal(): Terminal {
  const { stdin, stdout } = process;
  return {
    size: () => ({ columns: stdout.columns, rows: stdout.rows }),
    write: (text) => void stdout.write(text),
    listen(onKey, onResize) {
      const onData = (data: Buffer): void => onKey(data.toString('latin1').slice(0, 1));
      if (stdin.isTTY) stdin.setRawMode(true);
      stdin.on('data', onData);
      stdin.resume();
      stdout.on('resize', onResize);
      return () => {
        stdout.off('resize', onResize);
        stdin.off('data', onData);
        if (stdin.isTTY) stdin.setRawMode(false);
        stdin.pause();
      };
    },
  };
}
