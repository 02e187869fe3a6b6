/**
 * One simulated file: what the platter holds, what the page cache holds, and which sectors differ.
 *
 * The cache is what a living system reads. A sync copies dirty sectors to the platter; a loss of
 * power leaves each dirty sector old, new or torn, drawn apart (LazyFS; TigerBeetle's storage.zig).
 */

import type { Prng } from '../base/prng.ts';

/** What a disk writes whole or not at all, unless it tears. */
export const SECTOR_BYTES = 512;

const ALLOCATED = 1;
const DIRTY = 2;

/** How likely each fate of an unsynced sector is when power goes; the rest is lost. */
export interface CrashOdds {
  /** Of reaching the platter although never synced. */
  readonly kept: number;
  /** Of being half new, half old. */
  readonly torn: number;
}

export class Inode {
  private cache = new Uint8Array(0);
  private platter = new Uint8Array(0);
  private flags = new Uint8Array(0);
  private dirty: number[] = [];
  private lengthNow = 0;
  private lengthSynced = 0;

  get length(): number {
    return this.lengthNow;
  }

  /** Sectors that a write of this range would newly take. */
  sectorsNeeded(offset: number, length: number): number {
    if (length === 0) return 0;
    let needed = 0;
    const last = Math.floor((offset + length - 1) / SECTOR_BYTES);
    for (let sector = Math.floor(offset / SECTOR_BYTES); sector <= last; sector += 1) {
      if (((this.flags[sector] ?? 0) & ALLOCATED) === 0) needed += 1;
    }
    return needed;
  }

  sectorsTaken(): number {
    let taken = 0;
    for (const flag of this.flags) taken += flag & ALLOCATED;
    return taken;
  }

  write(offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.grow(offset + bytes.length);
    this.cache.set(bytes, offset);
    this.lengthNow = Math.max(this.lengthNow, offset + bytes.length);
    this.touch(offset, bytes.length);
  }

  read(offset: number, length: number): Uint8Array {
    const end = Math.min(offset + length, this.lengthNow);
    return end <= offset ? new Uint8Array(0) : this.cache.slice(offset, end);
  }

  truncate(length: number): void {
    if (length < this.lengthNow) {
      this.cache.fill(0, length, this.lengthNow);
      this.touch(length, this.lengthNow - length);
    }
    this.grow(length);
    this.lengthNow = length;
  }

  /** Makes the cache durable. `redirect` may send a sector's bytes elsewhere on the platter. */
  sync(redirect: (sector: number) => number): void {
    for (const sector of this.dirty) {
      const from = sector * SECTOR_BYTES;
      this.flags[sector] = (this.flags[sector] ?? 0) & ~DIRTY;
      const to = redirect(sector) * SECTOR_BYTES;
      this.platter.set(this.cache.subarray(from, from + SECTOR_BYTES), to);
    }
    this.dirty = [];
    this.lengthSynced = this.lengthNow;
  }

  /** A sync that failed: the kernel drops the dirty marks, the platter keeps the old bytes. */
  failSync(): void {
    for (const sector of this.dirty) this.flags[sector] = (this.flags[sector] ?? 0) & ~DIRTY;
    this.dirty = [];
  }

  /** Loses power: what was not synced is kept, torn or lost, sector by sector. */
  losePower(prng: Prng, odds: CrashOdds): void {
    const lengthSynced = this.lengthSynced;
    for (const sector of this.dirty) {
      const draw = prng.nextFloat();
      if (draw >= odds.kept + odds.torn) continue;
      const isTorn = draw >= odds.kept;
      const from = sector * SECTOR_BYTES;
      const bytes = isTorn ? 1 + prng.nextBelow(SECTOR_BYTES - 1) : SECTOR_BYTES;
      this.platter.set(this.cache.subarray(from, from + bytes), from);
      const end = Math.min(from + bytes, this.lengthNow);
      this.lengthSynced = Math.max(this.lengthSynced, end);
    }
    if (this.lengthNow < lengthSynced && prng.nextFloat() < odds.kept) {
      this.lengthSynced = this.lengthNow; // A cut that was not synced may hold all the same.
    }
    this.platter.fill(0, this.lengthSynced);
    this.cache = this.platter.slice();
    this.lengthNow = this.lengthSynced;
    this.flags.fill(0, Math.ceil(this.lengthSynced / SECTOR_BYTES));
    for (const sector of this.dirty) this.flags[sector] = (this.flags[sector] ?? 0) & ~DIRTY;
    this.dirty = [];
  }

  /** Changes bytes on the platter and in the cache behind everyone's back. */
  damage(offset: number, change: (bytes: Uint8Array) => void, length: number): void {
    const end = Math.min(offset + length, this.lengthNow);
    change(this.cache.subarray(offset, end));
    change(this.platter.subarray(offset, end));
  }

  /** A copy as it is on the platter: what an old backup holds. */
  copyDurable(): Inode {
    const copy = new Inode();
    copy.cache = this.platter.slice();
    copy.platter = this.platter.slice();
    copy.cache.fill(0, this.lengthSynced);
    copy.platter.fill(0, this.lengthSynced);
    copy.flags = this.flags.map((flag) => flag & ALLOCATED);
    copy.lengthNow = this.lengthSynced;
    copy.lengthSynced = this.lengthSynced;
    return copy;
  }

  private touch(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / SECTOR_BYTES);
    for (let sector = Math.floor(offset / SECTOR_BYTES); sector <= last; sector += 1) {
      const flag = this.flags[sector] ?? 0;
      if ((flag & DIRTY) === 0) this.dirty.push(sector);
      this.flags[sector] = flag | ALLOCATED | DIRTY;
    }
  }

  private grow(length: number): void {
    if (length <= this.cache.length) return;
    const sectors = Math.max(Math.ceil(length / SECTOR_BYTES), this.flags.length * 2);
    const [cache, platter, flags] = [this.cache, this.platter, this.flags];
    this.cache = new Uint8Array(sectors * SECTOR_BYTES);
    this.platter = new Uint8Array(sectors * SECTOR_BYTES);
    this.flags = new Uint8Array(sectors);
    this.cache.set(cache);
    this.platter.set(platter);
    this.flags.set(flags);
  }
}
