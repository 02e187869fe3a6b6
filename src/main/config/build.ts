/** From a checked file to the node's configuration and that of the shell around it. */

import { createHash } from 'node:crypto';
import { dirname, resolve } from 'node:path';

import type { HeaderList } from '../../base/headers.ts';
import type { RegionName, TargetName } from '../../base/names.ts';
import { peerName } from '../../base/peerName.ts';
import type { Result } from '../../base/result.ts';
import type { KeyConfig, ModelConfig, NodeConfig, TargetConfig } from '../../replica/config.ts';
import type { HedgeSpec } from '../../routing/hedge.ts';
import { renderAddress, type Address, type BaseUrl } from './address.ts';
import { adminShell, type AdminShell } from './adminShell.ts';
import { controlShell, type ControlShell } from './controlShell.ts';
import { isSecretHeader } from './crossCheck.ts';
import type { ConfigPath, ConfigProblem } from './document.ts';
import { keyHash, type KeyOrHash } from './keyHash.ts';
import type { ConfigFile, KeyEntry, ModelEntry, OtlpEntry, TargetEntry } from './schema.ts';

/** PEM files, absolute. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** The peer listener and links. */
export interface PeerShell {
  readonly cluster: string;
  readonly listen: Address;
  readonly tls: TlsFiles & { readonly ca: string };
  readonly regions: readonly {
    readonly peer: string;
    readonly region: RegionName;
    readonly address: Address;
    /** Artificial round trip of the link, ms; 0: none. */
    readonly delayMs: number;
  }[];
}

/** An address that targets are called at. */
export interface OriginShell {
  /** `http://host:port` or `https://host:port`. */
  readonly origin: string;
  /** PEM file, absolute; null: the system's authorities. */
  readonly caFile: string | null;
  /** Null: the host. */
  readonly serverName: string | null;
}

/** One embedded model server: a child process. */
export interface LlamaShell {
  readonly name: TargetName;
  /** GGUF file, absolute. */
  readonly modelFile: string;
  /** Port on 127.0.0.1; 0: the shell picks a free one. */
  readonly port: number;
  readonly threads: number;
  readonly sequences: number;
  /** Null: the model's own. */
  readonly contextTokens: number | null;
  /** Null: full speed. */
  readonly tokensPerSecondMax: number | null;
}

/** The collector that spans are sent to. */
export interface TracingShell {
  readonly address: OriginShell;
  /** Path and query of the traces. */
  readonly path: string;
  readonly headers: HeaderList;
  readonly serviceName: string;
  /** 0 to 1. */
  readonly sampleRatio: number;
}

export type LogLevel = ConfigFile['log']['level'];

/**
 * What the process around the node needs; all but `logLevel`, `drainMs` and the sample ratio needs a
 * restart.
 */
export interface ShellConfig {
  readonly file: string;
  /** This node's own peer name. */
  readonly peer: string;
  readonly dataDir: string;
  readonly api: Address;
  readonly apiTls: TlsFiles | null;
  /** Null: no admin listener. */
  readonly admin: AdminShell | null;
  readonly peers: PeerShell | null;
  /** Null: this node has only what its file says. */
  readonly control: ControlShell | null;
  readonly llamas: readonly LlamaShell[];
  /** Of all targets that are not embedded, each once. */
  readonly origins: readonly OriginShell[];
  /** Null: no spans are made. */
  readonly tracing: TracingShell | null;
  /** Worker processes. */
  readonly workers: number | 'auto';
  readonly logLevel: LogLevel;
  readonly drainMs: number;
  readonly hasFaults: boolean;
}

/** A whole configuration. */
export interface LoadedConfig {
  readonly shell: ShellConfig;
  /** Twelve hex digits of the content, references resolved. */
  readonly revision: string;
  /** Files that it names, with the place that names them. */
  readonly files: readonly { readonly path: ConfigPath; readonly file: string }[];
  /** The node's configuration, given the port of each embedded target. */
  node(llamaPorts: ReadonlyMap<TargetName, number>): NodeConfig;
  /** What `banyan config show` prints: defaults filled in, secrets masked. */
  masked(): object;
  /** Its own file and the text that all regions share as one; what that names must exist. */
  withShared: WithShared;
}

export type WithShared = (text: string) => Promise<Result<ParsedConfig, readonly ConfigProblem[]>>;

/** A configuration, and what is doubtful about it. */
export interface ParsedConfig {
  readonly config: LoadedConfig;
  readonly warnings: readonly ConfigProblem[];
}

/** Builds the configuration of a checked file. */
export function buildConfig(
  file: ConfigFile,
  path: string,
  isReference: (path: ConfigPath) => boolean,
  withShared: WithShared,
): LoadedConfig {
  const folder = dirname(path);
  const shell = buildShell(file, path, folder);
  const revision = createHash('sha256').update(JSON.stringify(file)).digest('hex').slice(0, 12);
  return {
    shell,
    revision,
    files: namedFiles(shell, file),
    node: (llamaPorts) => buildNode(file, llamaPorts),
    masked: () => maskConfig(file, isReference),
    withShared,
  };
}

function buildShell(file: ConfigFile, path: string, folder: string): ShellConfig {
  const { listen, peers } = file;
  const at = (name: string) => resolve(folder, name);
  return {
    file: path,
    peer: ownPeer(file),
    dataDir: at(file.dataDir),
    api: listen.api,
    apiTls:
      listen.tls === undefined ? null : { cert: at(listen.tls.cert), key: at(listen.tls.key) },
    admin: listen.admin === 'off' ? null : adminShell(listen.admin, file.admin, at),
    control: file.control === undefined ? null : controlShell(file.control, at),
    peers:
      peers === undefined
        ? null
        : {
            cluster: peers.cluster,
            listen: peers.listen,
            tls: { ca: at(peers.tls.ca), cert: at(peers.tls.cert), key: at(peers.tls.key) },
            regions: peers.regions.map(({ name, node, address, delayMs }) => ({
              peer: peerName(name, node ?? null),
              region: name,
              address,
              delayMs,
            })),
          },
    llamas: file.targets.flatMap((target) => (target.kind === 'llama' ? [llama(target, at)] : [])),
    origins: origins(file, at),
    tracing: file.tracing === undefined ? null : tracing(file.tracing.otlp, at),
    workers: file.workers,
    logLevel: file.log.level,
    drainMs: file.limits.drainMs,
    hasFaults: file.demo.faults,
  };
}

function nodeLabel({ node, region }: ConfigFile): string {
  return node ?? `${region}-1`;
}

function ownPeer(file: ConfigFile): string {
  return peerName(file.region, file.role === 'first' ? null : nodeLabel(file));
}

function llama(
  target: Extract<TargetEntry, { kind: 'llama' }>,
  at: (name: string) => string,
): LlamaShell {
  return {
    name: target.name,
    modelFile: at(target.modelFile),
    port: target.port,
    threads: target.threads,
    sequences: target.sequences,
    contextTokens: target.contextTokens ?? null,
    tokensPerSecondMax: target.tokensPerSecondMax ?? null,
  };
}

function origins(file: ConfigFile, at: (name: string) => string): readonly OriginShell[] {
  const found = new Map<string, OriginShell>();
  for (const target of file.targets) {
    if (target.kind === 'llama') continue;
    const { origin } = target.baseUrl;
    const caFile = target.tls?.ca === undefined ? null : at(target.tls.ca);
    found.set(origin, { origin, caFile, serverName: target.tls?.serverName ?? null });
  }
  return [...found.values()];
}

function tracing(entry: OtlpEntry, at: (name: string) => string): TracingShell {
  const { origin, pathPrefix, query } = entry.endpoint;
  const caFile = entry.tls?.ca === undefined ? null : at(entry.tls.ca);
  return {
    address: { origin, caFile, serverName: entry.tls?.serverName ?? null },
    path: `${pathPrefix}/v1/traces${query === '' ? '' : `?${query}`}`,
    headers: headerList(entry.headers),
    serviceName: entry.serviceName,
    sampleRatio: entry.sampleRatio,
  };
}

function headerList(headers: Readonly<Record<string, string>>): HeaderList {
  return Object.entries(headers).flatMap(([name, value]) => [name.toLowerCase(), value]);
}

function namedFiles(shell: ShellConfig, file: ConfigFile): LoadedConfig['files'] {
  const files: { path: ConfigPath; file: string }[] = [];
  for (const [name, named] of Object.entries(shell.apiTls ?? {})) {
    files.push({ path: ['listen', 'tls', name], file: named });
  }
  const { clientCa, ...adminTls } = shell.admin?.tls ?? { clientCa: null };
  for (const [name, named] of Object.entries(adminTls)) {
    files.push({ path: ['admin', 'tls', name], file: named });
  }
  if (clientCa !== null) files.push({ path: ['admin', 'clientCa'], file: clientCa });
  for (const [name, named] of Object.entries(shell.peers?.tls ?? {})) {
    files.push({ path: ['peers', 'tls', name], file: named });
  }
  const { serverName: _name, ...etcdFiles } = shell.control?.etcd?.tls ?? { serverName: null };
  for (const [name, named] of Object.entries(etcdFiles)) {
    if (named !== null) files.push({ path: ['control', 'tls', name], file: named });
  }
  file.targets.forEach((target, index) => {
    if (target.kind === 'llama' || target.tls?.ca === undefined) return;
    const caFile = resolve(dirname(shell.file), target.tls.ca);
    files.push({ path: ['targets', index, 'tls', 'ca'], file: caFile });
  });
  const collectorCa = shell.tracing?.address.caFile ?? null;
  if (collectorCa !== null) {
    files.push({ path: ['tracing', 'otlp', 'tls', 'ca'], file: collectorCa });
  }
  for (const { name, modelFile } of shell.llamas) {
    const index = file.targets.findIndex((target) => target.name === name);
    files.push({ path: ['targets', index, 'modelFile'], file: modelFile });
  }
  return files;
}

function buildNode(file: ConfigFile, llamaPorts: ReadonlyMap<TargetName, number>): NodeConfig {
  return {
    region: file.region,
    node: nodeLabel(file),
    peer: ownPeer(file),
    keys: file.keys.map(buildKey),
    targets: file.targets.map((target) => buildTarget(target, llamaPorts)),
    models: file.models.map((model) => buildModel(model)),
    retryBudgetPercent: file.retryBudgetPercent,
    exchangesMax: file.limits.exchangesMax,
    requestBodiesBytesMax: file.limits.requestBodiesBytesMax,
    loopLagMsMax: file.limits.loopLagMsMax,
    requestBodyBytesMax: file.limits.requestBodyBytesMax,
    wishes: [],
  };
}

function buildKey(entry: KeyEntry): KeyConfig {
  const { key: _, ...rest } = entry;
  return { ...rest, sha256: keyHash(entry), share: null };
}

function buildTarget(
  target: TargetEntry,
  llamaPorts: ReadonlyMap<TargetName, number>,
): TargetConfig {
  if (target.kind === 'llama') {
    return {
      name: target.name,
      kind: target.kind,
      origin: `http://127.0.0.1:${llamaPorts.get(target.name) ?? target.port}`,
      pathPrefix: '/v1',
      query: '',
      apiKey: null,
      headers: [],
      options: target.options,
      probePath: '/health',
    };
  }
  return {
    name: target.name,
    kind: target.kind,
    origin: target.baseUrl.origin,
    pathPrefix: target.baseUrl.pathPrefix,
    query: target.baseUrl.query,
    apiKey: target.apiKey ?? null,
    headers: headerList(target.headers),
    options: target.options,
    probePath: target.probePath ?? null,
  };
}

function buildModel(model: ModelEntry): ModelConfig {
  const routes = model.targets.map((entry) =>
    typeof entry === 'string'
      ? { target: entry, model: undefined, weight: 1, priority: 0, inFlightMax: null }
      : entry,
  );
  const upstreamNames: Record<TargetName, string> = {};
  for (const { target, model: name } of routes) {
    if (name !== undefined) upstreamNames[target] = name;
  }
  return {
    name: model.name,
    route: {
      model: model.name,
      algorithm: model.algorithm,
      targets: routes.map(({ target, weight, priority, inFlightMax }) => ({
        target,
        weight,
        priority,
        inFlightMax,
      })),
      health: model.health,
    },
    upstreamNames,
    fallbacks: model.fallbacks,
    deadlines: model.deadlines,
    attemptsMax: model.attemptsMax,
    hedge: buildHedge(model.hedge),
    continue: model.continue,
    stall: model.stall.belowPercent === 0 ? null : model.stall,
    createdSeconds: model.createdSeconds,
  };
}

function buildHedge(hedge: ModelEntry['hedge']): HedgeSpec | null {
  if (hedge === undefined) return null;
  const { afterMs = null, afterPercentile = null, budgetPercent } = hedge;
  return { afterMs, afterPercentile, budgetPercent };
}

const MASK = '***';

/** The file with defaults; keys as hashes; credentials and what the environment gave masked. */
function maskConfig(file: ConfigFile, isReference: (path: ConfigPath) => boolean): object {
  const { listen, peers } = file;
  return {
    ...file,
    node: nodeLabel(file),
    listen: {
      ...listen,
      api: renderAddress(listen.api),
      admin: listen.admin === 'off' ? 'off' : renderAddress(listen.admin),
    },
    ...(peers === undefined
      ? {}
      : {
          peers: {
            ...peers,
            listen: renderAddress(peers.listen),
            regions: peers.regions.map((region) => ({
              ...region,
              address: renderAddress(region.address),
            })),
          },
        }),
    ...(file.control?.password === undefined
      ? {}
      : { control: { ...file.control, password: MASK } }),
    ...(file.tracing === undefined
      ? {}
      : { tracing: { otlp: maskOtlp(file.tracing.otlp, isReference) } }),
    admin: { ...file.admin, keys: file.admin.keys.map(maskKey) },
    keys: file.keys.map(maskKey),
    targets: file.targets.map((target, index) => {
      if (target.kind === 'llama') return target;
      const isMasked = (field: string, name: string) =>
        isSecretHeader(name) || isReference(['targets', index, field, name]);
      return {
        ...target,
        baseUrl: maskUrl(target.baseUrl, isReference(['targets', index, 'baseUrl'])),
        ...(target.apiKey === undefined ? {} : { apiKey: MASK }),
        headers: maskEntries(target.headers, (name) => isMasked('headers', name)),
        options: maskEntries(target.options, (name) => isMasked('options', name)),
      };
    }),
  };
}

function maskKey(entry: KeyOrHash): object {
  const { key: _, ...shown } = entry;
  return { ...shown, sha256: keyHash(entry) };
}

function maskOtlp(entry: OtlpEntry, isReference: (path: ConfigPath) => boolean): object {
  const at = ['tracing', 'otlp'];
  return {
    ...entry,
    endpoint: maskUrl(entry.endpoint, isReference([...at, 'endpoint'])),
    headers: maskEntries(
      entry.headers,
      (name) => isSecretHeader(name) || isReference([...at, 'headers', name]),
    ),
  };
}

/** `api-version=…` is worth seeing; a query with a key, or from the environment, is not. */
function maskUrl(baseUrl: BaseUrl, isReference: boolean): string {
  const { origin, pathPrefix, query } = baseUrl;
  if (query === '') return `${origin}${pathPrefix}`;
  const shown = query
    .split('&')
    .map((pair) => {
      const [name = ''] = pair.split('=', 1);
      return isReference || isSecretHeader(name) ? `${name}=${MASK}` : pair;
    })
    .join('&');
  return `${origin}${pathPrefix}?${shown}`;
}

function maskEntries<T>(
  entries: Readonly<Record<string, T>>,
  isMasked: (name: string) => boolean,
): Record<string, T | string> {
  return Object.fromEntries(
    Object.entries(entries).map(([name, value]) => [name, isMasked(name) ? MASK : value]),
  );
}
