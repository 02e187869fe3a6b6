/**
 * Damage to the durable log of a simulated machine, of kinds that the log must notice: it hits only
 * what a later write on the same platter proves to have been durable (S5, S6 of FORMAT.md).
 */

import type { Prng } from '../base/prng.ts';
import { BLOCK_BYTES } from '../storage/layout.ts';
import { scanLog, type SegmentBytes } from '../storage/scan.ts';
import type { SimDisk } from './disk.ts';
import { SECTOR_BYTES } from './diskInode.ts';

/** The data folder of every simulated machine. */
export const FOLDER = 'data';

interface Segment extends SegmentBytes {
  readonly path: string;
}

function segmentsOf(
  files: readonly { readonly path: string; readonly bytes: Uint8Array }[],
): Segment[] {
  return files
    .filter(({ path }) => path.startsWith(`${FOLDER}/`) && path.endsWith('.log'))
    .map(({ path, bytes }) => {
      const file = path.slice(FOLDER.length + 1);
      return { path, file, bytes, number: Number.parseInt(file.slice(0, 16), 16) };
    })
    .toSorted((a, b) => a.number - b.number);
}

/** Whether a living system would find an unfinished write at the end of the log. */
export function hasTornTail(disk: SimDisk): boolean {
  const scan = scanLog(segmentsOf(disk.files()));
  return scan.kind === 'log' && scan.cutBytes > 0;
}

/**
 * A byte of the log whose damage must be noticed, or null where there is none. Nor may the whole of
 * `unitBytes` around it reach into what nothing proves yet.
 */
function provenPlace(
  disk: SimDisk,
  prng: Prng,
  unitBytes: number,
): { readonly path: string; readonly offset: number } | null {
  const segments = segmentsOf(disk.durableFiles());
  const scan = scanLog(segments);
  if (scan.kind !== 'log') return null;
  const places = segments.flatMap(({ path, bytes }, at) => {
    // What the platter still names may have been removed already.
    if (at > scan.unsure.segment || disk.names.get(path) === undefined) return [];
    // The head of a segment that holds only the last group is no better proven than that group.
    const unsureAt = scan.unsure.at > BLOCK_BYTES ? scan.unsure.at : 0;
    const to = at === scan.unsure.segment ? unsureAt : usedBytes(bytes);
    return [{ path, to: to - (to % unitBytes) }];
  });
  const place = places[prng.nextBelow(Math.max(1, places.length))];
  if (place === undefined || place.to === 0) return null;
  return { path: place.path, offset: prng.nextBelow(place.to) };
}

/** Up to the last byte that is not zero. */
function usedBytes(bytes: Uint8Array): number {
  let to = bytes.length;
  while (to > 0 && bytes[to - 1] === 0) to -= 1;
  return to;
}

/** Flips a bit. False where nothing could be damaged. */
export function flipBit(disk: SimDisk, prng: Prng): boolean {
  const place = provenPlace(disk, prng, 1);
  if (place === null) return false;
  disk.flip(place.path, place.offset, 1 << prng.nextBelow(8));
  return true;
}

/** A sector is lost: it reads as zeros. */
export function zeroSector(disk: SimDisk, prng: Prng): boolean {
  const place = provenPlace(disk, prng, SECTOR_BYTES);
  if (place === null) return false;
  const sector = Math.floor(place.offset / SECTOR_BYTES);
  disk.zero(place.path, sector * SECTOR_BYTES, SECTOR_BYTES);
  return true;
}

/** A write went to another sector some time ago: that one has its bytes, its own kept the old. */
export function misdirectSector(disk: SimDisk, prng: Prng): boolean {
  const from = provenPlace(disk, prng, SECTOR_BYTES);
  const to = provenPlace(disk, prng, SECTOR_BYTES);
  if (from === null || to === null) return false;
  const source = Math.floor(from.offset / SECTOR_BYTES) * SECTOR_BYTES;
  const bytes = disk.peek(from.path).slice(source, source + SECTOR_BYTES);
  disk.overwrite(to.path, Math.floor(to.offset / SECTOR_BYTES) * SECTOR_BYTES, bytes);
  disk.zero(from.path, source, SECTOR_BYTES);
  return true;
}
