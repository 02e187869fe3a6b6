/**
 * Who is under way, where members come and go all the time. @hot
 *
 * Not a `Set`: V8 makes a set that is deleted from a new table every few dozen changes, and each old
 * table points to the new one. Once one of them is old, every later one counts as reachable, and all
 * that it ever held is carried into the old generation: whole exchanges, with their requests.
 *
 * R1: `members[entry.rosterIndex] === entry` for whoever is in; -1 for whoever is not.
 */

import { assert } from './assert.ts';

/** What can be in one roster at a time. */
export interface RosterEntry {
  /** Where it stands; -1: in no roster. The roster's to write. */
  rosterIndex: number;
}

/** Members in no order. */
export class Roster<T extends RosterEntry> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  add(entry: T): void {
    assert(entry.rosterIndex === -1, 'an entry is in one roster, once');
    entry.rosterIndex = this.#members.length;
    this.#members.push(entry);
  }

  /** Takes it out; the last one moves to its place. */
  delete(entry: T): void {
    const index = entry.rosterIndex;
    assert(this.#members[index] === entry, 'only who is in can leave');
    const last = this.#members.pop();
    if (last !== undefined && last !== entry) {
      this.#members[index] = last;
      last.rosterIndex = index;
    }
    entry.rosterIndex = -1;
  }

  /** Everyone who is in now; they may leave while it is gone through. */
  all(): readonly T[] {
    return this.#members.slice();
  }
}
