/** Edits of a body in place of parse and stringify: what is not named stays byte for byte. @hot */

import { assert } from '../base/assert.ts';

/** Replaces the bytes in [start, end) by `insert`. Equal ends insert. */
export interface ByteEdit {
  readonly start: number;
  readonly end: number;
  readonly insert: Uint8Array;
}

/** Bodies up to this size share an allocation; larger ones are better sent in pieces. */
export const SHARED_BYTES_MAX = 16 * 1024;
const SLAB_BYTES = 256 * 1024;

/** Rest of the slab that is handed out next. */
let slab = new Uint8Array(0);

/**
 * Room for one body. A typed array of its own costs more than filling it does (1.5 µs for 2 KB), so
 * that small ones are cut from a slab; it is freed when the last of its bodies is.
 */
function allocate(bytes: number): Uint8Array {
  if (bytes > SHARED_BYTES_MAX) return new Uint8Array(bytes);
  if (slab.length < bytes) slab = new Uint8Array(SLAB_BYTES);
  const room = slab.subarray(0, bytes);
  slab = slab.subarray(bytes);
  return room;
}

/**
 * The pieces that `bytes` consists of after the edits, which must be in ascending order and apart.
 * What stays is not copied.
 */
export function editPieces(bytes: Uint8Array, edits: readonly ByteEdit[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (const edit of edits) {
    assert(edit.start >= from && edit.end >= edit.start, 'edits ascend and do not overlap');
    if (edit.start > from) pieces.push(bytes.subarray(from, edit.start));
    if (edit.insert.length > 0) pieces.push(edit.insert);
    from = edit.end;
  }
  assert(from <= bytes.length, 'edits lie within the bytes');
  if (from < bytes.length) pieces.push(bytes.subarray(from));
  return pieces;
}

/** Applies edits, which must be in ascending order and apart. No edits: `bytes` itself. */
export function editBytes(bytes: Uint8Array, edits: readonly ByteEdit[]): Uint8Array {
  if (edits.length === 0) return bytes;
  let length = bytes.length;
  let last = 0;
  for (const edit of edits) {
    assert(edit.start >= last && edit.end >= edit.start, 'edits ascend and do not overlap');
    last = edit.end;
    length += edit.insert.length - (edit.end - edit.start);
  }
  assert(last <= bytes.length, 'edits lie within the bytes');
  const edited = allocate(length);
  let from = 0;
  let to = 0;
  for (const edit of edits) {
    edited.set(bytes.subarray(from, edit.start), to);
    to += edit.start - from;
    edited.set(edit.insert, to);
    to += edit.insert.length;
    from = edit.end;
  }
  edited.set(bytes.subarray(from), to);
  return edited;
}
