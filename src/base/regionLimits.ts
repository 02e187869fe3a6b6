/** Limits of what operators say of a region. */

export const REGION_RECORD_LIMITS = {
  /** A region's cost is multiplied by `weightUsual` / weight where others choose it. */
  weightUsual: 100,
  weightMin: 1,
  weightMax: 1_000,
  /** The label of where its data may be, characters. */
  residencyCharsMax: 63,
  /** Labels that one key is bound to. */
  keyLabelsMax: 16,
  /** A change is tried so often against others that come between. */
  triesMax: 5,
} as const;

/** Limits of how a key's rates are divided. */
export const ALLOTMENT_LIMITS = {
  /** Places that one key's rates are divided between. */
  placesMax: 256,
  /** A place that could not say that it has taken its share says it again so long after, ms. */
  againMs: 1_000,
} as const;
