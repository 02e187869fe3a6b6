/** What a node's configuration means for the processes around it: ports, addresses, workers. */

import { createServer } from 'node:net';

import type { TargetName } from '../base/names.ts';
import type { LlamaChildSpec } from '../io/llamaChildren.ts';
import type { NodeConfig } from '../replica/config.ts';
import type { LoadedConfig, OriginShell } from './config/build.ts';
import type { WorkerConfig } from './workers/messages.ts';

/** The part of a configuration that a worker needs. */
export function workerConfig(
  loaded: LoadedConfig,
  node: NodeConfig,
  ports: ReadonlyMap<TargetName, number>,
): WorkerConfig {
  const { logLevel, tracing } = loaded.shell;
  return { node, origins: originsOf(loaded, ports), logLevel, tracing };
}

export function childSpecs(
  loaded: LoadedConfig,
  ports: ReadonlyMap<TargetName, number>,
): readonly LlamaChildSpec[] {
  return loaded.shell.llamas.map((llama) => ({
    ...llama,
    port: ports.get(llama.name) ?? llama.port,
  }));
}

/** Every address that targets are called at, those of the children included. */
export function originsOf(
  loaded: LoadedConfig,
  ports: ReadonlyMap<TargetName, number>,
): readonly OriginShell[] {
  const children = childSpecs(loaded, ports).map(({ port }) => ({
    origin: `http://127.0.0.1:${port}`,
    caFile: null,
    serverName: null,
  }));
  const found = new Map([...children, ...loaded.shell.origins].map((each) => [each.origin, each]));
  return [...found.values()];
}

/** Every embedded target gets the port that its file names, or one that is free now and kept. */
export async function choosePorts(
  loaded: LoadedConfig,
  ports: Map<TargetName, number>,
): Promise<void> {
  for (const { name, port } of loaded.shell.llamas) {
    if (port !== 0) ports.set(name, port);
    else if (!ports.has(name)) ports.set(name, await freePort());
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
