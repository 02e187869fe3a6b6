/** Shortens an acceptor's log in slices, while everything goes on: AL3 and AL4 of acceptorLog.ts. */

import type { Clock, Timers } from '../../base/ports.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import type { Persist } from '../../caspaxos/types.ts';
import { encodeDigest, type AcceptorLog } from './acceptorLog.ts';

interface DigestPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly isStopped: () => boolean;
}

/** `done` is called when it is written, or given up: the disk became full, or it is not full any more. */
export function writeDigest(
  log: AcceptorLog,
  digest: Iterator<Persist>,
  { clock, timers, isStopped }: DigestPorts,
  done: () => void,
): void {
  const { digestSliceMs, digestSliceRecords, digestSliceBytes } = REGISTER_LIMITS;
  const isLogOpen = log.diskState === 'ok';
  const index = log.beginDigest();
  const pieces: Uint8Array[] = [];
  let pieceBytes = 0;
  /** One record; the bytes that are to be written for it now. */
  const take = (persist: Persist): number => {
    // The first one is the control state: in front of all that comes from where the digest begins.
    if (isLogOpen && pieces.length > 0) return log.digest(persist);
    const piece = encodeDigest(persist);
    pieces.push(piece);
    pieceBytes += piece.length;
    return 0;
  };
  const slice = (): void => {
    if (isStopped()) return;
    if ((log.diskState === 'ok') !== isLogOpen) return done();
    if (pieceBytes > REGISTER_LIMITS.segmentBytes) return done(); // No space is kept for so much.
    const untilMs = clock.nowMs() + digestSliceMs;
    let bytes = 0;
    for (let count = 0; count < digestSliceRecords && bytes < digestSliceBytes; count += 1) {
      if (log.backlog > REGISTER_LIMITS.digestBacklogMax) break;
      const next = digest.next();
      if (next.done === true) {
        log.shorten(index, pieces);
        return done();
      }
      bytes += take(next.value);
      if (clock.nowMs() >= untilMs) break;
    }
    timers.after(digestSliceMs, slice);
  };
  timers.after(0, slice);
}
