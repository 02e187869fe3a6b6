/**
 * What an operator can do to the shared configuration, as transactions. Each is compared with the
 * head that was read, so that of two at once one is told of a conflict and nothing is lost.
 *
 * SC1: a version never changes its text; a rollback is a new version with the text of an old one.
 * SC2: a new version begins only where no roll-out is under way, or ends it as an emergency.
 * SC3: of the history the oldest versions go; what is in force anywhere, or on its way, stays.
 */

import { encodeUtf8 } from '../../base/bytes.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { ControlView } from '../control/engine.ts';
import { unchanged } from '../control/records.ts';
import type { AuditInput, Operation, Transaction } from '../control/types.ts';
import {
  deleteVersion,
  HEAD_KEY,
  listVersions,
  putHead,
  putText,
  putVersion,
  readVersion,
  type ConfigHead,
  type ConfigVersion,
  type Rollout,
  type StoredHead,
} from './records.ts';

/** A text that is to count everywhere. */
export interface NewVersion {
  readonly text: string;
  /** The version whose text it is; 0: a new one. */
  readonly of: number;
  /** All regions at once. */
  readonly isEmergency: boolean;
  readonly bakeMs: number;
  readonly order: readonly string[];
  readonly timeMs: number;
}

/** Does nothing where the head has changed since it was read. */
export function startVersion(
  view: ControlView,
  stored: StoredHead,
  next: NewVersion,
  audit: AuditInput,
): Transaction {
  const { head } = stored;
  const { text, of, isEmergency, bakeMs, order, timeMs } = next;
  const version = head.newest + 1;
  const record: ConfigVersion = {
    version,
    kind: of === 0 ? 'push' : 'rollback',
    of,
    isEmergency,
    outcome: isEmergency ? 'everywhere' : 'rolling-out',
    who: audit.who,
    from: audit.from,
    why: audit.why,
    timeMs,
    bytes: encodeUtf8(text).length,
  };
  const rollout: Rollout = {
    version,
    startedMs: timeMs,
    bakeMs,
    order,
    done: [],
    stage: null,
    halted: '',
  };
  const after: ConfigHead = isEmergency
    ? { newest: version, base: version, rollout: null }
    : { newest: version, base: head.base, rollout };
  return changeHead(stored, after, audit, [
    putVersion(record),
    putText(version, text),
    ...outcomeOf(view, head.rollout, 'replaced'),
    ...trimmed(view, after, head, record.bytes),
  ]);
}

/** The regions that a roll-out has reached go back to what the others have, at once. */
export function endRollout(view: ControlView, stored: StoredHead, audit: AuditInput): Transaction {
  const { head } = stored;
  const more = outcomeOf(view, head.rollout, 'rolled-back');
  return changeHead(stored, { ...head, rollout: null }, audit, more);
}

/** A halted roll-out goes on; the region that it is at bakes anew, against its errors of now. */
export function resumeRollout(
  stored: StoredHead,
  rollout: Rollout,
  nowMs: number,
  audit: AuditInput,
): Transaction {
  const { stage } = rollout;
  const again = stage === null ? null : { ...stage, startedMs: nowMs, before: null, bake: null };
  const resumed = { ...rollout, halted: '', stage: again };
  return changeHead(stored, { ...stored.head, rollout: resumed }, audit, []);
}

/** Puts the head as it is to be, and what belongs to it, where nobody has changed it since. */
export function changeHead(
  { modRevision }: StoredHead,
  head: ConfigHead,
  audit: AuditInput,
  more: readonly Operation[],
): Transaction {
  return {
    kind: 'transaction',
    audit,
    compares: [unchanged(HEAD_KEY, modRevision)],
    success: [putHead(head), ...more],
    failure: [],
  };
}

/** What became of the version of a roll-out that ends. */
export function outcomeOf(
  view: ControlView,
  rollout: Rollout | null,
  outcome: ConfigVersion['outcome'],
): readonly Operation[] {
  const version = rollout === null ? null : readVersion(view, rollout.version);
  return version === null ? [] : [putVersion({ ...version, outcome })];
}

/** The oldest go until there is room for one more of `bytes`. */
function trimmed(
  view: ControlView,
  after: ConfigHead,
  before: ConfigHead,
  bytes: number,
): readonly Operation[] {
  const kept = listVersions(view);
  let count = kept.length + 1;
  let sum = kept.reduce((total, version) => total + version.bytes, bytes);
  const operations: Operation[] = [];
  // A version that is replaced just now is still in force until the nodes have heard.
  const inUse = new Set([after.base, before.base, before.rollout?.version]);
  for (const version of kept) {
    const { versionsMax, historyBytesMax } = SHARED_CONFIG_LIMITS;
    if (count <= versionsMax && sum <= historyBytesMax) break;
    if (inUse.has(version.version) || operations.length >= TRIM_MAX) continue;
    operations.push(...deleteVersion(version.version));
    count -= 1;
    sum -= version.bytes;
  }
  return operations;
}

/** Operations of one trimming: the transaction has a limit, and the next push goes on with it. */
const TRIM_MAX = 100;
