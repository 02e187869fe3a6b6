/**
 * The control state of one node, running: its log, its group over the links between regions, and
 * how it came into the group (founding.ts). It opens at once and gets a group when there is one; a
 * node serves by what it has all the while.
 *
 * C1: nothing is promised to the group before `member.json` says that this log may have promised.
 * C2: a log that is gone or damaged is never written on: it is put aside, and the node comes back
 *     under a new number, empty, and is filled by the others.
 * C3: one operation on the members at a time, by the leader (memberCare.ts).
 * C4: a node that joins asks a member that it knows; that one passes it on to the leader, and says
 *     where the others are.
 */

import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { makeFolderDurably } from '../durableFile.ts';
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
import type { StartError } from '../../raft/start.ts';
import { nameOf } from '../../raft/membership.ts';
import type { NodeId } from '../../raft/types.ts';
import { foundersOf, type Founding, type Hello } from '../../replica/control/founding.ts';
import type { PeerPlace } from '../../replica/control/peers.ts';
import { RaftControlEngine } from '../../replica/control/raftEngine.ts';
import { GROUP_PATH, GroupStreams } from '../../replica/group/streams.ts';
import type { GroupMember, GroupOpenFailure } from '../../replica/group/types.ts';
import type { ControlBackend, ControlState } from './backend.ts';
import { recordOperation } from './audit.ts';
import { MemberCare } from './memberCare.ts';
import { MemberDesk } from './memberDesk.ts';
import type { Operated, Operation } from './members.ts';
import { LOG_FOLDER, openControlLog, otherThan, sentenceOf } from './controlLog.ts';
import {
  drawIncarnation,
  foundingSchema,
  readMemberFile,
  writeMemberFile,
  type ControlMember,
  type MemberFile,
} from './memberFile.ts';
import { toldAnew, type PeerBook } from './peerBook.ts';
import { LevelKeeper } from './levelKeeper.ts';
import { seekGroup } from './seek.ts';
import {
  answerPeer,
  askPeer,
  type AskPeer,
  FOUND_PATH,
  HELLO_PATH,
  knownPlacesSchema,
  parse,
  PLACES_PATH,
} from './peerCalls.ts';

/** A node without a group asks the others again after this, ms. */
const SEEK_MS = 500;
/** The leader looks after the members as often, ms. */
const CARE_MS = 500;

/** The log itself is at fault; another program or configuration (an older level) is no loss. */
const LOST: ReadonlySet<StartError> = new Set(['log-gap', 'log-lost', 'bad-entry']);

const DISK_TODO = 'restart the node once the disk is well';
const REMOVED = 'this member was removed from its group; remove its folder to join anew';

const NO_EVENTS: ClientEvents = { onGone: () => {}, onDrain: () => {} };

export interface ControlSideOptions {
  /** `control` inside the node's data folder. */
  readonly folder: string;
  /** Begins the name of a cluster that is founded here. */
  readonly cluster: string;
  /** This node's own peer name. */
  readonly name: string;
  /** The other nodes; told of those that this one hears of as it joins. */
  readonly book: PeerBook;
  readonly priority: number;
  readonly isWitness: boolean;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  /** M5 of members.ts, ms. */
  readonly takeOverMs: number;
  /** The feature level that this program supports. */
  readonly levelMax: number;
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

export class ControlSide implements ControlBackend {
  readonly engine: RaftControlEngine;
  readonly etcd = null;
  readonly #options: ControlSideOptions;
  #state: ControlState = { kind: 'opening' };
  readonly #levels: LevelKeeper;
  #file: MemberFile | null = null;
  #group: GroupMember | null = null;
  #streams: GroupStreams | null = null;
  #timer: TimerHandle | null = null;
  readonly #care: MemberCare;
  readonly #desk: MemberDesk;
  #conf = '';
  /** One step of opening, seeking or joining at a time. */
  #step: Promise<void> = Promise.resolve();
  #isStopped = false;

  readonly #ask: AskPeer = (peer, path, body, schema) => {
    const { upstream, timers } = this.#options;
    return askPeer(upstream, timers, peer, path, body, schema);
  };

  constructor(options: ControlSideOptions) {
    this.#options = options;
    this.engine = new RaftControlEngine(options.clock, options.timers);
    const { takeOverMs, clock, log, name, book } = options;
    this.#desk = new MemberDesk({
      book,
      group: () => this.#group,
      cluster: () => this.cluster,
      ask: this.#ask,
    });
    const onVoteMoved = (what: string): void => {
      recordOperation(this, { who: 'banyan', from: name, what, why: '' });
    };
    this.#care = new MemberCare({ takeOverMs, clock, log, onVoteMoved });
    this.#levels = new LevelKeeper(this.engine, name, options.levelMax);
  }

  get state(): ControlState {
    return this.#state;
  }

  get group(): GroupMember | null {
    return this.#group;
  }

  get hasLeader(): boolean {
    return (this.#group?.status().leader ?? 0) !== 0;
  }

  get cluster(): string | null {
    const file = this.#file;
    return file === null || file.state === 'new' ? null : file.cluster;
  }

  /** Opens what the disk holds. Rejects where the folder cannot be had at all. */
  async open(): Promise<void> {
    const { folder } = this.#options;
    await makeFolderDurably(folder);
    const read = await readMemberFile(folder);
    if (!read.ok) throw new Error(read.error);
    this.#file = read.value;
    if (read.value !== null && read.value.state !== 'new') {
      this.#options.book.setTold(read.value.places ?? []);
    }
    const isKnown = read.value !== null && read.value.state !== 'new';
    if (read.value === null) await this.#begin(true);
    if (isKnown) await this.#queue(() => this.#openOrSeek());
    else this.#seekSoon(0);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#step;
    await this.#stopGroup();
    this.engine.stop();
    this.#state = { kind: 'stopped' };
  }

  /** The link to a node came up, or went down: whoever led from there is not waited for. */
  linkChanged(name: string, isUp: boolean): void {
    if (isUp) {
      this.#streams?.linkUp(name);
      if (this.#state.kind === 'seeking') this.#seekSoon(0);
      void this.#askPlaces(name);
      return;
    }
    const lost = this.#group?.status().conf.members.filter((member) => nameOf(member) === name);
    for (const { id } of lost ?? []) this.#group?.unreachable(id);
  }

  /** Takes what other nodes ask of the group; null: the request is for somebody else. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null {
    const { peer } = request;
    if (peer === undefined || !request.path.startsWith('/group/')) return null;
    if (request.path === GROUP_PATH) {
      const events = this.#streams?.handle(request, reply) ?? null;
      if (events !== null) return events;
      answerPeer(reply, 503, { error: 'no-group' });
    } else if (request.path === HELLO_PATH) {
      const hello = this.#hello();
      if (hello === null) answerPeer(reply, 503, { error: 'opening' });
      else answerPeer(reply, 200, hello);
    } else if (request.path === FOUND_PATH) {
      this.#onFound(request, reply);
    } else if (this.#desk.handle(peer, request, reply)) {
      return NO_EVENTS;
    } else {
      answerPeer(reply, 404, { error: 'no-such-path' });
    }
    return NO_EVENTS;
  }

  // Coming into a group.

  #queue(step: () => Promise<void>): Promise<void> {
    this.#step = this.#step
      .then(() => (this.#isStopped ? undefined : step()))
      .catch((cause: unknown) => {
        const detail = cause instanceof Error ? cause.message : String(cause);
        this.#fail(detail);
      });
    return this.#step;
  }

  #fail(detail: string): void {
    this.#state = { kind: 'failed', detail };
    this.#options.log.error('control-failed', { detail });
  }

  async #openOrSeek(): Promise<void> {
    const file = this.#file;
    if (file === null || file.state === 'new') return this.#seek();
    if (file.state === 'creating') await this.#create(file);
    await this.#openMember();
  }

  /** A disk without a past: draws the incarnation that its log will have. */
  async #begin(mayFound: boolean): Promise<void> {
    await this.#write({ state: 'new', incarnation: drawIncarnation(), mayFound });
  }

  async #write(file: MemberFile): Promise<void> {
    await writeMemberFile(this.#options.folder, file);
    this.#file = file;
  }

  /** Null: the disk is not read yet. */
  #hello(): Hello | null {
    const file = this.#file;
    const { priority, isWitness } = this.#options;
    if (file === null) return null;
    if (file.state === 'new') {
      const { incarnation, mayFound } = file;
      return { kind: 'new', incarnation, priority, isWitness, mayFound };
    }
    const isYoung = (this.#group?.status().snapshotIndex ?? 0) === 0;
    return { kind: 'member', cluster: file.cluster, founding: isYoung ? file.founding : null };
  }

  #seekSoon(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.timers.after(delayMs, () => {
      this.#timer = null;
      void this.#queue(() => this.#seek());
    });
  }

  async #seek(): Promise<void> {
    const file = this.#file;
    if (file === null || file.state !== 'new') return;
    const { name, book, cluster, priority, isWitness } = this.#options;
    const { incarnation, mayFound } = file;
    const sought = await seekGroup({
      name,
      others: book.names,
      cluster,
      levelMax: this.#options.levelMax,
      own: { kind: 'new', incarnation, priority, isWitness, mayFound },
      ask: this.#ask,
    });
    if (sought.kind === 'wait') return this.#wait(sought.detail);
    if (sought.kind === 'take') return this.#take(sought.founding);
    const { kind: _joined, places, ...joined } = sought;
    const told = this.#unlisted(places);
    const more = told.length === 0 ? {} : { places: told };
    await this.#write({ state: 'creating', incarnation, ...joined, founding: null, ...more });
    book.setTold(told);
    return this.#openOrSeek();
  }

  /** What others say of where nodes are, of those that the own file does not name. */
  #unlisted(places: readonly PeerPlace[]): PeerPlace[] {
    const { book, name } = this.#options;
    return places.filter(({ peer }) => peer !== name && !book.isListed(peer));
  }

  /** A node that lives by what others told it asks again: addresses change. */
  async #askPlaces(peer: string): Promise<void> {
    const file = this.#file;
    if (file?.state !== 'member' || file.places === undefined) return;
    const answer = await this.#ask(peer, PLACES_PATH, null, knownPlacesSchema);
    const answered = this.#unlisted(answer?.value?.places ?? []);
    if (answered.length === 0) return;
    await this.#queue(async () => {
      const now = this.#file;
      if (now?.state !== 'member' || now.cluster !== file.cluster) return;
      const members = new Set(this.#members(now).map(([, name]) => name));
      const places = [...toldAnew(now.places ?? [], answered, members)];
      if (JSON.stringify(now.places) !== JSON.stringify(places)) {
        await this.#write({ ...now, places });
        this.#options.book.setTold(places);
      }
    });
  }

  #wait(detail: string): void {
    if (this.#state.kind !== 'seeking' || this.#state.detail !== detail) {
      this.#options.log.info('control-seeking', { detail });
    }
    this.#state = { kind: 'seeking', detail };
    this.#seekSoon(SEEK_MS);
  }

  /** The founder says who the first members are. */
  #onFound(request: ClientRequest, reply: ClientReply): void {
    const founding = parse(request.body, foundingSchema);
    if (founding === null) return answerPeer(reply, 400, { error: 'malformed' });
    void this.#queue(async () => {
      const file = this.#file;
      const { name, book, log } = this.#options;
      const own = founding.members.find(({ region }) => region === name);
      const isSame = file?.state !== 'new' && file?.cluster === founding.cluster;
      if (isSame) return answerPeer(reply, 200, founding);
      if (file?.state !== 'new' || own?.incarnation !== file.incarnation) {
        return answerPeer(reply, 409, { error: 'not-new' });
      }
      const named = founding.members.map(({ region }) => region).toSorted();
      const listed = foundersOf([name, ...book.names]);
      if (named.join() !== listed.join()) {
        log.warn('control-founding-refused', { named: named.join(), listed: listed.join() });
        return answerPeer(reply, 409, { error: 'other-regions' });
      }
      await this.#take(founding);
      answerPeer(reply, this.#file?.state === 'member' ? 200 : 503, founding);
    });
  }

  async #take(founding: Founding): Promise<void> {
    const own = founding.members.find(({ region }) => region === this.#options.name);
    if (own === undefined) return this.#wait('the founding does not name this node');
    const { id, incarnation } = own;
    await this.#write({
      state: 'creating',
      id,
      incarnation,
      cluster: founding.cluster,
      founding: { cluster: founding.cluster, members: [...founding.members] },
      peers: founding.members.map((member) => ({ id: member.id, region: nameOf(member) })),
    });
    await this.#openOrSeek();
  }

  // The group.

  async #create(file: ControlMember): Promise<void> {
    const made = await this.#openLog(file, 'create');
    if (!made.ok && made.error.kind !== 'not-empty') throw new Error(sentenceOf(made.error));
    if (made.ok) await new Promise<void>((resolve) => made.value.stop(resolve));
    await this.#write({ ...file, state: 'member' });
  }

  async #openMember(): Promise<void> {
    const file = this.#file;
    if (file === null || file.state === 'new') return;
    const opened = await this.#openLog(file, 'open');
    if (!opened.ok) return this.#onBadLog(file, opened.error);
    const group = opened.value;
    const stranger = otherThan(this.#options.name, group.status().conf, file.id);
    if (stranger !== null) {
      await new Promise<void>((resolve) => group.stop(resolve));
      return this.#fail(stranger);
    }
    this.#group = group;
    this.#streams = new GroupStreams(
      this.#options.upstream,
      this.#options.timers,
      [],
      (from, bytes) => group.receive(from, bytes),
    );
    this.engine.attach(group);
    this.#state = { kind: 'member' };
    this.#options.log.info('control-member', { cluster: file.cluster, member: file.id });
    this.#look();
    this.#careSoon();
  }

  /** C2. */
  async #onBadLog(file: ControlMember, failure: GroupOpenFailure): Promise<void> {
    const { folder, book, log } = this.#options;
    if (failure.kind === 'refused' && failure.error === 'level-unsupported') {
      return this.#fail(await this.#levels.standAside(folder, file, this.engine.groupMachine));
    }
    const isLost =
      failure.kind === 'no-log' ||
      failure.kind === 'damaged' ||
      (failure.kind === 'refused' && LOST.has(failure.error));
    if (!isLost || book.names.length === 0) return this.#fail(sentenceOf(failure));
    log.error('control-log-lost', { detail: sentenceOf(failure), next: 'a new number' });
    const aside = join(folder, `aside-${this.#options.clock.wallMs()}`);
    await rename(join(folder, LOG_FOLDER), aside).catch(() => rm(aside, { force: true }));
    await this.#begin(false);
    await this.#seek();
  }

  #openLog(file: ControlMember, kind: 'create' | 'open') {
    const { log } = this.#options;
    return openControlLog(this.#options, file, kind, this.engine.groupMachine, {
      send: (to, bytes) => this.#streams?.send(to, bytes),
      status: ({ role, term, leader }) => log.info('control-raft', { role, term, leader }),
      alarm: (alarm, node, index) => {
        log.warn('control-alarm', { alarm, node, index });
        if (node !== file.id) return;
        // Another number stands for this region now, or an operator took it out.
        if (alarm === 'removed') this.#leave(REMOVED);
        const level = this.#group?.status().level ?? 0;
        if (alarm === 'level-unsupported') this.#leave(this.#levels.refusalOf(level));
      },
      disk: (state, detail) => {
        log.error('control-disk', { state, detail });
        if (state === 'failed') this.#leave(`a write to the disk failed: ${detail}; ${DISK_TODO}`);
      },
    });
  }

  /** Takes part in nothing any more; what was applied goes on counting. */
  #leave(detail: string): void {
    void this.#queue(async () => {
      await this.#stopGroup();
      this.#fail(detail);
    });
  }

  async #stopGroup(): Promise<void> {
    const group = this.#group;
    this.#group = null;
    this.#streams?.close();
    this.#streams = null;
    if (group !== null) await new Promise<void>((resolve) => group.stop(resolve));
  }

  // The members.

  #careSoon(): void {
    this.#timer?.cancel();
    this.#timer = this.#options.timers.after(CARE_MS, () => {
      this.#timer = null;
      if (this.#isStopped || this.#group === null) return;
      this.#look();
      this.#care.look(this.#group);
      this.#levels.care(this.#group);
      this.#careSoon();
    });
  }

  /** Streams go to the newest number of each node. */
  #look(): void {
    const group = this.#group;
    const file = this.#file;
    if (group === null || file === null || file.state === 'new') return;
    const members = this.#members(file);
    const conf = members.map(([id, name]) => `${id}:${name}`).join();
    if (conf === this.#conf) return;
    this.#conf = conf;
    const newest = new Map<string, NodeId>();
    for (const [id, name] of members) {
      if (name !== this.#options.name) newest.set(name, Math.max(id, newest.get(name) ?? 0));
    }
    this.#streams?.setPeers([...newest].map(([name, id]) => ({ id, name })));
  }

  /** Numbers and names. A node that joins knows nobody by its log, but those that it was told of. */
  #members({ peers }: ControlMember): readonly (readonly [NodeId, string])[] {
    const known = this.#group?.status().conf.members ?? [];
    if (known.length === 0) return peers.map(({ id, region }) => [id, region]);
    return known.map((member) => [member.id, nameOf(member)]);
  }

  operate(operation: Operation): Promise<Operated> {
    return this.#desk.operate(operation);
  }

  judge(operation: Operation): ReturnType<ControlBackend['judge']> {
    return this.#desk.judge(operation);
  }
}
