/**
 * Outlier detection by comparison: a target whose share of failures stands out from the others'.
 *
 * Envoy's rule (mean + 1.9 sigma over all) cannot find one bad target among five or fewer: its own
 * value moves mean and sigma (the largest possible z of n values is (n - 1) / sqrt(n), 1.79 for
 * n = 5). So the target is compared with the mean and sigma of the others; sigma is at least the
 * sampling error of its own share, and the gap at least `GAP_MIN`.
 */

/** At least this many outcomes in the window before a target is judged or compared with. */
export const OUTLIER_SAMPLES_MIN = 20;
/** Envoy's factor. */
export const OUTLIER_SIGMAS = 1.9;
/** A smaller gap to the others' mean is noise whatever sigma says. */
export const OUTLIER_GAP_MIN = 0.1;

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
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const variance = shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / shares.length;
  const share = own.failed / total;
  const sampling = Math.sqrt((share * (1 - share)) / total);
  const sigma = Math.max(Math.sqrt(variance), sampling);
  return share > mean + Math.max(OUTLIER_SIGMAS * sigma, OUTLIER_GAP_MIN);
}

/** Targets of `total` that may be out by comparison at a time: a share, but one of two or more. */
export function outliersMax(total: number, ejectedPercentMax: number): number {
  if (total < 2 || ejectedPercentMax <= 0) return 0;
  return Math.max(1, Math.floor((total * ejectedPercentMax) / 100));
}
