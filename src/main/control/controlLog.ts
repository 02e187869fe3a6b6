/** The group of the control state on this node's disk: its options, and what may be wrong with it. */

import { randomBytes } from 'node:crypto';

import { GROUP_LIMITS } from '../../base/groupLimits.ts';
import type { Clock, Timers } from '../../base/ports.ts';
import { createPrng } from '../../base/prng.ts';
import type { Result } from '../../base/result.ts';
import { NodeDisk } from '../../io/disk/nodeDisk.ts';
import { memberOf, nameOf } from '../../raft/membership.ts';
import { raftOptions } from '../../raft/start.ts';
import type { ConfState, NodeId } from '../../raft/types.ts';
import { openGroup } from '../../replica/group/open.ts';
import type {
  GroupEvents,
  GroupMachine,
  GroupMember,
  GroupOpenFailure,
  GroupTransport,
} from '../../replica/group/types.ts';
import type { ControlMember } from './memberFile.ts';

export const LOG_FOLDER = 'log';
/** Small: the control state is, and a segment is written whole when it is made. */
export const SEGMENT_BYTES = 4 * 1024 * 1024;
const SNAPSHOT_ENTRIES = 10_000;
/** A message may be lost with its link; asking again is safe, every transaction has a session. */
const REQUEST_MS = 1_500;

export interface ControlLogOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  /** The feature level that this program supports. */
  readonly levelMax: number;
}

export function openControlLog(
  options: ControlLogOptions,
  file: ControlMember,
  kind: 'create' | 'open',
  machine: GroupMachine,
  world: GroupEvents & GroupTransport,
): Promise<Result<GroupMember, GroupOpenFailure>> {
  const { folder, clock, timers, heartbeatMs, electionMs, levelMax } = options;
  const { id, incarnation, cluster, founding } = file;
  const prng = createPrng(randomBytes(4).readUInt32LE());
  return new Promise((resolve) => {
    openGroup(
      {
        raft: raftOptions({
          id,
          cluster,
          incarnation,
          prng,
          heartbeatMs,
          electionMs,
          requestMs: REQUEST_MS,
          levelMax,
        }),
        folder: LOG_FOLDER,
        mode: { kind, incarnation },
        bootstrap: founding?.members ?? null,
        segmentBytes: SEGMENT_BYTES,
        checkpointEntries: GROUP_LIMITS.checkpointEntries,
        snapshotEntries: SNAPSHOT_ENTRIES,
      },
      { disk: new NodeDisk(folder), clock, timers, transport: world },
      world,
      machine,
      null,
      resolve,
    );
  });
}

/** Why the log was not opened, for the operator. */
export function sentenceOf(failure: GroupOpenFailure): string {
  if (failure.kind === 'damaged') {
    return `the log is damaged: ${failure.file} at byte ${failure.offset}: ${failure.detail}`;
  }
  return `${failure.kind}: ${failure.detail}`;
}

/** Why a node that is called `name` does not go on with the log of member `id`; null: it may. */
export function otherThan(name: string, conf: ConfState, id: NodeId): string | null {
  const own = memberOf(conf, id);
  if (own === null || nameOf(own) === name) return null;
  return (
    `the log is of member ${id}, ${nameOf(own)}, and this node is ${name} by its file: ` +
    'run "banyan recover --rejoin" on the folder, or put the file right'
  );
}
