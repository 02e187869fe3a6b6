/**
 * One node, composed: gateway, listeners, links, children, probes, observers. Knows the order in
 * which they start and stop; nothing of signals and files, which `serve.ts` adds.
 *
 * N1: readiness flips before anything else of a stop happens. N2: every part that was started is
 * closed, also when a later part could not start.
 */

import type { TargetName } from '../base/names.ts';
import type { ClientEvents, Upstream } from '../base/ports.ts';
import { err } from '../base/result.ts';
import type { AccessRules } from '../io/admin/access.ts';
import type { AdminAnswer } from '../io/admin/route.ts';
import { createLlamaChildren, type LlamaChildren } from '../io/llamaChildren.ts';
import type { LlamaChildSpec } from '../io/llamaChildren.ts';
import { createLogObserver, joinObservers, type LogOwner } from '../io/observe/log.ts';
import { createMetrics, type Metrics } from '../io/observe/metrics.ts';
import type { OtlpExporter } from '../io/observe/otlp.ts';
import type { NodeConfig } from '../replica/config.ts';
import { Gateway } from '../replica/gateway.ts';
import { nodeRoutes } from './adminHandlers.ts';
import { openAdminSide, type AdminSide } from './adminSide.ts';
import type { FaultReply, FaultRequest, NodeState, NodeStatus } from './adminTypes.ts';
import { renderAddress } from './config/address.ts';
import type { LoadedConfig } from './config/build.ts';
import { openControl, type ControlNode } from './control/controlNode.ts';
import { applyFault, type FaultParts } from './faults.ts';
import {
  checkShared,
  childSpecs,
  choosePorts,
  drained,
  originsOf,
  setKnown,
  tellGateway,
  withShared,
  workerConfig,
  reloadTls,
} from './nodeParts.ts';
import { joinUpstreams } from './platform.ts';
import type { ApiListening, Closable, PeerSide, Platform, SocketSide } from './platform.ts';
import { startProbes } from './probes.ts';
import { openTracer } from './tracer.ts';
import { VERSION } from './version.ts';
import { countsOf } from './sharedConfig/errorWindow.ts';
import { openTeam, type Team } from './workers/team.ts';
import type { LaunchWorker } from './workers/workerProcess.ts';
import { targetsOut, type NodeSources } from './views.ts';

/** What a node is started with. */
export interface NodeOptions {
  readonly loaded: LoadedConfig;
  readonly platform: Platform;
  readonly log: LogOwner;
  /** The command of an embedded model server. */
  readonly childCommand: (spec: LlamaChildSpec) => {
    readonly file: string;
    readonly args: readonly string[];
  };
  /** Worker processes, and how they are started; null: this process does it all. */
  readonly workers: { readonly count: number; readonly launch: LaunchWorker } | null;
  /** Why the newest configuration file is not in force; null where it is. */
  readonly refusal: () => string | null;
}

/** A running node. */
export interface RunningNode {
  readonly listen: NodeStatus['listen'];
  readonly gateway: Gateway;
  readonly metrics: Metrics;
  /** Puts a new configuration in force, whole; null, or why not, and then nothing has changed. */
  apply(next: LoadedConfig): Promise<string | null>;
  /** Reads the certificates of both listeners again; null, or why it was not taken. */
  reloadTls(): Promise<string | null>;
  /** Stops: new requests get 503, running ones finish within the drain limit, then all closes. */
  stop(): Promise<void>;
}

/** Starts a node; rejects where a part cannot start, with everything closed again. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const ports = new Map<TargetName, number>();
  await choosePorts(options.loaded, ports);
  const node = new LiveNode(options, ports);
  try {
    await node.open();
  } catch (cause) {
    await node.close();
    throw cause;
  }
  return node;
}

class LiveNode implements RunningNode {
  readonly metrics: Metrics;
  readonly #options: NodeOptions;
  readonly #ports: Map<TargetName, number>;
  readonly #startedWallMs: number;
  /** Closed from the last to the first (N2). */
  readonly #open: Closable[] = [];
  /** What its own file says; `#loaded` is that and what all regions share. */
  #own: LoadedConfig;
  #shared: string | null = null;
  #loaded: LoadedConfig;
  #loadedWallMs: number;
  #state: NodeState = 'starting';
  #gateway: Gateway | null = null;
  #peers: PeerSide | null = null;
  #api: ApiListening | null = null;
  #sockets: SocketSide | null = null;
  #tracer: OtlpExporter | null = null;
  #children: LlamaChildren | null = null;
  #team: Team | null = null;
  #control: ControlNode | null = null;
  #admin: AdminSide | null = null;
  #changing: Promise<void> = Promise.resolve();
  #listen: NodeStatus['listen'] = { api: '', admin: null, peers: null };

  constructor(options: NodeOptions, ports: Map<TargetName, number>) {
    this.#options = options;
    this.#ports = ports;
    this.#own = options.loaded;
    this.#loaded = options.loaded;
    this.#startedWallMs = options.platform.clock.wallMs();
    this.#loadedWallMs = this.#startedWallMs;
    const config = options.loaded.node(ports);
    const { region, node } = config;
    this.metrics = createMetrics({ version: VERSION, nodeVersion: process.version, region, node });
    this.metrics.setLogDropped(() => options.log.dropped());
    this.metrics.addGauges(() => {
      const running = this.#team?.rows().filter(({ state }) => state === 'running').length;
      return [['banyan_workers', running ?? 0]];
    });
    setKnown(this.metrics, config);
  }

  get listen(): NodeStatus['listen'] {
    return this.#listen;
  }

  get gateway(): Gateway {
    if (this.#gateway === null) throw new Error('the gateway stands once the node is open');
    return this.#gateway;
  }

  async open(): Promise<void> {
    const { platform } = this.#options;
    const config = this.#loaded.node(this.#ports);
    const sockets = await platform.openUpstream(originsOf(this.#loaded, this.#ports));
    this.#open.push(sockets);
    this.#sockets = sockets;
    this.#tracer = await this.#openTracer(config);
    const peers = await this.#openPeers(config);
    await this.#openControl(config);
    this.#gateway = this.#makeGateway(this.#inForce(), sockets.upstream, peers);
    this.#children = this.#startChildren(this.#gateway);
    this.#startProbes(sockets.upstream);
    const gateway = this.#gateway;
    this.#open.push(platform.watchLoop((lagMs) => gateway.onLoopLag(lagMs)));
    // In turn: what changes meanwhile reaches workers that are still to come.
    const api = await this.#inTurn(() => this.#openApi(this.#inForce()));
    await this.#inTurn(() => this.#controlChanged());
    const shell = this.#loaded.shell.peers;
    this.#listen = {
      api,
      admin: null,
      peers:
        shell === null || peers === null
          ? null
          : renderAddress({ host: shell.listen.host, port: peers.port }),
    };
    this.#listen = { ...this.#listen, admin: await this.#openAdmin() };
    this.#state = 'ready';
  }

  async close(): Promise<void> {
    for (let part = this.#open.pop(); part !== undefined; part = this.#open.pop()) {
      await part.close();
    }
  }

  apply(next: LoadedConfig): Promise<string | null> {
    return this.#inTurn(async () => {
      const why = await this.#applyBoth(next, this.#shared);
      if (why !== null) return why;
      this.#own = next;
      void this.#control?.shared.again();
      return null;
    });
  }

  /** One change at a time: a new file and changes of the control state may come together. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#changing.then(change);
    this.#changing = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  async #applyBoth(own: LoadedConfig, shared: string | null): Promise<string | null> {
    const both = await withShared(own, shared);
    return both.ok ? this.#apply(both.value) : both.error;
  }

  async #applyShared(shared: string | null): Promise<string | null> {
    const why = await this.#applyBoth(this.#own, shared);
    if (why === null) this.#shared = shared;
    return why;
  }

  async #apply(next: LoadedConfig): Promise<string | null> {
    await choosePorts(next, this.#ports);
    const refused = await this.#sockets?.setOrigins(originsOf(next, this.#ports));
    if (typeof refused === 'string') return refused;
    const config = await this.#putInForce(next);
    this.#api?.setRequestBodyBytesMax(config.requestBodyBytesMax);
    setKnown(this.metrics, config);
    this.#children?.apply(childSpecs(next, this.#ports));
    this.#options.log.setLevel(next.shell.logLevel);
    if (next.shell.tracing !== null) this.#tracer?.setSampleRatio(next.shell.tracing.sampleRatio);
    this.#loaded = next;
    this.#loadedWallMs = this.#options.platform.clock.wallMs();
    return null;
  }

  /** What the file says, and the control state beside it. */
  #inForce(loaded = this.#loaded): NodeConfig {
    const config = loaded.node(this.#ports);
    return this.#control?.inForce(config) ?? config;
  }

  /** Keys, or what is wanted of regions, were changed somewhere. */
  async #controlChanged(): Promise<void> {
    if (this.#gateway !== null && this.#control !== null) await this.#putInForce(this.#loaded);
  }

  async #putInForce(loaded: LoadedConfig): Promise<NodeConfig> {
    const config = this.#inForce(loaded);
    await this.#team?.apply(workerConfig(loaded, config, this.#ports));
    this.#gateway?.reconfigure(config);
    this.#control?.settled();
    return config;
  }

  reloadTls(): Promise<string | null> {
    const api = this.#loaded.shell.apiTls === null ? null : this.#api;
    return reloadTls([api, this.#admin, this.#control?.side.etcd, this.#peers]);
  }

  async stop(): Promise<void> {
    this.#state = 'draining'; // First of all (N1).
    this.gateway.drain();
    await this.#team?.drain();
    await drained(this.#options.platform, this.gateway, this.#loaded.shell.drainMs);
    this.gateway.abortAll();
    this.#team?.abortAll();
    await this.close();
  }

  /** The gateway and the links need each other; whoever calls in before both stand is sent away. */
  async #openPeers(config: NodeConfig): Promise<PeerSide | null> {
    const { shell } = this.#loaded;
    if (shell.peers === null) return null;
    const nothing: ClientEvents = { onGone: () => {}, onDrain: () => {} };
    const peers = await this.#options.platform.openPeers({
      shell: shell.peers,
      config,
      handler: {
        handle: (request, reply) => {
          const ofGroup = this.#control?.handle(request, reply) ?? null;
          if (ofGroup !== null) return ofGroup;
          if (this.#gateway !== null) return this.#gateway.handle(request, reply);
          reply.abort();
          return nothing;
        },
      },
      serving: () => this.#gateway?.serving ?? null,
      inFlight: () => this.#gateway?.inFlightAll ?? 0,
      isReady: () => this.#isReady(),
      onLink: (peer, isUp) => this.#control?.linkChanged(peer, isUp),
      onLost: (region) => {
        this.#gateway?.placeLost('region', region);
        this.#team?.regionLost(region);
      },
      log: this.#options.log,
    });
    this.#open.push(peers);
    this.#peers = peers;
    return peers;
  }

  async #openControl(config: NodeConfig): Promise<void> {
    const { control, dataDir, peers } = this.#loaded.shell;
    if (control === null) return;
    const { clock, timers } = this.#options.platform;
    const links = this.#peers;
    const node = await openControl({
      shell: control,
      dataDir,
      region: config.region,
      name: config.peer,
      label: config.node,
      peers:
        peers === null || links === null
          ? null
          : {
              cluster: peers.cluster,
              listed: peers.regions,
              links,
            },
      clock,
      timers,
      log: this.#options.log,
      onChanged: () => void this.#inTurn(() => this.#controlChanged()),
      host: {
        apply: (text) => this.#inTurn(() => this.#applyShared(text)),
        check: (text) => checkShared(this.#own, text),
        counts: async () => countsOf(await (this.#team ?? this.metrics).samples()),
        out: () => (this.#gateway === null ? [] : targetsOut(this.#sources())),
      },
    });
    this.#open.push(node);
    this.#control = node;
    this.metrics.addGauges(() => node.gauges());
    await node.open();
  }

  #makeGateway(config: NodeConfig, sockets: Upstream, peers: PeerSide | null): Gateway {
    const { platform, log, workers } = this.#options;
    return new Gateway({
      config,
      clock: platform.clock,
      timers: platform.timers,
      prng: platform.prng,
      upstream: peers === null ? sockets : joinUpstreams(sockets, peers.upstream),
      observer: joinObservers([this.metrics, createLogObserver(log)]),
      ...(peers === null ? {} : { regions: peers.regions }),
      ...(this.#tracer === null ? {} : { tracer: this.#tracer }),
      claims: this.#control?.claims?.desk(() => config.peer) ?? null,
      ...(workers === null ? {} : { processes: { count: workers.count, desk: null } }),
    });
  }

  async #openTracer(config: NodeConfig): Promise<OtlpExporter | null> {
    const { tracing } = this.#loaded.shell;
    if (tracing === null) return null;
    const { exporter, sockets } = await openTracer(tracing, config, this.#options.platform);
    this.#open.push(sockets, exporter);
    this.metrics.setSpans(() => exporter);
    return exporter;
  }

  #startChildren(gateway: Gateway): LlamaChildren {
    const { log, childCommand } = this.#options;
    const children = createLlamaChildren({
      command: childCommand,
      onState: (row) => {
        const { name, state, pid, lastEnd } = row;
        log.info('child', { target: name, state, pid, lastEnd });
        tellGateway(gateway, row);
        if (row.state !== 'paused') this.#team?.childChanged(name, state === 'running');
      },
    });
    this.#open.push({ close: () => children.stop() });
    children.apply(childSpecs(this.#loaded, this.#ports));
    return children;
  }

  #startProbes(upstream: Upstream): void {
    const { clock, timers, prng } = this.#options.platform;
    const serving = () => this.gateway.serving;
    const onResult = (target: string, isHealthy: boolean) => this.#team?.probed(target, isHealthy);
    const stop = startProbes({ clock, timers, prng, upstream, serving, onResult });
    this.#open.push({ close: () => Promise.resolve(stop()) });
  }

  /** Opens the public listener; gives its base URL. */
  async #openApi(config: NodeConfig): Promise<string> {
    const { shell } = this.#loaded;
    const { workers } = this.#options;
    const scheme = shell.apiTls === null ? 'http' : 'https';
    const api = workers === null ? await this.#listenApi(config) : await this.#openTeam(config);
    this.#open.push(api);
    this.#api = api;
    return `${scheme}://${renderAddress({ host: shell.api.host, port: api.port })}`;
  }

  async #openTeam(config: NodeConfig): Promise<Team> {
    const { workers, platform, log } = this.#options;
    if (workers === null) throw new Error('a team is workers');
    const { api, apiTls } = this.#loaded.shell;
    const team = await openTeam({
      workers: workers.count,
      launch: workers.launch,
      api,
      apiTls,
      config: workerConfig(this.#loaded, config, this.#ports),
      clock: platform.clock,
      timers: platform.timers,
      log,
      metrics: this.metrics,
      gateway: this.gateway,
      peers: this.#peers,
      claims: this.#control?.claims ?? null,
    });
    this.#team = team;
    return team;
  }

  async #listenApi(config: NodeConfig): Promise<ApiListening> {
    const { shell } = this.#loaded;
    const api = await this.#options.platform.listenApi({
      address: shell.api,
      tls: shell.apiTls,
      handler: this.gateway,
      requestBodyBytesMax: config.requestBodyBytesMax,
      processes: 1,
      onRefused: (code, remote) => {
        this.metrics.httpRefused(code);
        const { log } = this.#options;
        if (log.isDebug) log.debug('http-refused', { code, remote });
      },
    });
    this.metrics.setConnections(() => api.connections());
    return api;
  }

  #isReady(): boolean {
    return this.#state === 'ready' && this.#team?.isServing() !== false;
  }

  /** Opens the admin listener; gives its base URL, or null where none is configured. */
  async #openAdmin(): Promise<string | null> {
    const { admin } = this.#loaded.shell;
    if (admin === null) return null;
    const { metrics } = this;
    const sources = this.#sources();
    metrics.setRegions(() => sources.others());
    const { log, platform } = this.#options;
    const { clock } = platform;
    const side = await openAdminSide({
      shell: admin,
      views: {
        isReady: () => this.#isReady() && this.#control?.isDrained !== true,
        metrics: () => this.#team?.render() ?? metrics.render(),
        warnings: () => this.#control?.warnings() ?? [],
      },
      routes: nodeRoutes({
        sources,
        control: this.#control,
        wallMs: () => clock.wallMs(),
        fault: this.#loaded.shell.hasFaults ? (fault) => this.#fault(fault) : null,
      }),
      access: () => this.#access(admin.access),
      nowMs: () => clock.nowMs(),
      log,
      onRefused: (code) => metrics.httpRefused(`admin_${code}`),
    });
    this.#open.push(side);
    this.#admin = side;
    return side.url;
  }

  /** Who may call the admin API: by the file in force, and by the control state. */
  #access(atStart: AccessRules): AccessRules {
    const { keys, ...rules } = this.#loaded.shell.admin?.access ?? atStart;
    return { ...rules, keys: [...keys, ...(this.#control?.adminKeys ?? [])] };
  }

  #sources(): NodeSources {
    return {
      gateway: this.gateway,
      nowMs: () => this.#options.platform.clock.nowMs(),
      startedWallMs: this.#startedWallMs,
      state: () => this.#state,
      children: () => this.#children?.rows() ?? [],
      others: () => this.#peers?.others() ?? [],
      nodes: () => this.#peers?.nodes() ?? [],
      listen: () => this.#listen,
      workers: () => this.#team?.rows() ?? [],
      config: () => ({
        revision: this.#loaded.revision,
        loadedWallMs: this.#loadedWallMs,
        refusal: this.#options.refusal(),
      }),
    };
  }

  #fault(fault: FaultRequest): AdminAnswer<FaultReply> {
    const parts: FaultParts = {
      region: this.gateway.serving.config.region,
      fault: (name, action) => this.#children?.fault(name, action) ?? err('unknown-target'),
      cut: (region) => this.#peers?.cut(region) ?? false,
      heal: () => this.#peers?.heal(),
    };
    return applyFault(parts, fault);
  }
}
