/**
 * Outlier detection by comparison: a target whose share of failures stands out from the others'.
 *
 * Envoy compares with mean + 1.9 sigma over all. That finds no bad target among four or fewer: its
 * own value moves mean and sigma (the largest possible z of n values is sqrt(n - 1), 1.73 for
 * n = 4); and three equally bad ones of ten hide one another. So a target is compared with the
 * median of the others, sigma estimated from their median deviation; sigma is at least the sampling
 * error of its own share, and the gap at least `OUTLIER_GAP_MIN`.
 */

/** At least this many outcomes in the window before a target is judged or compared with. */
export const OUTLIER_SAMPLES_MIN = 20;
/** Envoy's factor. */
export const OUTLIER_SIGMAS = 1.9;
/** A smaller gap to the others is noise whatever sigma says. */
export const OUTLIER_GAP_MIN = 0.1;
/** Sigma of a normal distribution in units of its median absolute deviation. */
const SIGMA_PER_DEVIATION = 1.4826;

/** Outcomes of one target in the window. */
export interface OutcomeCounts {
  readonly answered: number;
  readonly failed: number;
}

/** True where `own` stands out from `others`. Others with too few outcomes are left out. */
export function isOutlier(own: OutcomeCounts, others: readonly OutcomeCounts[]): boolean {
  const total = own.answered + own.failed;
  if (total < OUTLIER_SAMPLES_MIN) return false;
  const shares = others
    .filter((other) => other.answered + other.failed >= OUTLIER_SAMPLES_MIN)
    .map((other) => other.failed / (other.answered + other.failed));
  if (shares.length === 0) return false;
  const centre = median(shares);
  const deviation = median(shares.map((share) => Math.abs(share - centre)));
  const share = own.failed / total;
  const sampling = Math.sqrt((share * (1 - share)) / total);
  const sigma = Math.max(SIGMA_PER_DEVIATION * deviation, sampling);
  return share > centre + Math.max(OUTLIER_SIGMAS * sigma, OUTLIER_GAP_MIN);
}

/** Targets of `total` that may be out by comparison at a time: a share, but one of two or more. */
export function outliersMax(total: number, ejectedPercentMax: number): number {
  if (total < 2 || ejectedPercentMax <= 0) return 0;
  return Math.max(1, Math.floor((total * ejectedPercentMax) / 100));
}

/** The middle value; of an even count the mean of the two. `values` is not empty. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? upper;
  return (lower + upper) / 2;
}
