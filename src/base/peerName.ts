/**
 * The name of a peer: how nodes call each other. The first node of a region has the region's name,
 * each further one `REGION/NODE`. Neither a region's nor a node's name holds a slash.
 */

/** A DNS label, or two; exported for the published schemas. */
export const PEER_NAME =
  /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)?$/;

/** The name of a node; `node` is null for the first one of its region. */
export function peerName(region: string, node: string | null): string {
  return node === null ? region : `${region}/${node}`;
}

/** The region of a peer. */
export function regionOfPeer(name: string): string {
  const at = name.indexOf('/');
  return at === -1 ? name : name.slice(0, at);
}

/** The node of a peer; null: the first one of its region. */
export function nodeOfPeer(name: string): string | null {
  const at = name.indexOf('/');
  return at === -1 ? null : name.slice(at + 1);
}

/** Whether both parts are names as operators give them. */
export function isPeerName(text: string): boolean {
  return PEER_NAME.test(text);
}

const TO_REGION = 'region:';
const TO_NODE = 'node:';

/** The origin of a call to any node of a region. */
export function regionOrigin(region: string): string {
  return TO_REGION + region;
}

/** The origin of a call to one node. */
export function nodeOrigin(peer: string): string {
  return TO_NODE + peer;
}

/** Whom a call goes to over a link; null: its origin is an address. */
export function peerOrigin(
  origin: string,
): { readonly kind: 'region' | 'node'; readonly name: string } | null {
  if (origin.startsWith(TO_REGION)) return { kind: 'region', name: origin.slice(TO_REGION.length) };
  if (origin.startsWith(TO_NODE)) return { kind: 'node', name: origin.slice(TO_NODE.length) };
  return null;
}
