/** Opens a connection to a peer's address, and tells apart the ways in which that fails. */

import { X509Certificate } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

import { PEER_LIMITS } from '../../base/limits.ts';
import type { Timers } from '../../base/ports.ts';
import type { LinkDownCause, ProbeResult } from '../../protocol/peer/linkState.ts';
import {
  certificateIdentity,
  identityMismatch,
  PeerIdentityError,
  tlsSentence,
  type PeerIdentity,
  type PeerTls,
} from './identity.ts';

/** The name of the protocol inside TLS. */
export const PEER_ALPN = 'banyan-peer';

/** Whom to dial. */
export interface DialTarget {
  readonly host: string;
  readonly port: number;
  readonly cluster: string;
  /** Its peer name. */
  readonly peer: string;
  readonly tls: PeerTls;
}

/** What came of it; exactly one is called, later, unless the attempt is cancelled first. */
export interface DialHandler {
  /** `identity` is what its certificate says, null without TLS. */
  open(socket: Socket, identity: PeerIdentity | null): void;
  failed(cause: LinkDownCause, detail: string): void;
}

/** Dials; the returned function gives up. The limit is PEER_LIMITS.handshakeMs. */
export function dial(target: DialTarget, timers: Timers, handler: DialHandler): () => void {
  const { tls } = target;
  let identity: PeerIdentity | null = null;
  const socket =
    tls.kind === 'mutual'
      ? dialTls(target, tls, (shown) => {
          identity = shown;
        })
      : connect({ host: target.host, port: target.port });
  let isTcpOpen = false;
  let isOver = false;
  const finish = (): boolean => {
    if (isOver) return false;
    isOver = true;
    timer.cancel();
    return true;
  };
  const fail = (cause: LinkDownCause, detail: string): void => {
    if (!finish()) return;
    socket.destroy();
    handler.failed(cause, detail);
  };
  const timer = timers.after(PEER_LIMITS.handshakeMs, () => {
    if (isTcpOpen) fail('silent', 'the machine answers, but the peer does not speak');
    else fail('unreachable', 'no answer');
  });
  const onError = (cause: Error): void => {
    const { kind, detail } = explain(cause);
    fail(kind, detail);
  };
  const onClose = (): void => fail('reset', 'the connection was closed during the handshake');
  // It stays: an error after the attempt is over must not end the process.
  socket.on('error', onError);
  socket.on('close', onClose);
  socket.once('connect', () => {
    isTcpOpen = true;
  });
  socket.once(tls.kind === 'mutual' ? 'secureConnect' : 'connect', () => {
    if (finish()) handler.open(socket, identity);
  });
  return () => {
    if (finish()) socket.destroy();
  };
}

function dialTls(
  target: DialTarget,
  tls: PeerTls & { readonly kind: 'mutual' },
  onIdentity: (identity: PeerIdentity) => void,
): Socket {
  return connectTls({
    host: target.host,
    port: target.port,
    ca: tls.ca,
    cert: tls.cert,
    key: tls.key,
    minVersion: 'TLSv1.3',
    ALPNProtocols: [PEER_ALPN],
    // The name is the peer's, whatever the address: nothing of the host is compared.
    checkServerIdentity: (_host, shown) => {
      const identity = certificateIdentity(new X509Certificate(shown.raw));
      if (!identity.ok) return new PeerIdentityError(identity.error);
      const mismatch = identityMismatch(identity.value, target.cluster, target.peer);
      if (mismatch !== null) return new PeerIdentityError(mismatch);
      onIdentity(identity.value);
      return undefined;
    },
  });
}

function explain(cause: Error): { readonly kind: LinkDownCause; readonly detail: string } {
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  if (code === 'ECONNREFUSED') return { kind: 'refused', detail: 'nobody listens there' };
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return { kind: 'reset', detail: 'the connection was reset during the handshake' };
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return { kind: 'unreachable', detail: 'its name has no address' };
  }
  const sentence = tlsSentence(cause);
  if (sentence !== null) return { kind: 'rejected', detail: sentence };
  return { kind: 'unreachable', detail: cause.message };
}

/** Opens a bare connection and closes it at once: is the machine there, does anybody listen? */
export function probe(
  host: string,
  port: number,
  timers: Timers,
  done: (result: ProbeResult) => void,
): () => void {
  const socket = connect({ host, port });
  let isOver = false;
  const finish = (result: ProbeResult | null): void => {
    if (isOver) return;
    isOver = true;
    timer.cancel();
    socket.destroy();
    if (result !== null) done(result);
  };
  const timer = timers.after(PEER_LIMITS.probeTimeoutMs, () => finish('unreachable'));
  socket.once('connect', () => finish('accepted'));
  socket.on('error', (cause) => {
    const isRefused = 'code' in cause && cause.code === 'ECONNREFUSED';
    finish(isRefused ? 'refused' : 'unreachable');
  });
  return () => finish(null);
}
