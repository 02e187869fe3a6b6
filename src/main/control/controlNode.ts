/**
 * The control state as a node uses it: keys that were made anywhere are let in here, and what
 * operators ask for is done. Serving never waits for a quorum: what this node has applied, counts.
 */

import { join } from 'node:path';

import type {
  ClientEvents,
  ClientReply,
  ClientRequest,
  Clock,
  TimerHandle,
  Timers,
  Upstream,
} from '../../base/ports.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import type { Log } from '../../io/observe/log.ts';
import type { GaugeValues } from '../../io/observe/metrics.ts';
import type { KeyConfig, NodeConfig } from '../../replica/config.ts';
import { isDrained, type RegionWish } from '../../regions/desired.ts';
import type { AdminKey } from '../../io/admin/access.ts';
import { ADMIN_KEYS } from '../../replica/control/adminKeys.ts';
import { clusterFeatureLevel, FEATURE_LEVEL_MAX } from '../../replica/control/features.ts';
import { keysInForce } from '../../replica/control/keys.ts';
import { listPeers } from '../../replica/control/peers.ts';
import { listRegions } from '../../replica/control/regions.ts';
import { secretsInForce } from '../../replica/control/keyStore.ts';
import type { PeerShell } from '../config/build.ts';
import type { ControlShell } from '../config/controlShell.ts';
import { SharedConfigNode, type SharedConfigHost } from '../sharedConfig/sharedNode.ts';
import type { PeerSide } from '../platform.ts';
import type { ControlBackend } from './backend.ts';
import { ClaimClerk } from '../registers/claimClerk.ts';
import type { RegisterBackend } from '../registers/registerBackend.ts';
import { RegisterSide } from '../registers/registerSide.ts';
import { EtcdSide } from './etcdSide.ts';
import type { OpsParts } from './opsAdmin.ts';
import { PeerBook } from './peerBook.ts';
import type { PeersDesk } from './peersAdmin.ts';
import { ControlSide } from './side.ts';
import { ShareClerk } from './shareClerk.ts';
import { Surveyor } from './survey.ts';

/** A node waits so long for its own log before it serves, ms; the rest comes as it comes. */
const OWN_LOG_MS = 3_000;
/** Timers reach 24 days; a change by itself that is further away is looked at again, ms. */
const LOOK_AGAIN_MS = 24 * 3_600_000;

const DRAINED = 'region: drained by an operator; what comes goes to other regions where it can';

const NOWHERE: Upstream = {
  start: () => {
    throw new Error('a node without other regions calls none');
  },
};

export interface ControlNodeOptions {
  readonly shell: ControlShell;
  readonly dataDir: string;
  readonly region: string;
  /** This node's own peer name. */
  readonly name: string;
  /** What its certificate calls it in its region. */
  readonly label: string;
  /** Null: this node stands alone. */
  readonly peers: {
    readonly cluster: string;
    /** The other nodes, by this one's file. */
    readonly listed: PeerShell['regions'];
    readonly links: Pick<PeerSide, 'upstream' | 'setPeers' | 'nodes'>;
  } | null;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  /** What `inForce` gives has changed. */
  readonly onChanged: () => void;
  /** What the shared configuration needs of the node. */
  readonly host: SharedConfigHost;
}

/** What keeps the control state of this node, by its file. Rejects where a file cannot be read. */
export async function openControl(options: ControlNodeOptions): Promise<ControlNode> {
  const { shell, dataDir, region, name, peers, clock, timers, log } = options;
  const folder = join(dataDir, 'control');
  const listed = (peers?.listed ?? []).map(({ peer, address, delayMs }) => {
    return { peer, host: address.host, port: address.port, delayMs };
  });
  const book = new PeerBook(name, listed, (all) => peers?.links.setPeers(all));
  if (shell.etcd !== null) {
    const others = peers?.listed.map(({ peer }) => peer) ?? [];
    const etcd = { folder, shell: shell.etcd, name, others };
    const side = await EtcdSide.create({ ...etcd, clock, timers, log });
    return new ControlNode(options, side, book);
  }
  const side = new ControlSide({
    folder,
    cluster: peers?.cluster ?? region,
    name,
    book,
    priority: shell.priority,
    isWitness: shell.isWitness,
    heartbeatMs: shell.heartbeatMs,
    electionMs: shell.electionMs,
    takeOverMs: CONTROL_LIMITS.takeOverMs,
    levelMax: FEATURE_LEVEL_MAX,
    upstream: peers?.links.upstream ?? NOWHERE,
    clock,
    timers,
    log,
  });
  return new ControlNode(options, side, book);
}

/** Null: the file asks for none. */
function openRegisters(options: ControlNodeOptions, side: ControlBackend): RegisterBackend | null {
  const { shell, dataDir, name, peers, clock, timers, log } = options;
  if (shell.registers === null) return null;
  const { claimMs } = shell.registers;
  if (side.etcd !== null) return side.etcd.registers(name, claimMs);
  return new RegisterSide({
    folder: join(dataDir, 'registers'),
    name,
    claimMs,
    control: side,
    upstream: peers?.links.upstream ?? NOWHERE,
    clock,
    timers,
    log,
  });
}

export class ControlNode {
  readonly side: ControlBackend;
  /** Where the other nodes are. */
  readonly book: PeerBook;
  readonly shared: SharedConfigNode;
  /** Null: the file asks for none. */
  readonly registers: RegisterBackend | null;
  /** Null: `Idempotency-Key` is not looked at. */
  readonly claims: ClaimClerk | null;
  readonly #options: ControlNodeOptions;
  readonly #surveyor: Surveyor;
  #keys: readonly KeyConfig[] = [];
  /** Null: the state has not told yet. */
  #wishes: readonly RegionWish[] | null = null;
  readonly #shares: ShareClerk;
  /** Names of the keys that this node's configuration holds by itself. */
  #configured: ReadonlySet<string> = new Set();
  #adminKeys: readonly AdminKey[] = [];
  #told = '';
  #timer: TimerHandle | null = null;
  #stopListening: () => void = () => {};

  /** Use `openControl`. */
  constructor(options: ControlNodeOptions, side: ControlBackend, book: PeerBook) {
    const { dataDir, name, peers, clock, timers, log, host } = options;
    this.#options = options;
    this.side = side;
    this.book = book;
    this.shared = new SharedConfigNode({
      backend: this.side,
      dataDir,
      name,
      hasLinks: peers !== null,
      // Nodes come and go while this one runs.
      get otherPeers() {
        return book.names;
      },
      upstream: peers?.links.upstream ?? NOWHERE,
      clock,
      timers,
      log,
      host,
    });
    this.#shares = new ShareClerk({
      engine: side.engine,
      place: name,
      timers,
    });
    this.registers = openRegisters(options, side);
    const isClaiming = options.shell.registers?.idempotency === true;
    this.claims =
      this.registers !== null && isClaiming
        ? new ClaimClerk(this.registers.registers.claims, timers, log)
        : null;
    this.#surveyor = new Surveyor({
      side: this.side,
      name,
      book,
      upstream: peers?.links.upstream ?? NOWHERE,
      clock,
      timers,
    });
  }

  /** What an operator looks after it with. */
  get ops(): OpsParts {
    const { name, clock } = this.#options;
    const { side } = this;
    const engine = side.etcd === null ? 'raft' : 'etcd';
    return { side, surveyor: this.#surveyor, name, engine, clock };
  }

  /** What operators change members with. */
  get desk(): PeersDesk {
    const { name, label, peers } = this.#options;
    const firstOf = (region: string): string | null => {
      if (region === name) return label;
      const link = peers?.links.nodes().find(({ peer }) => peer === region)?.link;
      return link?.kind === 'up' ? link.node : null;
    };
    return { side: this.side, book: this.book, name, firstOf };
  }

  /** Takes what other nodes ask of the group or the registers; null: it is for somebody else. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null {
    return (
      this.#surveyor.handle(request, reply) ??
      this.registers?.handle(request, reply) ??
      this.shared.handle(request, reply) ??
      this.side.handle(request, reply)
    );
  }

  /** The link to a node came up, or went down. */
  linkChanged(peer: string, isUp: boolean): void {
    this.side.linkChanged(peer, isUp);
    this.registers?.linkChanged(peer, isUp);
  }

  /** A node's file with the keys of the control state, and what is wanted of regions. */
  inForce(config: NodeConfig): NodeConfig {
    this.#shares.given();
    this.#configured = new Set(config.keys.map(({ name }) => name));
    const keys = this.#keys.length === 0 ? config.keys : [...config.keys, ...this.#keys];
    return { ...config, keys, wishes: this.#wishes };
  }

  /** What `inForce` gave last counts in every process of this node (AL2). */
  settled(): void {
    this.#shares.settled();
  }

  /** A key of the control state cannot have this name: what is a key's own is kept by its name. */
  isConfigured(name: string): boolean {
    return this.#configured.has(name);
  }

  /** Whom a key's rates can be divided between, by peer name. */
  get places(): readonly string[] {
    return [...new Set([this.#options.name, ...this.book.names, ...this.shared.regions])];
  }

  /** An operator wants other regions to have the work of this one. */
  get isDrained(): boolean {
    return isDrained(this.#wishes, this.#options.region);
  }

  /** Keys of operators, of the control state. */
  get adminKeys(): readonly AdminKey[] {
    return this.#adminKeys;
  }

  gauges(): GaugeValues {
    return [
      ['banyan_region_drained', this.isDrained ? 1 : 0],
      ['banyan_control_leader_known', this.side.hasLeader ? 1 : 0],
      ['banyan_control_revision', this.side.engine.view.revision],
      ['banyan_control_feature_level', clusterFeatureLevel(this.side.engine.view)],
      ...this.shared.gauges(),
      ...(this.registers?.gauges() ?? []),
    ];
  }

  /** What an operator should know though requests are served. */
  warnings(): readonly string[] {
    return [
      ...(this.isDrained ? [DRAINED] : []),
      ...this.#keyWarnings(),
      ...this.#groupWarnings(),
      ...this.shared.warnings(),
      ...(this.registers?.warnings() ?? []),
    ];
  }

  #keyWarnings(): readonly string[] {
    const twice = this.#keys.filter(({ name }) => this.#configured.has(name));
    return twice.map(
      ({ name }) =>
        `keys: "${name}" is in the configuration and in the control state: both go by the bindings ` +
        'and the Idempotency-Keys of either; give one of them another name',
    );
  }

  #groupWarnings(): readonly string[] {
    const { state, engine, etcd, hasLeader } = this.side;
    if ('detail' in state) return [`control state: ${state.kind}: ${state.detail}`];
    const more = etcd?.warnings() ?? [];
    if (state.kind !== 'member' || hasLeader) return more;
    const { revision } = engine.view;
    const what = etcd === null ? 'no leader' : 'no quorum of etcd';
    const now = `control state: ${what}; serving by revision ${revision}, nothing can be changed`;
    const strangers = this.#surveyor.strangers.map(
      ({ name, cluster }) =>
        `control state: ${name} is of cluster ${cluster}, this node of ${this.side.cluster}: ` +
        'they never mix ("banyan recover --rejoin")',
    );
    return [now, ...strangers, ...more];
  }

  /** Opens the own log; what it holds is in force when this resolves. */
  async open(): Promise<void> {
    const { engine } = this.side;
    this.#stopListening = engine.onMoved(() => this.#moved());
    await this.side.open();
    await this.#ownLogApplied();
    this.#look();
    await this.shared.start();
    await this.registers?.open();
  }

  async close(): Promise<void> {
    this.#stopListening();
    this.#shares.close();
    this.#surveyor.close();
    this.#timer?.cancel();
    this.shared.stop();
    await this.claims?.close();
    await this.registers?.stop();
    await this.side.stop();
  }

  #ownLogApplied(): Promise<void> {
    const { clock, timers } = this.#options;
    const untilMs = clock.nowMs() + OWN_LOG_MS;
    return new Promise((resolve) => {
      const look = (): void => {
        const status = this.side.group?.status();
        const isApplied = status === undefined || status.applied >= status.commit;
        if (isApplied || clock.nowMs() >= untilMs) resolve();
        else timers.after(5, look);
      };
      look();
    });
  }

  #moved(): void {
    this.#look();
    void this.shared.moved();
  }

  #look(): void {
    const { clock, timers, onChanged } = this.#options;
    const wallMs = clock.wallMs();
    const { view } = this.side.engine;
    this.book.setRecorded(listPeers(view));
    const { keys, ...forClients } = keysInForce(view, wallMs, this.#options.name);
    const { records, ...forOperators } = secretsInForce(ADMIN_KEYS, view, wallMs);
    this.#adminKeys = records;
    this.#timer?.cancel();
    this.#timer = null;
    const changesMs = Math.min(
      forClients.changesMs ?? Infinity,
      forOperators.changesMs ?? Infinity,
    );
    if (changesMs < Infinity) {
      const delayMs = Math.min(Math.max(1, changesMs - wallMs), LOOK_AGAIN_MS);
      this.#timer = timers.after(delayMs, () => this.#look());
    }
    const wishes = view.revision === 0 ? null : listRegions(view);
    const told = JSON.stringify({ keys, wishes });
    this.#shares.seen(view.revision, told !== this.#told);
    if (told === this.#told) return;
    this.#told = told;
    this.#keys = keys;
    this.#wishes = wishes;
    onChanged();
  }
}
