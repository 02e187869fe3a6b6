/** Bytes of what commands, replies and snapshots share. Readers refuse what no writer wrote. */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import type { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { isKey } from './check.ts';
import type { AuditInput, AuditRecord, ControlEvent, KeyValue } from './types.ts';

export function writeItem(writer: ByteWriter, item: KeyValue): void {
  writer.text(item.key).text(item.type).blob(item.value);
  writer.u64(item.createRevision).u64(item.modRevision).u64(item.version);
}

export function readItem(reader: ByteReader): KeyValue {
  return {
    key: readKey(reader),
    type: reader.text(CONTROL_LIMITS.typeCharsMax),
    value: reader.blob(CONTROL_LIMITS.valueBytesMax).slice(),
    createRevision: reader.u64(),
    modRevision: reader.u64(),
    version: reader.u64(),
  };
}

/** A key; `isBad` where the text is none. */
export function readKey(reader: ByteReader): string {
  const key = reader.text(CONTROL_LIMITS.keyCharsMax);
  if (!isKey(key)) reader.isBad = true;
  return key;
}

export function writeEvent(writer: ByteWriter, event: ControlEvent): void {
  writer.bool(event.kind === 'put');
  if (event.kind === 'put') writeItem(writer, event.item);
  else writer.text(event.key);
}

export function readEvent(reader: ByteReader): ControlEvent {
  const isPut = reader.bool();
  if (isPut) return { kind: 'put', item: readItem(reader) };
  return { kind: 'delete', key: readKey(reader) };
}

export function writeAudit(writer: ByteWriter, audit: AuditInput): void {
  writer.text(audit.who).text(audit.from).text(audit.what).text(audit.why);
}

export function readAudit(reader: ByteReader): AuditInput {
  const bytesMax = CONTROL_LIMITS.auditCharsMax * 4;
  return {
    who: reader.text(bytesMax),
    from: reader.text(bytesMax),
    what: reader.text(bytesMax),
    why: reader.text(bytesMax),
  };
}

export function writeRecord(writer: ByteWriter, record: AuditRecord): void {
  writer.u64(record.revision).u64(record.timeMs);
  writeAudit(writer, record);
  writer.list(record.changes, ({ kind, key }) => writer.bool(kind === 'put').text(key));
}

export function readRecord(reader: ByteReader): AuditRecord {
  const revision = reader.u64();
  const timeMs = reader.u64();
  const input = readAudit(reader);
  const changes = reader.list(CONTROL_LIMITS.operationsMax, () => {
    return { kind: reader.bool() ? ('put' as const) : ('delete' as const), key: readKey(reader) };
  });
  return { ...input, revision, timeMs, changes };
}
