/**
 * The control state of one node in an etcd cluster, running. It opens at once with what its own disk
 * has, follows the cluster when it answers, and serves by what it has all the while.
 */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { makeFolderDurably } from '../durableFile.ts';
import type { ClientEvents, Clock, Timers } from '../../base/ports.ts';
import { createPrng } from '../../base/prng.ts';
import { NodeDisk } from '../../io/disk/nodeDisk.ts';
import { EtcdClient } from '../../io/etcd/client.ts';
import type { EtcdTls } from '../../io/etcd/gateway.ts';
import type { Log } from '../../io/observe/log.ts';
import { FEATURE_LEVEL_MAX } from '../../replica/control/features.ts';
import { EtcdBeats } from '../../replica/etcd/beats.ts';
import { EtcdControlEngine } from '../../replica/etcd/engine.ts';
import type { EtcdFailure } from '../../replica/etcd/store.ts';
import type { Beats } from '../../replica/sharedConfig/beats.ts';
import type { EtcdShell } from '../config/controlShell.ts';
import { EtcdRegisterSide } from '../registers/etcdRegisterSide.ts';
import type { RegisterBackend } from '../registers/registerBackend.ts';
import type { ControlBackend, ControlState, EtcdPart } from './backend.ts';
import type { GroupAnswer } from './controlRoutes.ts';
import { EtcdLevels } from './etcdLevels.ts';
import type { Operated } from './members.ts';

const KEEP_FOLDER = 'etcd';
/** A node that has nothing yet waits so long for the cluster before it serves, ms. */
const FIRST_MS = 3_000;

/** Of a cluster that went back the numbers of leases would too. */
const REFUSED = {
  opening: 'etcd has not been heard yet',
  failed: 'etcd does not hold the control state that this node knows',
} as const;

export interface EtcdSideOptions {
  /** `control` inside the node's data folder. */
  readonly folder: string;
  readonly shell: EtcdShell;
  /** This node's name, and those of the others of its file. */
  readonly name: string;
  readonly others: readonly string[];
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

export class EtcdSide implements ControlBackend, EtcdPart {
  readonly engine: EtcdControlEngine;
  readonly group = null;
  readonly etcd: EtcdPart = this;
  readonly #options: EtcdSideOptions;
  readonly #client: EtcdClient;
  readonly #levels: EtcdLevels;
  #isStopped = false;

  /** Use `openEtcdSide`, which reads the files that the shell names. */
  private constructor(options: EtcdSideOptions, client: EtcdClient) {
    const { folder, shell, name, others, clock, timers, log } = options;
    this.#options = options;
    this.#client = client;
    this.engine = new EtcdControlEngine({
      store: client,
      disk: new NodeDisk(folder),
      folder: KEEP_FOLDER,
      prefix: shell.prefix,
      levelMax: FEATURE_LEVEL_MAX,
      clock,
      timers,
      prng: createPrng(randomBytes(4).readUInt32LE()),
      onState: (state) => {
        const detail = 'detail' in state ? state.detail : null;
        if (state.kind === 'failed') log.error('control-etcd', { state: state.kind, detail });
        else log.info('control-etcd', { state: state.kind, detail });
        this.#levels.look();
      },
      onNote: (note, detail) => log.warn('control-etcd-note', { note, detail }),
    });
    this.#levels = new EtcdLevels({
      engine: this.engine,
      name,
      others,
      levelMax: FEATURE_LEVEL_MAX,
      timers,
      isFollowing: () => this.engine.state.kind === 'following',
    });
    this.engine.onMoved(() => this.#levels.look());
  }

  static async create(options: EtcdSideOptions): Promise<EtcdSide> {
    const { endpoints, tls, user } = options.shell;
    const read = tls === null ? null : await readTls(tls);
    return new EtcdSide(options, new EtcdClient({ endpoints, tls: read, user }));
  }

  get state(): ControlState {
    const { state, lineage } = this.engine;
    if (this.#isStopped) return { kind: 'stopped' };
    if (state.kind === 'failed') return { kind: 'failed', detail: state.detail };
    if (lineage !== null) return { kind: 'member' };
    if (state.kind === 'away') return { kind: 'seeking', detail: `etcd: ${state.detail}` };
    return { kind: 'opening' };
  }

  get cluster(): string | null {
    return this.engine.lineage;
  }

  get hasLeader(): boolean {
    return this.engine.state.kind === 'following';
  }

  async open(): Promise<void> {
    const { folder, clock, timers } = this.#options;
    await makeFolderDurably(folder);
    const error = await new Promise<string | null>((resolve) => {
      this.engine.open((result) => resolve(result.ok ? null : result.error));
    });
    if (error !== null) throw new Error(error);
    const untilMs = clock.nowMs() + FIRST_MS;
    while (this.engine.lineage === null && clock.nowMs() < untilMs) {
      await new Promise<void>((resolve) => timers.after(10, resolve));
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#levels.stop();
    this.#client.close();
    await new Promise<void>((resolve) => this.engine.stop(resolve));
  }

  /** Links between regions carry nothing of it. */
  linkChanged(): void {}

  handle(): ClientEvents | null {
    return null;
  }

  operate(): Promise<Operated> {
    const message =
      'An etcd cluster keeps the control state: its members are changed with ' +
      '"etcdctl member add", "member remove" and "member promote".';
    return Promise.resolve({
      isDone: false,
      error: { code: 'kept-by-etcd', message, definite: true },
    });
  }

  judge(): Promise<Operated> {
    return this.operate();
  }

  // Its members.

  warnings(): readonly string[] {
    const { state, keepError } = this.engine;
    return [
      ...(state.kind === 'away' ? [`control state: etcd: ${state.detail}`] : []),
      ...(keepError === null ? [] : [`control state: not kept on this node's disk: ${keepError}`]),
    ];
  }

  async reloadTls(): Promise<string | null> {
    const { tls } = this.#options.shell;
    if (tls === null) return null;
    try {
      const taken = this.#client.setTls(await readTls(tls));
      return taken.ok ? null : taken.error;
    } catch (cause) {
      return String(cause); // A file that cannot be read: the old ones stay.
    }
  }

  heldBackBy(): readonly string[] {
    return this.#levels.heldBackBy();
  }

  registers(name: string, claimMs: number): RegisterBackend {
    const { shell, clock, timers } = this.#options;
    return new EtcdRegisterSide({
      store: this.#client,
      prefix: shell.prefix,
      name,
      claimMs,
      clock,
      timers,
      prng: createPrng(randomBytes(4).readUInt32LE()),
      refusal: () => {
        const { state } = this.engine;
        return state.kind === 'following' || state.kind === 'away' ? null : REFUSED[state.kind];
      },
    });
  }

  beats(name: string): Beats {
    const { shell, clock } = this.#options;
    return new EtcdBeats({ store: this.#client, prefix: shell.prefix, name, clock });
  }

  async members(): Promise<GroupAnswer> {
    const { state } = this;
    const listed = await this.#client.members();
    const members = listed.ok ? listed.value.members : [];
    return {
      engine: 'etcd',
      cluster: this.cluster,
      state: state.kind,
      detail: listed.ok ? ('detail' in state ? state.detail : null) : listed.error.detail,
      term: listed.ok ? listed.value.term : null,
      leader: members.find(({ isLeader }) => isLeader)?.name ?? null,
      revision: this.engine.view.revision,
      items: members.map(({ id, name, isLeader, isLearner, isHeard, index }) => ({
        id,
        region: name,
        peer: name,
        address: null,
        role: isLeader ? 'leader' : isLearner ? 'learner' : 'voter',
        isHeard,
        match: index,
      })),
      unreachable: [],
    };
  }

  async moveLeader(name: string, isDry: boolean): Promise<Operated | 'unknown'> {
    const listed = await this.#client.members();
    if (!listed.ok) return notDone(listed.error);
    const to = listed.value.members.find((member) => member.name === name || member.id === name);
    if (to === undefined) return 'unknown';
    if (isDry || to.isLeader) return { isDone: true, error: null };
    const moved = await this.#client.moveLeader(to.id);
    return moved.ok ? { isDone: true, error: null } : notDone(moved.error);
  }
}

async function readTls(tls: NonNullable<EtcdShell['tls']>): Promise<EtcdTls> {
  const read = (file: string | null) => (file === null ? null : readFile(file, 'utf8'));
  const { serverName } = tls;
  return {
    ca: await read(tls.ca),
    cert: await read(tls.cert),
    key: await read(tls.key),
    serverName,
  };
}

function notDone({ isDefinite, isFinal, detail }: EtcdFailure): Operated {
  const code = isFinal ? 'etcd-refused' : 'unavailable';
  return { isDone: false, error: { code, message: `etcd: ${detail}`, definite: isDefinite } };
}
