/**
 * How nodes fare, in the control state: for those without links between them. `config/regions/PEER`
 * holds what a node told last. Where there are links it is asked over those, and nothing is written.
 */

import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { ControlView } from '../control/engine.ts';
import { unchanged } from '../control/records.ts';
import type { AuditInput, Transaction } from '../control/types.ts';
import type { NodeReport } from './regionReport.ts';

const PREFIX = 'config/regions/';
const TYPE = 'config-region/1';
const NAME_BYTES = 256;
const WHY_BYTES = SHARED_CONFIG_LIMITS.refusalCharsMax * 4;

export interface StoredReport {
  readonly report: NodeReport;
  /** Rises with each time that the node tells. */
  readonly modRevision: number;
}

/** Nodes that have told, and were not taken out, by peer name. */
export function reportingPeers(view: ControlView): readonly string[] {
  const peers: string[] = [];
  // Names that are made anew with each start may be more than nodes that live.
  for (let after: string | null = ''; after !== null;) {
    const page = view.range({ prefix: PREFIX, after, keysMax: SHARED_CONFIG_LIMITS.nodesMax });
    peers.push(...page.items.map(({ key }) => key.slice(PREFIX.length)));
    after = page.next;
  }
  return peers;
}

export function readReport(view: ControlView, peer: string): StoredReport | null {
  const item = view.get(PREFIX + peer);
  const report = item?.type === TYPE ? decodeReport(item.value) : null;
  return item === null || report === null ? null : { report, modRevision: item.modRevision };
}

export function tellReport(peer: string, report: NodeReport, audit: AuditInput): Transaction {
  const value = encodeReport(report);
  const put = { kind: 'put', key: PREFIX + peer, type: TYPE, value } as const;
  return { kind: 'transaction', audit, compares: [], success: [put], failure: [] };
}

/** Takes out what a node told, unless it tells anew; null: it has told nothing. */
export function dropReport(view: ControlView, peer: string, audit: AuditInput): Transaction | null {
  const key = PREFIX + peer;
  const item = view.get(key);
  if (item === null) return null;
  const compares = [unchanged(key, item.modRevision)];
  return { kind: 'transaction', audit, compares, success: [{ kind: 'delete', key }], failure: [] };
}

export function encodeReport({
  boot,
  applied,
  refused,
  counts,
  before,
  out,
}: NodeReport): Uint8Array {
  const writer = new ByteWriter()
    .u64(boot)
    .u64(applied)
    .bool(refused !== null);
  if (refused !== null) writer.u64(refused.version).text(refused.why);
  for (const { requests, errors } of [counts, before]) writer.u64(requests).u64(errors);
  return writer.list(out, (target) => writer.text(target)).finish();
}

export function decodeReport(bytes: Uint8Array): NodeReport | null {
  const reader = new ByteReader(bytes);
  const counts = () => ({ requests: reader.u64(), errors: reader.u64() });
  const report: NodeReport = {
    boot: reader.u64(),
    applied: reader.u64(),
    refused: reader.bool() ? { version: reader.u64(), why: reader.text(WHY_BYTES) } : null,
    counts: counts(),
    before: counts(),
    out: reader.list(SHARED_CONFIG_LIMITS.outMax, () => reader.text(NAME_BYTES)),
  };
  return reader.isDone() ? report : null;
}
