/** Addresses and base URLs as configuration writes them. */

import { err, ok, type Result } from '../../base/result.ts';

/** A host and a port. */
export interface Address {
  /** A name or an IP address, without brackets. */
  readonly host: string;
  readonly port: number;
}

const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])$/;

/** Parses `host:port` or `[ipv6]:port`; port 0 to 65535. */
export function parseAddress(text: string): Result<Address, 'malformed-address'> {
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, Math.max(colon, 0));
  const port = text.slice(colon + 1);
  if (!HOST.test(host) || !/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    return err('malformed-address');
  }
  return ok({ host: host.replace(/^\[|\]$/g, ''), port: Number(port) });
}

/** Writes an address back; IPv6 in brackets. */
export function renderAddress(address: Address): string {
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** True for addresses that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

/** A base URL in its parts. */
export interface BaseUrl {
  /** `http://host:port` or `https://host:port`, the scheme's default port left out. */
  readonly origin: string;
  readonly host: string;
  /** Without a trailing slash; may be empty. */
  readonly pathPrefix: string;
  /** Without `?`; may be empty. */
  readonly query: string;
}

/** Parses a base URL. The error says what is wrong and repeats nothing of the text. */
export function parseBaseUrl(text: string): Result<BaseUrl, string> {
  const parsed = URL.parse(text);
  if (parsed === null) return err('is not a URL; write http://HOST[:PORT][/PATH]');
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    return err('must be an http or https URL');
  }
  if (parsed.username !== '' || parsed.password !== '') {
    return err('must hold no user name and no password; use apiKey or headers');
  }
  if (parsed.hash !== '') return err('must hold no fragment (#)');
  return ok({
    origin: parsed.origin,
    host: parsed.hostname.replace(/^\[|\]$/g, ''),
    // `{model}` stands for the model's name (Azure's deployments); URLs encode the braces.
    pathPrefix: parsed.pathname.replace(/\/+$/, '').replaceAll('%7Bmodel%7D', '{model}'),
    query: parsed.search.slice(1),
  });
}
