/** A long log for the recovery part, written through the log's own code: minutes of puts in seconds. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { STORAGE_LIMITS } from '../../src/base/limits.ts';
import { NodeDisk } from '../../src/io/disk/nodeDisk.ts';
import { encodeSessionCommand } from '../../src/raft/sessions.ts';
import { ENTRY_KINDS } from '../../src/raft/types.ts';
import { encodeKvCommand } from '../../src/replica/kv/codec.ts';
import { openLog, type OpenedLog } from '../../src/storage/open.ts';
import type { LogEntry, LogOptions } from '../../src/storage/types.ts';

const BATCH = 4_096;

/** Appends `entries` committed puts of the keys in order to the new member in `folder`. */
export async function fillBanyanLog(
  folder: string,
  entries: number,
  valueBytes: number,
  keys: number,
): Promise<void> {
  // Trusted: the benchmark wrote it.
  const config = JSON.parse(readFileSync(join(folder, 'kv.json'), 'utf8')) as {
    readonly cluster: string;
    readonly id: number;
  };
  const waiting = new Map<number, () => void>();
  const { log, recovered } = await open(join(folder, 'data'), {
    folder: 'log',
    cluster: config.cluster,
    node: config.id,
    mode: { kind: 'open', incarnation: null },
    kinds: ENTRY_KINDS,
    segmentBytes: STORAGE_LIMITS.segmentBytes,
  });
  const { term } = recovered.hardState;
  const first = (recovered.entries.at(-1)?.index ?? 0) + 1;
  const value = new Uint8Array(valueBytes).fill(120);
  let seq = 0;
  for (let from = 0; from < entries; from += BATCH) {
    const count = Math.min(BATCH, entries - from);
    const batch = Array.from({ length: count }, (_, at): LogEntry => {
      const key = `bench-${String((from + at) % keys).padStart(8, '0')}`;
      const payload = encodeKvCommand({ kind: 'put', key, value });
      const data = encodeSessionCommand({ kind: 'plain', payload });
      return { term, index: first + from + at, kind: 'command', timeMs: from, data };
    });
    seq += 1;
    const commit = first + from + count - 1;
    log.persist({
      seq,
      hardState: { term, votedFor: config.id, commit },
      snapshot: null,
      isLogDiscarded: false,
      entries: batch,
      compactTo: 0,
    });
    await new Promise<void>((resolve) => waiting.set(seq, resolve));
  }
  await new Promise<void>((resolve) => log.close(resolve));

  function open(root: string, options: LogOptions): Promise<OpenedLog> {
    const events = {
      persisted(done: number): void {
        waiting.get(done)?.();
        waiting.delete(done);
      },
      disk(state: string, detail: string): void {
        if (state !== 'ok') throw new Error(`the log is ${state}: ${detail}`);
      },
    };
    return new Promise((resolve, reject) => {
      openLog(new NodeDisk(root), options, events, (opened) => {
        if (opened.ok) resolve(opened.value);
        else reject(new Error(`the log does not open: ${JSON.stringify(opened.error)}`));
      });
    });
  }
}
