/** The peer listener: accepts connections, requires a certificate of our CA, and passes them on. */

import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';

import { PEER_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { PEER_ALPN } from './dial.ts';
import {
  certificateIdentity,
  tlsCodeSentence,
  tlsSentence,
  type PeerIdentity,
  type PeerTls,
} from './identity.ts';

/** What the listener tells. */
export interface AcceptHandler {
  /** A connection; `identity` is what its certificate says, null without TLS. */
  accepted(socket: Socket, identity: PeerIdentity | null): void;
  /** A connection that must be refused, with a sentence for both sides. */
  untrusted(socket: Socket, detail: string): void;
  /** What is no connection of a peer at all. */
  refused(remote: string, detail: string): void;
}

/** A running listener. */
export interface PeerListener {
  readonly port: number;
  /** New connections use it; those that are open stay. */
  setTls(tls: PeerTls): void;
  close(): void;
}

/** Listens; the error is a sentence. */
export function listenForPeers(
  address: { readonly host: string; readonly port: number },
  tls: PeerTls,
  handler: AcceptHandler,
): Promise<Result<PeerListener, string>> {
  const listening = tls.kind === 'mutual' ? tlsServer(tls, handler) : plainServer(handler);
  const { server } = listening;
  server.maxConnections = PEER_LIMITS.connectionsMax;
  return new Promise((resolve) => {
    server.once('error', (cause: Error) => {
      resolve(err(`cannot listen on ${address.host}:${address.port}: ${cause.message}`));
    });
    server.listen(address.port, address.host, () => {
      const bound = server.address();
      const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
      server.on('error', (cause: Error) => handler.refused('listener', cause.message));
      resolve(
        ok({ port, setTls: (next) => listening.setTls(next), close: () => void server.close() }),
      );
    });
  });
}

interface Listening {
  readonly server: Server;
  setTls(tls: PeerTls): void;
}

function plainServer(handler: AcceptHandler): Listening {
  const server = createServer((socket) => handler.accepted(socket, null));
  return { server, setTls: () => {} };
}

function tlsServer(tls: PeerTls & { readonly kind: 'mutual' }, handler: AcceptHandler): Listening {
  const server = createTlsServer(
    {
      ca: tls.ca,
      cert: tls.cert,
      key: tls.key,
      requestCert: true,
      // `secured` refuses who is not authorised: TLS would close without telling either side why.
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      ALPNProtocols: [PEER_ALPN],
      handshakeTimeout: PEER_LIMITS.handshakeMs,
    },
    (socket) => secured(socket, handler),
  );
  server.on('tlsClientError', (cause: Error, socket) => {
    // A bare connection that closes at once is a probe: "is anybody there?".
    const isProbe = 'code' in cause && cause.code === 'ECONNRESET';
    if (isProbe) return;
    handler.refused(socket.remoteAddress ?? '', tlsSentence(cause) ?? cause.message);
  });
  const setTls = (next: PeerTls): void => {
    if (next.kind === 'mutual') server.setSecureContext({ ...next, minVersion: 'TLSv1.3' });
  };
  return { server, setTls };
}

function secured(socket: TLSSocket, handler: AcceptHandler): void {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    handler.untrusted(socket, 'it presented no certificate');
    return;
  }
  if (!socket.authorized) {
    handler.untrusted(socket, tlsCodeSentence(String(socket.authorizationError)));
    return;
  }
  const identity = certificateIdentity(certificate);
  if (identity.ok) handler.accepted(socket, identity.value);
  else handler.untrusted(socket, identity.error);
}
