/** A real etcd client whose answers get lost while a test wants it: what is called is called. */

import { err } from '../../src/base/result.ts';
import type { EtcdDone, EtcdStore } from '../../src/replica/etcd/store.ts';

const LOST = {
  isDefinite: false,
  isFinal: false,
  isCompacted: false,
  isLeaseGone: false,
  detail: 'lost',
} as const;

export function lossyStore(client: EtcdStore, isLosing: () => boolean): EtcdStore {
  const lossy = <T>(done: EtcdDone<T>): EtcdDone<T> => {
    return (result) => done(isLosing() ? err(LOST) : result);
  };
  return {
    range: (range, done) => client.range(range, lossy(done)),
    transact: (transaction, done) => client.transact(transaction, lossy(done)),
    watch: (key, end, from, handler) => client.watch(key, end, from, handler),
    grant: (ttlSeconds, done) => client.grant(ttlSeconds, lossy(done)),
    keepAlive: (id, done) => client.keepAlive(id, lossy(done)),
    revoke: (id, done) => client.revoke(id, lossy(done)),
    turn: (why) => client.turn(why),
  };
}
