/**
 * Faults of disks. What only delays or fails leaves the disk sound; what changes or loses bytes makes
 * it damaged, which the atlas must allow: the node may then say no more under its number.
 */

import { flipBit, misdirectSector, zeroSector } from './damage.ts';
import type { SimDisk } from './disk.ts';
import type { FAULT_GROUPS } from './faults.ts';
import type { Hit, Strike } from './nemesis.ts';
import type { SimNode } from './node.ts';
import { pickOne } from './streams.ts';
import type { Prng } from '../base/prng.ts';

type Kind = (typeof FAULT_GROUPS)['disk'][number];

/** A machine whose disk may be damaged now, and that has had one for a while. */
function pickVictim(hit: Hit): SimNode | null {
  const { atlas } = hit.world;
  const fit = hit.machines().filter((node) => node.hasFolder && atlas.mayDamage(node.id));
  return pickOne(hit.prng, fit);
}

/** Damages the log of a machine and starts it again, so that it meets the damage. */
function damage(hit: Hit, change: (disk: SimDisk, prng: Prng) => boolean): void {
  const node = pickVictim(hit);
  if (node === null) return;
  const isPowerLost = hit.prng.nextBelow(2) === 0;
  node.kill(isPowerLost);
  if (change(node.disk, hit.prng)) {
    hit.tell(`the log of node ${node.id}`);
    node.isDamaged = true;
    node.mustRefuse = true;
  }
  hit.after(20 + hit.prng.nextBelow(300), () => node.start());
}

/** For a while, `begin` holds for the disk of a running node. */
function disturb(hit: Hit, begin: (disk: SimDisk) => () => void, what: string): void {
  const node = hit.pickRunning();
  if (node === null) return;
  hit.tell(`node ${node.id}: ${what} for ${hit.fault.forMs} ms`);
  const end = begin(node.disk);
  hit.after(hit.fault.forMs, end);
}

export const DISK_FAULTS: Readonly<Record<Kind, Strike>> = {
  stall: (hit) =>
    disturb(
      hit,
      ({ faults }) => {
        faults.stallChance = 1;
        faults.stallMs = hit.fault.forMs * (1 + hit.prng.nextBelow(3));
        return () => {
          if (hit.world.isHealed) return;
          faults.stallChance = hit.world.plan.disk.stallChance;
          faults.stallMs = hit.world.plan.disk.stallMs;
        };
      },
      'syncs stall',
    ),
  full: (hit) =>
    disturb(
      hit,
      (disk) => {
        disk.faults.capacityBytes = disk.usedBytes() + hit.prng.nextBelow(4_096);
        return () => {
          disk.faults.capacityBytes = Number.MAX_SAFE_INTEGER;
        };
      },
      'no space',
    ),
  'fail-sync': (hit) => {
    const node = hit.pickRunning();
    if (node === null) return;
    hit.tell(`node ${node.id}`);
    hit.world.marks.reach('sync failed');
    node.disk.failNext('sync', 'io');
  },
  'fail-write': (hit) => {
    const node = hit.pickRunning();
    if (node === null) return;
    hit.tell(`node ${node.id}`);
    node.disk.failNext('write', 'io');
  },
  flip: (hit) => damage(hit, flipBit),
  zero: (hit) => damage(hit, zeroSector),
  misdirect: (hit) => damage(hit, misdirectSector),
  wipe: (hit) => {
    const node = pickVictim(hit);
    if (node === null) return;
    hit.tell(`node ${node.id} loses its disk`);
    node.kill(true);
    node.loseDisk();
    node.isDamaged = true;
    node.mustRefuse = true;
    hit.after(20 + hit.prng.nextBelow(300), () => node.start());
  },
  // A disk is put into the wrong machine.
  swap: (hit) => {
    const node = pickVictim(hit);
    const other = pickOne(
      hit.prng,
      hit
        .machines()
        .filter((machine) => machine !== node && machine.hasFolder && !machine.isDamaged),
    );
    if (node === null || other === null) return;
    hit.tell(`node ${node.id} gets a copy of the disk of node ${other.id}`);
    node.kill(true);
    node.disk.restore(other.disk.backup());
    node.isDamaged = true;
    node.mustRefuse = true;
    hit.after(20 + hit.prng.nextBelow(300), () => node.start());
  },
};
