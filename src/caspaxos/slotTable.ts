/**
 * What an acceptor keeps of one bucket, for a million keys: slots that were changed lately as objects,
 * all others as bytes, sorted by name, outside of what the collector of garbage walks through.
 *
 * T1: a slot reads as it was set, whether it was packed meanwhile or not (`slotTable.test.ts`).
 * T2: no call touches more than one leaf and one chunk, so that none takes long: nothing is ever moved
 *     or counted as a whole.
 *
 * A leaf is a sorted run of addresses, the tree has two levels: leaves, and the list of them. Sorted,
 * because a rescan pages through the names; no hash that a client who draws keys could unbalance.
 */

import { assert } from '../base/assert.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { Arena } from './arena.ts';
import { comparePacked, packedBallots, packedName, packSlot, unpackSlot } from './slotPack.ts';
import type { Ballot, Slot } from './types.ts';

/** Names of one leaf; a full one is cut in half. */
const LEAF_MAX = 256;

interface Leaf {
  /** No name of this leaf is below; the first leaf's is empty. */
  readonly from: string;
  readonly addresses: Uint32Array;
  count: number;
}

export type NamedSlot = readonly [name: string, slot: Slot];

export class SlotTable implements Iterable<NamedSlot> {
  readonly #liveMax: number;
  /** Changed lately, the last change last. They hide what is packed under their names. */
  readonly #live = new Map<string, Slot>();
  readonly #arena = new Arena();
  readonly #leaves: Leaf[] = [newLeaf('')];
  #packed = 0;
  /** Of those that are live, how many are packed under an older state. */
  #hidden = 0;

  /** So many slots stay objects. */
  constructor(liveMax: number = CASPAXOS_LIMITS.liveSlotsMax) {
    this.#liveMax = liveMax;
  }

  get size(): number {
    return this.#packed + this.#live.size - this.#hidden;
  }

  /** Memory of what is packed. */
  get bytes(): number {
    return this.#arena.bytes + this.#leaves.length * LEAF_MAX * 4;
  }

  get(name: string): Slot | undefined {
    const live = this.#live.get(name);
    if (live !== undefined || this.#packed === 0) return live;
    const leaf = this.#leafOf(name);
    const at = this.#placeIn(leaf, name);
    return at < 0 ? undefined : this.#unpack(leaf.addresses[at] ?? 0)[1];
  }

  has(name: string): boolean {
    return this.#live.has(name) || this.#isPacked(name);
  }

  set(name: string, slot: Slot): void {
    if (!this.#live.delete(name) && this.#isPacked(name)) this.#hidden += 1;
    this.#live.set(name, slot);
    if (this.#live.size <= this.#liveMax) return;
    const [oldest] = this.#live;
    assert(oldest !== undefined, 'what is over its limit is not empty');
    this.#pack(oldest);
  }

  /** All, in the order of their names. Not to be gone on with after a change. */
  [Symbol.iterator](): Iterator<NamedSlot> {
    return this.after('');
  }

  /** Those behind `name`, in order. Not to be gone on with after a change. */
  *after(name: string): Generator<NamedSlot, void, undefined> {
    const live = [...this.#live.keys()].filter((one) => one > name).toSorted(byCodeUnits);
    let next = 0;
    for (const [packed, address] of this.#addressesAfter(name)) {
      for (; next < live.length && (live[next] ?? '') < packed; next += 1) {
        yield this.#liveAt(live[next] ?? '');
      }
      // A live one is newer than what is packed under its name.
      if (live[next] !== packed) yield this.#unpack(address);
    }
    for (const one of live.slice(next)) yield this.#liveAt(one);
  }

  /** What was promised and what was accepted, of each in any order; of some also what was before. */
  *ballots(): Generator<readonly [promised: Ballot, accepted: Ballot], void, undefined> {
    for (const { promised, accepted } of this.#live.values()) yield [promised, accepted];
    for (const { addresses, count } of this.#leaves) {
      for (const address of addresses.subarray(0, count)) {
        yield packedBallots(this.#arena.chunkOf(address), this.#arena.offsetOf(address));
      }
    }
  }

  copy(): SlotTable {
    const copy = new SlotTable(this.#liveMax);
    // Those that stay objects come in the order in which they are to be packed.
    for (const [name, slot] of this) if (!this.#live.has(name)) copy.set(name, slot);
    for (const [name, slot] of this.#live) copy.set(name, slot);
    return copy;
  }

  #liveAt(name: string): NamedSlot {
    const slot = this.#live.get(name);
    assert(slot !== undefined, 'a table is not changed while it is gone through');
    return [name, slot];
  }

  #isPacked(name: string): boolean {
    return this.#packed > 0 && this.#placeIn(this.#leafOf(name), name) >= 0;
  }

  #unpack(address: number): NamedSlot {
    return unpackSlot(this.#arena.chunkOf(address), this.#arena.offsetOf(address));
  }

  #nameAt(address: number): string {
    return packedName(this.#arena.chunkOf(address), this.#arena.offsetOf(address));
  }

  #pack([name, slot]: NamedSlot): void {
    this.#live.delete(name);
    const bytes = packSlot(name, slot);
    const leaf = this.#leafOf(name);
    const at = this.#placeIn(leaf, name);
    if (at >= 0) {
      this.#hidden -= 1;
      leaf.addresses[at] = this.#arena.replace(leaf.addresses[at] ?? 0, bytes);
      return;
    }
    this.#packed += 1;
    const { addresses, count } = leaf;
    const place = -1 - at;
    addresses.copyWithin(place + 1, place, count);
    addresses[place] = this.#arena.add(bytes);
    leaf.count += 1;
    if (leaf.count === LEAF_MAX) this.#split(leaf);
  }
  #split(leaf: Leaf): void {
    const half = LEAF_MAX / 2;
    const upper = newLeaf(this.#nameAt(leaf.addresses[half] ?? 0));
    upper.addresses.set(leaf.addresses.subarray(half));
    upper.count = leaf.count - half;
    leaf.count = half;
    this.#leaves.splice(this.#leaves.indexOf(leaf) + 1, 0, upper);
  }

  #leafIndexOf(name: string): number {
    let [low, high] = [0, this.#leaves.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#leaves[middle]?.from ?? '') <= name) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #leafOf(name: string): Leaf {
    const leaf = this.#leaves[this.#leafIndexOf(name)];
    assert(leaf !== undefined, 'the first leaf takes every name that no other does');
    return leaf;
  }

  /** Where it stands; below 0 where it does not: -1 minus the place where it would. */
  #placeIn({ addresses, count }: Leaf, name: string): number {
    let [low, high] = [0, count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const address = addresses[middle] ?? 0;
      const order = comparePacked(
        this.#arena.chunkOf(address),
        this.#arena.offsetOf(address),
        name,
      );
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return -1 - low;
  }

  *#addressesAfter(name: string): Generator<readonly [string, number], void, undefined> {
    for (let index = this.#leafIndexOf(name); index < this.#leaves.length; index += 1) {
      const leaf = this.#leaves[index];
      if (leaf === undefined) return;
      const at = this.#placeIn(leaf, name);
      for (let place = at < 0 ? -1 - at : at + 1; place < leaf.count; place += 1) {
        const address = leaf.addresses[place] ?? 0;
        yield [this.#nameAt(address), address];
      }
    }
  }
}

function newLeaf(from: string): Leaf {
  return { from, addresses: new Uint32Array(LEAF_MAX), count: 0 };
}

function byCodeUnits(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
