/**
 * The transport of a group over calls between nodes: each member asks every other one for its
 * messages, and gets them as an answer that never ends. So they share the links, the proof of
 * identity and the fair turns of everything else that nodes say to each other.
 *
 * T1: a message is given to the member as sent by whom the link has authenticated.
 * T2: what waits for one member is limited; past it messages are dropped, which Raft stands.
 * T3: everything sent within one turn of the loop to one member is one piece.
 */

import { EMPTY_BYTES } from '../../base/bytes.ts';
import { GROUP_LIMITS } from '../../base/groupLimits.ts';
import { nodeOrigin } from '../../base/peerName.ts';
import type {
  ClientEvents,
  ClientReply,
  ClientRequest,
  TimerHandle,
  Timers,
  Upstream,
  UpstreamHandle,
} from '../../base/ports.ts';
import type { NodeId } from '../../raft/types.ts';
import { frameMessages, MessageAssembler } from './messageFrames.ts';
import type { GroupTransport } from './types.ts';

export const GROUP_PATH = '/group/messages';
const CONNECT_MS = 5_000;

/** Another member, and the name of its node as a peer. */
export interface GroupPeer {
  readonly id: NodeId;
  readonly name: string;
}

/** What has happened, counted. */
export interface StreamCounts {
  readonly sent: number;
  readonly received: number;
  /** No way to the member, or too much waiting for it. */
  readonly dropped: number;
  /** Streams that were broken off because of what came. */
  readonly malformed: number;
}

export class GroupStreams implements GroupTransport {
  readonly #upstream: Upstream;
  readonly #timers: Timers;
  readonly #receive: (from: NodeId, bytes: Uint8Array) => void;
  readonly #path: string;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #byName = new Map<string, Peer>();
  readonly #due: Peer[] = [];
  readonly #counts = { sent: 0, received: 0, dropped: 0, malformed: 0 };
  #isFlushDue = false;
  #isClosed = false;

  constructor(
    upstream: Upstream,
    timers: Timers,
    peers: readonly GroupPeer[],
    receive: (from: NodeId, bytes: Uint8Array) => void,
    path: string = GROUP_PATH,
  ) {
    this.#path = path;
    this.#upstream = upstream;
    this.#timers = timers;
    this.#receive = receive;
    for (const { id, name } of peers) this.#add(id, name);
  }

  /** The members have changed. Streams to those that stay as they were go on. */
  setPeers(peers: readonly GroupPeer[]): void {
    if (this.#isClosed) return;
    for (const peer of this.#peers.values()) {
      const stays = peers.some(({ id, name }) => id === peer.id && name === peer.name);
      if (!stays) this.#remove(peer);
    }
    for (const { id, name } of peers) {
      if (!this.#peers.has(id)) this.#subscribe(this.#add(id, name));
    }
  }

  counts(): StreamCounts {
    return { ...this.#counts };
  }

  send(to: NodeId, bytes: Uint8Array): void {
    const peer = this.#peers.get(to);
    const isFull = (peer?.waitingBytes ?? 0) + bytes.length > GROUP_LIMITS.outletBytesMax;
    if (peer === undefined || peer.reply === null || isFull) {
      this.#counts.dropped += 1;
      return;
    }
    this.#counts.sent += 1;
    peer.waiting.push(bytes);
    peer.waitingBytes += bytes.length;
    if (peer.isDue) return;
    peer.isDue = true;
    this.#due.push(peer);
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    // Behind the turn under way, before the loop looks at its sockets.
    void Promise.resolve().then(() => this.#flush());
  }

  /** The link to a node is up: its messages are asked for. */
  linkUp(name: string): void {
    const peer = this.#byName.get(name);
    if (peer !== undefined) this.#subscribe(peer);
  }

  /** A peer asks for our messages. Null: it is no member of this group. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null {
    const peer = this.#byName.get(request.peer ?? '');
    if (peer === undefined || this.#isClosed) return null;
    peer.reply?.end();
    peer.open(reply);
    reply.head(200, [], { kind: 'stream' });
    return {
      onGone: () => {
        if (peer.reply === reply) peer.close();
      },
      onDrain: () => {
        if (peer.reply !== reply) return;
        peer.isBlocked = false;
        peer.flush();
      },
    };
  }

  close(): void {
    this.#isClosed = true;
    for (const peer of this.#peers.values()) this.#remove(peer);
  }

  #add(id: NodeId, name: string): Peer {
    const peer = new Peer(id, name);
    this.#peers.set(id, peer);
    this.#byName.set(name, peer);
    return peer;
  }

  #remove(peer: Peer): void {
    this.#peers.delete(peer.id);
    if (this.#byName.get(peer.name) === peer) this.#byName.delete(peer.name);
    peer.retry?.cancel();
    peer.call?.cancel();
    peer.reply?.end();
    peer.close();
    peer.isRemoved = true;
  }

  #flush(): void {
    this.#isFlushDue = false;
    for (const peer of this.#due.splice(0)) {
      peer.isDue = false;
      peer.flush();
    }
  }

  #subscribe(peer: Peer): void {
    if (peer.call !== null || peer.retry !== null || this.#isClosed) return;
    const messages = new MessageAssembler((bytes) => {
      this.#counts.received += 1;
      this.#receive(peer.id, bytes);
    });
    let isOver = false;
    const ended = (): void => {
      if (isOver) return;
      isOver = true;
      peer.call = null;
      if (peer.isRemoved) return;
      peer.retry = this.#timers.after(GROUP_LIMITS.reopenMs, () => {
        peer.retry = null;
        this.#subscribe(peer);
      });
    };
    const call: UpstreamHandle = this.#upstream.start(
      {
        origin: nodeOrigin(peer.name),
        method: 'GET',
        path: this.#path,
        headers: [],
        body: EMPTY_BYTES,
        connectMs: CONNECT_MS,
      },
      {
        onHead: (status) => {
          if (status === 200) return;
          call.cancel();
          ended();
        },
        onBody: (chunk) => {
          if (isOver || messages.take(chunk)) return;
          this.#counts.malformed += 1;
          call.cancel();
          ended();
        },
        onEnd: ended,
        onFailure: ended,
      },
    );
    peer.call = call;
  }
}

/** What waits for one member, and the way to and from it. */
class Peer {
  readonly id: NodeId;
  readonly name: string;
  /** Its question for our messages. */
  reply: ClientReply | null = null;
  /** Ours for its messages. */
  call: UpstreamHandle | null = null;
  retry: TimerHandle | null = null;
  waiting: Uint8Array[] = [];
  waitingBytes = 0;
  /** Its reader is behind: the answer takes nothing more for now. */
  isBlocked = false;
  isDue = false;
  isRemoved = false;

  constructor(id: NodeId, name: string) {
    this.id = id;
    this.name = name;
  }

  open(reply: ClientReply): void {
    this.close();
    this.reply = reply;
  }

  close(): void {
    this.reply = null;
    this.waiting = [];
    this.waitingBytes = 0;
    this.isBlocked = false;
  }

  flush(): void {
    if (this.reply === null || this.isBlocked || this.waiting.length === 0) return;
    const piece = frameMessages(this.waiting);
    this.waiting = [];
    this.waitingBytes = 0;
    this.isBlocked = !this.reply.write(piece);
  }
}
