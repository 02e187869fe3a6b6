/**
 * The world of scenario files: nodes, a network and disks that move only when a command says so.
 * Every command answers with what the nodes gave out. The commands stand in `COMMANDS`; each file
 * of testdata/ says what it shows.
 */

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { createPrng } from '../base/prng.ts';
import { decodeConf } from './codec.ts';
import { describeConf, describeEntries, describeMessage, describeReply } from './describe.ts';
import { RaftNode } from './node.ts';
import { bootstrapStored, emptyStored, raftOptions } from './start.ts';
import { testMember, writeTo } from './testkit.ts';
import type {
  Entry,
  Input,
  Member,
  MemberChange,
  Message,
  NodeId,
  Output,
  Persist,
  RaftOptions,
  Stored,
} from './types.ts';

interface WorldNode {
  readonly id: NodeId;
  readonly options: RaftOptions;
  raft: RaftNode | null;
  stored: Stored;
  unsynced: Persist[];
  held: { readonly seq: number; readonly messages: readonly Message[] }[];
  durableSeq: number;
  /** The state machine: commands as text, in order. */
  applied: string[];
}

type Arguments = { readonly words: readonly string[]; readonly named: ReadonlyMap<string, string> };
type Command = (world: ScenarioWorld, given: Arguments) => void;

export class ScenarioWorld {
  readonly nodes = new Map<NodeId, WorldNode>();
  network: Message[] = [];
  nowMs = 0;
  lines: string[] = [];
  requests = 0;

  /** Runs one command and gives what it printed. */
  run(text: string): string {
    this.lines = [];
    for (const line of text.split('\n')) {
      const [name = '', ...rest] = line.trim().split(/\s+/);
      const command = COMMANDS[name];
      if (command === undefined) return `unknown command: ${name}`;
      const named = new Map(rest.filter((word) => word.includes('=')).map((word) => pairOf(word)));
      command(this, { words: rest.filter((word) => !word.includes('=')), named });
    }
    return this.lines.length === 0 ? 'ok' : this.lines.join('\n');
  }

  say(line: string): void {
    this.lines.push(line);
  }

  node(word: string | undefined): WorldNode {
    const node = this.nodes.get(Number(word));
    if (node === undefined) throw new Error(`no node ${word}`);
    return node;
  }

  feed(node: WorldNode, input: Input): void {
    if (node.raft === null) return;
    const output = node.raft.step(input, this.nowMs);
    this.#print(node, output);
    this.network.push(...output.send);
    if (output.persist !== null) node.unsynced.push(output.persist);
    if (output.afterFsync.length > 0) {
      if (output.afterSeq <= node.durableSeq) this.network.push(...output.afterFsync);
      else node.held.push({ seq: output.afterSeq, messages: output.afterFsync });
    }
    for (const item of output.apply) {
      if (item.kind === 'restore') {
        node.applied = decodeUtf8(item.snapshot.data).split(' ');
        const { index } = item.snapshot.meta;
        this.feed(node, { kind: 'applied', index, checkpoint: null });
        continue;
      }
      for (const { kind, data } of item.entries) {
        if (kind === 'command') node.applied.push(decodeUtf8(data));
      }
      const index = item.entries.at(-1)?.index ?? 0;
      this.feed(node, { kind: 'applied', index, checkpoint: null });
    }
  }

  #print(node: WorldNode, output: Output): void {
    const at = `${node.id}`;
    for (const message of output.send) this.say(`${at} send ${describeMessage(message)}`);
    const { persist } = output;
    if (persist !== null) {
      const parts = [`#${persist.seq}`];
      if (persist.hardState !== null) {
        const { term, votedFor, commit } = persist.hardState;
        parts.push(`term=${term} vote=${votedFor} commit=${commit}`);
      }
      if (persist.snapshot !== null) parts.push(`snapshot=${persist.snapshot.meta.index}`);
      if (persist.isLogDiscarded) parts.push('discard');
      if (persist.entries.length > 0) parts.push(describeEntries(persist.entries));
      this.say(`${at} persist ${parts.join(' ')}`);
    }
    for (const message of output.afterFsync) {
      const wait = output.afterSeq === 0 ? 'now' : `#${output.afterSeq}`;
      this.say(`${at} after ${wait} ${describeMessage(message)}`);
    }
    for (const reply of output.reply) this.say(`${at} reply ${describeReply(reply)}`);
    for (const item of output.apply) {
      const what =
        item.kind === 'restore'
          ? `snapshot ${item.snapshot.meta.index}`
          : describeEntries(item.entries);
      this.say(`${at} apply ${what}`);
    }
  }

  start(node: WorldNode): void {
    const started = RaftNode.start(node.options, node.stored, this.nowMs);
    if (!started.ok) {
      this.say(`${node.id} refuses to start: ${started.error}`);
      return;
    }
    node.raft = started.value;
    node.durableSeq = 0;
    node.applied = [];
    node.unsynced = [];
    node.held = [];
  }

  fsync(node: WorldNode): void {
    const last = node.unsynced.at(-1);
    if (last === undefined || node.raft === null) return;
    for (const persist of node.unsynced) writeTo(node, persist);
    node.unsynced = [];
    node.durableSeq = last.seq;
    const ready = node.held.filter((held) => held.seq <= last.seq);
    node.held = node.held.filter((held) => held.seq > last.seq);
    for (const held of ready) this.network.push(...held.messages);
    this.feed(node, { kind: 'persisted', seq: last.seq });
  }

  /** Takes matching messages off the network, oldest first. */
  take({ named }: Arguments): readonly Message[] {
    const isWanted = (message: Message): boolean =>
      (named.get('from') ?? `${message.from}`) === `${message.from}` &&
      (named.get('to') ?? `${message.to}`) === `${message.to}` &&
      (named.get('kind') ?? message.kind) === message.kind;
    const taken = this.network.filter(isWanted).slice(0, Number(named.get('count') ?? 1_000));
    this.network = this.network.filter((message) => !taken.includes(message));
    return taken;
  }

  deliver(message: Message): void {
    const node = this.nodes.get(message.to);
    if (node !== undefined) this.feed(node, { kind: 'message', message });
  }

  /** Delivers and syncs until nothing moves; `silent` prints nothing of it. */
  stabilize(isSilent: boolean, only: ReadonlySet<NodeId>): void {
    const kept = [...this.lines];
    const isOpen = (message: Message): boolean => only.has(message.from) && only.has(message.to);
    for (let round = 0; round < 200; round += 1) {
      const messages = this.network.filter(isOpen);
      this.network = this.network.filter((message) => !isOpen(message));
      for (const message of messages) this.deliver(message);
      let didSync = false;
      for (const node of this.nodes.values()) {
        if (!only.has(node.id) || node.unsynced.length === 0 || node.raft === null) continue;
        didSync = true;
        this.fsync(node);
      }
      if (messages.length === 0 && !didSync) break;
    }
    if (isSilent) this.lines = kept;
  }

  /** Lets time pass until the node does something by itself. */
  wake(node: WorldNode): void {
    const before = this.lines.length;
    for (let turn = 0; turn < 100 && this.lines.length === before; turn += 1) {
      if (node.raft === null) return;
      const role = node.raft.status().role;
      this.nowMs = Math.max(this.nowMs, node.raft.nextWakeMs());
      this.feed(node, { kind: 'tick' });
      if (node.raft.status().role !== role) return;
    }
  }
}

function pairOf(word: string): [string, string] {
  const at = word.indexOf('=');
  return [word.slice(0, at), word.slice(at + 1)];
}

function memberFrom(id: NodeId, named: ReadonlyMap<string, string>): Member {
  const has = (key: string): boolean => (named.get(key) ?? '').split(',').includes(`${id}`);
  const priorities = new Map(
    (named.get('priority') ?? '').split(',').map((pair) => {
      const [of = '', value = ''] = pair.split(':');
      return [Number(of), Number(value)];
    }),
  );
  return testMember(id, {
    isWitness: has('witness'),
    isPromotable: has('promotable'),
    priority: priorities.get(id) ?? 1,
    region: has('east') ? 'east' : `r${id}`,
  });
}

function changesFrom(words: readonly string[], named: ReadonlyMap<string, string>): MemberChange[] {
  return words.flatMap((word): MemberChange[] => {
    const [kind = '', text = ''] = word.split(':');
    const id = Number(text);
    if (kind === 'add') return [{ kind, member: memberFrom(id, named) }];
    return kind === 'promote' || kind === 'demote' || kind === 'remove' ? [{ kind, id }] : [];
  });
}

/** Numbers that scenarios may set, by their option's name. */
const OPTION_NAMES = new Set<string>([
  'commitRegionsMin',
  'inFlightCountMax',
  'inFlightBytesMax',
  'appendBytesMax',
  'uncommittedBytesMax',
  'applyBytesMax',
  'snapshotChunkBytes',
  'snapshotWindowBytes',
  'trailingEntries',
  'promoteLagEntries',
  'handOverMs',
  'levelMax',
  'logBytesMax',
]);

const COMMANDS: Readonly<Record<string, Command>> = {
  /** `cluster 3 [spares=4,5] [witness=3] [priority=1:5,2:3] [east=1,2] [option=number …]` */
  cluster: (world, { words, named }) => {
    const count = Number(words[0]);
    const members = Array.from({ length: count }, (_, at) => memberFrom(at + 1, named));
    const spares = (named.get('spares') ?? '').split(',').map(Number).filter(Boolean);
    for (const id of [...members.map((member) => member.id), ...spares]) {
      const numbers = [...named].filter(([key]) => OPTION_NAMES.has(key));
      const options = raftOptions({
        heartbeatMs: 100,
        electionMs: 1_000,
        trailingEntries: 0,
        handOverMs: 0,
        ...Object.fromEntries(numbers.map(([key, value]) => [key, Number(value)])),
        id,
        cluster: 'scenario',
        incarnation: id * 1_000,
        prng: createPrng(id),
      });
      const stored = spares.includes(id) ? emptyStored() : bootstrapStored(members);
      const node: WorldNode = {
        id,
        options,
        raft: null,
        stored,
        unsynced: [],
        held: [],
        durableSeq: 0,
        applied: [],
      };
      world.nodes.set(id, node);
      world.start(node);
    }
  },
  /** `lead 1 [only=1,2]`: the node is elected, silently; a leader among them hands over. */
  lead: (world, { words, named }) => {
    const node = world.node(words[0]);
    const only = groupOf(world, named);
    const leader = [...only]
      .map((id) => world.node(`${id}`))
      .find((other) => other !== node && other.raft?.status().role === 'leader');
    if (leader !== undefined) {
      const kept = [...world.lines];
      world.feed(leader, { kind: 'transfer', id: 0, to: node.id });
      world.stabilize(true, only);
      world.lines = kept;
    } else {
      world.nowMs += 3_000;
    }
    for (let turn = 0; turn < 10 && node.raft?.status().role !== 'leader'; turn += 1) {
      const before = [...world.lines];
      world.wake(node);
      world.lines = before;
      world.stabilize(true, only);
    }
    const status = node.raft?.status();
    world.say(`${node.id} ${status?.role} term=${status?.term} commit=${status?.commit}`);
  },
  /** `wake 1`: its next time-out falls due. */
  wake: (world, { words }) => world.wake(world.node(words[0])),
  /** `beat 1 times=9 only=1,2`: heartbeats that reach only these nodes, silently. */
  beat: (world, { words, named }) => {
    const group = groupOf(world, named);
    const before = [...world.lines];
    for (let turn = 0; turn < Number(named.get('times') ?? 1); turn += 1) {
      world.wake(world.node(words[0]));
      world.stabilize(true, group);
      world.network = world.network.filter((message) => !group.has(message.from));
    }
    world.lines = before;
  },
  /** `pass 500`: time passes; nobody is told. */
  pass: (world, { words }) => {
    world.nowMs += Number(words[0]);
  },
  /** `deliver [from=] [to=] [kind=] [count=]` */
  deliver: (world, given) => {
    for (const message of world.take(given)) world.deliver(message);
  },
  /** As `deliver`, and the messages stay on the network: they will come again. */
  duplicate: (world, given) => {
    const messages = world.take(given);
    for (const message of messages) world.deliver(message);
    world.network.push(...messages);
  },
  /** As `deliver`, and they are lost. */
  drop: (world, given) => {
    world.say(`lost ${world.take(given).length}`);
  },
  fsync: (world, { words }) => world.fsync(world.node(words[0])),
  /** `stabilize [only=1,2] [silent=1]`: messages and disks move until all is quiet. */
  stabilize: (world, { named }) => {
    world.stabilize(named.has('silent'), groupOf(world, named));
  },
  network: (world) => {
    for (const message of world.network) world.say(`${message.from} ${describeMessage(message)}`);
  },
  propose: (world, { words }) => {
    const node = world.node(words[0]);
    const proposals = words.slice(1).map((text) => {
      world.requests += 1;
      return { id: world.requests, data: encodeUtf8(text) };
    });
    world.feed(node, { kind: 'propose', proposals });
  },
  read: (world, { words }) => {
    world.requests += 1;
    world.feed(world.node(words[0]), { kind: 'read', id: world.requests });
  },
  /** `change 1 add:4 promote:4 demote:2 remove:3` */
  change: (world, { words, named }) => {
    world.requests += 1;
    const changes = changesFrom(words.slice(1), named);
    const node = world.node(words[0]);
    world.feed(node, { kind: 'changeMembers', id: world.requests, changes });
  },
  transfer: (world, { words }) => {
    world.requests += 1;
    const to = Number(words[1]);
    world.feed(world.node(words[0]), { kind: 'transfer', id: world.requests, to });
  },
  level: (world, { words }) => {
    world.requests += 1;
    const level = Number(words[1]);
    world.feed(world.node(words[0]), { kind: 'setLevel', id: world.requests, level });
  },
  snapshot: (world, { words }) => {
    const node = world.node(words[0]);
    const index = node.raft?.status().applied ?? 0;
    const data = encodeUtf8(node.applied.join(' '));
    world.feed(node, { kind: 'snapshotTaken', index, data });
  },
  disk: (world, { words }) => {
    const state = words[1];
    if (state !== 'ok' && state !== 'full' && state !== 'failed') return;
    world.feed(world.node(words[0]), { kind: 'disk', state });
  },
  /** `lost 1 2`: node 1 is told that the way to node 2 is gone. */
  lost: (world, { words }) => {
    world.feed(world.node(words[0]), { kind: 'unreachable', id: Number(words[1]) });
  },
  /** `due 1`: how long until its next time-out. */
  due: (world, { words }) => {
    const dueMs = world.node(words[0]).raft?.nextWakeMs() ?? 0;
    world.say(`${Math.max(0, dueMs - world.nowMs)} ms`);
  },
  /** `crash 1 [keep=1]`: of what is not synced the first `keep` writes survive. */
  crash: (world, { words, named }) => {
    const node = world.node(words[0]);
    for (const persist of node.unsynced.slice(0, Number(named.get('keep') ?? 0))) {
      writeTo(node, persist);
    }
    node.unsynced = [];
    node.raft = null;
  },
  start: (world, { words }) => world.start(world.node(words[0])),
  /** `forge 2 entries=3`: cuts the stored log down, as a broken disk would. */
  forge: (world, { words, named }) => {
    const node = world.node(words[0]);
    const count = Number(named.get('entries'));
    const entries: readonly Entry[] = node.stored.entries.slice(0, count);
    node.stored = { ...node.stored, entries };
  },
  status: (world, { words }) => {
    const ids = words.length > 0 ? words.map(Number) : [...world.nodes.keys()];
    for (const id of ids) {
      const status = world.nodes.get(id)?.raft?.status();
      if (status === undefined) {
        world.say(`${id} down`);
        continue;
      }
      const { role, term, leader, commit, durableIndex, lastIndex, applied } = status;
      const parts = [`${id} ${role} term=${term} leader=${leader}`];
      parts.push(`last=${lastIndex} durable=${durableIndex} commit=${commit} applied=${applied}`);
      if (status.snapshotIndex > 0) parts.push(`snapshot=${status.snapshotIndex}`);
      if (status.isRemoved) parts.push('removed');
      if (status.level > 0) parts.push(`level=${status.level}`);
      world.say(parts.join(' '));
    }
  },
  /** What the leader tracks. */
  peers: (world, { words }) => {
    for (const peer of world.node(words[0]).raft?.status().peers ?? []) {
      const { id, state, match, next, inFlightCount } = peer;
      world.say(`${id}: ${state} match=${match} next=${next} inFlight=${inFlightCount}`);
    }
  },
  log: (world, { words }) => {
    const { raft } = world.node(words[0]);
    const status = raft?.status();
    const entries: Entry[] = [];
    for (let at = status?.firstIndex ?? 1; at <= (status?.lastIndex ?? 0); at += 1) {
      const entry = raft?.entryAt(at);
      if (entry !== undefined && entry !== null) entries.push(entry);
    }
    world.say(describeEntries(entries));
  },
  conf: (world, { words }) => {
    const conf = world.node(words[0]).raft?.status().conf;
    if (conf !== undefined) world.say(describeConf(conf));
  },
  machine: (world, { words }) => {
    world.say(world.node(words[0]).applied.join(' '));
  },
  /** The configuration that the stored snapshot holds. */
  stored: (world, { words }) => {
    const { stored } = world.node(words[0]);
    world.say(`term=${stored.hardState.term} vote=${stored.hardState.votedFor}`);
    if (stored.snapshot !== null) {
      const { index, conf } = stored.snapshot.meta;
      world.say(`snapshot=${index} ${describeConf(conf)}`);
    }
    world.say(describeEntries(stored.entries));
    for (const { kind, data } of stored.entries) {
      const conf = kind === 'config' ? decodeConf(data) : null;
      if (conf !== null) world.say(describeConf(conf));
    }
  },
};

function groupOf(world: ScenarioWorld, named: ReadonlyMap<string, string>): ReadonlySet<NodeId> {
  const only = named.get('only');
  return new Set(only === undefined ? world.nodes.keys() : only.split(',').map(Number));
}
