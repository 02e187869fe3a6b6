/** Reads the text format of Prometheus, as nodes print it: samples with their labels. */

/** The series of one metric. */
export interface PromSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Samples by name; histograms under `…_bucket`, `…_sum` and `…_count`. */
export type PromSamples = ReadonlyMap<string, readonly PromSample[]>;

const LINE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)",?/g;

/** Parses `text`; lines that are not samples are passed over. */
export function parsePromText(text: string): PromSamples {
  const samples = new Map<string, PromSample[]>();
  for (const line of text.split('\n')) {
    const parsed = line.startsWith('#') ? null : LINE.exec(line);
    if (parsed === null) continue;
    const [, name = '', labels = '', shown = ''] = parsed;
    const sample = { labels: labelsOf(labels), value: valueOf(shown) };
    const known = samples.get(name);
    if (known === undefined) samples.set(name, [sample]);
    else known.push(sample);
  }
  return samples;
}

function labelsOf(text: string): Readonly<Record<string, string>> {
  const labels: Record<string, string> = Object.create(null);
  for (const [, name = '', value = ''] of text.matchAll(LABEL)) {
    labels[name] = value.replaceAll(/\\(.)/g, (_, escaped: string) =>
      escaped === 'n' ? '\n' : escaped,
    );
  }
  return labels;
}

function valueOf(text: string): number {
  if (text === '+Inf') return Infinity;
  return text === '-Inf' ? -Infinity : Number(text);
}

/** The sum over series that `isWanted` takes. */
export function sumOf(
  samples: PromSamples,
  name: string,
  isWanted: (labels: PromSample['labels']) => boolean = () => true,
): number {
  let sum = 0;
  for (const { labels, value } of samples.get(name) ?? []) if (isWanted(labels)) sum += value;
  return sum;
}

/** Counts by upper bound, cumulative, summed over the series that `isWanted` takes. */
export function bucketsOf(
  samples: PromSamples,
  name: string,
  isWanted: (labels: PromSample['labels']) => boolean,
): ReadonlyMap<number, number> {
  const buckets = new Map<number, number>();
  for (const { labels, value } of samples.get(`${name}_bucket`) ?? []) {
    if (!isWanted(labels)) continue;
    const bound = valueOf(labels['le'] ?? '');
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  return buckets;
}

/**
 * The `share` quantile (0 to 1) of a histogram, linear inside a bucket as Prometheus computes it;
 * null where nothing was counted. Above the last finite bound it is that bound.
 */
export function quantileOf(buckets: ReadonlyMap<number, number>, share: number): number | null {
  const sorted = [...buckets].toSorted(([left], [right]) => left - right);
  const total = sorted.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const rank = share * total;
  let low = 0;
  let below = 0;
  for (const [bound, count] of sorted) {
    if (count >= rank && count > below) {
      return bound === Infinity ? low : low + ((bound - low) * (rank - below)) / (count - below);
    }
    if (bound !== Infinity) low = bound;
    below = count;
  }
  return low;
}
