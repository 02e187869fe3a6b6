/** What a node can observe of the link to a peer region, in words that `io/` and `regions/` share. */

/** Why a link is down, as seen from here. */
export type LinkDownCause =
  | 'starting' // Not tried yet.
  | 'refused' // The machine answers, nobody listens.
  | 'reset' // It was closed or reset, at work or during the handshake.
  | 'unreachable' // No answer at all, or the network says that there is no way.
  | 'silent' // Connections are accepted by the machine, but nobody speaks.
  | 'rejected'; // Something answers, but it is not the peer: certificate, region, cluster, version.

/** The link as it is now. */
export type LinkState =
  | { readonly kind: 'up'; readonly node: string }
  | { readonly kind: 'down'; readonly cause: LinkDownCause; readonly detail: string };

/** What a bare connection to a silent peer's address met. */
export type ProbeResult = 'accepted' | 'refused' | 'unreachable';
