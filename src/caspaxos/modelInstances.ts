/**
 * What the model checker is run on. Each instance is small enough to be seen whole: `quick` ones in
 * the tests, the others by `npm run model`.
 */

import type { Instance } from './modelInstance.ts';

const PLAIN: Omit<Instance, 'name' | 'scripts'> = {
  acceptors: [1, 2, 3],
  first: [1, 2, 3],
  log: [],
  deaf: [],
  acceptorCrashes: 0,
  proposerCrashes: 0,
  ticks: 0,
  roundsMax: 1,
  cacheMax: 1,
  isSyncSplit: false,
};

/** One acceptor of three is replaced. */
const REPLACE = {
  acceptors: [1, 2, 3, 4],
  log: [{ kind: 'begin', acceptors: [1, 2, 4] }, { kind: 'finish' }],
} as const;

export interface ListedInstance extends Instance {
  readonly isQuick: boolean;
}

export const INSTANCES: readonly ListedInstance[] = [
  { ...PLAIN, isQuick: true, name: 'two changes race', scripts: [['change'], ['change']] },
  {
    ...PLAIN,
    isQuick: true,
    name: 'a change and a read, two rounds each',
    scripts: [['change'], ['read']],
    roundsMax: 2,
  },
  {
    ...PLAIN,
    isQuick: true,
    name: 'two changes in one round trip each against one',
    scripts: [['change', 'change'], ['change']],
  },
  {
    ...PLAIN,
    isQuick: true,
    name: 'an acceptor crashes before or after its fsync',
    scripts: [['change'], ['read']],
    acceptorCrashes: 1,
    isSyncSplit: true,
  },
  {
    ...PLAIN,
    isQuick: false,
    name: 'a proposer starts again and asks what became of its change',
    scripts: [['change', 'retry'], ['change']],
    proposerCrashes: 1,
  },
  {
    ...PLAIN,
    isQuick: true,
    name: 'the bucket is closed meanwhile',
    scripts: [['change'], ['read']],
    log: [{ kind: 'close' }],
  },
  {
    ...PLAIN,
    isQuick: true,
    name: 'a bucket is opened meanwhile: an epoch begins; the writer does not hear of it',
    scripts: [['change'], ['read']],
    log: [{ kind: 'open' }],
    deaf: [0],
  },
  {
    ...PLAIN,
    isQuick: false,
    name: 'a bucket is opened while two changes race',
    scripts: [['change'], ['change', 'read']],
    log: [{ kind: 'open' }],
  },
  {
    ...PLAIN,
    ...REPLACE,
    isQuick: false,
    name: 'an acceptor is replaced; the writer does not hear of it',
    scripts: [['change'], ['read']],
    deaf: [0],
  },
  {
    ...PLAIN,
    isQuick: false,
    name: 'two changes race, two rounds each',
    scripts: [['change'], ['change']],
    roundsMax: 2,
  },
  {
    ...PLAIN,
    isQuick: false,
    name: 'two changes race and are asked about again',
    scripts: [
      ['change', 'retry'],
      ['change', 'read'],
    ],
  },
  {
    ...PLAIN,
    isQuick: false,
    name: 'rounds time out',
    scripts: [['change'], ['read']],
    roundsMax: 2,
    ticks: 2,
  },
  {
    ...PLAIN,
    isQuick: false,
    name: 'acceptors crash while two changes race',
    scripts: [['change'], ['change']],
    acceptorCrashes: 1,
    isSyncSplit: true,
  },
  {
    ...PLAIN,
    ...REPLACE,
    isQuick: false,
    name: 'an acceptor is replaced; both hear of it when they do',
    scripts: [['change'], ['read']],
  },
  {
    ...PLAIN,
    ...REPLACE,
    isQuick: false,
    name: 'an acceptor is replaced; the reader does not hear of it',
    scripts: [['change'], ['read']],
    deaf: [1],
  },
  {
    ...PLAIN,
    isQuick: false,
    name: 'two changes and the closing of the bucket',
    scripts: [['change'], ['change', 'read']],
    log: [{ kind: 'close' }],
  },
];
