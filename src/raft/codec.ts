/**
 * Bytes of what the log itself holds: configurations and feature levels. Canonical: equal values
 * have equal bytes. Decoders take any bytes and refuse what is malformed.
 */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import { nodeOfPeer, peerName, regionOfPeer } from '../base/peerName.ts';
import { idsOf } from './confchange.ts';
import type { ConfState, Member, NodeId } from './types.ts';

const CONF_VERSION = 1;

/** `conf` as the data of a `config` entry. */
export function encodeConf(conf: ConfState): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(CONF_VERSION);
  writeConf(writer, conf);
  return writer.finish();
}

/** The configuration of a `config` entry, or null where the bytes are none. */
export function decodeConf(bytes: Uint8Array): ConfState | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== CONF_VERSION) return null;
  const conf = readConf(reader);
  return reader.isDone() && isWellFormed(conf) ? conf : null;
}

/** Writes `conf` into a larger layout. */
export function writeConf(writer: ByteWriter, conf: ConfState): void {
  const ids = (list: readonly NodeId[]): void => {
    writer.list(list, (id) => writer.u64(id));
  };
  ids(conf.voters);
  ids(conf.votersOutgoing);
  ids(conf.learners);
  ids(conf.learnersNext);
  writer.bool(conf.autoLeave);
  writer.list(conf.members, (member) => {
    const { id, region, node, incarnation, priority } = member;
    writer
      .u64(id)
      .text(peerName(region, node ?? null))
      .u64(incarnation)
      .u8(priority);
    writer.bool(member.isWitness).bool(member.isPromotable);
  });
  writer.u64(conf.idMax);
}

/** Reads what `writeConf` wrote; the caller checks `isBad` and `isWellFormed`. */
export function readConf(reader: ByteReader): ConfState {
  const ids = (): readonly NodeId[] => reader.list(RAFT_LIMITS.membersMax, () => reader.u64());
  return {
    voters: ids(),
    votersOutgoing: ids(),
    learners: ids(),
    learnersNext: ids(),
    autoLeave: reader.bool(),
    members: reader.list(RAFT_LIMITS.membersMax, () => readMember(reader)),
    idMax: reader.u64(),
  };
}

/** A region and a node in it are one text, as peers are called: the first node's is the region. */
function readMember(reader: ByteReader): Member {
  const id = reader.u64();
  const name = reader.text((RAFT_LIMITS.regionCharsMax * 2 + 1) * 4);
  const node = nodeOfPeer(name);
  if (node !== null && !isNodeName(node)) reader.isBad = true;
  return {
    id,
    region: regionOfPeer(name),
    ...(node === null ? {} : { node }),
    incarnation: reader.u64(),
    priority: reader.u8(),
    isWitness: reader.bool(),
    isPromotable: reader.bool(),
  };
}

/** Whether it can be told from the region before it. */
export function isNodeName(node: string): boolean {
  return node.length >= 1 && node.length <= RAFT_LIMITS.regionCharsMax && !node.includes('/');
}

/** Lists sorted, without doubles, and one member for each id: what every configuration is. */
export function isWellFormed(conf: ConfState): boolean {
  const lists = [conf.voters, conf.votersOutgoing, conf.learners, conf.learnersNext];
  const memberIds = conf.members.map((member) => member.id);
  if (![...lists, memberIds].every(isAscending)) return false;
  const ids = idsOf(conf);
  if (ids.length !== memberIds.length || !ids.every((id, at) => id === memberIds[at])) return false;
  return ids.every((id) => id >= 1 && id <= conf.idMax);
}

function isAscending(ids: readonly NodeId[]): boolean {
  return ids.every((id, at) => at === 0 || id > (ids[at - 1] ?? 0));
}

/** `level` as the data of a `level` entry. */
export function encodeLevel(level: number): Uint8Array {
  assert(level >= 0 && level <= RAFT_LIMITS.levelMax, 'a level fits into 16 bits');
  return new ByteWriter().u16(level).finish();
}

/** The level of a `level` entry, or null where the bytes are none. */
export function decodeLevel(bytes: Uint8Array): number | null {
  const reader = new ByteReader(bytes);
  const level = reader.u16();
  return reader.isDone() ? level : null;
}
