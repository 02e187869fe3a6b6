/** The real outside of a node: sockets of `io/http1` and links of `io/peer`. */

import { readFile } from 'node:fs/promises';

import { HTTP_LIMITS } from '../base/limits.ts';
import type { Clock } from '../base/ports.ts';
import type { OriginConfig } from '../io/http1/origin.ts';
import { createUpstreamPool } from '../io/http1/pool.ts';
import { createHttpServer } from '../io/http1/server.ts';
import type { OriginShell, TlsFiles } from './config/build.ts';
import type { ApiListening, ApiOptions, SocketSide } from './platform.ts';

/** After the drain nothing is under way; a connection that still writes gets this long, ms. */
const CLOSE_MS = 1_000;

/** Listens for clients. Rejects where the address or the certificate cannot be had. */
export async function listenApi(options: ApiOptions, clock: Clock): Promise<ApiListening> {
  const { address, handler, tls, onRefused, processes } = options;
  const server = createHttpServer({
    handler,
    clock,
    tls: tls === null ? null : await readIdentity(tls),
    limits: {
      requestBodyBytesMax: options.requestBodyBytesMax,
      connectionsMax: Math.ceil(HTTP_LIMITS.connectionsMax / processes),
      requestBodiesBytesMax: Math.max(
        HTTP_LIMITS.requestBodyBytesMax,
        Math.ceil(HTTP_LIMITS.requestBodiesBytesMax / processes),
      ),
    },
    onRefused,
  });
  const bound = await server.listen(address.host, address.port, processes > 1);
  if (!bound.ok) throw bound.error;
  return {
    port: bound.value.port,
    connections: () => server.stats().connections,
    setRequestBodyBytesMax: (bytes) =>
      server.setRequestBodyBytesMax(Math.min(bytes, HTTP_LIMITS.requestBodyBytesMax)),
    async reloadTls() {
      if (tls === null) return null;
      try {
        const taken = server.reloadTls(await readIdentity(tls));
        return taken.ok ? null : taken.error;
      } catch (cause) {
        return String(cause); // A file that cannot be read: the old certificate stays.
      }
    },
    close: () => server.close(CLOSE_MS),
  };
}

/** Opens the pool of connections to targets. Rejects where an address or a file is wrong. */
export async function openUpstream(
  origins: readonly OriginShell[],
  clock: Clock,
): Promise<SocketSide> {
  const pool = createUpstreamPool({ clock, origins: await readOrigins(origins) });
  if (!pool.ok) throw new Error(pool.error);
  return {
    upstream: pool.value,
    async setOrigins(next) {
      try {
        const set = pool.value.setOrigins(await readOrigins(next));
        return set.ok ? null : set.error;
      } catch (cause) {
        return String(cause); // A file that cannot be read.
      }
    },
    close: () => Promise.resolve(pool.value.close()),
  };
}

function readOrigins(origins: readonly OriginShell[]): Promise<readonly OriginConfig[]> {
  return Promise.all(
    origins.map(async ({ origin, caFile, serverName }) => ({
      origin,
      ca: caFile === null ? null : await readFile(caFile, 'utf8'),
      serverName,
    })),
  );
}

async function readIdentity({ cert, key }: TlsFiles): Promise<{ cert: string; key: string }> {
  return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') };
}
