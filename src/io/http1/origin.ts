/** Origins: where requests may go. Only what configuration names can be called. */

import { isIP } from 'node:net';

import { err, ok, type Result } from '../../base/result.ts';

/** One origin as configuration gives it. */
export interface OriginConfig {
  /** `http://host[:port]` or `https://host[:port]`; no path, query or user. */
  readonly origin: string;
  /** Certificate authorities, PEM, instead of the system's; `https` only. */
  readonly ca?: string | Buffer | null;
  /** The name asked for in TLS (SNI) and checked in the certificate; default: the host. */
  readonly serverName?: string | null;
}

/** An origin taken apart. */
export interface OriginSettings {
  readonly origin: string;
  readonly isSecure: boolean;
  readonly host: string;
  readonly port: number;
  /** The value of the `host` field. */
  readonly authority: string;
  readonly ca: string | Buffer | null;
  /** Null: the host is an address and no name is given. */
  readonly serverName: string | null;
}

/** Reads an origin; the error says what is wrong with it. */
export function parseOrigin(config: OriginConfig): Result<OriginSettings, string> {
  const url = URL.parse(config.origin);
  if (url === null) return err(`${config.origin}: not a URL`);
  const isSecure = url.protocol === 'https:';
  if (!isSecure && url.protocol !== 'http:') {
    return err(`${config.origin}: only http and https can be called`);
  }
  const hasMore = url.pathname !== '/' || url.search !== '' || url.hash !== '';
  if (hasMore) return err(`${config.origin}: an origin has no path, query or fragment`);
  if (url.username !== '' || url.password !== '') {
    return err(`${url.protocol}//${url.host}: an origin has no user or password`);
  }
  const ca = config.ca ?? null;
  if (ca !== null && !isSecure) return err(`${config.origin}: certificate authorities need https`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return ok({
    origin: config.origin,
    isSecure,
    host,
    port: url.port === '' ? (isSecure ? 443 : 80) : Number(url.port),
    authority: url.host,
    ca,
    serverName: config.serverName ?? (isIP(host) === 0 ? host : null),
  });
}
