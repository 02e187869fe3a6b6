/**
 * Whether a region is worse off with a new version. Errors count from `errorsMin` errors among
 * `requestsMin` requests on; then their rate may not be above `errorsFactor` times the larger of two
 * rates, and `errorsMarginPercent` more: the region's own before, and that of the regions which do
 * not have the version, over the time of the bake. What is wrong everywhere is not the version's.
 */

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { Counts, Stage } from './records.ts';

type Bake = NonNullable<Stage['bake']>;
type Before = NonNullable<Stage['before']>;

/** What a region says of itself. */
export interface RegionReport {
  /** Tells one process from the next. */
  readonly boot: number;
  /** The version in force there; 0: none. */
  readonly applied: number;
  /** A version that it could not take. */
  readonly refused: { readonly version: number; readonly why: string } | null;
  /** Since its process began. */
  readonly counts: Counts;
  /** In the last minutes (`beforeMs`). */
  readonly before: Counts;
  /** Targets that take no requests because of their health. */
  readonly out: readonly string[];
}

/** Why the roll-out must not go on, or null. `others`: regions without the version. */
export function judge(
  region: string,
  before: Before,
  { marks }: Bake,
  report: RegionReport,
  others: ReadonlyMap<string, RegionReport>,
): string | null {
  const own = marks.find((mark) => mark.region === region);
  if (own === undefined || own.boot !== report.boot) return 'its node restarted while it baked';
  const during = since(own.counts, report.counts);
  const elsewhere = elsewhereSince(marks, others);
  return judgeErrors(before.counts, during, elsewhere) ?? judgeTargets(before, report, others);
}

function judgeErrors(before: Counts, during: Counts, elsewhere: Counts): string | null {
  const { errorsMin, requestsMin, errorsFactor, errorsMarginPercent } = SHARED_CONFIG_LIMITS;
  if (during.errors < errorsMin || during.requests < requestsMin) return null;
  const rate = percentOf(during);
  const base = Math.max(percentOf(before), percentOf(elsewhere));
  if (rate <= base * errorsFactor + errorsMarginPercent) return null;
  return (
    `errors rose to ${rate.toFixed(1)} % (${during.errors} of ${during.requests}); ` +
    `before it was ${percentOf(before).toFixed(1)} %, elsewhere ${percentOf(elsewhere).toFixed(1)} %`
  );
}

/** A target that is out here, was in before, and is not out where the version is not. */
function judgeTargets(
  before: Before,
  report: RegionReport,
  others: ReadonlyMap<string, RegionReport>,
): string | null {
  const elsewhere = new Set([...others.values()].flatMap(({ out }) => out));
  const bad = report.out.filter((target) => !before.out.includes(target) && !elsewhere.has(target));
  return bad.length === 0 ? null : `targets fail: ${bad.join(', ')}`;
}

function elsewhereSince(marks: Bake['marks'], others: ReadonlyMap<string, RegionReport>): Counts {
  const sum = { requests: 0, errors: 0 };
  for (const { region, boot, counts } of marks) {
    const report = others.get(region);
    if (report === undefined || report.boot !== boot) continue;
    const { requests, errors } = since(counts, report.counts);
    sum.requests += requests;
    sum.errors += errors;
  }
  return sum;
}

function since(from: Counts, to: Counts): Counts {
  return { requests: to.requests - from.requests, errors: to.errors - from.errors };
}

function percentOf({ requests, errors }: Counts): number {
  return requests === 0 ? 0 : (errors / requests) * 100;
}
