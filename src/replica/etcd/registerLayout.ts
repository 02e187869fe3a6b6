/**
 * Leases, claims and names as keys of an etcd cluster, below a prefix:
 *
 * | key | value | goes |
 * |---|---|---|
 * | `PREFIX/registers/lease/NAME` | holder, time to live | with the etcd lease of its holder |
 * | `PREFIX/registers/claim/KEY` | owner, what for, result | with the etcd lease of its generation |
 * | `PREFIX/registers/name/NAME` | owner | when it is given back |
 */

import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { encodeUtf8 } from '../../base/bytes.ts';

const VERSION = 1;
const TEXT_BYTES_MAX = 4_096;

export interface RegisterLayout {
  readonly root: string;
  readonly leases: string;
  readonly claims: string;
  readonly names: string;
}

export function registerLayoutOf(prefix: string): RegisterLayout {
  const root = `${prefix}/registers/`;
  return { root, leases: `${root}lease/`, claims: `${root}claim/`, names: `${root}name/` };
}

export function isRegisterName(name: string): boolean {
  const bytes = encodeUtf8(name).length;
  return bytes > 0 && bytes <= REGISTER_LIMITS.nameBytesMax;
}

export interface LeaseValue {
  readonly holder: string;
  readonly ttlMs: number;
}

export function encodeLeaseValue({ holder, ttlMs }: LeaseValue): Uint8Array {
  return new ByteWriter().u8(VERSION).text(holder).u64(ttlMs).finish();
}

export function decodeLeaseValue(bytes: Uint8Array): LeaseValue | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const value = { holder: reader.text(TEXT_BYTES_MAX), ttlMs: reader.u64() };
  return reader.isDone() ? value : null;
}

export interface ClaimValue {
  readonly owner: string;
  readonly about: string;
  readonly result: string | null;
}

export function encodeClaimValue({ owner, about, result }: ClaimValue): Uint8Array {
  const writer = new ByteWriter()
    .u8(VERSION)
    .text(owner)
    .text(about)
    .bool(result !== null);
  return writer.text(result ?? '').finish();
}

export function decodeClaimValue(bytes: Uint8Array): ClaimValue | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const [owner, about] = [reader.text(TEXT_BYTES_MAX), reader.text(TEXT_BYTES_MAX)];
  const hasResult = reader.bool();
  const result = reader.text(TEXT_BYTES_MAX);
  return reader.isDone() ? { owner, about, result: hasResult ? result : null } : null;
}

export function encodeNameValue(owner: string): Uint8Array {
  return new ByteWriter().u8(VERSION).text(owner).finish();
}

export function decodeNameValue(bytes: Uint8Array): string | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const owner = reader.text(TEXT_BYTES_MAX);
  return reader.isDone() ? owner : null;
}
