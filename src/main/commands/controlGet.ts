/** `banyan get members|leader|keys|audit|leases|claims`: what the control state holds. */

import type { Command } from 'commander';

import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { askAdmin } from '../adminClient.ts';
import { isRow, type JsonRow } from '../json.ts';
import type { MessageKey } from '../messages.ts';
import { printable, renderTable, type OutputFormat } from '../output.ts';
import { note, print, say, wholeOf, withOutput, withServer } from '../verb.ts';

interface GetOptions {
  readonly output: OutputFormat;
  readonly server: string;
}

type Cell = string | number | null;

interface Listing {
  readonly header: readonly MessageKey[];
  /** Fields of a row, in order of the columns, or what is made of it. */
  readonly fields: readonly (string | ((row: JsonRow) => Cell))[];
}

const KEYS: Listing = {
  header: [
    'head.name',
    'head.models',
    'head.requestsPerMinute',
    'head.tokensPerMinute',
    'head.inFlight',
    'head.priority',
    'head.residency',
    'head.shares',
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
    'residency',
    sharesCell,
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
      async (options: GetOptions) => {
        await list(name, listing, options);
      },
    );
  };
  add('members', 'get.members', MEMBERS);
  add('keys', 'get.keys', KEYS);
  add('admin-keys', 'get.adminKeys', ADMIN_KEYS);
  add('audit', 'get.audit', AUDIT);
  addPaged(get, 'leases', 'get.leases', LEASES);
  addPaged(get, 'claims', 'get.claims', CLAIMS);
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

function addPaged(get: Command, name: string, about: MessageKey, listing: Listing): void {
  const { rowsMax } = REGISTER_LIMITS;
  withServer(withOutput(get.command(name).description(say(about))))
    .option('--after <name>', say('get.after'))
    .option('--limit <count>', say('get.limit', { most: rowsMax }), wholeOf(1, rowsMax))
    .action(async (options: GetOptions & { after?: string; limit?: number }) => {
      const { after, limit } = options;
      const query = new URLSearchParams({
        ...(after === undefined ? {} : { after }),
        ...(limit === undefined ? {} : { limit: String(limit) }),
      });
      const { next } = await list(`${name}?${query.toString()}`, listing, options);
      if (typeof next === 'string' && options.output === 'table') {
        note(say('get.more', { next: printable(next) }));
      }
    });
}

/** `banyan keys list`. */
export async function listKeysOf(options: GetOptions): Promise<void> {
  await list('keys', KEYS, options);
}

/** `banyan admin-keys list`. */
export async function listAdminKeys(options: GetOptions): Promise<void> {
  await list('admin-keys', ADMIN_KEYS, options);
}

async function list(
  name: string,
  { header, fields }: Listing,
  options: GetOptions,
): Promise<JsonRow> {
  const answer = await askAdmin(options.server, `/admin/v1/${name}`);
  const items = Array.isArray(answer['items']) ? answer['items'] : [];
  print(options.output, answer, () =>
    renderTable(
      header.map((key) => say(key)),
      items.map((row: JsonRow) =>
        fields.map((field) => (typeof field === 'string' ? cellOf(row[field]) : field(row))),
      ),
    ),
  );
  return answer;
}

/** `eu 60 %, us 40 %`; null: none were given. */
export function sharesText(shares: unknown): string | null {
  if (!isRow(shares)) return null;
  const parts = Object.entries(shares).map(([place, share]) => `${place} ${String(share)} %`);
  return parts.length === 0 ? say('keys.nobody') : parts.join(', ');
}

function sharesCell(row: JsonRow): Cell {
  const { waitsFor } = row;
  const waits = Array.isArray(waitsFor) ? waitsFor.join(', ') : '';
  const text = sharesText(row['shares']);
  return text === null || waits === '' ? text : `${text} (${say('keys.waiting', { waits })})`;
}

function cellOf(value: unknown): Cell {
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value === 'boolean') return value ? '✓' : '✗';
  return typeof value === 'string' || typeof value === 'number' ? value : null;
}
