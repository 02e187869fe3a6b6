/** Limits of what operators say of a region. */

export const REGION_RECORD_LIMITS = {
  /** A region's cost is multiplied by `weightUsual` / weight where others choose it. */
  weightUsual: 100,
  weightMin: 1,
  weightMax: 1_000,
  /** The label of where its data may be, characters. */
  residencyCharsMax: 63,
  /** A change is tried so often against others that come between. */
  triesMax: 5,
} as const;
