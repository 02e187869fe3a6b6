/**
 * The search for the end of a long JSON string, 16 bytes at a time: two loops of WebAssembly with
 * vector instructions, written out below. It finds what the loop over words in `jsonScan.ts` finds
 * (a test holds them together) in a fifth of the time, copy included; where the platform refuses
 * WebAssembly, that loop does all the work. @hot
 */

// Node and browsers have it; the compiler configuration of cores has no type for it.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => {
    readonly exports: Readonly<Record<string, unknown>>;
  };
};

/** Bodies up to this size are copied into the module's memory, which is never larger. */
export const SIMD_BYTES_MAX: number = 1024 * 1024;
const PAGES = 17; // Of 64 KiB: the largest body, and room for what stops a search at its end.
const STOP_BYTES = 32;

const I32 = 0x7f;
const V128 = 0x7b;
const OR = [0xfd, 0x50];
const BITMASK = [0xfd, 0x64];
const LOAD = [0xfd, 0x00, 0x00, 0x00];
/** `local.get 0`, `i32.const 16`, `i32.add`: the place of the next vector. */
const ADVANCE = [0x41, 0x10, 0x6a];

/** `v128.const` with one byte in all places. */
function splat(byte: number): readonly number[] {
  return [0xfd, 0x0c, ...Array.from({ length: 16 }, () => byte)];
}

function section(id: number, content: readonly number[]): readonly number[] {
  return [id, ...size(content.length), ...content];
}

/** An unsigned LEB128. */
function size(value: number): readonly number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, value >> 7];
}

function body(lines: readonly (readonly number[])[]): readonly number[] {
  const content = [2, 1, V128, 1, I32, ...lines.flat(), 0x0b]; // Locals: 1 a vector, 2 an integer.
  return [...size(content.length), ...content];
}

/** find(at): the first quote, backslash or control character at or after `at`. */
const FIND = body([
  [0x03, 0x40], // loop
  [0x20, 0, ...LOAD, 0x21, 1], // vector = memory[at]
  [0x20, 1, ...splat(0x20), 0xfd, 0x26], // vector < 0x20, unsigned
  [0x20, 1, ...splat(0x22), 0xfd, 0x23, ...OR], // vector == '"'
  [0x20, 1, ...splat(0x5c), 0xfd, 0x23, ...OR], // vector == '\\'
  [...BITMASK, 0x22, 2, 0x45], // (hits = a bit for each byte) == 0
  [0x04, 0x40, 0x20, 0, ...ADVANCE, 0x21, 0, 0x0c, 1, 0x0b], // if: at += 16, again
  [0x0b],
  [0x20, 0, 0x20, 2, 0x68, 0x6a], // at + the number of zeros below the lowest hit
]);

/** high(end): not 0 where a byte above 0x7f stands before `end`, or in its last vector. */
const HIGH = body([
  [0x03, 0x40], // loop
  [0x20, 1, 0x20, 2, ...LOAD, ...OR, 0x21, 1], // all |= memory[at]
  [0x20, 2, ...ADVANCE, 0x22, 2, 0x20, 0, 0x48, 0x0d, 0], // at += 16, again while at < end
  [0x0b],
  [0x20, 1, ...BITMASK],
]);

const MODULE = new Uint8Array(
  [
    [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    section(1, [1, 0x60, 1, I32, 1, I32]),
    section(3, [2, 0, 0]),
    section(5, [1, 0, PAGES]),
    section(7, [3, 1, 0x6d, 2, 0, 1, 0x66, 0, 0, 1, 0x68, 0, 1]), // m: memory, f: find, h: high
    section(10, [2, ...FIND, ...HIGH]),
  ].flat(),
);

/** The module at work. One body at a time: whoever loads one owns it until another is loaded. */
export interface SimdScan {
  /** Numbers the loads: whose number is another's by now must load again before `find`. */
  ticket: number;
  /** A byte of what is loaded is above 0x7f. */
  hasNonAscii: boolean;
  /** Loads a body of at most `SIMD_BYTES_MAX`; returns its ticket, never 0. */
  load(bytes: Uint8Array): number;
  /** The first special byte at or after `at`; the length where there is none. */
  find(at: number): number;
}

function start(): SimdScan | null {
  let exports: Readonly<Record<string, unknown>>;
  try {
    ({ exports } = new WebAssembly.Instance(new WebAssembly.Module(MODULE)));
  } catch {
    return null; // Forbidden by a page's policy, or no vectors: the loop over words does the work.
  }
  const { buffer } = exports['m'] as { readonly buffer: ArrayBuffer };
  const high = exports['h'] as (end: number) => number;
  const memory = new Uint8Array(buffer);
  const scan: SimdScan = {
    ticket: 0,
    hasNonAscii: false,
    load: (bytes) => {
      memory.set(bytes);
      memory.fill(0x22, bytes.length, bytes.length + STOP_BYTES);
      scan.hasNonAscii = high(bytes.length) !== 0;
      scan.ticket += 1;
      return scan.ticket;
    },
    find: exports['f'] as (at: number) => number,
  };
  return scan;
}

/** Null where the platform has no WebAssembly with vectors. */
export const simdScan: SimdScan | null = start();
