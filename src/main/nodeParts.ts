/** What a node's configuration means for the processes around it: ports, addresses, workers. */

import { createServer } from 'node:net';

import type { TargetName } from '../base/names.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { LlamaChildRow, LlamaChildSpec } from '../io/llamaChildren.ts';
import type { Metrics } from '../io/observe/metrics.ts';
import type { NodeConfig } from '../replica/config.ts';
import type { Gateway } from '../replica/gateway.ts';
import { PROBE_FAILURES_MAX } from '../routing/health.ts';
import type { LoadedConfig, OriginShell } from './config/build.ts';
import type { ConfigProblem } from './config/document.ts';
import { renderProblems } from './config/render.ts';
import type { Platform } from './platform.ts';
import type { WorkerConfig } from './workers/messages.ts';

/** A node's file and what all regions share as one; the error is for people. */
export async function withShared(
  own: LoadedConfig,
  shared: string | null,
): Promise<Result<LoadedConfig, string>> {
  if (shared === null) return ok(own);
  const both = await own.withShared(shared);
  if (both.ok) return ok(both.value.config);
  return err(renderProblems('shared', both.error).trimEnd());
}

/** What is wrong with, or doubtful about, a shared text beside a node's file. */
export async function checkShared(
  own: LoadedConfig,
  shared: string,
): Promise<readonly ConfigProblem[]> {
  const both = await own.withShared(shared);
  return both.ok ? both.value.warnings : both.error;
}

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

/** What we know for certain of a child: it serves, or there is no process that could. */
export function tellGateway(gateway: Gateway, row: LlamaChildRow): void {
  const target = gateway.serving.config.targets.find(({ name }) => name === row.name);
  if (target === undefined || row.state === 'paused') return; // A pause must be found out.
  if (row.state === 'running') return gateway.setTargetHealth(target.name, true);
  // One failed probe may be chance; that the process is gone is not.
  for (let count = 0; count < PROBE_FAILURES_MAX; count += 1) {
    gateway.setTargetHealth(target.name, false);
  }
}

/** Resolves when nothing is under way any more, or after `limitMs`. */
export function drained(platform: Platform, gateway: Gateway, limitMs: number): Promise<void> {
  const untilMs = platform.clock.nowMs() + limitMs;
  return new Promise((resolve) => {
    const look = (): void => {
      if (gateway.inFlightAll === 0 || platform.clock.nowMs() >= untilMs) resolve();
      else platform.timers.after(20, look);
    };
    look();
  });
}

/** Labels of metrics that are known before anything is counted. */
export function setKnown(metrics: Metrics, config: ReturnType<LoadedConfig['node']>): void {
  metrics.setKnown(
    config.models.map(({ name }) => name),
    config.targets.map(({ name }) => name),
  );
}

/** Has each of them read its certificates again; null, or the first of what was not taken. */
export async function reloadTls(
  parts: readonly ({ reloadTls(): Promise<string | null> } | null | undefined)[],
): Promise<string | null> {
  const problems: string[] = [];
  for (const part of parts) {
    const problem = (await part?.reloadTls()) ?? null;
    if (problem !== null) problems.push(problem);
  }
  return problems[0] ?? null;
}
