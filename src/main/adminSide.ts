/** The admin listener of a node: its certificates from files, what it lets in, what it tells the log. */

import { readFile } from 'node:fs/promises';

import type { AccessRules } from '../io/admin/access.ts';
import type { ServedRoute } from '../io/admin/route.ts';
import { startAdminServer, type AdminTls, type AdminViews } from '../io/admin/server.ts';
import type { Log } from '../io/observe/log.ts';
import { renderAddress } from './config/address.ts';
import type { AdminShell } from './config/adminShell.ts';

export interface AdminSideOptions {
  readonly shell: AdminShell;
  readonly views: AdminViews;
  readonly routes: readonly ServedRoute[];
  /** What counts now: of the file, and of the control state. */
  readonly access: () => AccessRules;
  readonly nowMs: () => number;
  readonly log: Log;
  /** Told of every caller that was not let in. */
  readonly onRefused: (code: string) => void;
}

export interface AdminSide {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string;
  /** Reads the certificates again; null, or why they were not taken. */
  reloadTls(): Promise<string | null>;
  close(): Promise<void>;
}

/** Listens. Rejects where the address or the certificates cannot be had. */
export async function openAdminSide(options: AdminSideOptions): Promise<AdminSide> {
  const { views, routes, access, nowMs, log, onRefused } = options;
  const { address, tls } = options.shell;
  const server = await startAdminServer({
    ...address,
    views,
    routes,
    tls: tls === null ? null : await readTls(tls),
    access,
    nowMs,
    onError: (cause) => log.error('admin-view-failed', { cause: String(cause) }),
    onChange: ({ caller: { who, from }, path, status }) =>
      log.info('admin-change', { who, from, path, status }),
    onRefused: ({ status, code }, remote) => {
      onRefused(code);
      // Who is refused for coming too often is not given a line each time.
      if (status !== 429) log.warn('admin-refused', { code, remote });
    },
  });
  const scheme = tls === null ? 'http' : 'https';
  return {
    url: `${scheme}://${renderAddress({ host: address.host, port: server.port })}`,
    async reloadTls() {
      if (tls === null) return null;
      try {
        server.setTls(await readTls(tls));
        return null;
      } catch (cause) {
        return String(cause); // A file that cannot be read or does not fit: the old ones stay.
      }
    },
    close: () => server.close(),
  };
}

async function readTls({ cert, key, clientCa }: NonNullable<AdminShell['tls']>): Promise<AdminTls> {
  const read = (file: string): Promise<string> => readFile(file, 'utf8');
  return {
    cert: await read(cert),
    key: await read(key),
    clientCa: clientCa === null ? null : await read(clientCa),
  };
}
