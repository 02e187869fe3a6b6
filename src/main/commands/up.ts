/** `banyan up`: three regions on this machine, until Ctrl-C. */

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { InvalidArgumentError, type Command, Option } from 'commander';

import { DEMO_LIMITS } from '../../base/limits.ts';
import { parseRegionName } from '../../base/names.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { renderDuration } from '../output.ts';
import { DEMO_KEY, DEMO_MODEL, DEMO_REGIONS, planUp, type UpPlan } from '../up/plan.ts';
import { say, wholeOf } from '../verb.ts';

interface UpFlags {
  readonly regions: readonly string[];
  readonly basePort: number;
  readonly data: string;
  readonly modelServers: number;
  readonly modelFile: string;
  readonly tokensPerSecond: number;
  readonly wan: boolean;
}

const MODEL_FILE = join(import.meta.dirname, '../../../models/banyan-support.gguf');

/** Adds the verb. */
export function registerUp(program: Command): void {
  program
    .command('up')
    .description(say('up.about'))
    .option('--regions <a,b,c>', say('up.regions'), readRegions, DEMO_REGIONS)
    .option('--base-port <port>', say('up.basePort'), wholeOf(1, 65_000), 8100)
    .option('--data <folder>', say('up.data'), '.banyan/demo')
    .option(
      '--model-servers <n>',
      say('up.modelServers'),
      wholeOf(1, DEMO_LIMITS.modelServersMax),
      2,
    )
    .addOption(modelFileOption())
    .option('--tokens-per-second <n>', say('up.pace'), wholeOf(0, 1_000_000), 80)
    .option('--no-wan', say('up.noWan'))
    .action(up);
}

/** Its default is shown without the folder of this checkout. */
function modelFileOption(): Option {
  const option = new Option('--model-file <file>', say('up.modelFile'));
  return option.default(MODEL_FILE, 'models/banyan-support.gguf');
}

function readRegions(text: string): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  const isGood =
    names.every((name) => parseRegionName(name).ok && name !== 'certs') &&
    new Set(names).size === names.length &&
    names.length <= DEMO_LIMITS.regionsMax;
  if (isGood) return names;
  throw new InvalidArgumentError(say('up.badRegions', { most: DEMO_LIMITS.regionsMax }));
}

async function up(flags: UpFlags): Promise<void> {
  const startMs = performance.now();
  const modelFile = resolve(flags.modelFile);
  if (!existsSync(modelFile)) {
    throw new CliError(EXIT.usage, say('model.noFile', { file: modelFile }));
  }
  const plan = planUp({
    regions: flags.regions,
    basePort: flags.basePort,
    dataDir: resolve(flags.data),
    modelServers: flags.modelServers,
    modelFile,
    hasWan: flags.wan,
    tokensPerSecondMax: flags.tokensPerSecond === 0 ? null : flags.tokensPerSecond,
  });
  // Signals count from the first moment: what has been started is ended whenever one comes.
  const stopped = Promise.withResolvers<NodeJS.Signals>();
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    signals += 1;
    if (signals > 2) process.exit(EXIT.interrupted); // Children end with their standard input.
    stopped.resolve(signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const { startDemo } = await import('../up/supervisor.ts');
  tell(say('up.starting', { regions: plan.regions.join(', '), folder: plan.dataDir }));
  const demo = await startDemo(plan, (line) => tell(`  ${line}`));
  try {
    const isReady = await Promise.race([demo.ready().then(() => true), stopped.promise]);
    if (isReady === true) {
      const time = renderDuration(performance.now() - startMs);
      tell(`\n${say('up.ready', { time })}\n\n${whatToTry(plan)}\n`);
    }
    const signal = await stopped.promise;
    tell(say('up.stopping', { signal }));
  } finally {
    await demo.stop();
  }
  tell(say('up.stopped'));
  process.exit(EXIT.ok);
}

function tell(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The first things to try, ready to be pasted. */
function whatToTry(plan: UpPlan): string {
  const [first, second] = plan.nodes;
  const region = first?.region ?? '';
  const url = `http://127.0.0.1:${first?.apiPort ?? 0}/v1`;
  const server = plan.basePort === 8100 ? '' : ` --server http://127.0.0.1:${plan.basePort}`;
  const banyan = 'npx banyan';
  const question = say('up.question');
  const body = JSON.stringify({
    model: DEMO_MODEL,
    stream: true,
    messages: [{ role: 'user', content: question }],
  });
  const cut =
    second === undefined ? [] : [`  ${banyan} fault cut ${region} ${second.region}${server}`];
  return [
    `${say('up.page')}  http://127.0.0.1:${plan.basePort}/`,
    '',
    say('up.tryAsk'),
    `  ${banyan} chat --region ${region}${server} "${question}"`,
    `  curl -N ${url}/chat/completions -H 'Authorization: Bearer ${DEMO_KEY}' \\`,
    `    -H 'Content-Type: application/json' -d '${body}'`,
    '',
    say('up.trySdk'),
    `  new OpenAI({ baseURL: '${url}', apiKey: '${DEMO_KEY}' })`,
    `  new Anthropic({ baseURL: '${url.slice(0, -3)}', apiKey: '${DEMO_KEY}' })`,
    '',
    say('up.tryBreak'),
    `  ${banyan} fault kill ${region}/llama-a${server}`,
    `  ${banyan} fault kill ${region}${server}`,
    ...cut,
    `  ${banyan} get regions${server}`,
    `  ${banyan} route explain --model ${DEMO_MODEL} --region ${region}${server}`,
    `  ${banyan} fault heal${server}`,
    '',
    say('up.tryStop'),
  ].join('\n');
}
