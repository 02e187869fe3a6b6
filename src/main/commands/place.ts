/** The data folder that a verb works on while no node runs there: by the node's file, or by name. */

import { join, resolve } from 'node:path';

import type { Command } from 'commander';

import { LABEL } from '../../base/names.ts';
import { isPeerName } from '../../base/peerName.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { printable } from '../output.ts';
import { note, say } from '../verb.ts';

export interface PlaceOptions {
  readonly config?: string;
  readonly dataDir?: string;
}

/** Adds `--config` and `--data-dir`. */
export function withPlace(command: Command): Command {
  return command
    .option('-c, --config <file>', say('place.config'))
    .option('--data-dir <folder>', say('place.dataDir'));
}

/** What a node's file says of its place. */
export interface Place {
  /** `control` inside the data folder. */
  readonly folder: string;
  /** The node's name as a peer; null: nobody said it. */
  readonly name: string | null;
  readonly clusterPrefix: string | null;
  readonly priority: number;
}

/** Throws `CliError` where neither is given, the file is not good, or etcd keeps the state. */
export async function placeOf({ config, dataDir }: PlaceOptions): Promise<Place> {
  if (config === undefined) {
    if (dataDir === undefined) throw new CliError(EXIT.usage, say('place.none'));
    const folder = join(resolve(dataDir), 'control');
    return { folder, name: null, clusterPrefix: null, priority: 1 };
  }
  const { loadConfig } = await import('../config/load.ts');
  const loaded = await loadConfig(config, process.env);
  if (!loaded.ok) {
    const { renderProblems } = await import('../config/render.ts');
    note(renderProblems(config, loaded.error).trimEnd());
    throw new CliError(EXIT.usage, say('place.badConfig', { file: config }));
  }
  const { shell } = loaded.value.config;
  if (shell.control !== null && shell.control.etcd !== null) {
    throw new CliError(EXIT.refused, say('place.keptByEtcd'));
  }
  const { region, peer } = loaded.value.config.node(new Map());
  return {
    folder: join(dataDir === undefined ? shell.dataDir : resolve(dataDir), 'control'),
    name: peer,
    clusterPrefix: shell.peers?.cluster ?? region,
    priority: shell.control?.priority ?? 1,
  };
}

/** Runs what reads and writes there. What the system refuses is no bug: it is told in its words. */
export async function onDisk<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    if (!(cause instanceof Error) || !('syscall' in cause)) throw cause;
    throw new CliError(EXIT.failed, printable(cause.message), cause);
  }
}

/** The beginning of a cluster's name, as a node's file has it. */
export function clusterOf(text: string): string {
  if (LABEL.test(text)) return text;
  throw new CliError(EXIT.usage, say('place.badCluster', { cluster: printable(text) }));
}

/** A node's name from the command line: its region, or `REGION/NODE` of a further one. */
export function nameOf(text: string): string {
  if (isPeerName(text)) return text;
  throw new CliError(EXIT.usage, say('place.badRegion', { region: printable(text) }));
}
