/**
 * What the command line proves itself with to an admin API. Secrets come from the environment and from
 * files, never from the command line, which other users of the machine can see.
 */

import { readFileSync } from 'node:fs';

import { CliError, EXIT } from './exitCodes.ts';
import { printable } from './output.ts';
import { say } from './verb.ts';

export interface AdminCredentials {
  /** Null: none. */
  readonly key: string | null;
  /** PEM; null: the system's authorities. */
  readonly ca: string | null;
  /** A client certificate, PEM; null: none. */
  readonly cert: string | null;
  readonly certKey: string | null;
}

/** Variables of the environment, each with what it holds. */
export const ADMIN_ENVIRONMENT = {
  BANYAN_ADMIN_KEY: 'client.envKey',
  BANYAN_ADMIN_KEY_FILE: 'client.envKeyFile',
  BANYAN_ADMIN_CA: 'client.envCa',
  BANYAN_ADMIN_CERT: 'client.envCert',
  BANYAN_ADMIN_CERT_KEY: 'client.envCertKey',
} as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws `CliError` where a file cannot be read or holds no key. */
export function readCredentials(env: Environment, keyFile: string | null): AdminCredentials {
  const fromFile = keyFile ?? valueOf(env, 'BANYAN_ADMIN_KEY_FILE');
  const key = fromFile === null ? valueOf(env, 'BANYAN_ADMIN_KEY') : readPart(fromFile).trim();
  if (key !== null && !/^[\x21-\x7e]+$/.test(key)) {
    throw new CliError(EXIT.usage, say('client.badKey'));
  }
  const [ca = null, cert = null, certKey = null] = (
    ['BANYAN_ADMIN_CA', 'BANYAN_ADMIN_CERT', 'BANYAN_ADMIN_CERT_KEY'] as const
  ).map((name) => {
    const file = valueOf(env, name);
    return file === null ? null : readPart(file);
  });
  if ((cert === null) !== (certKey === null)) {
    throw new CliError(EXIT.usage, say('client.halfCertificate'));
  }
  return { key, ca, cert, certKey };
}

function valueOf(env: Environment, name: keyof typeof ADMIN_ENVIRONMENT): string | null {
  const value = env[name];
  return value === undefined || value === '' ? null : value;
}

function readPart(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    const told = { file: printable(file), why };
    throw new CliError(EXIT.usage, say('client.unreadable', told), cause);
  }
}
