/** `banyan model serve`: one GGUF model behind the OpenAI API, on llama.cpp. */

import { access } from 'node:fs/promises';
import { basename } from 'node:path';

import { InvalidArgumentError, type Command } from 'commander';

import { LLAMA_LIMITS } from '../../base/limits.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { note, say, wholeOf } from '../verb.ts';

interface ModelServeOptions {
  readonly modelFile: string;
  readonly host: string;
  readonly port: number;
  readonly name?: string;
  readonly model?: string;
  readonly sequences: number;
  readonly threads: number;
  readonly contextTokens?: number;
  readonly tokensPerSecondMax?: number;
  readonly queueDepthMax: number;
  readonly stopWithStdin?: true;
}

/** Adds the verb. */
export function registerModelServe(program: Command): void {
  program
    .command('model')
    .description(say('model.about'))
    .command('serve')
    .description(say('model.serve'))
    .requiredOption('--model-file <file>', say('model.file'))
    .requiredOption('--port <port>', say('model.port'), wholeOf(0, 65_535))
    .option('--host <address>', say('model.host'), '127.0.0.1')
    .option('--name <name>', say('model.name'))
    .option('--model <model>', say('model.model'))
    .option('--sequences <n>', say('model.sequences'), wholeOf(1, LLAMA_LIMITS.sequencesMax), 4)
    .option('--threads <n>', say('model.threads'), wholeOf(1, 256), 1)
    .option('--context-tokens <n>', say('model.context'), wholeOf(64, 1_048_576))
    .option('--tokens-per-second-max <n>', say('model.pace'), positive)
    .option(
      '--queue-depth-max <n>',
      say('model.queue'),
      wholeOf(0, LLAMA_LIMITS.queueDepthMax),
      LLAMA_LIMITS.queueDepthDefault,
    )
    .option('--stop-with-stdin', say('model.stdin'))
    .action(serveModel);
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError(say('cli.positiveNumber'));
}

/** Runs until a signal, or the end of the standard input, ends it. */
async function serveModel(options: ModelServeOptions): Promise<void> {
  const { modelFile } = options;
  await access(modelFile).catch((cause: unknown) => {
    throw new CliError(EXIT.usage, say('model.noFile', { file: modelFile }), cause);
  });
  process.title = `banyan model ${options.name ?? basename(modelFile)}`;
  // A native crash must not take the library into a half-closed state: the process just ends.
  const leave = (): void => process.exit(EXIT.ok);
  process.on('SIGTERM', leave);
  process.on('SIGINT', leave);
  if (options.stopWithStdin === true) {
    process.stdin.on('end', leave).on('error', leave).resume();
  }
  const { startModelServer } = await import('../../io/llama/server.ts');
  const { loadLlama } = await import('../../io/llama/runtime.ts');
  const { host, port, queueDepthMax, sequences, threads } = options;
  const server = await startModelServer({
    host,
    port,
    model: options.model ?? null,
    queueDepthMax,
    tokensPerSecondMax: options.tokensPerSecondMax ?? null,
    load: () =>
      loadLlama({ modelFile, threads, sequences, contextTokens: options.contextTokens ?? null }),
    nowSeconds: () => Math.floor(Date.now() / 1_000),
  }).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(EXIT.failed, say('model.noPort', { host, port, why }), cause);
  });
  await server.loaded.catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    note(`banyan: ${say('model.noModel', { file: modelFile, why })}`);
    process.exit(EXIT.failed);
  });
  if (options.stopWithStdin !== true) {
    note(say('model.ready', { url: `http://${host}:${server.port}/v1` }));
  }
}
