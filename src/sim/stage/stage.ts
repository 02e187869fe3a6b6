/**
 * A small world to look at: the production Raft, its log and its store in a few regions, with
 * virtual time, and a network whose messages can be seen and whose links can be cut. It has no
 * checkers; those are the simulator's. The page `/simulator` draws it in a browser.
 */

import { assert } from '../../base/assert.ts';
import { decodeUtf8 } from '../../base/bytes.ts';
import { createPrng, type Prng } from '../../base/prng.ts';
import { VirtualTime } from '../../base/virtualTime.ts';
import { decodeMessage } from '../../raft/messageCodec.ts';
import type { Entry, Member, MessageKind, NodeId } from '../../raft/types.ts';
import { RAFT_ERRORS } from '../../raft/errors.ts';
import type { GroupStep } from '../../replica/group/types.ts';
import { decodeKvCommand } from '../../replica/kv/codec.ts';
import { StageNode } from './stageNode.ts';
import type { EntryView, FlightView, NodeView, StageView, StoryLine } from './view.ts';

export interface StageRegion {
  readonly name: string;
  readonly nodeCount: number;
}

export interface StageOptions {
  readonly seed: number;
  readonly regions: readonly StageRegion[];
  /** One way, between two regions or inside one. */
  readonly delayMs: (from: string, to: string) => number;
}

interface Flight {
  readonly id: number;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly kind: MessageKind;
  readonly entryCount: number;
  readonly isGranted: boolean;
  readonly sentAtMs: number;
  readonly delayMs: number;
  isLost: boolean;
}

/** A delay varies by so much of itself. */
const JITTER = 0.15;
const LOG_SHOWN = 12;
const STORY_MAX = 200;

export class Stage {
  readonly #options: StageOptions;
  readonly #time = new VirtualTime();
  readonly #prng: Prng;
  readonly #nodes = new Map<NodeId, StageNode>();
  readonly #flights = new Map<number, Flight>();
  readonly #cuts = new Set<string>();
  readonly #story: StoryLine[] = [];
  readonly #keys = new Set<string>();
  #sentCount = 0;
  #lostCount = 0;

  /** Makes the nodes and starts them. */
  constructor(options: StageOptions) {
    this.#options = options;
    this.#prng = createPrng(options.seed);
    const members = options.regions
      .flatMap(({ name, nodeCount }) => Array.from({ length: nodeCount }, () => name))
      .map((region, index): Member => ({
        id: index + 1,
        region,
        incarnation: 1_000 + index,
        priority: 1,
        isWitness: false,
        isPromotable: true,
      }));
    const ports = {
      time: this.#time,
      prng: this.#prng,
      send: (from: NodeId, to: NodeId, bytes: Uint8Array) => this.#send(from, to, bytes),
      stepped: (node: StageNode, step: GroupStep) => this.#stepped(node, step),
    };
    for (const member of members) {
      this.#nodes.set(member.id, new StageNode(ports, member, members));
    }
    for (const node of this.#nodes.values()) node.start();
    // Disks are made before the curtain rises, so that no node dies without one.
    while ([...this.#nodes.values()].some(({ state }) => state === 'starting')) {
      const nextMs = this.#time.nextDueMs();
      assert(nextMs !== null, 'a disk that is being made has something to do');
      this.#time.advance(nextMs - this.#time.nowMs());
    }
  }

  /** Lets time pass. */
  advance(deltaMs: number): void {
    this.#time.advance(deltaMs);
  }

  /** Goes on to the next message that arrives, or to whatever comes next if none is on its way. */
  step(): void {
    const nowMs = this.#time.nowMs();
    const arrivals = [...this.#flights.values()]
      .filter(({ isLost }) => !isLost)
      .map(({ sentAtMs, delayMs }) => sentAtMs + delayMs);
    const nextMs = arrivals.length > 0 ? Math.min(...arrivals) : this.#time.nextDueMs();
    if (nextMs !== null) this.#time.advance(Math.max(0, nextMs - nowMs));
  }

  kill(id: NodeId): void {
    const node = this.#node(id);
    if (node.state === 'down') return;
    node.kill();
    this.#tell({ kind: 'killed', node: id });
  }

  restart(id: NodeId): void {
    const node = this.#node(id);
    if (node.state !== 'down') return;
    node.start();
    this.#tell({ kind: 'restarted', node: id });
  }

  /** Cuts the link between two nodes in both directions, or mends it. */
  setCut(a: NodeId, b: NodeId, isCut: boolean): void {
    if (this.#cut(a, b, isCut)) this.#tell({ kind: isCut ? 'cut' : 'mended', a, b });
  }

  /** Cuts or mends all links between a region and the others. */
  setCutOff(region: string, isCut: boolean): void {
    const ids = [...this.#nodes.values()];
    let hasChanged = false;
    for (const inside of ids.filter(({ member }) => member.region === region)) {
      for (const outside of ids.filter(({ member }) => member.region !== region)) {
        if (this.#cut(inside.id, outside.id, isCut)) hasChanged = true;
      }
    }
    if (hasChanged) this.#tell({ kind: isCut ? 'cut-off' : 'joined', region });
  }

  /** Mends every link and starts every node that is down. */
  heal(): void {
    for (const name of this.#cuts) {
      const [a = 0, b = 0] = name.split('-').map(Number);
      this.setCut(a, b, false);
    }
    for (const id of this.#nodes.keys()) this.restart(id);
  }

  /** Proposes `key = value` at a node; a follower passes it on to the leader that it knows. */
  propose(id: NodeId, key: string, value: string): void {
    const text = `${key} = ${value}`;
    const startMs = this.#time.nowMs();
    const isTaken = this.#node(id).propose(key, value, (reply) => {
      if (reply.ok) {
        this.#tell({ kind: 'committed', text, tookMs: this.#time.nowMs() - startMs });
        return;
      }
      const { error } = reply.error;
      if (RAFT_ERRORS[error].definite) this.#tell({ kind: 'refused', text, error });
      else this.#tell({ kind: 'lost', text });
    });
    if (!isTaken) return;
    this.#keys.add(key);
    this.#tell({ kind: 'proposed', node: id, text });
  }

  view(): StageView {
    const nowMs = this.#time.nowMs();
    return {
      nowMs,
      nodes: [...this.#nodes.values()].map((node) => this.#viewNode(node)),
      flights: [...this.#flights.values()].map((flight) => viewFlight(flight, nowMs)),
      cuts: [...this.#cuts].map((name) => {
        const [a = 0, b = 0] = name.split('-').map(Number);
        return [a, b] as const;
      }),
      story: this.#story,
      sentCount: this.#sentCount,
      lostCount: this.#lostCount,
    };
  }

  #node(id: NodeId): StageNode {
    const node = this.#nodes.get(id);
    assert(node !== undefined, 'the stage has this node');
    return node;
  }

  #cut(a: NodeId, b: NodeId, isCut: boolean): boolean {
    const name = linkName(a, b);
    if (this.#cuts.has(name) === isCut) return false;
    if (!isCut) {
      this.#cuts.delete(name);
      return true;
    }
    this.#cuts.add(name);
    for (const flight of this.#flights.values()) {
      if (linkName(flight.from, flight.to) === name) this.#lose(flight);
    }
    return true;
  }

  #send(from: NodeId, to: NodeId, bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    assert(message !== null, 'a node sends what can be read');
    this.#sentCount += 1;
    const base = this.#options.delayMs(
      this.#node(from).member.region,
      this.#node(to).member.region,
    );
    const flight: Flight = {
      id: this.#sentCount,
      from,
      to,
      kind: message.kind,
      entryCount: message.kind === 'append' ? message.entries.length : 0,
      isGranted: 'isGranted' in message ? message.isGranted : true,
      sentAtMs: this.#time.nowMs(),
      delayMs: base * (1 + JITTER * this.#prng.nextFloat()),
      isLost: false,
    };
    this.#flights.set(flight.id, flight);
    if (this.#cuts.has(linkName(from, to))) this.#lose(flight);
    this.#time.after(flight.delayMs, () => {
      this.#flights.delete(flight.id);
      if (!flight.isLost) this.#node(to).group?.receive(from, bytes);
    });
  }

  #lose(flight: Flight): void {
    if (flight.isLost) return;
    flight.isLost = true;
    this.#lostCount += 1;
  }

  /** Tells of elections: what changed between the last step and this one. */
  #stepped(node: StageNode, step: GroupStep): void {
    const { role, term } = step.node.status();
    const before = node.status;
    if (role === before?.role && term === before.term) return;
    const { id } = node;
    if (role === 'leader') this.#tell({ kind: 'leads', node: id, term });
    else if (role === 'candidate') this.#tell({ kind: 'stands', node: id, term });
    else if (before?.role === 'leader') this.#tell({ kind: 'steps-down', node: id, term });
  }

  #tell(line: StoryLineBody): void {
    this.#story.push({ atMs: this.#time.nowMs(), ...line });
    if (this.#story.length > STORY_MAX) this.#story.shift();
  }

  #viewNode(node: StageNode): NodeView {
    const { id, member, state, status, core, kv } = node;
    const lastIndex = status?.lastIndex ?? 0;
    const firstShown = Math.max(status?.firstIndex ?? 1, lastIndex - LOG_SHOWN + 1);
    const log: EntryView[] = [];
    for (let index = firstShown; index <= lastIndex; index += 1) {
      const entry = core?.entryAt(index) ?? null;
      if (entry !== null) log.push(viewEntry(entry, status?.commit ?? 0));
    }
    const term = status?.term ?? 0;
    const isWanted = status?.role === 'candidate' || status?.role === 'leader';
    return {
      id,
      region: member.region,
      state,
      role: status?.role ?? null,
      term,
      votedFor: status?.votedFor ?? 0,
      leader: status?.leader ?? 0,
      commit: status?.commit ?? 0,
      applied: status?.applied ?? 0,
      lastIndex,
      hiddenCount: Math.max(0, firstShown - 1),
      log,
      voters: isWanted ? this.#votersFor(id, term) : [],
      pairs: [...this.#keys].toSorted().flatMap((key) => {
        const pair = kv.get(key);
        return pair === null ? [] : [[key, decodeUtf8(pair.value)] as const];
      }),
    };
  }

  #votersFor(id: NodeId, term: number): readonly NodeId[] {
    return [...this.#nodes.values()]
      .filter(({ status }) => status?.term === term && status.votedFor === id)
      .map((node) => node.id);
  }
}

type StoryLineBody = StoryLine extends infer Line
  ? Line extends StoryLine
    ? Omit<Line, 'atMs'>
    : never
  : never;

function linkName(a: NodeId, b: NodeId): string {
  return a < b ? `${a}-${b}` : `${b}-${a}`;
}

function viewFlight(flight: Flight, nowMs: number): FlightView {
  const { id, from, to, kind, entryCount, isGranted, sentAtMs, delayMs, isLost } = flight;
  const progress = Math.min(1, (nowMs - sentAtMs) / delayMs);
  return { id, from, to, kind, entryCount, isGranted, progress, isLost };
}

function viewEntry(entry: Entry, commit: number): EntryView {
  const { index, term, kind, data } = entry;
  const command = kind === 'command' ? decodeKvCommand(data) : null;
  const text = command?.kind === 'put' ? `${command.key} = ${decodeUtf8(command.value)}` : '';
  return { index, term, kind, text, isCommitted: index <= commit };
}
