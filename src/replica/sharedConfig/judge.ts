/**
 * Whether a region is worse off with a new version. Errors count from `errorsMin` errors among
 * `requestsMin` requests on; then their rate may not be above `errorsFactor` times the larger of two
 * rates, and `errorsMarginPercent` more: the region's own before, and that of the regions which do
 * not have the version, over the time of the bake. What is wrong everywhere is not the version's; so
 * few requests that they would not count against it do not speak for it either.
 * A region's requests are those of its nodes that bake; each of them may not have restarted.
 */

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { Counts, Mark, Stage } from './records.ts';
import { namesOf, sumOf, unionOf, type NodeReports } from './regionReport.ts';

type Before = NonNullable<Stage['before']>;

/** A region that bakes. */
export interface Baking {
  /** Its nodes that had the version as the bake began, and are heard. */
  readonly nodes: NodeReports;
  /** It has one node in all. */
  readonly isSingle: boolean;
}

/** Why the roll-out must not go on, or null. `others`: nodes of regions without the version. */
export function judge(
  { nodes, isSingle }: Baking,
  before: Before,
  marks: readonly Mark[],
  others: NodeReports,
): string | null {
  const restarted = marks
    .filter(({ peer, boot }) => (nodes.get(peer)?.boot ?? boot) !== boot)
    .map(({ peer }) => peer);
  if (restarted.length > 0) {
    return `${namesOf(restarted, isSingle, 'its node')} restarted while it baked`;
  }
  const during = sinceMarks(marks, nodes);
  const elsewhere = sinceMarks(marks, others);
  return judgeErrors(before.counts, during, elsewhere) ?? judgeTargets(before, nodes, others);
}

function judgeErrors(before: Counts, during: Counts, elsewhere: Counts): string | null {
  const { errorsMin, requestsMin, errorsFactor, errorsMarginPercent } = SHARED_CONFIG_LIMITS;
  if (during.errors < errorsMin || during.requests < requestsMin) return null;
  const rate = percentOf(during);
  const base = Math.max(baseOf(before), baseOf(elsewhere));
  if (rate <= base * errorsFactor + errorsMarginPercent) return null;
  return (
    `errors rose to ${rate.toFixed(1)} % (${during.errors} of ${during.requests}); ` +
    `before it was ${percentOf(before).toFixed(1)} %, elsewhere ${percentOf(elsewhere).toFixed(1)} %`
  );
}

/** A target that is out here, was in before, and is not out where the version is not. */
function judgeTargets(before: Before, nodes: NodeReports, others: NodeReports): string | null {
  const elsewhere = new Set(unionOf(others.values()));
  const bad = unionOf(nodes.values()).filter(
    (target) => !before.out.includes(target) && !elsewhere.has(target),
  );
  return bad.length === 0 ? null : `targets fail: ${bad.join(', ')}`;
}

/** What nodes counted since their marks; one that has restarted, or has none, counts for nothing. */
function sinceMarks(marks: readonly Mark[], nodes: NodeReports): Counts {
  return sumOf(
    marks.flatMap(({ peer, boot, counts }) => {
      const report = nodes.get(peer);
      return report?.boot === boot ? [since(counts, report.counts)] : [];
    }),
  );
}

function since(from: Counts, to: Counts): Counts {
  return { requests: to.requests - from.requests, errors: to.errors - from.errors };
}

function baseOf(counts: Counts): number {
  return counts.requests < SHARED_CONFIG_LIMITS.requestsMin ? 0 : percentOf(counts);
}

function percentOf({ requests, errors }: Counts): number {
  return requests === 0 ? 0 : (errors / requests) * 100;
}
