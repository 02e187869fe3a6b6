/**
 * The simulated network: links between nodes that lose, delay, double, reorder and corrupt messages,
 * bring old ones back and carry some to the wrong address. What arrives corrupted has to pass the
 * checksum of a peer frame first, as on a real link.
 */

import type { Prng } from '../base/prng.ts';
import { FrameDecoder } from '../protocol/peer/frameDecoder.ts';
import { encodeFrame, PEER_FEATURE_LEVEL, PEER_VERSION } from '../protocol/peer/frames.ts';
import type { EventQueue } from './eventQueue.ts';
import type { Marks } from './marks.ts';
import { happens } from './streams.ts';

/** What every message may meet, chances of one message. */
export interface NetworkRates {
  readonly loss: number;
  readonly duplicate: number;
  /** An old message of the same link comes again. */
  readonly replay: number;
  readonly corrupt: number;
  /** Another node gets it too. */
  readonly misroute: number;
  /** One way, ms: at least `delayMs`, on average `spreadMs` more, exponential. */
  readonly delayMs: number;
  readonly spreadMs: number;
  /** Takes ten to sixty times as long. */
  readonly tailChance: number;
}

export const CALM_NETWORK: NetworkRates = {
  loss: 0,
  duplicate: 0,
  replay: 0,
  corrupt: 0,
  misroute: 0,
  delayMs: 2,
  spreadMs: 2,
  tailChance: 0,
};

/** A message that arrives; `to` is where, not whom it names. */
export type Deliver = (from: number, to: number, bytes: Uint8Array) => void;

interface Link {
  /** How many faults cut it now. */
  cuts: number;
  cloggedUntilMs: number;
  readonly past: Uint8Array[];
}

/** Old messages kept of each link. */
const PAST_MESSAGES = 32;

export class SimNetwork {
  rates: NetworkRates = CALM_NETWORK;
  readonly counts = { sent: 0, delivered: 0 };
  private readonly queue: EventQueue;
  private readonly prng: Prng;
  private readonly marks: Marks;
  private readonly deliver: Deliver;
  private readonly links = new Map<number, Link>();
  private readonly addresses = new Set<number>();

  constructor(queue: EventQueue, prng: Prng, marks: Marks, deliver: Deliver) {
    this.queue = queue;
    this.prng = prng;
    this.marks = marks;
    this.deliver = deliver;
  }

  addAddress(id: number): void {
    this.addresses.add(id);
  }

  send(from: number, to: number, bytes: Uint8Array): void {
    const { rates, prng } = this;
    this.counts.sent += 1;
    const link = this.link(from, to);
    if (link.past.length >= PAST_MESSAGES) link.past.shift();
    link.past.push(bytes);
    if (link.cuts > 0) return;
    if (happens(prng, rates.loss)) {
      this.marks.reach('message lost');
      return;
    }
    this.carry(link, from, to, bytes);
    if (happens(prng, rates.duplicate)) {
      this.marks.reach('message doubled');
      this.carry(link, from, to, bytes);
    }
    const old = happens(prng, rates.replay)
      ? link.past[prng.nextBelow(link.past.length)]
      : undefined;
    if (old !== undefined) {
      this.marks.reach('message from the past');
      this.carry(link, from, to, old);
    }
    if (happens(prng, rates.misroute)) {
      const wrong = [...this.addresses][prng.nextBelow(this.addresses.size)] ?? to;
      this.marks.reach('message at the wrong address');
      this.carry(link, from, wrong, bytes);
    }
  }

  cut(from: number, to: number): void {
    this.link(from, to).cuts += 1;
  }

  mend(from: number, to: number): void {
    const link = this.link(from, to);
    link.cuts = Math.max(0, link.cuts - 1);
  }

  isCut(from: number, to: number): boolean {
    return this.link(from, to).cuts > 0;
  }

  /** Nothing arrives on this link before `untilMs`; then all of it at once. */
  clog(from: number, to: number, untilMs: number): void {
    this.link(from, to).cloggedUntilMs = untilMs;
  }

  /** Everything flows again. */
  heal(): void {
    for (const link of this.links.values()) {
      link.cuts = 0;
      link.cloggedUntilMs = 0;
    }
  }

  private link(from: number, to: number): Link {
    const key = from * 1_024 + to;
    let link = this.links.get(key);
    if (link === undefined) {
      link = { cuts: 0, cloggedUntilMs: 0, past: [] };
      this.links.set(key, link);
    }
    return link;
  }

  private carry(link: Link, from: number, to: number, bytes: Uint8Array): void {
    const { rates, prng, queue } = this;
    let arriving: Uint8Array | null = bytes;
    if (happens(prng, rates.corrupt)) {
      arriving = corrupted(prng, bytes);
      if (arriving === null) {
        this.marks.reach('corrupt frame caught');
        return;
      }
    }
    const payload = arriving;
    let delayMs = rates.delayMs - rates.spreadMs * Math.log(1 - prng.nextFloat());
    if (happens(prng, rates.tailChance)) delayMs *= 10 + prng.nextBelow(50);
    const atMs = Math.max(queue.nowMs + delayMs, link.cloggedUntilMs);
    queue.at(atMs, () => {
      // A link that was cut meanwhile has lost what was on its way.
      if (link.cuts > 0) return;
      this.counts.delivered += 1;
      this.deliver(from, to, payload);
    });
  }
}

const HELLO = encodeFrame({
  type: 'hello',
  version: PEER_VERSION,
  featureLevel: PEER_FEATURE_LEVEL,
  cluster: 'sim',
  region: 'r',
  node: 'n',
  session: 1,
});

/** What a link makes of `bytes` with a few bits flipped: null where the frame is refused. */
function corrupted(prng: Prng, bytes: Uint8Array): Uint8Array | null {
  const frame = encodeFrame({ type: 'data', stream: 1, bytes });
  if (frame === null || HELLO === null) return null;
  const flips = 1 + prng.nextBelow(4);
  for (let flip = 0; flip < flips; flip += 1) {
    const at = prng.nextBelow(frame.length);
    frame[at] = (frame[at] ?? 0) ^ (1 << prng.nextBelow(8));
  }
  const decoder = new FrameDecoder();
  let arrived: Uint8Array | null = null;
  decoder.push(HELLO, () => true);
  decoder.push(frame, (decoded) => {
    if (decoded.type === 'data') arrived = decoded.bytes.slice();
    return true;
  });
  return arrived;
}
