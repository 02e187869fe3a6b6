/**
 * Where nodes are reached that not every file names: `peers/PEER` in the control state. A node links
 * to the peers of its file and to these, so that a new node or region needs no change of other files.
 *
 * PR1: a change counts only where the record is as it was when it was decided. Held by
 *      `peers.test.ts`.
 */

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { isPeerName } from '../../base/peerName.ts';
import type { ControlView } from './engine.ts';
import { readFields, unchanged } from './records.ts';
import type { AuditInput, KeyValue, Transaction } from './types.ts';

const PREFIX = 'peers/';
const TYPE = 'peer/1';

/** Where one node takes links. */
export interface PeerPlace {
  readonly peer: string;
  readonly host: string;
  readonly port: number;
}

/** A record as it stands in the state. */
export interface StoredPeer {
  /** Null: there is none. */
  readonly place: PeerPlace | null;
  /** 0: there is none. */
  readonly modRevision: number;
}

/** All records, by name. What is none of this version is left out. */
export function listPeers(view: ControlView): readonly PeerPlace[] {
  // `putPeer` keeps them far fewer than one page has keys.
  const { items } = view.range({
    prefix: PREFIX,
    after: '',
    keysMax: CONTROL_LIMITS.peerRecordsMax,
  });
  return items.map(decode).filter((place) => place !== null);
}

/** Null: what is there is not of this version of the program. */
export function readPeer(view: ControlView, peer: string): StoredPeer | null {
  const item = view.get(PREFIX + peer);
  if (item === null) return { place: null, modRevision: 0 };
  const place = decode(item);
  return place === null ? null : { place, modRevision: item.modRevision };
}

/** Says where a peer is; does nothing where its record has changed since it was read (PR1). */
export function putPeer(place: PeerPlace, before: StoredPeer, audit: AuditInput): Transaction {
  assert(isPlace(place), 'what is put can be read again');
  const key = PREFIX + place.peer;
  const value = encodeUtf8(
    JSON.stringify({ peer: place.peer, host: place.host, port: place.port }),
  );
  const success = [{ kind: 'put' as const, key, type: TYPE, value }];
  const compares = [unchanged(key, before.modRevision)];
  return { kind: 'transaction', audit, compares, success, failure: [] };
}

/** Takes a record away; does nothing where it has changed since it was read (PR1). */
export function deletePeer(peer: string, before: StoredPeer, audit: AuditInput): Transaction {
  const key = PREFIX + peer;
  const success = [{ kind: 'delete' as const, key }];
  const compares = [unchanged(key, before.modRevision)];
  return { kind: 'transaction', audit, compares, success, failure: [] };
}

function decode(item: KeyValue): PeerPlace | null {
  if (item.type !== TYPE) return null;
  const value = readFields(item.value);
  if (!isPlace(value) || item.key !== PREFIX + value.peer) return null;
  const { peer, host, port } = value;
  return { peer, host, port };
}

function isPlace(value: unknown): value is PeerPlace {
  if (typeof value !== 'object' || value === null) return false;
  const { peer, host, port }: Partial<Record<keyof PeerPlace, unknown>> = value;
  return (
    typeof peer === 'string' &&
    isPeerName(peer) &&
    typeof host === 'string' &&
    host.length >= 1 &&
    host.length <= CONTROL_LIMITS.hostCharsMax &&
    typeof port === 'number' &&
    Number.isSafeInteger(port) &&
    port >= 1 &&
    port <= 65_535
  );
}
