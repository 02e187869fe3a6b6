/**
 * For the day on which a majority of voters is gone for good: one survivor goes on alone, under a
 * new cluster id, and others join it anew. An operator decides this, offline, with the node stopped;
 * it may lose what only the dead had. The new id keeps whoever comes back from the dead apart.
 */

import { assert } from '../base/assert.ts';
import { encodeConf } from './codec.ts';
import { EMPTY_LISTS } from './confchange.ts';
import { RaftLog } from './log.ts';
import { memberOf } from './membership.ts';
import type { ConfState, Entry, NodeId, Stored } from './types.ts';

/**
 * The disk of `id` as the only voter of `cluster`: all that it holds counts as committed, and a
 * configuration entry records the change. Ids given out before stay used.
 */
export function recoverAlone(stored: Stored, id: NodeId, cluster: string): Stored {
  const log = new RaftLog(stored);
  const { conf } = log.conf;
  const own = memberOf(conf, id);
  assert(own !== null, 'a survivor is a member');
  assert(cluster !== stored.snapshot?.meta.cluster, 'a recovered cluster has a new id');
  const alone: ConfState = {
    ...EMPTY_LISTS,
    voters: [id],
    members: [{ ...own, isWitness: false, isPromotable: false }],
    idMax: conf.idMax,
  };
  const term = stored.hardState.term + 1;
  const entry: Entry = {
    term,
    index: log.lastIndex + 1,
    kind: 'config',
    timeMs: log.lastTimeMs,
    data: encodeConf(alone),
  };
  const { snapshot } = stored;
  return {
    hardState: { term, votedFor: 0, commit: entry.index },
    snapshot: snapshot === null ? null : { ...snapshot, meta: { ...snapshot.meta, cluster } },
    entries: [...stored.entries, entry],
    applied: stored.applied,
  };
}
