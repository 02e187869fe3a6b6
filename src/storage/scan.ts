/**
 * Reading a log back: the chain of valid records, where it ends, and whether that end is the torn
 * tail of a write that nobody was told about (S5) or damage to what was durable (S6).
 */

import {
  type Block,
  BLOCK_BYTES,
  decodeBlock,
  FLAG_LAST,
  MAGIC,
  nextLink,
  readRecord,
  RECORD_HEAD_BYTES,
  RECORD,
  recordBytes,
  viewOf,
} from './layout.ts';

export interface SegmentBytes {
  readonly file: string;
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** A place in the log: which of the segments, and the offset in it. */
export interface Place {
  readonly segment: number;
  readonly at: number;
}

export interface ScannedLog {
  readonly kind: 'log';
  /** Behind the last record of the last whole persist: the next one goes here. */
  readonly end: Place;
  /** Number and link of the next record. */
  readonly sequence: number;
  readonly link: number;
  /** From here on nothing says that it is durable: it is written and synced again. */
  readonly unsure: Place;
  /** Bytes behind `end` that are neither zero nor a mark: an unfinished write. */
  readonly cutBytes: number;
}

export type Scan =
  | ScannedLog
  | { readonly kind: 'future-version'; readonly file: string }
  | {
      readonly kind: 'damaged';
      readonly file: string;
      readonly offset: number;
      readonly detail: string;
    };

/** Follows the chain through `segments`, oldest first. */
export function scanLog(segments: readonly SegmentBytes[]): Scan {
  const chain = followChain(segments);
  if (chain.future !== null) return { kind: 'future-version', file: chain.future };
  const broken = segments[chain.broken.segment];
  const durable = durableBeyond(segments, chain.broken);
  if (chain.end === null || durable >= chain.sequence) {
    return {
      kind: 'damaged',
      file: broken?.file ?? '',
      offset: chain.broken.at,
      detail:
        chain.end === null
          ? 'the log has no readable beginning'
          : `record ${chain.sequence} is not as it was written; up to ${durable} was durable`,
    };
  }
  const { end } = chain;
  return {
    kind: 'log',
    end: end.place,
    sequence: end.sequence,
    link: end.link,
    // A mark may say that even the last group is durable.
    unsure: durable >= chain.sequence - 1 ? chain.broken : chain.unsure,
    cutBytes: bytesBeyond(segments, end.place),
  };
}

interface Chain {
  readonly future: string | null;
  /** Where the chain stops, and the number of the record that should stand there. */
  readonly broken: Place;
  readonly sequence: number;
  readonly unsure: Place;
  /** Behind the last whole persist; null where there is none. */
  readonly end: { readonly place: Place; readonly sequence: number; readonly link: number } | null;
}

function followChain(segments: readonly SegmentBytes[]): Chain {
  let sequence = 0;
  let link = 0;
  let end: Chain['end'] = null;
  let unsure: Place = { segment: 0, at: BLOCK_BYTES };
  let broken: Place = { segment: 0, at: 0 };
  for (const [segment, { number, bytes, file }] of segments.entries()) {
    const head = decodeBlock(bytes, MAGIC.segment);
    if (head === 'future-version') return { future: file, broken, sequence, unsure, end };
    if (head === 'damaged' || !isNext(head, number, segment, sequence, link)) {
      if (segment === 0) broken = { segment, at: 0 };
      break;
    }
    [, sequence, link] = head.numbers;
    const view = viewOf(bytes);
    let at = BLOCK_BYTES;
    for (;;) {
      broken = { segment, at };
      const record = readRecord(bytes, view, at);
      if (record === null || record.sequence !== sequence || record.link !== link) break;
      if (record.type === RECORD.mark) break; // The next record takes its place.
      if (record.durable === sequence - 1) unsure = broken;
      sequence += 1;
      link = nextLink(link, record.crc);
      at += recordBytes(record.length);
      if ((record.flags & FLAG_LAST) !== 0) end = { place: { segment, at }, sequence, link };
    }
  }
  return { future: null, broken, sequence, unsure, end };
}

/** Whether a segment goes on where the chain stands; the first one says itself where that is. */
function isNext(
  head: Block,
  number: number,
  position: number,
  next: number,
  link: number,
): boolean {
  if (head.numbers[0] !== number) return false;
  return position === 0 || (head.numbers[1] === next && head.numbers[2] === link);
}

/** The highest record that anything readable behind `from` says was durable; -1 for nothing. */
function durableBeyond(segments: readonly SegmentBytes[], from: Place): number {
  let durable = -1;
  for (const [segment, { bytes }] of segments.entries()) {
    if (segment < from.segment) continue;
    if (segment > from.segment) {
      const head = decodeBlock(bytes, MAGIC.segment);
      // A segment is begun only when all before it is durable.
      if (typeof head !== 'string') durable = Math.max(durable, head.numbers[1] - 1);
    }
    const view = viewOf(bytes);
    const first = segment === from.segment ? from.at : BLOCK_BYTES;
    for (let at = first; at + 32 <= bytes.length; at += 8) {
      if (view.getUint32(at, true) === 0 && view.getUint32(at + 12, true) === 0) continue;
      const record = readRecord(bytes, view, at);
      if (record !== null) durable = Math.max(durable, record.durable);
    }
  }
  return durable;
}

function bytesBeyond(segments: readonly SegmentBytes[], end: Place): number {
  let count = 0;
  for (const [segment, { bytes }] of segments.entries()) {
    if (segment < end.segment) continue;
    const view = viewOf(bytes);
    for (let at = segment === end.segment ? end.at : 0; at + 8 <= bytes.length; at += 8) {
      if (view.getUint32(at, true) === 0 && view.getUint32(at + 4, true) === 0) continue;
      if (readRecord(bytes, view, at)?.type === RECORD.mark) at += RECORD_HEAD_BYTES - 8;
      else count += 8;
    }
  }
  return count;
}
