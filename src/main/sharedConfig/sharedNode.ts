/**
 * The shared configuration as a node has it: puts in force what the control state says for its
 * region, tells how it fares, and drives roll-outs while it leads.
 *
 * SN1: serving never waits for it: what is in force stays until something newer works here.
 * SN2: what is in force is on disk, and is in force again after a restart without the others.
 */

import { randomBytes } from 'node:crypto';

import { regionOfPeer } from '../../base/peerName.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type {
  ClientEvents,
  ClientReply,
  ClientRequest,
  Clock,
  TimerHandle,
  Timers,
  Upstream,
} from '../../base/ports.ts';
import type { Log } from '../../io/observe/log.ts';
import type { GaugeValues } from '../../io/observe/metrics.ts';
import { assignedTo, readHead, readText } from '../../replica/sharedConfig/records.ts';
import type { Counts } from '../../replica/sharedConfig/records.ts';
import type { NodeReport } from '../../replica/sharedConfig/regionReport.ts';
import { readReport, reportingPeers } from '../../replica/sharedConfig/reports.ts';
import type { ConfigProblem } from '../config/document.ts';
import type { ControlBackend } from '../control/backend.ts';
import { answerPeer, askPeer, parse } from '../control/peerCalls.ts';
import {
  CHECK_PATH,
  checkSchema,
  problemOf,
  problemsSchema,
  REPORT_PATH,
  reportSchema,
  shortened,
} from './calls.ts';
import { ErrorWindow } from './errorWindow.ts';
import { readLastApplied, writeLastApplied, type LastApplied } from './lastApplied.ts';
import { RolloutRunner, type Heard } from './runner.ts';
import { StateReports } from './stateReports.ts';

const NO_EVENTS: ClientEvents = { onGone: () => {}, onDrain: () => {} };

/** What the node around it does for it. */
export interface SharedConfigHost {
  /** Puts a text in force, or none; null, or why not, and then nothing has changed. */
  apply(text: string | null): Promise<string | null>;
  /** What is wrong with a text, together with this node's own file. */
  check(text: string): Promise<readonly ConfigProblem[]>;
  counts(): Promise<Counts>;
  /** Targets that take no requests because of their health. */
  out(): readonly string[];
}

export interface SharedConfigOptions {
  readonly backend: ControlBackend;
  readonly dataDir: string;
  /** This node's own peer name. */
  readonly name: string;
  /** Nodes are asked over links; else, with etcd, they tell how they fare through it. */
  readonly hasLinks: boolean;
  /** The other nodes that are known; they come and go. */
  readonly otherPeers: readonly string[];
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly host: SharedConfigHost;
}

/** What every node says of a text: problems by peer name; null: it could not be asked. */
export type Checked = ReadonlyMap<string, readonly ConfigProblem[] | null>;

export class SharedConfigNode {
  readonly #options: SharedConfigOptions;
  readonly #boot = randomBytes(6).readUIntBE(0, 6);
  readonly #window = new ErrorWindow();
  readonly #runner: RolloutRunner;
  /** Null: nodes are asked over their links. */
  readonly #state: StateReports | null;
  #applied: LastApplied | null = null;
  #refused: NodeReport['refused'] = null;
  /** The head as of which it was refused. */
  #refusedRevision = 0;
  /** The disk has what heads before this one did not: the state here is behind, or a restored one. */
  #notBefore = 0;
  #working: Promise<void> = Promise.resolve();
  #halted = '';
  #timer: TimerHandle | null = null;
  #isStopped = false;

  constructor(options: SharedConfigOptions) {
    this.#options = options;
    const { name, hasLinks, backend, clock, timers, log } = options;
    this.#runner = new RolloutRunner({
      name,
      peers: () => this.peers,
      engine: backend.engine,
      clock,
      timers,
      log,
      leads: () => this.#leads(),
      asksOverLinks: hasLinks,
      // What this node told, too: others that drive at the same time know no more.
      ask: (peer) =>
        this.#state === null ? this.askReport(peer) : Promise.resolve(this.#state.heard(peer)),
    });
    // With links everything is asked over those; with a group of our own there are links.
    const { engine } = backend;
    const report = () => this.#report();
    this.#state =
      hasLinks || backend.etcd === null
        ? null
        : new StateReports({
            name,
            engine,
            beats: backend.etcd.beats(name),
            clock,
            timers,
            report,
          });
  }

  /** All nodes that are known, this one first. */
  get peers(): readonly string[] {
    const { name, otherPeers, backend } = this.#options;
    const told = this.#state === null ? [] : reportingPeers(backend.engine.view);
    return [...new Set([name, ...otherPeers, ...told])];
  }

  /** All regions that are known, this one first. */
  get regions(): readonly string[] {
    return [...new Set(this.peers.map((peer) => regionOfPeer(peer)))];
  }

  /** The version in force here; 0: none. */
  get applied(): number {
    return this.#applied?.version ?? 0;
  }

  /** The control state is open: what it, or the disk, has is put in force. */
  async start(): Promise<void> {
    const { dataDir, backend } = this.#options;
    const last = await readLastApplied(dataDir);
    const revision = readHead(backend.engine.view)?.modRevision ?? 0;
    if (last !== null) {
      // Not known is taken for the same: what is in force stays.
      const isSame = (last.cluster ?? backend.cluster) === (backend.cluster ?? last.cluster);
      if (isSame && last.revision > revision) this.#notBefore = last.revision;
      const why = await this.#take(last.text);
      if (why === null) this.#applied = last;
      else this.#refuse(last.version, why);
    }
    await this.#catchUp();
    this.#tellHalt();
    this.#tick();
    this.#confirm();
  }

  /** What the state says counts, however old, once it is certainly not behind. */
  #confirm(): void {
    if (this.#notBefore === 0) return;
    this.#options.backend.engine.confirm((confirmed) => {
      if (!confirmed.ok || this.#isStopped) return;
      this.#notBefore = 0;
      void this.#catchUp();
    });
  }

  /** The control state has moved. Resolves once what it says is in force, or refused. */
  moved(): Promise<void> {
    this.#tellHalt();
    this.#runner.wake();
    return this.#catchUp().then(() => this.#state?.wake());
  }

  /** The node's own file has changed: what did not work with it may work now. */
  again(): Promise<void> {
    return this.#catchUp(true);
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#runner.stop();
    this.#state?.stop();
  }

  gauges(): GaugeValues {
    return [
      ['banyan_config_shared_version', this.applied],
      ['banyan_config_shared_refused', this.#refused === null ? 0 : 1],
      ['banyan_config_rollout_halted', this.#halted === '' ? 0 : 1],
    ];
  }

  warnings(): readonly string[] {
    const lines: string[] = [];
    if (this.#halted !== '') lines.push(`shared configuration: roll-out halted: ${this.#halted}`);
    if (this.#runner.isWaiting) {
      lines.push(
        'shared configuration: the roll-out waits: most other regions are silent from here',
      );
    }
    if (this.#refused !== null) {
      const { version, why } = this.#refused;
      const [first = ''] = why.split('\n');
      lines.push(`shared configuration: version ${version} does not work here: ${first}`);
    }
    return lines;
  }

  /** Takes what other nodes ask; null: the request is for somebody else. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null {
    if (request.forwardedFrom === null) return null;
    if (request.path === REPORT_PATH) {
      void this.#report().then((report) => answerPeer(reply, 200, report));
      return NO_EVENTS;
    }
    if (request.path !== CHECK_PATH) return null;
    const asked = parse(request.body, checkSchema);
    if (asked === null) answerPeer(reply, 400, { error: 'malformed' });
    else {
      void this.#options.host
        .check(asked.text)
        .then((problems) => answerPeer(reply, 200, { problems: shortened(problems) }));
    }
    return NO_EVENTS;
  }

  /** How a node fares; null: it does not answer. */
  async askReport(peer: string): Promise<Heard> {
    const { name, upstream, timers } = this.#options;
    if (peer === name) return this.#report();
    if (this.#state !== null) return this.#state.heard(peer);
    const answer = await askPeer(upstream, timers, peer, REPORT_PATH, null, reportSchema);
    // Whoever knows no such path (a witness) has no configuration either.
    return answer?.status === 404 ? 'none' : (answer?.value ?? null);
  }

  /** What is known of a node for people: without links what it told last. */
  async lastReport(peer: string): Promise<Heard> {
    const told = this.#state === null ? null : readReport(this.#options.backend.engine.view, peer);
    return told?.report ?? this.askReport(peer);
  }

  /** What every node says of a text, with its own file and environment. */
  async checkEverywhere(text: string): Promise<Checked> {
    const { name, otherPeers, upstream, timers, host } = this.#options;
    const checked = new Map<string, readonly ConfigProblem[] | null>();
    checked.set(name, await host.check(text));
    // Without links nobody else can be asked before.
    for (const other of this.peers) if (!checked.has(other)) checked.set(other, null);
    await Promise.all(
      otherPeers.map(async (other) => {
        const answer = await askPeer(upstream, timers, other, CHECK_PATH, { text }, problemsSchema);
        if (answer?.status === 404) checked.delete(other);
        else checked.set(other, answer?.value?.problems.map(problemOf) ?? null);
      }),
    );
    return checked;
  }

  async #report(): Promise<NodeReport> {
    const { host } = this.#options;
    const counts = await host.counts();
    return {
      boot: this.#boot,
      applied: this.applied,
      refused: this.#refused,
      counts,
      before: this.#window.before(counts),
      out: host.out().slice(0, SHARED_CONFIG_LIMITS.outMax),
    };
  }

  #leads(): 'no' | 'alone' | 'maybe' {
    const { group, state, hasLeader } = this.#options.backend;
    // Who has lost what keeps the state hears nobody there, and is no judge of others.
    if (group === null) return state.kind === 'member' && hasLeader ? 'maybe' : 'no';
    const { id, leader } = group.status();
    return id === leader ? 'alone' : 'no';
  }

  #tick(): void {
    const { timers, clock, host } = this.#options;
    if (this.#isStopped) return;
    void host.counts().then((counts) => this.#window.add(clock.nowMs(), counts));
    void this.again();
    this.#confirm();
    this.#runner.wake();
    this.#state?.wake();
    this.#timer = timers.after(SHARED_CONFIG_LIMITS.beforeStepMs, () => this.#tick());
  }

  /** One change at a time; `isAgain`: also what was refused before. */
  #catchUp(isAgain = false): Promise<void> {
    this.#working = this.#working.then(() => this.#applyNewest(isAgain));
    return this.#working;
  }

  async #applyNewest(isAgain: boolean): Promise<void> {
    const { backend, name } = this.#options;
    const stored = this.#isStopped ? null : readHead(backend.engine.view);
    if (stored === null || stored.head.newest === 0) return;
    const { modRevision } = stored;
    if (modRevision < this.#notBefore) return;
    const version = assignedTo(stored.head, regionOfPeer(name));
    const text = version === 0 ? null : readText(backend.engine.view, version);
    // A number alone is not enough: a control state that was restored may have given it again.
    if (version === this.applied && text === (this.#applied?.text ?? null)) {
      this.#refused = null;
      return;
    }
    const isNew = this.#refused?.version !== version || modRevision !== this.#refusedRevision;
    if (!isNew && !isAgain) return;
    this.#refusedRevision = modRevision;
    if (text === null && version !== 0) return this.#refuse(version, 'its text is gone');
    await this.#put(version, text, modRevision);
  }

  async #put(version: number, text: string | null, revision: number): Promise<void> {
    const { log, dataDir, backend } = this.#options;
    const why = await this.#take(text);
    if (why !== null) return this.#refuse(version, why);
    const { cluster } = backend;
    this.#applied = text === null ? null : { cluster, version, revision, text };
    this.#refused = null;
    log.info('shared-config-applied', { version });
    // SN2. A disk that fails is told; what is in force stays in force.
    await writeLastApplied(dataDir, this.#applied).catch((cause: unknown) => {
      log.error('shared-config-not-kept', { version, cause: String(cause) });
    });
  }

  /** Puts a text in force; why not, or null. What fails is refused: more will come after it. */
  #take(text: string | null): Promise<string | null> {
    return this.#options.host.apply(text).catch((cause: unknown) => {
      return cause instanceof Error ? cause.message : String(cause);
    });
  }

  #refuse(version: number, why: string): void {
    const text = why.slice(0, SHARED_CONFIG_LIMITS.refusalCharsMax);
    const isNews = this.#refused?.version !== version || this.#refused.why !== text;
    this.#refused = { version, why: text };
    if (isNews) this.#options.log.error('shared-config-refused', { version, problems: text });
  }

  #tellHalt(): void {
    const rollout = readHead(this.#options.backend.engine.view)?.head.rollout ?? null;
    const halted = rollout?.halted ?? '';
    if (halted !== this.#halted && halted !== '') {
      this.#options.log.error('config-rollout-halted', { version: rollout?.version, why: halted });
    }
    this.#halted = halted;
  }
}
