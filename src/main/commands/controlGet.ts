/** `banyan get members|leader|keys|audit|leases|claims`: what the control state holds. */

import type { Command } from 'commander';

import { askAdmin } from '../adminClient.ts';
import type { JsonRow } from '../json.ts';
import type { MessageKey } from '../messages.ts';
import { renderTable, type OutputFormat } from '../output.ts';
import { print, say, withOutput, withServer } from '../verb.ts';

interface GetOptions {
  readonly output: OutputFormat;
  readonly server: string;
}

type Cell = string | number | null;

interface Listing {
  readonly header: readonly MessageKey[];
  /** Fields of a row, in order of the columns. */
  readonly fields: readonly string[];
}

const KEYS: Listing = {
  header: [
    'head.name',
    'head.models',
    'head.requestsPerMinute',
    'head.tokensPerMinute',
    'head.inFlight',
    'head.priority',
    'head.hash',
    'head.created',
    'head.until',
  ],
  fields: [
    'name',
    'models',
    'requestsPerMinute',
    'tokensPerMinute',
    'inFlightMax',
    'priority',
    'sha256',
    'createdAt',
    'previousUntil',
  ],
};
const ADMIN_KEYS: Listing = {
  header: ['head.name', 'head.adminRole', 'head.hash', 'head.created', 'head.until'],
  fields: ['name', 'role', 'sha256', 'createdAt', 'previousUntil'],
};
const MEMBERS: Listing = {
  header: [
    'head.id',
    'head.region',
    'head.node',
    'head.address',
    'head.role',
    'head.heard',
    'head.match',
  ],
  fields: ['id', 'region', 'peer', 'address', 'role', 'isHeard', 'match'],
};
const AUDIT: Listing = {
  header: ['head.revision', 'head.who', 'head.from', 'head.what', 'head.why'],
  fields: ['revision', 'who', 'from', 'what', 'why'],
};

const LEASES: Listing = {
  header: ['head.name', 'head.holder', 'head.fence', 'head.ttl', 'head.free'],
  fields: ['name', 'holder', 'fence', 'ttlMs', 'isFree'],
};
const CLAIMS: Listing = {
  header: ['head.key', 'head.owner', 'head.about', 'head.result'],
  fields: ['key', 'owner', 'about', 'result'],
};

/** Adds the verbs to `banyan get`. */
export function registerControlGet(get: Command): void {
  const add = (name: string, about: MessageKey, listing: Listing): void => {
    withServer(withOutput(get.command(name).description(say(about)))).action(
      (options: GetOptions) => list(name, listing, options),
    );
  };
  add('members', 'get.members', MEMBERS);
  add('keys', 'get.keys', KEYS);
  add('admin-keys', 'get.adminKeys', ADMIN_KEYS);
  add('audit', 'get.audit', AUDIT);
  add('leases', 'get.leases', LEASES);
  add('claims', 'get.claims', CLAIMS);
  withServer(withOutput(get.command('leader').description(say('get.leader')))).action(
    async ({ output, server }: GetOptions) => {
      const answer = await askAdmin(server, '/admin/v1/leader');
      const { leader, term, cluster } = answer;
      print(output, { leader, term, cluster }, () =>
        typeof leader === 'string' ? `${leader}\n` : `${say('get.noLeader')}\n`,
      );
    },
  );
}

/** `banyan keys list`. */
export function listKeysOf(options: GetOptions): Promise<void> {
  return list('keys', KEYS, options);
}

/** `banyan admin-keys list`. */
export function listAdminKeys(options: GetOptions): Promise<void> {
  return list('admin-keys', ADMIN_KEYS, options);
}

async function list(name: string, { header, fields }: Listing, options: GetOptions): Promise<void> {
  const answer = await askAdmin(options.server, `/admin/v1/${name}`);
  const items = Array.isArray(answer['items']) ? answer['items'] : [];
  print(options.output, answer, () =>
    renderTable(
      header.map((key) => say(key)),
      items.map((row: JsonRow) => fields.map((field) => cellOf(row[field]))),
    ),
  );
}

function cellOf(value: unknown): Cell {
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value === 'boolean') return value ? '✓' : '✗';
  return typeof value === 'string' || typeof value === 'number' ? value : null;
}
