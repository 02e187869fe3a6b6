/** The certificate of a client, as far as the rules of access look at it. */

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

import type { ClientCertificate } from './access.ts';

/** Null: the other end showed none. */
export function clientCertificateOf(socket: Socket): ClientCertificate | null {
  if (!(socket instanceof TLSSocket)) return null;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  const names = socket.authorized ? alternativeNames(certificate.subjectAltName ?? '') : [];
  const { subject } = socket.getPeerCertificate();
  // More than one common name says nothing certain, and comes as a list.
  if (socket.authorized && typeof subject.CN === 'string') names.unshift(`CN:${subject.CN}`);
  const problem = socket.authorized ? null : String(socket.authorizationError);
  return { names, problem };
}

/**
 * `DNS:…`, `URI:…` and `email:…` of a certificate. Node puts names with commas, quotes or control
 * characters between quotes; none of ours has any, so that such a certificate has no name here.
 */
function alternativeNames(text: string): string[] {
  return text === '' || text.includes('"') ? [] : text.split(', ');
}
