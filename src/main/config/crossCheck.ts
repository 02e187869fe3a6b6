/**
 * Checks that one field alone cannot make: names that must exist, be unique or differ, secrets that
 * must come from the environment, deadlines that must fit into one another. They run over whatever
 * parts of a file are well formed, so that a bad field elsewhere hides none of them.
 */

import { checkOptions } from '../../providers/registry.ts';
import { CONFIG_LIMITS } from '../../base/limits.ts';
import { peerName } from '../../base/peerName.ts';
import { isLoopback, renderAddress, type Address, type BaseUrl } from './address.ts';
import { renderPath, type ConfigPath, type Interpolation } from './document.ts';
import type { ControlEntry } from './controlSchema.ts';
import { nearestWord } from './nearest.ts';
import type {
  AdminClientEntry,
  AdminKeyEntry,
  KeyEntry,
  ModelEntry,
  OtlpEntry,
  TargetEntry,
} from './schema.ts';

/** An element of a list with its index. `value` holds those of its fields that are well formed. */
export interface Listed<T> {
  readonly index: number;
  /** Its name where it has one that is text. */
  readonly name: string | null;
  readonly value: Partial<T>;
}

/** The fields of a target of any kind. */
export type AnyTarget = { readonly kind: TargetEntry['kind'] } & Partial<
  Omit<Extract<TargetEntry, { kind: 'openai' }>, 'kind'> &
    Omit<Extract<TargetEntry, { kind: 'llama' }>, 'kind'>
>;

/** A model whose routes are told apart even where some are malformed. */
export type CheckedModel = Omit<ModelEntry, 'targets' | 'fallbacks'> & {
  readonly routes: readonly NamedPlace[];
  readonly fallbacks: readonly NamedPlace[];
};

/** A name that refers to something, and where it stands. */
export interface NamedPlace {
  readonly name: string;
  readonly path: ConfigPath;
}

/** The well-formed parts of a file. */
export interface CheckView {
  readonly region: string | null;
  readonly node: string | null;
  readonly isFurther: boolean;
  readonly listens: readonly { readonly path: ConfigPath; readonly address: Address }[];
  /** Null: no peers in the file. */
  readonly peerRegions:
    | readonly Listed<{
        readonly name: string;
        readonly node: string | undefined;
        readonly address: Address;
      }>[]
    | null;
  readonly adminKeys: readonly Listed<AdminKeyEntry>[];
  readonly adminClients: readonly Listed<AdminClientEntry>[];
  readonly keys: readonly Listed<KeyEntry>[];
  readonly targets: readonly Listed<AnyTarget>[];
  readonly models: readonly Listed<CheckedModel>[];
  readonly control: Partial<ControlEntry>;
  readonly otlp: Partial<OtlpEntry>;
  /** Nothing stands at this path of the file. */
  readonly isAbsent: (path: ConfigPath) => boolean;
  readonly interpolationOf: (path: ConfigPath) => Interpolation | null;
}

/** Takes one finding. */
export type Complain = (severity: 'error' | 'warning', path: ConfigPath, message: string) => void;

/** Header fields that carry credentials: `config show` masks them, and a file may not hold them. */
export function isSecretHeader(name: string): boolean {
  return /^(?:proxy-)?authorization$|cookie|secret|token|(?:^|-)(?:api-?)?key$/i.test(name);
}

/** Fields that the transport or the adapter owns. */
export const OWNED_HEADERS: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'content-type',
  'transfer-encoding',
  'te',
  'upgrade',
  'expect',
]);

/** Runs every check. */
export function crossCheck(view: CheckView, complain: Complain): void {
  for (const list of ['keys', 'targets', 'models'] as const) {
    checkUnique([list], view[list], complain);
  }
  checkAddresses(view, complain);
  checkAdmin(view, complain);
  checkPeers(view, complain);
  checkRegionCount(view, complain);
  checkKeys(view, complain);
  checkTargets(view, complain);
  checkTargetTls(view, complain);
  checkModels(view, complain);
  checkControl(view, complain);
  checkOtlp(view, complain);
}

function checkUnique(
  list: ConfigPath,
  items: readonly Listed<unknown>[],
  complain: Complain,
): void {
  const first = new Map<string, number>();
  for (const { index, name } of items) {
    if (name === null) continue;
    const earlier = first.get(name);
    if (earlier === undefined) first.set(name, index);
    else
      complain(
        'error',
        [...list, index, 'name'],
        `has the name of ${renderPath(list)}[${earlier}]`,
      );
  }
}

/** The names of a list: all of them, and those that may be shown, because they stand in the file. */
interface Names {
  readonly all: readonly string[];
  readonly inFile: readonly string[];
}

function namesOf(view: CheckView, list: 'targets' | 'models'): Names {
  const named = view[list].flatMap(({ index, name }) => (name === null ? [] : [{ index, name }]));
  const inFile = named.filter(
    ({ index }) => view.interpolationOf([list, index, 'name'])?.isReference !== true,
  );
  return { all: named.map(({ name }) => name), inFile: inFile.map(({ name }) => name) };
}

function checkAddresses(view: CheckView, complain: Complain): void {
  const taken: { port: number; host: string; shown: string }[] = [];
  const llamas = view.targets.flatMap(({ index, value }) =>
    value.port === undefined
      ? []
      : [{ path: ['targets', index, 'port'], address: { host: '127.0.0.1', port: value.port } }],
  );
  for (const { path, address } of [...view.listens, ...llamas]) {
    const clash = taken.find(({ port, host }) => port === address.port && overlap(host, address));
    if (address.port !== 0 && clash !== undefined) {
      complain('error', path, `port ${address.port} is taken by ${clash.shown}`);
    }
    taken.push({ port: address.port, host: address.host, shown: path.join('.') });
  }
}

/** Who may call the admin API, and over what. */
function checkAdmin(view: CheckView, complain: Complain): void {
  const { adminKeys, adminClients, isAbsent } = view;
  checkUnique(['admin', 'keys'], adminKeys, complain);
  checkUnique(['admin', 'clients'], adminClients, complain);
  const clientKeys = view.keys.map(({ value }) => value.sha256);
  for (const { index, value } of adminKeys) {
    const at = ['admin', 'keys', index];
    checkKey(view, at, value, complain);
    const clash = value.sha256 === undefined ? -1 : clientKeys.indexOf(value.sha256);
    if (clash !== -1) complain('error', [...at, 'sha256'], `is the same key as keys[${clash}]`);
  }
  checkHashes(['admin', 'keys'], adminKeys, complain);
  const hasTls = !isAbsent(['admin', 'tls']);
  const hasCa = !isAbsent(['admin', 'clientCa']);
  if (hasCa && !hasTls) complain('error', ['admin', 'clientCa'], 'needs admin.tls');
  if (hasCa && adminClients.length === 0) {
    complain('warning', ['admin', 'clientCa'], 'gives nobody a role; name them in admin.clients');
  }
  if (!hasCa && adminClients.length > 0) {
    complain('error', ['admin', 'clients'], 'needs admin.clientCa');
  }
  const listen = view.listens.find(({ path }) => path[1] === 'admin');
  if (listen === undefined || isLoopback(listen.address.host)) return;
  if (adminKeys.length === 0 && adminClients.length === 0) {
    const message =
      'other machines reach this address and nobody would be asked for a key: give admin.keys or ' +
      'admin.clients, or listen on 127.0.0.1';
    complain('error', listen.path, message);
  } else if (!hasTls) {
    complain('warning', listen.path, 'admin keys come in unencrypted; give admin.tls');
  }
}

/** A key is given by its hash or by a reference, and by one of them. */
function checkKey(
  view: CheckView,
  at: ConfigPath,
  value: { readonly key?: string | undefined },
  complain: Complain,
): void {
  if (view.isAbsent([...at, 'sha256']) === view.isAbsent([...at, 'key'])) {
    complain('error', at, 'needs exactly one of sha256 and key');
  }
  if (value.key !== undefined) checkSecret(view, [...at, 'key'], complain);
}

function checkHashes(
  list: ConfigPath,
  items: readonly Listed<{ readonly sha256?: string | undefined }>[],
  complain: Complain,
): void {
  const hashes = new Map<string, number>();
  for (const { index, value } of items) {
    if (value.sha256 === undefined) continue;
    const earlier = hashes.get(value.sha256);
    if (earlier === undefined) hashes.set(value.sha256, index);
    else {
      const at = [...list, index, 'sha256'];
      complain('error', at, `is the same key as ${renderPath(list)}[${earlier}]`);
    }
  }
}

/** True where two listeners on one port would collide. */
function overlap(host: string, address: Address): boolean {
  const wild = ['0.0.0.0', '::'];
  return host === address.host || wild.includes(host) || wild.includes(address.host);
}

function checkPeers(view: CheckView, complain: Complain): void {
  const { region, node, isFurther, isAbsent } = view;
  if (isFurther && isAbsent(['node'])) {
    complain('error', ['role'], 'a further node needs a node: its name in the region');
  }
  const ownNode = node ?? (isFurther || !isAbsent(['node']) ? null : `${region}-1`);
  const names = new Map<string, number>();
  const addresses = new Map<string, number>();
  for (const { index, value } of view.peerRegions ?? []) {
    const at = ['peers', 'regions', index];
    // A name that is malformed is told as that, and as nothing else.
    if (value.name !== undefined && isAbsent([...at, 'node']) === (value.node === undefined)) {
      const field = [...at, value.node === undefined ? 'name' : 'node'];
      // The first node has a node's name, too, and no other of its region may have that.
      const isOwn = value.node === undefined ? !isFurther : value.node === ownNode;
      if (value.name === region && isOwn) {
        complain('error', field, 'is this node itself; list only the others');
      }
      const name = peerName(value.name, value.node ?? null);
      const earlier = names.get(name);
      if (earlier !== undefined) {
        complain('error', field, `has the name of peers.regions[${earlier}]`);
      } else names.set(name, index);
    }
    if (value.address === undefined) continue;
    const shown = renderAddress(value.address);
    const same = addresses.get(shown);
    if (value.address.port === 0) complain('error', [...at, 'address'], 'needs a port');
    else if (same !== undefined) {
      complain('error', [...at, 'address'], `has the address of peers.regions[${same}]`);
    } else addresses.set(shown, index);
  }
}

function checkRegionCount(view: CheckView, complain: Complain): void {
  const regions = new Set(view.peerRegions?.map(({ name }) => name));
  regions.delete(view.region);
  if (regions.size <= CONFIG_LIMITS.regionsMax) return;
  complain('error', ['peers', 'regions'], `names over ${CONFIG_LIMITS.regionsMax} other regions`);
}

function checkKeys(view: CheckView, complain: Complain): void {
  const models = namesOf(view, 'models');
  checkHashes(['keys'], view.keys, complain);
  for (const { index, value } of view.keys) {
    const at = ['keys', index];
    checkKey(view, at, value, complain);
    value.models?.forEach((pattern, place) => {
      if (pattern.endsWith('*') || models.all.includes(pattern)) return;
      const near = nearestWord(pattern, models.inFile);
      const hint = near === null ? '' : `; did you mean "${near}"?`;
      complain('warning', [...at, 'models', place], `names no model of this file${hint}`);
    });
  }
  if (view.isAbsent(['keys'])) {
    complain('warning', ['keys'], 'there are no keys: every request will be refused');
  }
}

/** A secret is a reference to the environment and nothing else. */
function checkSecret(view: CheckView, path: ConfigPath, complain: Complain): void {
  const source = view.interpolationOf(path);
  if (source !== null && source.isReference && !source.hasLiteral) return;
  complain('error', path, 'a secret must not stand in the file; write ${NAME} and set it outside');
}

/** Targets at one address share its connections, and so what they trust. */
function checkTargetTls(view: CheckView, complain: Complain): void {
  const first = new Map<string, { readonly index: number; readonly tls: string }>();
  for (const { index, value } of view.targets) {
    if (value.baseUrl === undefined) continue;
    const { origin } = value.baseUrl;
    const at = ['targets', index, 'tls'];
    if (value.tls !== undefined && origin.startsWith('http:')) {
      complain('error', at, 'is for https addresses');
    }
    const tls = JSON.stringify([value.tls?.ca, value.tls?.serverName]);
    const earlier = first.get(origin);
    if (earlier === undefined) first.set(origin, { index, tls });
    else if (earlier.tls !== tls) {
      complain('error', at, `differs from that of targets[${earlier.index}] at the same address`);
    }
  }
}

function checkTargets(view: CheckView, complain: Complain): void {
  const used = new Set(
    view.models.flatMap(({ value }) => (value.routes ?? []).map(({ name }) => name)),
  );
  for (const { index, name, value } of view.targets) {
    const at = ['targets', index];
    if (name !== null && !used.has(name)) {
      complain('warning', [...at, 'name'], 'no model uses this target');
    }
    if (value.apiKey !== undefined) checkSecret(view, [...at, 'apiKey'], complain);
    const hasSecretHeader = checkHeaders(view, at, value.headers, complain);
    const hasSecret = value.apiKey !== undefined || hasSecretHeader;
    for (const [option, given] of Object.entries(value.options ?? {})) {
      if (value.kind === undefined) break;
      const problem = checkOptions(value.kind, { [option]: given });
      if (problem !== null) complain('error', [...at, 'options', option], problem);
    }
    if (value.baseUrl === undefined) continue;
    if (hasSecret) checkEncrypted(value.baseUrl, [...at, 'baseUrl'], complain);
    if (value.baseUrl.pathPrefix === '') {
      complain('warning', [...at, 'baseUrl'], 'has no path; most servers want /v1 at its end');
    }
  }
}

/** Fields that only an etcd cluster has, and what they need of one another. */
function checkControl(view: CheckView, complain: Complain): void {
  const { engine = 'raft', endpoints, tls, username, password } = view.control;
  const at = (field: string): ConfigPath => ['control', field];
  if (engine === 'raft') {
    for (const field of ['endpoints', 'prefix', 'tls', 'username', 'password'] as const) {
      if (!view.isAbsent(at(field))) complain('error', at(field), 'is for engine: etcd');
    }
    return;
  }
  if (view.isAbsent(at('endpoints'))) complain('error', at('engine'), 'etcd needs endpoints');
  if (password !== undefined) checkSecret(view, at('password'), complain);
  if ((username === undefined) !== (password === undefined)) {
    complain('error', ['control'], 'username and password go together');
  }
  const isTls = endpoints?.map((origin) => origin.startsWith('https:')) ?? [];
  if (new Set(isTls).size > 1) {
    complain('error', at('endpoints'), 'must all be http or all be https');
  }
  if (tls !== undefined && isTls[0] === false) {
    complain('error', at('tls'), 'is for https addresses');
  }
  if (tls !== undefined && (tls.cert === undefined) !== (tls.key === undefined)) {
    complain('error', at('tls'), 'cert and key go together');
  }
  const open = endpoints?.find((origin) => {
    return origin.startsWith('http:') && !isLoopback(new URL(origin).hostname);
  });
  if (open !== undefined) {
    complain('warning', at('endpoints'), 'hashes of keys go out unencrypted; use https');
  }
}

function checkOtlp(view: CheckView, complain: Complain): void {
  const { endpoint, headers, tls } = view.otlp;
  const at = ['tracing', 'otlp'];
  const hasSecret = checkHeaders(view, at, headers, complain);
  if (endpoint === undefined) return;
  if (hasSecret) checkEncrypted(endpoint, [...at, 'endpoint'], complain);
  if (tls !== undefined && endpoint.origin.startsWith('http:')) {
    complain('error', [...at, 'tls'], 'is for https addresses');
  }
  if (endpoint.pathPrefix.endsWith('/v1/traces')) {
    complain('error', [...at, 'endpoint'], 'must end before /v1/traces, which is added');
  }
}

/** The fixed header fields at `at`; true where one of them carries credentials. */
function checkHeaders(
  view: CheckView,
  at: ConfigPath,
  headers: Readonly<Record<string, string>> | undefined,
  complain: Complain,
): boolean {
  let hasSecret = false;
  for (const field of Object.keys(headers ?? {})) {
    const path = [...at, 'headers', field];
    if (OWNED_HEADERS.has(field.toLowerCase())) {
      complain('error', path, 'the gateway sets this field itself');
    }
    if (!isSecretHeader(field)) continue;
    hasSecret = true;
    checkSecretHeader(view, path, complain);
  }
  return hasSecret;
}

function checkEncrypted(url: BaseUrl, path: ConfigPath, complain: Complain): void {
  if (url.origin.startsWith('https:') || isLoopback(url.host)) return;
  complain('warning', path, 'credentials go out unencrypted; use https');
}

/** `authorization: Bearer ${TOKEN}` has a literal scheme: text around the reference is fine. */
function checkSecretHeader(view: CheckView, path: ConfigPath, complain: Complain): void {
  if (view.interpolationOf(path)?.isReference === true) return;
  complain('error', path, 'a secret must not stand in the file; write ${NAME} and set it outside');
}

function checkModels(view: CheckView, complain: Complain): void {
  const targets = namesOf(view, 'targets');
  const models = namesOf(view, 'models');
  for (const { index, name, value } of view.models) {
    const at = ['models', index];
    const { routes = [], fallbacks = [], deadlines, health, hedge } = value;
    if (view.peerRegions === null && routes.length === 0 && view.isAbsent([...at, 'targets', 0])) {
      complain('error', at, 'has no targets, and there are no other regions to serve it');
    }
    checkNames(view, routes, targets, 'target', complain);
    checkNames(view, fallbacks, models, 'model', complain);
    const own = fallbacks.find((fallback) => fallback.name === name);
    if (own !== undefined) complain('error', own.path, 'is the model itself');
    if (deadlines !== undefined) {
      const { connectMs, firstByteMs, idleMs, totalMs } = deadlines;
      for (const [field, ms] of Object.entries({ connectMs, firstByteMs, idleMs })) {
        if (ms <= totalMs) continue;
        complain('error', [...at, 'deadlines', field], `is over totalMs (${totalMs})`);
      }
    }
    if (hedge !== undefined && hedge.afterMs === undefined && hedge.afterPercentile === undefined) {
      complain('error', [...at, 'hedge'], 'needs afterMs or afterPercentile');
    }
    if (health !== undefined && health.ejectBaseMs > health.ejectMaxMs) {
      complain('error', [...at, 'health', 'ejectBaseMs'], 'is over ejectMaxMs');
    }
  }
}

/** Every name must be known and stand once. One from the environment is not repeated. */
function checkNames(
  view: CheckView,
  entries: readonly NamedPlace[],
  known: Names,
  what: string,
  complain: Complain,
): void {
  const seen = new Set<string>();
  for (const { name, path } of entries) {
    const isReference = view.interpolationOf(path)?.isReference === true;
    const shown = isReference ? `${what} of that name` : `${what} "${name}"`;
    if (!known.all.includes(name)) {
      const near = isReference ? null : nearestWord(name, known.inFile);
      const hint = near === null ? '' : `; did you mean "${near}"?`;
      complain('error', path, `no ${shown} in this file${hint}`);
    } else if (seen.has(name)) {
      complain('error', path, `the ${shown} stands here twice`);
    }
    seen.add(name);
  }
}
