/**
 * Who a peer is, by its certificate: the SAN URI `banyan://CLUSTER/REGION/NODE`, signed by the CA of
 * the configuration and by no other. The host name plays no part: addresses change, regions do not.
 */

import type { X509Certificate } from 'node:crypto';

import { nodeOfPeer, regionOfPeer } from '../../base/peerName.ts';
import { err, ok, type Result } from '../../base/result.ts';

/** The scheme of the name in a certificate. */
export const IDENTITY_SCHEME = 'banyan';

/** The name that a certificate carries. */
export interface PeerIdentity {
  readonly cluster: string;
  readonly region: string;
  readonly node: string;
}

/** How links are protected. */
export type PeerTls =
  | {
      readonly kind: 'mutual';
      /** PEM. Only what this CA signed is a peer. */
      readonly ca: string;
      readonly cert: string;
      readonly key: string;
    }
  /** No protection: tests, and only between loopback addresses. */
  | { readonly kind: 'plaintext-loopback' };

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const IDENTITY = new RegExp(
  `(?:^|, )URI:${IDENTITY_SCHEME}://(${LABEL})/(${LABEL})/(${LABEL})(?=,|$)`,
  'g',
);

/** The URI of an identity. */
export function identityUri(identity: PeerIdentity): string {
  return `${IDENTITY_SCHEME}://${identity.cluster}/${identity.region}/${identity.node}`;
}

/** Reads the identity of a certificate: exactly one URI of our scheme. */
export function certificateIdentity(certificate: X509Certificate): Result<PeerIdentity, string> {
  const names = certificate.subjectAltName ?? '';
  const matches = Array.from(names.matchAll(IDENTITY));
  const [match] = matches;
  if (match === undefined || matches.length > 1) {
    const which = matches.length > 1 ? 'more than one name' : 'no name';
    return err(`its certificate carries ${which} of the form banyan://CLUSTER/REGION/NODE`);
  }
  const [, cluster = '', region = '', node = ''] = match;
  return ok({ cluster, region, node });
}

/**
 * Why a certificate is not that of `peer`; null where it is, or where any of the cluster will do. The
 * first node of a region has the region's name on the links, whatever its node is called.
 */
export function identityMismatch(
  identity: PeerIdentity,
  cluster: string,
  peer: string | null,
): string | null {
  if (identity.cluster !== cluster) {
    return `its certificate is of cluster "${identity.cluster}", not "${cluster}"`;
  }
  if (peer === null) return null;
  const region = regionOfPeer(peer);
  if (identity.region !== region) {
    return `its certificate is of region ${identity.region}, not ${region}`;
  }
  const node = nodeOfPeer(peer);
  if (node !== null && identity.node !== node) {
    return `its certificate is of node ${identity.node} of ${region}, not of ${node}`;
  }
  return null;
}

const TLS_SENTENCES: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet; compare the clocks',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not signed by our CA',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not signed by our CA',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not signed by our CA',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not signed by our CA',
  CERT_SIGNATURE_FAILURE: 'its certificate is not signed by our CA',
  INVALID_PURPOSE: 'its certificate is not meant for this purpose',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'it presented no certificate',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it requires a certificate of ours',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'it does not know the CA of our certificate',
  ERR_SSL_TLSV1_ALERT_DECRYPT_ERROR: 'it does not know the CA of our certificate',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'it says that our certificate has expired',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: 'it does not accept our certificate',
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: 'it does not accept our certificate',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it does not speak TLS 1.3',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'it does not speak TLS 1.3',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS; is this a peer listener?',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS; is this a peer listener?',
};

/** A sentence for the code of a certificate that TLS did not accept. */
export function tlsCodeSentence(code: string): string {
  return TLS_SENTENCES[code] ?? `its certificate was not accepted: ${code}`;
}

/** A sentence for a failed handshake, or null where the error is not one of TLS. */
export function tlsSentence(cause: Error): string | null {
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  const known = TLS_SENTENCES[code];
  if (known !== undefined) return known;
  if (cause.name === 'PeerIdentityError') return cause.message;
  if (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) return `TLS failed: ${code}`;
  return cause.message.includes('certificate') ? `TLS failed: ${cause.message}` : null;
}

/** Thrown inside TLS's own check of the name, which knows no other way to refuse. */
export class PeerIdentityError extends Error {
  override readonly name = 'PeerIdentityError';
}
