/**
 * Requests for the measurement of balancing, from public traces (see `docs/internals/balancing.md`):
 * Azure 2023 conversation (CC-BY 4.0, Splitwise, ISCA'24): lengths drawn in pairs, Poisson arrivals;
 * Mooncake conversation (Apache-2.0, FAST'25): arrivals, lengths and shared prefix blocks.
 */

import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { hashText, type Prng } from '../src/base/prng.ts';

/** One request of a workload, in order of arrival. */
export interface Arrival {
  readonly atMs: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Chained prefix blocks of 512 tokens; empty: nothing is shared. */
  readonly blocks: readonly number[];
  readonly sessionKey: string | null;
  readonly prefixHash: number;
}

interface MooncakeRow {
  readonly atMs: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly blocks: readonly number[];
  /** Index of the conversation. */
  readonly root: number;
}

/** The text of a gzipped trace, or null where it is not on this machine. */
export function readTrace(folder: string, name: string): string | null {
  const path = `${folder}/${name}`;
  return existsSync(path) ? gunzipSync(readFileSync(path)).toString('utf8') : null;
}

/** Pairs of prompt and output tokens. */
export function parseAzure(text: string): readonly (readonly [number, number])[] {
  const rows: (readonly [number, number])[] = [];
  for (const line of text.trim().split('\n').slice(1)) {
    const [, prompt, output] = line.split(',');
    rows.push([Number(prompt), Number(output)]);
  }
  return rows;
}

/** Poisson arrivals at `perSecond` for `seconds`, lengths drawn from `rows` in pairs. */
export function azureArrivals(
  rows: readonly (readonly [number, number])[],
  perSecond: number,
  seconds: number,
  prng: Prng,
): readonly Arrival[] {
  const arrivals: Arrival[] = [];
  let atMs = 0;
  for (;;) {
    atMs += (-Math.log(1 - prng.nextFloat()) * 1_000) / perSecond;
    if (atMs > seconds * 1_000) return arrivals;
    const [promptTokens, outputTokens] = rows[prng.nextBelow(rows.length)] ?? [1, 1];
    arrivals.push({
      atMs,
      promptTokens,
      outputTokens,
      blocks: [],
      sessionKey: null,
      prefixHash: 0,
    });
  }
}

/** Reads the trace and finds each request's conversation by its chain of blocks. */
export function parseMooncake(text: string): readonly MooncakeRow[] {
  const rows: MooncakeRow[] = [];
  // A conversation's last whole block leads to its next turn.
  const rootOfBlock = new Map<number, number>();
  for (const line of text.trim().split('\n')) {
    const row = JSON.parse(line) as {
      timestamp: number;
      input_length: number;
      output_length: number;
      hash_ids: number[];
    };
    const blocks = row.hash_ids;
    let root = rows.length;
    for (let index = blocks.length - 1; index >= 1; index -= 1) {
      const known = rootOfBlock.get(blocks[index] ?? -1);
      if (known === undefined) continue;
      root = known;
      break;
    }
    for (const block of blocks.slice(1)) if (!rootOfBlock.has(block)) rootOfBlock.set(block, root);
    rows.push({
      atMs: row.timestamp,
      promptTokens: row.input_length,
      outputTokens: row.output_length,
      blocks,
      root,
    });
  }
  return rows;
}

/**
 * Whole conversations, each taken `factor` times on average (copies have blocks of their own but
 * the shared first one, and begin elsewhere in the hour), within `seconds`. The trace's ticks of
 * 3 s are spread evenly.
 */
export function mooncakeArrivals(
  rows: readonly MooncakeRow[],
  factor: number,
  seconds: number,
  hasSessions: boolean,
  prng: Prng,
): readonly Arrival[] {
  const hourMs = 3_537_000;
  const copies = new Map<number, number>();
  const shifts = new Map<string, number>();
  const arrivals: Arrival[] = [];
  for (const row of rows) {
    let count = copies.get(row.root);
    if (count === undefined) {
      count = Math.floor(factor) + (prng.nextFloat() < factor % 1 ? 1 : 0);
      copies.set(row.root, count);
    }
    const jitterMs = prng.nextFloat() * 3_000;
    for (let copy = 0; copy < count; copy += 1) {
      const key = `${row.root}/${copy}`;
      let shiftMs = shifts.get(key);
      if (shiftMs === undefined) {
        shiftMs = copy === 0 ? 0 : prng.nextFloat() * hourMs;
        shifts.set(key, shiftMs);
      }
      const atMs = (row.atMs + jitterMs + shiftMs) % hourMs;
      if (atMs > seconds * 1_000) continue;
      const blocks = row.blocks.map((block) => (block === 0 ? 0 : block + copy * 1_000_000));
      arrivals.push({
        atMs,
        promptTokens: row.promptTokens,
        outputTokens: row.outputTokens,
        blocks,
        sessionKey: hasSessions ? key : null,
        // As the gateway's: the beginning of the prompt up to the first message of the user.
        prefixHash: hashText(blocks.slice(0, 2).join('/')),
      });
    }
  }
  return arrivals.toSorted((a, b) => a.atMs - b.atMs);
}
