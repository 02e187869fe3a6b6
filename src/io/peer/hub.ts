/**
 * Links to all peers: dials, accepts, keeps one link a pair, beats its heart, and carries requests as
 * the `Upstream` of origins `node:PEER` and `region:NAME`.
 *
 * H1: a request never waits for a link: without one it fails at once, and the exchange goes on to
 * its next candidate. H2: whatever ends a link, each of its requests is told once (link.ts).
 */

import type { Socket } from 'node:net';

import { PEER_LIMITS } from '../../base/limits.ts';
import { nodeOfPeer, peerName } from '../../base/peerName.ts';
import type { TimerHandle, UpstreamHandle, UpstreamHandler } from '../../base/ports.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { checkHello } from '../../protocol/peer/frameDecoder.ts';
import { PEER_FEATURE_LEVEL, PEER_VERSION, type HelloFrame } from '../../protocol/peer/frames.ts';
import type { LinkDownCause, LinkState } from '../../protocol/peer/linkState.ts';
import { listenForPeers, type PeerListener } from './accept.ts';
import type { PeerHub, PeerHubOptions, PeerStatus } from './contract.ts';
import { dial, probe } from './dial.ts';
import { identityMismatch, type PeerIdentity, type PeerTls } from './identity.ts';
import { PeerLink } from './link.ts';
import { failLater, type PeerCall } from './outgoing.ts';
import { backoffMs, PeerSlots, type PeerAddress, type PeerSlot } from './slots.ts';
import { replaces } from './tieBreak.ts';

/** Makes a hub. It does nothing before `listen`. */
export function createPeerHub(options: PeerHubOptions): PeerHub {
  return new Hub(options);
}

/** Our own process stood still for so long: the silence may be ours, ms. */
const LOCAL_STALL_MS = 1_000;

/** Who must be at the other end of a connection. */
interface Expected {
  /** The peer that was dialled; null: it was accepted, and any of ours will do. */
  readonly peer: string | null;
  /** By its certificate; null without TLS. */
  readonly identity: PeerIdentity | null;
}

class Hub implements PeerHub {
  private readonly options: PeerHubOptions;
  private readonly hello: HelloFrame;
  private readonly slots = new PeerSlots();
  /** Accepted connections that have not said who they are. */
  private readonly pending = new Set<PeerLink>();
  private tls: PeerTls;
  private listener: PeerListener | null = null;
  private beatTimer: TimerHandle | null = null;
  private lastBeatMs: number;
  private isClosed = false;

  constructor(options: PeerHubOptions) {
    const { config, clock, prng } = options;
    this.options = options;
    this.tls = options.tls;
    this.lastBeatMs = clock.nowMs();
    this.hello = {
      type: 'hello',
      version: PEER_VERSION,
      featureLevel: PEER_FEATURE_LEVEL,
      cluster: config.cluster,
      region: config.name,
      node: config.node,
      session: prng.nextUint32(),
    };
    for (const peer of config.peers) this.slots.add(peer, clock.nowMs());
  }

  async listen(
    address: { readonly host: string; readonly port: number } | null,
  ): Promise<Result<number | null, string>> {
    if (this.tls.kind === 'plaintext-loopback') {
      const hosts = this.slots.all().map((slot) => slot.address.host);
      if (address !== null) hosts.push(address.host);
      const outside = hosts.find((host) => !isLoopback(host));
      if (outside !== undefined) {
        return err(`links without TLS are for loopback addresses; ${outside} is none`);
      }
    }
    if (address !== null) {
      const listening = await listenForPeers(address, this.tls, {
        accepted: (socket, identity) => this.accepted(socket, identity),
        untrusted: (socket, detail) => this.untrusted(socket, detail),
        refused: (remote, detail) => this.options.observer.refused(remote, detail),
      });
      if (!listening.ok) return listening;
      this.listener = listening.value;
    }
    this.beat();
    for (const slot of this.slots.all()) this.dialLater(slot);
    return ok(this.listener?.port ?? null);
  }

  start(call: PeerCall, handler: UpstreamHandler): UpstreamHandle {
    const { clock, isAvoided = () => false } = this.options;
    const isLast = (peer: string): boolean => isAvoided(peer, call);
    const slot = this.slots.take(call.origin, isLast, clock.nowMs());
    if (slot === undefined) {
      return failLater(handler, 'unresolved', `${call.origin} is not a peer`);
    }
    const { link } = slot;
    if (link === null || !link.canStart) {
      const detail = slot.state.kind === 'down' ? slot.state.detail : 'the link is closing';
      return failLater(handler, 'link-down', detail);
    }
    const started = link.start(call, handler);
    if (started.ok) return started.value;
    return failLater(handler, started.error, 'the limits of the link do not allow it');
  }

  status(): readonly PeerStatus[] {
    const nowMs = this.options.clock.nowMs();
    return this.slots.all().map((slot) => {
      const { address, state, link, lastHeardMs } = slot;
      const heardMs = link?.lastHeardMs ?? lastHeardMs;
      return {
        peer: address.peer,
        address: `${address.host}:${address.port}`,
        state,
        sinceMs: nowMs - slot.sinceMs,
        rttMs: slot.rttMs,
        heardMs: heardMs === null ? null : nowMs - heardMs,
        outgoing: link?.streamCounts.outgoing ?? 0,
        incoming: link?.streamCounts.incoming ?? 0,
        bytesIn: link?.bytesIn ?? 0,
        bytesOut: link?.bytesOut ?? 0,
        connects: slot.connects,
        isCut: slot.isCut,
      };
    });
  }

  setCut(name: string, isCut: boolean): boolean {
    const ofRegion = this.slots.ofRegion(name);
    const one = this.slots.get(name);
    const slots = ofRegion.length === 0 && one !== undefined ? [one] : ofRegion;
    for (const slot of slots) this.cutSlot(slot, isCut);
    return slots.length > 0;
  }

  private cutSlot(slot: PeerSlot, isCut: boolean): void {
    slot.isCut = isCut;
    if (isCut) {
      this.dropSlot(slot, 'unreachable', 'the link is cut by a fault');
      this.changeState(slot, downState('unreachable', 'the link is cut by a fault'));
    } else {
      slot.failures = 0;
      this.dialLater(slot);
    }
  }

  setPeers(peers: readonly PeerAddress[]): void {
    const next = new Map(peers.map((address) => [address.peer, address]));
    for (const slot of this.slots.all()) {
      const address = next.get(slot.address.peer);
      if (address !== undefined && isSameAddress(address, slot.address)) continue;
      this.slots.delete(slot);
      this.dropSlot(slot, 'reset', 'the configuration of this peer changed');
    }
    for (const address of peers) {
      if (this.slots.get(address.peer) !== undefined) continue;
      const slot = this.slots.add(address, this.options.clock.nowMs());
      if (this.beatTimer !== null) this.dialLater(slot);
    }
  }

  setTls(tls: PeerTls): void {
    this.tls = tls;
    this.listener?.setTls(tls);
  }

  async close(graceMs: number = PEER_LIMITS.closeMs): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.listener?.close();
    for (const link of Array.from(this.pending)) link.close('reset', 'this node is closing');
    for (const slot of this.slots.all()) {
      this.stopDialling(slot);
      slot.link?.retire('closing', 'the node is shutting down', graceMs);
    }
    const endMs = this.options.clock.nowMs() + graceMs;
    const isBusy = (): boolean =>
      this.slots.all().some((slot) => slot.link !== null || slot.retired.size > 0);
    while (isBusy() && this.options.clock.nowMs() < endMs) {
      await new Promise<void>((resolve) => this.options.timers.after(10, resolve));
    }
    this.beatTimer?.cancel();
    for (const slot of this.slots.all()) {
      this.dropSlot(slot, 'reset', 'the node is shutting down');
    }
  }

  // Links.

  private dialLater(slot: PeerSlot): void {
    if (this.isClosed || slot.isCut || slot.link !== null) return;
    if (slot.giveUp !== null || slot.redial !== null) return;
    const { prng, timers, config } = this.options;
    // The side whose connection would lose the tie lets the other one go first.
    const politenessMs = config.name < slot.address.peer ? 0 : PEER_LIMITS.backoffMsMin;
    const waitMs = slot.failures === 0 ? 0 : backoffMs(slot.failures, prng);
    slot.redial = timers.after(Math.round(waitMs + politenessMs), () => {
      slot.redial = null;
      this.dialNow(slot);
    });
  }

  private dialNow(slot: PeerSlot): void {
    if (this.isClosed || slot.isCut || slot.link !== null) return;
    const { host, port, peer } = slot.address;
    const { cluster } = this.options.config;
    slot.giveUp = dial({ host, port, cluster, peer, tls: this.tls }, this.options.timers, {
      open: (socket, identity) => {
        slot.giveUp = null;
        this.createLink(socket, slot, { peer, identity });
      },
      failed: (cause, detail) => {
        slot.giveUp = null;
        this.attemptFailed(slot, cause, detail);
      },
    });
  }

  private attemptFailed(slot: PeerSlot, cause: LinkDownCause, detail: string): void {
    // It was open, but for a peer, or an address, that is gone meanwhile.
    if (this.slots.get(slot.address.peer) !== slot) return;
    slot.failures += 1;
    if (slot.link === null && !slot.isCut) this.changeState(slot, downState(cause, detail));
    this.dialLater(slot);
  }

  private accepted(socket: Socket, identity: PeerIdentity | null): void {
    const { cluster } = this.options.config;
    const slot = identity === null ? null : this.slotOf(identity);
    if (slot?.isCut === true) {
      socket.on('error', () => {}); // A cut link says nothing, not even why.
      socket.destroy();
      return;
    }
    const mismatch = identity === null ? null : identityMismatch(identity, cluster, null);
    if (mismatch === null) this.createLink(socket, slot, { peer: null, identity });
    else this.untrusted(socket, mismatch);
  }

  /** Says why, and closes; nothing that it sends is read. */
  private untrusted(socket: Socket, detail: string): void {
    this.options.observer.refused(socket.remoteAddress ?? '', detail);
    this.createLink(socket, null, { peer: null, identity: null }).refuse('identity', detail);
  }

  /** The peer that a certificate is of; null: of none that is known here. */
  private slotOf({ region, node }: PeerIdentity): PeerSlot | null {
    return this.slots.get(peerName(region, node)) ?? this.slots.get(region) ?? null;
  }

  private createLink(socket: Socket, slot: PeerSlot | null, expected: Expected): PeerLink {
    const { clock, timers, handler } = this.options;
    const link = new PeerLink({
      socket,
      isDialer: expected.peer !== null,
      hello: this.hello,
      clock,
      timers,
      handler,
      events: {
        hello: (from, hello) => this.helloCame(from, hello, expected),
        up: (from) => this.linkUp(from),
        digest: (from, bytes) => {
          if (this.slots.get(from.peerName)?.link === from) {
            this.options.onDigest(from.peerName, bytes);
          }
        },
        rtt: (from, rttMs) => {
          const known = this.slots.get(from.peerName);
          if (known?.link !== from) return;
          known.rttMs = from.rttMs;
          this.options.observer.rttMeasured(from.peerName, rttMs);
        },
        closed: (from, cause, detail) => this.linkClosed(from, slot, cause, detail),
      },
    });
    this.pending.add(link);
    return link;
  }

  private helloCame(
    link: PeerLink,
    hello: HelloFrame,
    { peer, identity }: Expected,
  ): Result<null, string> {
    const { cluster, name: own } = this.options.config;
    const checked = checkHello(hello, { cluster, own, peer, peers: this.slots.names });
    const why = checked.ok ? this.impostor(hello.region, identity) : checked.error;
    if (why === null) return ok(null);
    if (!link.isDialer) this.options.observer.refused(hello.region, why);
    return err(why);
  }

  /** Why who says that it is `peer` is not by its certificate; null where it is. */
  private impostor(peer: string, identity: PeerIdentity | null): string | null {
    if (identity === null) return null; // A test without TLS.
    const { region, node } = identity;
    const further = peerName(region, node);
    // The first node may be called anything, but not what a further one is.
    const isKnown = further === this.options.config.name || this.slots.get(further) !== undefined;
    const isFurther = nodeOfPeer(peer) === null && isKnown;
    const why = isFurther
      ? `its certificate is that of ${further}`
      : identityMismatch(identity, this.options.config.cluster, peer);
    return why === null ? null : `it says it is ${peer}, but ${why}`;
  }

  private linkUp(link: PeerLink): void {
    this.pending.delete(link);
    const slot = this.slots.get(link.peerName);
    if (slot === undefined || slot.isCut || this.isClosed) {
      link.close('unreachable', 'the link is not wanted');
      return;
    }
    // Of one that another one stands in for, too: what was begun on it goes on for a while.
    link.setDelay(slot.address.delayMs / 2);
    const earlier = slot.link;
    if (earlier !== null && !this.isReplacing(link, earlier)) {
      slot.retired.add(link);
      link.retire('duplicate', 'the other connection stays', PEER_LIMITS.closeMs);
      return;
    }
    this.stopDialling(slot);
    slot.link = link;
    slot.failures = 0;
    slot.connects += 1;
    slot.probes = 0;
    if (earlier !== null) this.displace(slot, earlier, link);
    this.changeState(slot, { kind: 'up', node: link.peer?.node ?? '' });
  }

  private isReplacing(later: PeerLink, earlier: PeerLink): boolean {
    const own = this.options.config.name;
    const facts = (link: PeerLink): { dialer: string; session: number } => ({
      dialer: link.isDialer ? own : link.peerName,
      session: link.peer?.session ?? 0,
    });
    return replaces(facts(later), facts(earlier), own, later.peerName);
  }

  /** Ends the link that another one replaced: by turns where its peer lives, at once where not. */
  private displace(slot: PeerSlot, earlier: PeerLink, later: PeerLink): void {
    const isSameProcess = earlier.peer?.session === later.peer?.session;
    if (isSameProcess && earlier.isDialer !== later.isDialer) {
      slot.retired.add(earlier);
      earlier.retire('duplicate', 'the other connection stays', PEER_LIMITS.closeMs);
    } else {
      earlier.close('reset', 'the peer opened another connection');
    }
  }

  private linkClosed(
    link: PeerLink,
    dialled: PeerSlot | null,
    cause: LinkDownCause,
    detail: string,
  ): void {
    const wasPending = this.pending.delete(link);
    const slot = this.slots.get(link.peerName) ?? dialled;
    if (slot === null) return;
    slot.retired.delete(link);
    if (slot.link === link) {
      slot.lastHeardMs = link.lastHeardMs;
      slot.link = null;
      slot.probes = 0;
      if (!slot.isCut) this.changeState(slot, downState(cause, detail));
      this.dialLater(slot);
    } else if (wasPending && link.isDialer) {
      this.attemptFailed(slot, cause, detail);
    }
  }

  private dropSlot(slot: PeerSlot, cause: LinkDownCause, detail: string): void {
    this.stopDialling(slot);
    for (const link of [slot.link, ...slot.retired]) link?.close(cause, detail);
    this.stopDialling(slot);
  }

  private stopDialling(slot: PeerSlot): void {
    slot.giveUp?.();
    slot.giveUp = null;
    slot.redial?.cancel();
    slot.redial = null;
    slot.giveUpProbe?.();
    slot.giveUpProbe = null;
  }

  private changeState(slot: PeerSlot, state: LinkState): void {
    if (!isSameState(slot.state, state)) slot.sinceMs = this.options.clock.nowMs();
    slot.state = state;
    this.options.observer.linkChanged(slot.address.peer, state);
  }

  // Heartbeats.

  private beat(): void {
    const { clock, timers, localDigest } = this.options;
    const nowMs = clock.nowMs();
    const isOwnStall = nowMs - this.lastBeatMs > LOCAL_STALL_MS;
    this.lastBeatMs = nowMs;
    let digest: Uint8Array | null = null;
    for (const slot of this.slots.all()) {
      const { link } = slot;
      if (link === null) continue;
      digest ??= localDigest();
      link.beat(digest);
      // After a stall of ours what came meanwhile waits unread in the socket.
      if (isOwnStall) link.lastHeardMs = nowMs;
      this.watchSilence(slot, link, nowMs);
    }
    this.beatTimer = timers.after(PEER_LIMITS.heartbeatMs, () => this.beat());
  }

  private watchSilence(slot: PeerSlot, link: PeerLink, nowMs: number): void {
    const silentMs = nowMs - link.lastHeardMs;
    if (silentMs >= PEER_LIMITS.silenceMs) {
      link.close('silent', `nothing heard for ${Math.round(silentMs)} ms`);
      return;
    }
    if (silentMs < PEER_LIMITS.probeAfterMs) {
      slot.probes = 0;
      return;
    }
    // The first at once, then one a second: enough to tell a paused process from a lost machine.
    const dueMs = PEER_LIMITS.probeAfterMs + slot.probes * 1_000;
    if (slot.giveUpProbe !== null || silentMs < dueMs) return;
    slot.probes += 1;
    const { host, port, peer } = slot.address;
    slot.giveUpProbe = probe(host, port, this.options.timers, (result) => {
      slot.giveUpProbe = null;
      this.options.observer.probed(peer, result);
    });
  }
}

function downState(cause: LinkDownCause, detail: string): LinkState {
  return { kind: 'down', cause, detail };
}

function isSameState(one: LinkState, other: LinkState): boolean {
  if (one.kind === 'up') return other.kind === 'up';
  return other.kind === 'down' && other.cause === one.cause;
}

function isSameAddress(one: PeerAddress, other: PeerAddress): boolean {
  return one.host === other.host && one.port === other.port && one.delayMs === other.delayMs;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}
