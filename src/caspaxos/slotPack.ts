/**
 * A slot with its name as few bytes: what an acceptor keeps in memory of a key that rests. Nothing of
 * it is stored or sent, so that it may change with any version. @hot
 *
 * A name is compared where it lies, in the order of `compareKeys`: by UTF-16 code units, one byte each
 * where the text is ASCII, else two.
 */

import { assert } from '../base/assert.ts';
import { decodeUtf8 } from '../base/bytes.ts';
import { get24, LENGTH_BYTES, set24 } from './arena.ts';
import type { Ballot, Slot } from './types.ts';

/** Grows with the largest slot that was ever packed. */
let scratch = new Uint8Array(4 * 1024);
let end = 0;

/** The bytes of a slot: a view that holds until the next call. */
export function packSlot(name: string, { promised, accepted, register }: Slot): Uint8Array {
  const { version, value, recent } = register;
  let most = 128 + name.length * 2 + value.length;
  for (const id of recent) most += 8 + id.length * 2;
  if (most > scratch.length) scratch = new Uint8Array(most * 2);
  end = LENGTH_BYTES;
  putText(name);
  putBallot(promised);
  putBallot(accepted);
  putNumber(version);
  putNumber(value.length);
  scratch.set(value, end);
  end += value.length;
  putNumber(recent.length);
  for (const id of recent) putText(id);
  assert(end < 2 ** 24, 'a slot is shorter than its length can say');
  set24(scratch, 0, end);
  return scratch.subarray(0, end);
}

/** What was packed at `at`. */
export function unpackSlot(bytes: Uint8Array, at: number): readonly [name: string, slot: Slot] {
  const reader = new PackReader(bytes, at + LENGTH_BYTES);
  const name = reader.text();
  const promised = reader.ballot();
  const accepted = reader.ballot();
  const version = reader.number();
  const value = reader.bytes();
  const recent: string[] = [];
  for (let left = reader.number(); left > 0; left -= 1) recent.push(reader.text());
  assert(reader.at === at + get24(bytes, at), 'a slot is read as it was packed');
  return [name, { promised, accepted, register: { version, value, recent } }];
}

/** Negative where the name that is packed at `at` comes before `name`, 0 where it is the same. */
export function comparePacked(bytes: Uint8Array, at: number, name: string): number {
  let from = at + LENGTH_BYTES;
  let head = bytes[from++] ?? 0;
  for (let byte = head, scale = 128; byte >= 128; scale *= 128) {
    byte = bytes[from++] ?? 0;
    head += (byte - 1) * scale;
  }
  const length = head >>> 1;
  const shared = Math.min(length, name.length);
  if (head % 2 === 0) {
    for (let index = 0; index < shared; index += 1) {
      const difference = (bytes[from + index] ?? 0) - name.charCodeAt(index);
      if (difference !== 0) return difference;
    }
  } else {
    for (let index = 0; index < shared; index += 1, from += 2) {
      const unit = (bytes[from] ?? 0) + (bytes[from + 1] ?? 0) * 256;
      if (unit !== name.charCodeAt(index)) return unit - name.charCodeAt(index);
    }
  }
  return length - name.length;
}

/** The name that is packed at `at`. */
export function packedName(bytes: Uint8Array, at: number): string {
  return new PackReader(bytes, at + LENGTH_BYTES).text();
}

/** The ballots of what is packed at `at`: what was promised, what was accepted. */
export function packedBallots(bytes: Uint8Array, at: number): readonly [Ballot, Ballot] {
  const reader = new PackReader(bytes, at + LENGTH_BYTES);
  reader.skipText();
  return [reader.ballot(), reader.ballot()];
}

/** Seven bits a byte, the lowest first. */
function putNumber(value: number): void {
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) scratch[end++] = (left % 128) + 128;
  scratch[end++] = left;
}

function putBallot({ epoch, counter, proposer }: Ballot): void {
  putNumber(epoch);
  putNumber(counter);
  putNumber(proposer);
}

function putText(text: string): void {
  const { length } = text;
  const from = end;
  putNumber(length * 2);
  for (let index = 0; index < length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit >= 128) return putWide(text, from);
    scratch[end++] = unit;
  }
}

function putWide(text: string, from: number): void {
  end = from;
  putNumber(text.length * 2 + 1);
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    scratch[end++] = unit;
    scratch[end++] = unit >>> 8;
  }
}

class PackReader {
  readonly #bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  number(): number {
    let value = this.#bytes[this.at++] ?? 0;
    for (let byte = value, scale = 128; byte >= 128; scale *= 128) {
      byte = this.#bytes[this.at++] ?? 0;
      value += (byte - 1) * scale;
    }
    return value;
  }

  ballot(): Ballot {
    return { epoch: this.number(), counter: this.number(), proposer: this.number() };
  }

  bytes(): Uint8Array {
    const length = this.number();
    this.at += length;
    return this.#bytes.slice(this.at - length, this.at);
  }

  text(): string {
    const head = this.number();
    const length = Math.floor(head / 2);
    if (head % 2 === 0) {
      this.at += length;
      return decodeUtf8(this.#bytes.subarray(this.at - length, this.at));
    }
    let text = '';
    for (let left = length; left > 0; left -= 1, this.at += 2) {
      text += String.fromCharCode(
        (this.#bytes[this.at] ?? 0) + (this.#bytes[this.at + 1] ?? 0) * 256,
      );
    }
    return text;
  }

  skipText(): void {
    const head = this.number();
    this.at += Math.floor(head / 2) * (1 + (head % 2));
  }
}
