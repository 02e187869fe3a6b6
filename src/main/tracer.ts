/** Spans to a collector, as the configuration says. */

import { createOtlpExporter, type OtlpExporter } from '../io/observe/otlp.ts';
import type { NodeConfig } from '../replica/config.ts';
import type { TracingShell } from './config/build.ts';
import type { Platform, SocketSide } from './platform.ts';
import { VERSION } from './version.ts';

/**
 * Opens the exporter. Its connections are its own: spans take none from requests, and what
 * configuration calls stays apart. The caller closes the exporter, then the connections.
 */
export async function openTracer(
  tracing: TracingShell,
  { region, node }: NodeConfig,
  { clock, timers, openUpstream }: Pick<Platform, 'clock' | 'timers' | 'openUpstream'>,
): Promise<{ readonly exporter: OtlpExporter; readonly sockets: SocketSide }> {
  const sockets = await openUpstream([tracing.address]);
  const { origin } = tracing.address;
  const { path, headers, serviceName, sampleRatio } = tracing;
  const exporter = createOtlpExporter({
    clock,
    timers,
    upstream: sockets.upstream,
    address: { origin, path, headers },
    resource: { serviceName, version: VERSION, region, node },
    sampleRatio,
  });
  return { exporter, sockets };
}
