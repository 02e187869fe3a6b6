/** `banyan kv init` and `banyan kv serve`: one member as a process. */

import { createLog } from '../../io/observe/log.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { note } from '../verb.ts';
import { loadKvConfig, type KvConfig } from './config.ts';
import { initKv, startKv } from './member.ts';

async function load(file: string): Promise<KvConfig> {
  const config = await loadKvConfig(file);
  if (!config.ok) throw new CliError(EXIT.usage, `${file}: ${config.error}`);
  return config.value;
}

/** Makes the data folder of a new member. */
export async function init(file: string): Promise<void> {
  const config = await load(file);
  const made = await initKv(config);
  if (!made.ok) throw new CliError(EXIT.refused, made.error);
  note(`member ${config.id} of ${config.cluster}: ${config.data}`);
}

/** Runs a member until a signal stops it, or its disk fails. */
export async function serve(file: string): Promise<void> {
  const config = await load(file);
  const log = createLog('info', { cluster: config.cluster, member: config.id }, { fd: 1 });
  const leave = (code: number): void => {
    log.flush();
    process.exit(code);
  };
  process.on('uncaughtException', (cause) => {
    log.error('bug', { cause: cause.stack ?? cause.message });
    leave(EXIT.failed);
  });
  const started = await startKv(config, log, (detail) => {
    log.error('failed', { detail });
    leave(EXIT.failed);
  });
  if (!started.ok) {
    log.error('refused', { why: started.error });
    log.flush();
    throw new CliError(EXIT.failed, started.error);
  }
  const { apiPort, peerPort } = started.value;
  log.info('ready', { api: apiPort, peers: peerPort });
  let isStopping = false;
  const stop = (): void => {
    if (isStopping) leave(EXIT.interrupted);
    isStopping = true;
    void started.value.stop().then(() => {
      log.info('stopped', {});
      leave(EXIT.ok);
    });
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}
