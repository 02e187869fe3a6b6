/**
 * Pages of a list that is put together from several places, each in the order of names or in none. A
 * page is by name, so that rows that come and go meanwhile neither hide nor repeat others.
 */

/** Which rows. */
export interface PageAsk {
  /** The name that they come after; empty: from the first on. */
  readonly after: string;
  /** So many at most; at least 1. */
  readonly limit: number;
}

export interface Page<Row> {
  /** In the order of their names. */
  readonly items: readonly Row[];
  /** What the next page comes after; null: there is none. */
  readonly next: string | null;
}

export class PageBuilder<Row> {
  readonly #ask: PageAsk;
  #rows = new Map<string, Row>();
  /** Names above are on a later page for sure; null: not known yet. */
  #highest: string | null = null;

  constructor(ask: PageAsk) {
    this.#ask = ask;
  }

  /**
   * A row, where `read` finds one; of two of one name the first counts. False: it is on a later page,
   * with all that are behind it.
   */
  add(name: string, read: () => Row | null): boolean {
    if (this.#highest !== null && name > this.#highest) return false;
    if (name <= this.#ask.after || this.#rows.has(name)) return true;
    const row = read();
    if (row === null) return true;
    this.#rows.set(name, row);
    // One more than the page: it says whether there is a next one.
    const kept = this.#ask.limit + 1;
    if (this.#rows.size >= kept * 2) this.#trim(kept);
    return true;
  }

  page(): Page<Row> {
    const { limit } = this.#ask;
    const rows = this.#sorted();
    const last = rows[limit - 1];
    const next = rows.length > limit && last !== undefined ? last[0] : null;
    return { items: rows.slice(0, limit).map(([, row]) => row), next };
  }

  #trim(kept: number): void {
    const rows = this.#sorted().slice(0, kept);
    this.#rows = new Map(rows);
    this.#highest = rows.at(-1)?.[0] ?? null;
  }

  #sorted(): readonly (readonly [string, Row])[] {
    return [...this.#rows].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}
