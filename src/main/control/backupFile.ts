/** Backups as files: SHA-256 for the format, reading one, and what is wrong with one in a sentence. */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

import { err, ok, type Result } from '../../base/result.ts';
import {
  BackupReader,
  type Backup,
  type BackupDigest,
  type BackupFault,
} from '../../replica/control/backup.ts';

export interface BackupFile {
  readonly backup: Backup;
  readonly bytes: number;
  /** Hex, of all that the hash in the file covers. */
  readonly sha256: string;
}

export interface Sha256 extends BackupDigest {
  /** Hex; null until it is finished. */
  readonly hex: string | null;
}

export function sha256(): Sha256 {
  const hash = createHash('sha256');
  let hex: string | null = null;
  return {
    get hex() {
      return hex;
    },
    update: (bytes) => void hash.update(bytes),
    finish() {
      const sum = hash.digest();
      hex = sum.toString('hex');
      return sum;
    },
  };
}

/** The error is for people. */
export async function readBackupFile(file: string): Promise<Result<BackupFile, string>> {
  const digest = sha256();
  const reader = new BackupReader(digest);
  let bytes = 0;
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 256 * 1024 })) {
      if (!Buffer.isBuffer(chunk)) continue;
      bytes += chunk.length;
      const fault = reader.push(chunk);
      if (fault !== null) return err(`${file}: ${sentenceOfFault(fault)}`);
    }
  } catch (cause) {
    return err(cause instanceof Error ? cause.message : String(cause));
  }
  const told = reader.end();
  if ('kind' in told) return err(`${file}: ${sentenceOfFault(told)}`);
  return ok({ backup: told, bytes, sha256: digest.hex ?? '' });
}

export function sentenceOfFault(fault: BackupFault): string {
  switch (fault.kind) {
    case 'no-backup':
      return 'this is no backup of Banyan';
    case 'future-version':
      return `it has version ${fault.version} of the format; this program reads version 1`;
    case 'truncated':
      return `it ends in the middle, after ${fault.offset} bytes`;
    case 'damaged':
      return `it is damaged at byte ${fault.offset}: ${fault.detail}`;
  }
}
