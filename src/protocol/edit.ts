/** Edits of a body in place of parse and stringify: what is not named stays byte for byte. @hot */

import { assert } from '../base/assert.ts';

/** Replaces the bytes in [start, end) by `insert`. Equal ends insert. */
export interface ByteEdit {
  readonly start: number;
  readonly end: number;
  readonly insert: Uint8Array;
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
  const edited = new Uint8Array(length);
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
