/**
 * The cluster's feature level: what every program in it understands. It is a key of the control state,
 * so that all nodes act by the same level at the same place of the log, and what older programs cannot
 * read is done only from its level on. In our own group the log itself carries the level first (Raft,
 * `levels`): a program below it stops there, also one that has never heard of this key.
 *
 * FL1: the level is raised only to what every node has said that it supports, the least of all.
 * FL2: it is never lowered.
 * FL3: a node whose program does not support it takes no part; what it has goes on counting for what it
 *      serves.
 */

import { encodeUtf8 } from '../../base/bytes.ts';
import type { ControlView } from './engine.ts';
import { readFields, unchanged } from './records.ts';
import type { AuditInput, KeyValue, Transaction } from './types.ts';

/** What this program supports. */
export const FEATURE_LEVEL_MAX = 2;
/** What every program before there were levels supports: a state without the key is at this one. */
const FEATURE_LEVEL_MIN = 1;

/** From which level on something may be done. */
const FEATURES = {
  /** Further nodes of a region in the group (`Member.node`). */
  furtherNodes: 2,
  /** Keys that are bound to regions, or whose rates are divided (`keys.ts`). */
  keyPlaces: 2,
  /** Nodes without links tell their counts beside the control state (`../sharedConfig/beats.ts`). */
  beats: 2,
} as const;

const KEY = 'cluster/level';
const TYPE = 'cluster-level/1';
const NODES = 'cluster/nodes/';
const NODE_TYPE = 'cluster-node/1';
const NODES_MAX = 1_000;

/** What can be read of a state by key. */
type Keys = Pick<ControlView, 'get'>;

/** The level that the state is at. */
export function clusterFeatureLevel(state: Keys): number {
  const item = state.get(KEY);
  return levelOf(item, TYPE) ?? FEATURE_LEVEL_MIN;
}

/** Whether a feature may be used in a cluster at `level`: every program understands it, for good. */
export function isFeatureOn(level: number, feature: keyof typeof FEATURES): boolean {
  return level >= FEATURES[feature];
}

/** A node, and what its program has said that it supports; null: nothing yet. */
export interface FeatureSupport {
  readonly name: string;
  readonly level: number | null;
}

/** FL1, FL2: the level to raise to now; null: none. An empty group raises nothing. */
export function levelToRaise(current: number, nodes: readonly FeatureSupport[]): number | null {
  if (nodes.length === 0) return null;
  const least = Math.min(...nodes.map(({ level }) => level ?? FEATURE_LEVEL_MIN));
  return least > Math.max(current, FEATURE_LEVEL_MIN) ? least : null;
}

/** Those for whom the level does not go up to what this program supports. */
export function holdingBack(current: number, nodes: readonly FeatureSupport[]): readonly string[] {
  if (current >= FEATURE_LEVEL_MAX) return [];
  const older = nodes.filter(({ level }) => (level ?? FEATURE_LEVEL_MIN) <= current);
  return older.map(({ name }) => name).toSorted();
}

/** Null: a program that supports `levelMax` may take part. */
export function levelRefusal(level: number, levelMax: number): string | null {
  if (level <= levelMax) return null;
  return (
    `the cluster is at feature level ${level}, and this program supports ${levelMax}: ` +
    'install a newer one; requests are served by what this node has'
  );
}

/** Raises it, unless somebody else has changed it since `state` was read. */
export function raiseLevel(state: Keys, level: number, from: string): Transaction {
  return {
    kind: 'transaction',
    audit: { who: 'banyan', from, what: `feature level ${level}`, why: 'every node supports it' },
    compares: [unchanged(KEY, state.get(KEY)?.modRevision ?? 0)],
    success: [{ kind: 'put', key: KEY, type: TYPE, value: valueOf(level) }],
    failure: [],
  };
}

// Where no group of our own says it: what each node has written down.

/** Nodes that have written down what they support. */
export function writtenSupport(state: Pick<ControlView, 'range'>): readonly FeatureSupport[] {
  const { items } = state.range({ prefix: NODES, after: '', keysMax: NODES_MAX });
  return items.map((item) => ({
    name: item.key.slice(NODES.length),
    level: levelOf(item, NODE_TYPE),
  }));
}

/** Writes down that the program of node `name` supports `level`; null: it is written already. */
export function writeSupport(state: Keys, name: string, level: number): Transaction | null {
  const key = NODES + name;
  if (levelOf(state.get(key), NODE_TYPE) === level) return null;
  const what = `${name} supports feature level ${level}`;
  const audit: AuditInput = { who: 'banyan', from: name, what, why: '' };
  const success = [{ kind: 'put', key, type: NODE_TYPE, value: valueOf(level) }] as const;
  return { kind: 'transaction', audit, compares: [], success, failure: [] };
}

function valueOf(level: number): Uint8Array {
  return encodeUtf8(JSON.stringify({ level }));
}

/** Null: it is not there, or not of this version. */
function levelOf(item: KeyValue | null, type: string): number | null {
  if (item === null || item.type !== type) return null;
  const level = readFields(item.value)?.['level'];
  return typeof level === 'number' && Number.isSafeInteger(level) && level >= 0 ? level : null;
}
