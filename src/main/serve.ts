/**
 * `banyan serve`: one node as a process. Signals: SIGTERM and SIGINT stop it gracefully, a second one
 * at once; SIGHUP reads the configuration again.
 */

import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { makeFolderDurably } from './durableFile.ts';
import { createPrng } from '../base/prng.ts';
import { createClock, createTimers } from '../io/clock.ts';
import { modelServeArgs } from '../io/llamaChildren.ts';
import { watchLoop } from '../io/loopLag.ts';
import { createLog, type LogOwner } from '../io/observe/log.ts';
import type { LoadedConfig } from './config/build.ts';
import { loadConfig } from './config/load.ts';
import { createReloader, type Reloader } from './config/reload.ts';
import { renderProblems } from './config/render.ts';
import { dieOnBugs } from './dieOnBugs.ts';
import { CliError, EXIT } from './exitCodes.ts';
import { startNode, type RunningNode } from './node.ts';
import { openPeers } from './peerSide.ts';
import type { Platform } from './platform.ts';
import { listenApi, openUpstream } from './realPlatform.ts';
import { note, say } from './verb.ts';
import { VERSION } from './version.ts';
import { workerCount } from './workers/count.ts';
import { launchProcess } from './workers/workerProcess.ts';

/** `timeout`, shells and supervisors signal a process and its group: within this it is one, ms. */
export const SIGNAL_ECHO_MS = 500;

/** The real world. */
export function createPlatform(): Platform {
  const clock = createClock();
  const timers = createTimers();
  const prng = createPrng(randomBytes(4).readUInt32LE());
  return {
    clock,
    timers,
    prng,
    openUpstream: (origins) => openUpstream(origins, clock),
    listenApi: (options) => listenApi(options, clock),
    openPeers: (options) => openPeers(options, clock, timers, prng),
    watchLoop: (report) => watchLoop(clock, report),
  };
}

/** Runs a node until a signal stops it. Throws `CliError` where it cannot start. */
export async function serve(file: string): Promise<void> {
  const parsed = await loadConfig(file, process.env);
  if (!parsed.ok) {
    note(renderProblems(file, parsed.error).trimEnd());
    const count = parsed.error.filter(({ severity }) => severity === 'error').length;
    throw new CliError(EXIT.usage, say('config.bad', { count }));
  }
  const { config, warnings } = parsed.value;
  if (warnings.length > 0) note(renderProblems(file, warnings).trimEnd());
  const { region, node } = config.node(new Map());
  const log = createLog(config.shell.logLevel, { region, node }, { fd: 1 });
  dieOnBugs(log);
  await makeFolderDurably(config.shell.dataDir);
  const running = await start(config, log);
  const { listen } = running.node;
  log.info('ready', {
    version: VERSION,
    api: listen.api,
    admin: listen.admin,
    peers: listen.peers,
    configRevision: config.revision,
  });
  await untilStopped(running, log);
  log.info('stopped');
  log.flush();
  process.exit(EXIT.ok);
}

interface Running {
  readonly node: RunningNode;
  readonly reloader: Reloader;
}

async function start(config: LoadedConfig, log: LogOwner): Promise<Running> {
  let reloader: Reloader | null = null;
  const cli = join(import.meta.dirname, 'cli.ts');
  const count = workerCount(config.shell.workers, process.platform, availableParallelism());
  if (config.shell.workers !== 'auto' && count !== config.shell.workers) {
    log.warn('one-process', { why: 'workers that share a port need Linux' });
  }
  const node = await startNode({
    loaded: config,
    platform: createPlatform(),
    log,
    childCommand: (spec) => ({ file: process.execPath, args: modelServeArgs(cli, spec) }),
    workers: count === 1 ? null : { count, launch: launchProcess },
    refusal: () => reloader?.refusal() ?? null,
  }).catch((cause: unknown) => {
    log.flush();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(EXIT.failed, say('serve.failed', { why }), cause);
  });
  reloader = createReloader({
    file: config.shell.file,
    env: process.env,
    current: config,
    apply: async (next) => {
      const why = await node.apply(next);
      if (why !== null) return why;
      node.metrics.reloaded('applied');
      log.info('config-applied', { configRevision: next.revision });
      return null;
    },
    refused: (problems) => {
      node.metrics.reloaded('refused');
      log.error('config-refused', { problems });
    },
  });
  reloader.watch();
  return { node, reloader };
}

/** Resolves when the node has stopped after the first signal; the second ends the process. */
function untilStopped({ node, reloader }: Running, log: LogOwner): Promise<void> {
  process.on('SIGHUP', () => {
    void reloader.reload();
    void node.reloadTls().then((why) => {
      if (why !== null) log.error('tls-refused', { why });
    });
  });
  return new Promise((resolve, reject) => {
    let isStopping = false;
    let signalledMs = 0;
    const stop = (signal: NodeJS.Signals): void => {
      if (isStopping) {
        if (performance.now() - signalledMs < SIGNAL_ECHO_MS) return;
        log.warn('killed', { signal });
        log.flush();
        process.exit(EXIT.interrupted);
      }
      isStopping = true;
      signalledMs = performance.now();
      log.info('stopping', { signal, inFlight: node.gateway.inFlightAll });
      reloader.stop();
      node.stop().then(resolve, reject);
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}
