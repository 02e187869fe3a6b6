/** Histories of transactions in sessions, and what of them is wrong at any level of consistency. */

import { err, ok, type Result } from '../../base/result.ts';

export type TransactionStep =
  /** `value` null: the key held nothing yet. */
  | { readonly kind: 'read'; readonly key: string; readonly value: string | null }
  /** No two transactions write the same value to a key. */
  | { readonly kind: 'write'; readonly key: string; readonly value: string };

export interface Transaction {
  readonly steps: readonly TransactionStep[];
  /** Unknown: it counts as committed if somebody read what it wrote, else it is left out. */
  readonly outcome: 'committed' | 'aborted' | 'unknown';
}

/** Transactions of one client, one after the other. */
export type Session = readonly Transaction[];

/** What no level allows; `transaction` as in `Numbered.name`. */
export interface Anomaly {
  readonly kind:
    | 'thin-air' // Nobody wrote the value.
    | 'aborted' // Only an aborted transaction wrote it.
    | 'intermediate' // Its writer replaced it in the same transaction.
    | 'own-write' // The transaction wrote the key itself, and read something else.
    | 'future' // It read its own value before writing it.
    | 'ambiguous'; // Two transactions wrote the same value: the history cannot be judged.
  readonly transaction: string;
  readonly text: string;
}

/** A transaction that counts, with whom it read from. Number 0 wrote nothing to every key. */
export interface Numbered {
  readonly id: number;
  /** `session.place`, both from 0, as in the history. */
  readonly name: string;
  /** Number 0 has a session of its own, 0; those of the history follow. */
  readonly session: number;
  /** Its place among those of its session that count. */
  readonly place: number;
  readonly previous: number | null;
  /** Reads of others, in the transaction's order. */
  readonly reads: readonly { readonly key: string; readonly from: number }[];
  readonly writes: ReadonlySet<string>;
}

interface Place {
  readonly name: string;
  readonly session: number;
  readonly transaction: Transaction;
}

interface Written {
  readonly place: Place;
  readonly isFinal: boolean;
}

/** Numbers the transactions that count, or says what no level allows. */
export function readHistory(sessions: readonly Session[]): Result<readonly Numbered[], Anomaly> {
  const places = sessions.flatMap((session, index) =>
    session.map((transaction, at): Place => ({
      name: `${index}.${at}`,
      session: index + 1,
      transaction,
    })),
  );
  const written = new Map<string, Written>();
  for (const place of places) {
    const anomaly = noteWrites(place, written);
    if (anomaly !== null) return err(anomaly);
  }
  return number(counting(places, written), written);
}

function valueKey(key: string, value: string): string {
  return JSON.stringify([key, value]);
}

function noteWrites(place: Place, written: Map<string, Written>): Anomaly | null {
  const last = new Map<string, string>();
  for (const step of place.transaction.steps) {
    if (step.kind === 'write') last.set(step.key, step.value);
  }
  for (const step of place.transaction.steps) {
    if (step.kind !== 'write') continue;
    const name = valueKey(step.key, step.value);
    const other = written.get(name);
    if (other !== undefined) {
      const text = `wrote ${step.key} = ${step.value}, and so did ${other.place.name}`;
      return { kind: 'ambiguous', transaction: place.name, text };
    }
    written.set(name, { place, isFinal: last.get(step.key) === step.value });
  }
  return null;
}

/** The committed transactions, and those of unknown outcome that one of them depends on. */
function counting(
  places: readonly Place[],
  written: ReadonlyMap<string, Written>,
): readonly Place[] {
  const kept = new Set(places.filter(({ transaction }) => transaction.outcome === 'committed'));
  // A set goes on with what is added while it is walked.
  for (const place of kept) {
    for (const step of place.transaction.steps) {
      if (step.kind !== 'read' || step.value === null) continue;
      const writer = written.get(valueKey(step.key, step.value))?.place;
      if (writer?.transaction.outcome === 'unknown') kept.add(writer);
    }
  }
  return places.filter((place) => kept.has(place));
}

const NOBODY: Place = {
  name: 'the beginning',
  session: 0,
  transaction: { steps: [], outcome: 'committed' },
};

function number(
  places: readonly Place[],
  written: ReadonlyMap<string, Written>,
): Result<readonly Numbered[], Anomaly> {
  const ids = new Map<Place, number>([NOBODY, ...places].map((place, id) => [place, id]));
  const keys = new Set(
    places.flatMap(({ transaction }) => transaction.steps.map((step) => step.key)),
  );
  const first = { id: 0, name: NOBODY.name, session: 0, place: 0, previous: null, reads: [] };
  const numbered: Numbered[] = [{ ...first, writes: keys }];
  const lastOf = new Map<number, Numbered>();
  for (const place of places) {
    const reads: { readonly key: string; readonly from: number }[] = [];
    const own = new Map<string, string>();
    for (const step of place.transaction.steps) {
      if (step.kind === 'write') {
        own.set(step.key, step.value);
        continue;
      }
      const source = sourceOf(place, step, own, written);
      if (!source.ok) return source;
      if (source.value === place) continue;
      reads.push({ key: step.key, from: ids.get(source.value) ?? 0 });
    }
    const previous = lastOf.get(place.session);
    const next: Numbered = {
      id: numbered.length,
      name: place.name,
      session: place.session,
      place: previous === undefined ? 0 : previous.place + 1,
      previous: previous?.id ?? 0,
      reads,
      writes: new Set(own.keys()),
    };
    lastOf.set(place.session, next);
    numbered.push(next);
  }
  return ok(numbered);
}

/** Who wrote what `step` read: the place itself, another, or nobody. */
function sourceOf(
  place: Place,
  step: Extract<TransactionStep, { readonly kind: 'read' }>,
  own: ReadonlyMap<string, string>,
  written: ReadonlyMap<string, Written>,
): Result<Place, Anomaly> {
  const { key, value } = step;
  const refuse = (kind: Anomaly['kind'], text: string): Result<Place, Anomaly> =>
    err({ kind, transaction: place.name, text: `read ${key} = ${value}, ${text}` });
  const mine = own.get(key);
  if (mine !== undefined) {
    return mine === value ? ok(place) : refuse('own-write', `but had written ${mine}`);
  }
  if (value === null) return ok(NOBODY);
  const writer = written.get(valueKey(key, value));
  if (writer === undefined) return refuse('thin-air', 'which nobody wrote');
  const { name, transaction } = writer.place;
  if (writer.place === place) return refuse('future', 'before writing it');
  if (transaction.outcome === 'aborted') return refuse('aborted', `of ${name}, which was aborted`);
  if (!writer.isFinal) return refuse('intermediate', `which ${name} replaced before its end`);
  return ok(writer.place);
}
