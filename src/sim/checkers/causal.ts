/**
 * Which consistency does a history of transactions have: read committed, read atomic, causal?
 *
 * Each level names pairs of writers of a key whose order a reader has fixed; the history has the
 * level if those orders, the sessions' and the reads' go together, that is, without a cycle. The
 * pairs that are looked at are few, and the others follow from them:
 *
 * - read committed: of what a transaction reads, each writer comes before the writer of the next
 *   read of a key that it wrote too;
 * - read atomic: whom a transaction read, and the session's last writer of a key, come before the
 *   writer that it read that key from;
 * - causal: of each session the last writer of a key that happened before (a vector of sessions).
 *
 * With n operations and k sessions that is O(n^1.5) for the first two and O(n k log n) for causal.
 * Sources: Biswas and Enea, "On the complexity of checking transactional consistency", 2019;
 * Møldrup and Pavlogiannis, "AWDIT", 2025. A value is written to a key by one transaction only.
 */

import { assert, unreachable } from '../../base/assert.ts';
import { OrderGraph, type Edge } from './orderGraph.ts';
import { readHistory, type Anomaly, type Numbered, type Session } from './transactions.ts';

/** From weak to strong; each level includes those before it. */
export const LEVELS = ['read-committed', 'read-atomic', 'causal'] as const;
type Level = (typeof LEVELS)[number];

/** The first level that does not hold, and why. */
export interface Violation {
  readonly level: Level;
  readonly why:
    | { readonly kind: 'anomaly'; readonly anomaly: Anomaly }
    /** Each transaction must come before the next one, and the last before the first. */
    | { readonly kind: 'cycle'; readonly edges: readonly Edge[] };
  /** The same in words, a line each. */
  readonly text: string;
}

export interface CausalVerdict {
  /** The strongest level that holds; null if even the weakest does not. */
  readonly level: Level | null;
  readonly violation: Violation | null;
}

/** The strongest level that a history has. */
export function checkCausal(sessions: readonly Session[]): CausalVerdict {
  const read = readHistory(sessions);
  if (!read.ok) {
    const anomaly = read.error;
    const why = { kind: 'anomaly', anomaly } as const;
    return {
      level: null,
      violation: { level: LEVELS[0], why, text: `${anomaly.transaction}: ${anomaly.text}` },
    };
  }
  const transactions = read.value;
  let strongest: Level | null = null;
  for (const level of LEVELS) {
    const edges = graphOf(transactions, level).cycle();
    if (edges !== null) {
      const text = edges.map((edge) => describeEdge(transactions, edge)).join('\n');
      return { level: strongest, violation: { level, why: { kind: 'cycle', edges }, text } };
    }
    strongest = level;
  }
  return { level: strongest, violation: null };
}

/** Sessions and reads, which bind at every level, and what `level` adds. */
function graphOf(transactions: readonly Numbered[], level: Level): OrderGraph {
  const graph = visibleOrder(transactions);
  if (level === 'read-committed') addReadCommitted(graph, transactions);
  else if (level === 'read-atomic') addReadAtomic(graph, transactions);
  else addCausal(graph, transactions);
  return graph;
}

function visibleOrder(transactions: readonly Numbered[]): OrderGraph {
  const graph = new OrderGraph(transactions.length);
  for (const { id, previous, reads } of transactions) {
    if (previous !== null) graph.add(previous, id, { kind: 'session' });
    for (const { key, from } of reads) graph.add(from, id, { kind: 'read', key });
  }
  return graph;
}

function addReadCommitted(graph: OrderGraph, transactions: readonly Numbered[]): void {
  for (const { id, reads } of transactions) {
    /** The writer of the next read of each key, from the end backwards. */
    const next = new Map<string, number>();
    for (const { key, from } of reads.toReversed()) {
      const writes = transactions[from]?.writes;
      assert(writes !== undefined, 'who is read from is a transaction');
      for (const shared of smallerFirst(writes, next)) {
        const later = next.get(shared);
        if (later === undefined || later === from || !writes.has(shared)) continue;
        graph.add(from, later, { kind: 'replaced', key: shared, reader: id });
      }
      next.set(key, from);
    }
  }
}

/** The keys of whichever is smaller; who takes them looks into the other. */
function smallerFirst(
  writes: ReadonlySet<string>,
  reads: ReadonlyMap<string, unknown>,
): Iterable<string> {
  return writes.size < reads.size ? writes : reads.keys();
}

function addReadAtomic(graph: OrderGraph, transactions: readonly Numbered[]): void {
  const lastWriters = new Map<number, Map<string, number>>();
  for (const { id, session, reads, writes } of transactions) {
    const lastWriter = lastWriters.get(session) ?? new Map<string, number>();
    lastWriters.set(session, lastWriter);
    /** Whom each key was read from; more than one where a read was not repeatable. */
    const sources = Map.groupBy(reads, (read) => read.key);
    const order = (before: number, key: string): void => {
      for (const { from } of sources.get(key) ?? []) {
        if (from !== before) graph.add(before, from, { kind: 'replaced', key, reader: id });
      }
    };
    for (const key of sources.keys()) {
      const before = lastWriter.get(key);
      if (before !== undefined) order(before, key);
    }
    for (const writer of new Set(reads.map((read) => read.from))) {
      const written = transactions[writer]?.writes;
      assert(written !== undefined, 'who is read from is a transaction');
      for (const key of smallerFirst(written, sources)) if (written.has(key)) order(writer, key);
    }
    for (const key of writes) lastWriter.set(key, id);
  }
}

function addCausal(graph: OrderGraph, transactions: readonly Numbered[]): void {
  const sorted = visibleOrder(transactions).sorted();
  assert(sorted !== null, 'sessions and reads go together, or read atomic would not hold');
  const happened = happenedBefore(transactions, sorted);
  const writersOf = writersByKey(transactions);
  for (const { id, reads } of transactions) {
    const known = happened[id];
    assert(known !== undefined, 'each transaction has a vector');
    for (const { key, from } of reads) {
      for (const [session, writers] of writersOf.get(key) ?? []) {
        const before = lastWithin(writers, known[session] ?? 0);
        if (before === null || before === from) continue;
        graph.add(before, from, { kind: 'replaced', key, reader: id });
      }
    }
  }
}

/** For each transaction and session, how many of the session's happened before it. */
function happenedBefore(
  transactions: readonly Numbered[],
  sorted: readonly number[],
): readonly Uint32Array[] {
  const sessionCount = 1 + Math.max(0, ...new Set(transactions.map(({ session }) => session)));
  const happened = transactions.map(() => new Uint32Array(sessionCount));
  for (const id of sorted) {
    const transaction = transactions[id];
    const own = happened[id];
    assert(transaction !== undefined && own !== undefined, 'the order is of the transactions');
    const sources = new Set(transaction.reads.map((read) => read.from));
    if (transaction.previous !== null) sources.add(transaction.previous);
    for (const source of sources) {
      const { session, place } = transactions[source] ?? { session: 0, place: 0 };
      const theirs = happened[source] ?? own;
      for (let at = 0; at < sessionCount; at += 1) {
        own[at] = Math.max(own[at] ?? 0, theirs[at] ?? 0);
      }
      own[session] = Math.max(own[session] ?? 0, place + 1);
    }
  }
  return happened;
}

interface Writer {
  readonly id: number;
  readonly place: number;
}

function writersByKey(
  transactions: readonly Numbered[],
): ReadonlyMap<string, ReadonlyMap<number, readonly Writer[]>> {
  const byKey = new Map<string, Map<number, Writer[]>>();
  for (const { id, session, place, writes } of transactions) {
    for (const key of writes) {
      const bySession = byKey.get(key) ?? new Map<number, Writer[]>();
      byKey.set(key, bySession);
      const writers = bySession.get(session) ?? [];
      bySession.set(session, writers);
      writers.push({ id, place });
    }
  }
  return byKey;
}

/** The last writer among the first `count` transactions of its session; null if there is none. */
function lastWithin(writers: readonly Writer[], count: number): number | null {
  let low = 0;
  let high = writers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((writers[middle]?.place ?? count) < count) low = middle + 1;
    else high = middle;
  }
  return writers[low - 1]?.id ?? null;
}

function describeEdge(transactions: readonly Numbered[], edge: Edge): string {
  const name = (id: number): string => transactions[id]?.name ?? '?';
  const { from, to, reason } = edge;
  const order = `${name(from)} comes before ${name(to)}:`;
  switch (reason.kind) {
    case 'session':
      return `${order} of one session`;
    case 'read':
      return `${order} ${name(to)} read ${reason.key} of it`;
    case 'replaced':
      return (
        `${order} both wrote ${reason.key}, and ${name(reason.reader)}, ` +
        `which knew of ${name(from)}, read that of ${name(to)}`
      );
    default:
      return unreachable(reason);
  }
}
