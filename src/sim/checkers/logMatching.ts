/**
 * L2: (term, index) names one entry, and two logs that agree there agree up to there (figure 3: log
 * matching). L1: terms and log time never fall along a log.
 */

import type { RaftNode } from '../../raft/node.ts';
import type { Entry } from '../../raft/types.ts';
import type { Checker, Refute, StepSeen } from './checker.ts';

interface Known {
  readonly entry: Entry;
  /** The term of the entry before it. */
  readonly termBefore: number | null;
}

export class LogMatching implements Checker {
  private readonly refute: Refute;
  private readonly known = new Map<number, Known>();

  constructor(refute: Refute) {
    this.refute = refute;
  }

  step({ id, output, node }: StepSeen): void {
    if (output.persist === null) return;
    for (const entry of output.persist.entries) this.look(id, entry, node);
  }

  private look(id: number, entry: Entry, node: RaftNode): void {
    const { term, index } = entry;
    const before = node.entryAt(index - 1);
    if (before !== null && (before.term > term || before.timeMs > entry.timeMs)) {
      this.refute(`node ${id}: at ${index} the term or the log time falls`);
    }
    const key = index * 0x10_0000 + term;
    const known = this.known.get(key);
    if (known === undefined) {
      this.known.set(key, { entry, termBefore: before?.term ?? null });
      return;
    }
    if (known.entry !== entry && !isSame(known.entry, entry)) {
      this.refute(`node ${id} holds another entry ${index} of term ${term} than others`);
    }
    if (before !== null && known.termBefore !== null && known.termBefore !== before.term) {
      this.refute(`node ${id} agrees with others at ${index}/${term} and not before it`);
    }
  }
}

/** Whether two entries are the same in all that they hold. */
export function isSame(left: Entry, right: Entry): boolean {
  if (left.term !== right.term || left.kind !== right.kind) return false;
  if (left.timeMs !== right.timeMs || left.data.length !== right.data.length) return false;
  for (let at = 0; at < left.data.length; at += 1) {
    if (left.data[at] !== right.data[at]) return false;
  }
  return true;
}
