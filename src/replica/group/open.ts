/** Starting a member: open or make its log, start the core from what is there. */

import { assert } from '../../base/assert.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { RaftNode } from '../../raft/node.ts';
import { bootstrapStored } from '../../raft/start.ts';
import { ENTRY_KINDS, type Member, type Persist } from '../../raft/types.ts';
import type { DurableLog } from '../../storage/log.ts';
import { openLog, type OpenedLog } from '../../storage/open.ts';
import type { LogDiskState, LogEvents, LogRecovered } from '../../storage/types.ts';
import { Replicator } from './member.ts';
import { isBlank, logPersistOf, storedOf } from './stored.ts';
import type {
  GroupEvents,
  GroupMachine,
  GroupMember,
  GroupObserver,
  GroupOpenFailure,
  GroupOptions,
  GroupPorts,
} from './types.ts';

type Opened = Result<GroupMember, GroupOpenFailure>;

/**
 * Opens (or creates) the data folder, recovers and starts the core. `done` is called once, later.
 *
 * A new folder gets the first configuration as its first write. Where a crash came between the two,
 * opening it with the same `bootstrap` writes it then: a log without any term has promised nothing.
 */
export function openGroup(
  options: GroupOptions,
  ports: GroupPorts,
  events: GroupEvents,
  machine: GroupMachine,
  observe: GroupObserver,
  done: (opened: Opened) => void,
): void {
  const { folder, mode, segmentBytes, raft } = options;
  const { cluster, id: node } = raft;
  const relay = new LogRelay();
  openLog(
    ports.disk,
    { folder, cluster, node, mode, kinds: ENTRY_KINDS, segmentBytes },
    relay,
    (opened) => {
      if (!opened.ok) {
        done(opened);
        return;
      }
      const { log, recovered } = opened.value;
      const start = (from: LogRecovered, persists: number): void => {
        const member = startMember(options, ports, events, machine, observe, {
          log,
          recovered: from,
          persists,
        });
        if (member.ok) {
          relay.connect(member.value);
          done(member);
        } else log.close(() => done(member));
      };
      const { bootstrap } = options;
      if (bootstrap === null || !isBlank(recovered)) start(recovered, 0);
      else writeBootstrap(log, recovered, bootstrap, relay, start, done);
    },
  );
}

/** Writes the first configuration and waits until it is durable. */
function writeBootstrap(
  log: DurableLog,
  blank: LogRecovered,
  members: readonly Member[],
  relay: LogRelay,
  start: (from: LogRecovered, persists: number) => void,
  done: (opened: Opened) => void,
): void {
  const { hardState, entries } = bootstrapStored(members);
  let isOver = false;
  relay.connect({
    persisted() {
      if (isOver) return;
      isOver = true;
      start({ ...blank, hardState, entries }, 1);
    },
    disk(state, detail) {
      // A disk without room for the next segment still takes what is under way.
      if (isOver || state !== 'failed') return;
      isOver = true;
      log.close(() => done(err({ kind: 'disk', error: { kind: 'io', detail }, detail })));
    },
  });
  const first: Persist = {
    seq: 1,
    hardState,
    snapshot: null,
    isLogDiscarded: false,
    entries,
    compactTo: 0,
  };
  log.persist(logPersistOf(first, 0));
}

function startMember(
  options: GroupOptions,
  ports: GroupPorts,
  events: GroupEvents,
  machine: GroupMachine,
  observe: GroupObserver,
  opened: OpenedLog & { readonly persists: number },
): Result<Replicator, GroupOpenFailure> {
  const { log, recovered, persists } = opened;
  const { incarnation } = recovered.identity;
  assert(
    options.mode.incarnation === null || options.raft.incarnation === incarnation,
    'the core and the log speak of one disk',
  );
  const raft = { ...options.raft, incarnation };
  const stored = storedOf(recovered, machine.durableIndex());
  if (!stored.ok) return stored;
  const node = RaftNode.start(raft, stored.value, ports.clock.nowMs());
  if (!node.ok) {
    const detail = START_ERRORS[node.error];
    return err({ kind: 'refused', error: node.error, detail });
  }
  const start = {
    node: node.value,
    log,
    persistsBefore: persists,
    applied: stored.value.applied,
    snapshotIndex: stored.value.snapshot?.meta.index ?? 0,
    diskState: log.diskState,
  };
  return ok(new Replicator({ ...options, raft }, ports, events, machine, observe, start));
}

const START_ERRORS = {
  'log-gap': 'entries of the log are missing, or it does not go on from its snapshot',
  'log-lost': 'the log holds less than was known to be committed or applied here',
  'bad-entry': 'an entry of the log cannot be read',
  'wrong-cluster': 'the snapshot is of another cluster',
  'wrong-incarnation': 'the cluster knows this node number with another disk',
  'level-unsupported': 'the cluster speaks a feature level that this program does not know',
} as const;

/** Stands between the log and whoever listens to it: nobody at first, the member in the end. */
class LogRelay implements LogEvents {
  #target: LogEvents | null = null;
  /** Said while nobody listened. */
  #disk: { readonly state: LogDiskState; readonly detail: string } | null = null;

  connect(target: LogEvents): void {
    this.#target = target;
    if (this.#disk !== null) target.disk(this.#disk.state, this.#disk.detail);
  }

  persisted(seq: number): void {
    this.#target?.persisted(seq);
  }

  disk(state: LogDiskState, detail: string): void {
    this.#disk = { state, detail };
    this.#target?.disk(state, detail);
  }
}
