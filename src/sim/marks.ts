/**
 * What a swarm of runs must have met ("sometimes" assertions): a simulator that never gets a
 * snapshot into a joint configuration proves nothing about it. `needed` marks must be reached by
 * any few hundred seeds; the rest are told in the report.
 */

interface MarkEntry {
  readonly isNeeded: boolean;
}

const needed: MarkEntry = { isNeeded: true };
const told: MarkEntry = { isNeeded: false };

export const MARKS = {
  'leader elected': needed,
  'leader stepped down': needed,
  'leadership transferred': needed,
  'election lost': needed,
  'log cut where it conflicted': needed,
  'entry of an older term committed': needed,
  'proposal refused for certain': needed,
  'proposal without a known outcome': needed,
  'proposal superseded': needed,
  'read at a follower': needed,
  'read lost': needed,
  'snapshot taken': needed,
  'snapshot sent in chunks': needed,
  'snapshot installed': needed,
  'snapshot taken in a joint configuration': needed,
  'snapshot installed in a joint configuration': told,
  'start from a snapshot': needed,
  'joint configuration': needed,
  'joint configuration left': needed,
  'configuration reverted': told,
  'member added': needed,
  'learner promoted': needed,
  'voter demoted': needed,
  'voter removed': needed,
  'leader removed': needed,
  'removed node told': needed,
  'lost disk replaced by a new id': needed,
  'used id refused': needed,
  'process killed': needed,
  'power lost': needed,
  'power lost everywhere': needed,
  'process paused': needed,
  'leader paused': needed,
  'crash loop': needed,
  'crash while joining': told,
  'torn tail cut': needed,
  'sync failed': needed,
  'disk full': needed,
  'disk stalled': needed,
  'damaged log refused': needed,
  'lost disk refused': needed,
  'disk of another node refused': needed,
  'old disk of a removed node came back': needed,
  'lost log noticed': told,
  'clock drifting': needed,
  'clock frozen': needed,
  'clock jumped': needed,
  'wall clock stepped': needed,
  'partition in halves': needed,
  'partition with a bridge': needed,
  'partition into a chain': needed,
  'partition into a ring': needed,
  'leader cut off': needed,
  'leader deaf': needed,
  'leader cut off with a slow clock': needed,
  'link cut one way': needed,
  'link flapping': needed,
  'swizzle clog': needed,
  'message lost': needed,
  'message doubled': needed,
  'message from the past': needed,
  'message at the wrong address': needed,
  'corrupt frame caught': needed,
  'message refused by its receiver': needed,
  'session expired': needed,
  'call answered twice': needed,
  'feature level raised': needed,
  'old program refused': needed,
  'checkpoint taken': needed,
  'core alone made progress': needed,
  'history left undecided': told,
} as const satisfies Readonly<Record<string, MarkEntry>>;

export type Mark = keyof typeof MARKS;

/** How often each mark was reached. */
export class Marks {
  readonly counts = new Map<Mark, number>();

  reach(mark: Mark): void {
    this.counts.set(mark, (this.counts.get(mark) ?? 0) + 1);
  }

  has(mark: Mark): boolean {
    return this.counts.has(mark);
  }
}

/** Needed marks that `reached` lacks, in the order of the table. */
export function missingMarks(reached: { readonly has: (mark: Mark) => boolean }): readonly Mark[] {
  const names = Object.keys(MARKS) as readonly Mark[];
  return names.filter((mark) => MARKS[mark].isNeeded && !reached.has(mark));
}
