/**
 * What the control state says of registers: who the acceptors are, which generations of claims are
 * open, which disk each node has. Every number that must never be used twice (a node's, a
 * proposer's, the order of the states) is the revision of the transaction that made it.
 */

import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import { CASPAXOS_LIMITS } from '../../base/caspaxosLimits.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { readControl, writeControl } from '../../caspaxos/codec.ts';
import type { ControlView } from '../control/engine.ts';
import { readFields, unchanged } from '../control/records.ts';
import type { AuditInput, KeyValue, Transaction } from '../control/types.ts';
import type { Agreed } from './care.ts';

const STATE_KEY = 'registers/state';
const STATE_TYPE = 'registers/1';
const NODES = 'registers/nodes/';
const NODE_TYPE = 'register-node/1';
const PROPOSERS = 'registers/proposers/';
const PROPOSER_TYPE = 'register-proposer/1';

/** The acceptors and generations. */
export interface RegisterState extends Agreed {
  /** Of another one nothing is valid here: the control state was restored into a new cluster. */
  readonly cluster: string;
  readonly item: KeyValue;
}

/** A node as it announced itself. Its id is the revision of that. */
export interface RegisterNode {
  /** Its peer name (src/base/peerName.ts). */
  readonly peer: string;
  readonly id: number;
  readonly incarnation: number;
}

/** Null: not agreed on yet, or of another cluster. */
export function readState(view: ControlView, cluster: string): RegisterState | null {
  const item = view.get(STATE_KEY);
  const state = item === null ? null : decodeState(item);
  return state?.cluster === cluster ? state : null;
}

function decodeState(item: KeyValue): RegisterState | null {
  if (item.type !== STATE_TYPE) return null;
  const reader = new ByteReader(item.value);
  const cluster = reader.text(CASPAXOS_LIMITS.clusterCharsMax * 4);
  const openedMs = reader.u64();
  const fence = reader.u64();
  const read = readControl(reader);
  if (!reader.isDone()) return null;
  return { cluster, openedMs, fence, control: { ...read, index: item.modRevision }, item };
}

/** Puts the next state; does nothing where there is another one than `before`. */
export function putState(
  view: ControlView,
  cluster: string,
  next: Agreed,
  audit: AuditInput,
): Transaction {
  const writer = new ByteWriter();
  writer.text(cluster).u64(next.openedMs).u64(next.fence);
  writeControl(writer, next.control);
  return put(view, STATE_KEY, STATE_TYPE, writer.finish(), audit);
}

/** Announces a disk. Does nothing where another one was announced since `view`. */
export function announceNode(
  view: ControlView,
  cluster: string,
  peer: string,
  incarnation: number,
  audit: AuditInput,
): Transaction {
  const value = encodeUtf8(JSON.stringify({ cluster, incarnation }));
  return put(view, NODES + peer, NODE_TYPE, value, audit);
}

/** Takes out what is known of a node that is gone. Does nothing where it has announced itself since. */
export function forgetNode({ peer, id }: RegisterNode, audit: AuditInput): Transaction {
  const key = NODES + peer;
  return {
    kind: 'transaction',
    audit,
    compares: [unchanged(key, id)],
    success: [
      { kind: 'delete', key },
      { kind: 'delete', key: PROPOSERS + peer },
    ],
    failure: [],
  };
}

/** A new proposer's number: the revision that the answer tells. */
export function grantProposer(peer: string, incarnation: number, audit: AuditInput): Transaction {
  const value = encodeUtf8(JSON.stringify({ incarnation }));
  const key = PROPOSERS + peer;
  const success = [{ kind: 'put', key, type: PROPOSER_TYPE, value }] as const;
  return { kind: 'transaction', audit, compares: [], success, failure: [] };
}

/** The nodes of this cluster, by name. */
export function readNodes(view: ControlView, cluster: string): readonly RegisterNode[] {
  const { items } = view.range({ prefix: NODES, after: '', keysMax: REGISTER_LIMITS.nodesMax });
  return items.flatMap((item) => {
    const node = item.type === NODE_TYPE ? decodeNode(item, cluster) : null;
    return node === null ? [] : [node];
  });
}

/** Null: it has not announced itself, or was forgotten. */
export function readNode(view: ControlView, cluster: string, peer: string): RegisterNode | null {
  const item = view.get(NODES + peer);
  return item?.type === NODE_TYPE ? decodeNode(item, cluster) : null;
}

function decodeNode(item: KeyValue, cluster: string): RegisterNode | null {
  const fields = readFields(item.value);
  const incarnation = fields?.['incarnation'];
  if (fields?.['cluster'] !== cluster || typeof incarnation !== 'number') return null;
  return { peer: item.key.slice(NODES.length), id: item.modRevision, incarnation };
}

function put(
  view: ControlView,
  key: string,
  type: string,
  value: Uint8Array,
  audit: AuditInput,
): Transaction {
  const compare = unchanged(key, view.get(key)?.modRevision ?? 0);
  const success = [{ kind: 'put', key, type, value }] as const;
  return { kind: 'transaction', audit, compares: [compare], success, failure: [] };
}
