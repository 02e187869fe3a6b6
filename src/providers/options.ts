/** The options that a provider takes, as a table: what is checked is what is documented. */

/** One option. */
export interface OptionSpec {
  readonly kind: 'text' | 'flag' | 'count';
  /** The only values of a text; absent: any that is not empty. */
  readonly oneOf?: readonly string[];
  /** For the reference: what it does and its default. */
  readonly about: string;
}

/** The options of one provider by name. */
export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** Values of the options of one target. */
export type Options = Readonly<Record<string, string | number | boolean>>;

/** Null where all of `options` are known and well-formed, else a sentence with the nearest name. */
export function checkOptionTable(table: OptionTable, options: Options): string | null {
  for (const [name, value] of Object.entries(options)) {
    const spec = Object.hasOwn(table, name) ? table[name] : undefined;
    if (spec === undefined) {
      const nearest = nearestName(Object.keys(table), name);
      return `Unknown option ${JSON.stringify(name)}; the nearest known one is ${nearest}.`;
    }
    const problem = checkValue(spec, value);
    if (problem !== null) return `The option ${name} ${problem}.`;
  }
  return null;
}

/** A text option, or `otherwise` where it is not set. */
export function textOption(options: Options, name: string, otherwise: string): string {
  const value = options[name];
  return typeof value === 'string' ? value : otherwise;
}

/** A flag, or `otherwise` where it is not set. */
export function flagOption(options: Options, name: string, otherwise: boolean): boolean {
  const value = options[name];
  return typeof value === 'boolean' ? value : otherwise;
}

/** A count, or `otherwise` where it is not set. */
export function countOption(options: Options, name: string, otherwise: number): number {
  const value = options[name];
  return typeof value === 'number' ? value : otherwise;
}

function checkValue(spec: OptionSpec, value: string | number | boolean): string | null {
  switch (spec.kind) {
    case 'flag':
      return typeof value === 'boolean' ? null : 'must be true or false';
    case 'count':
      return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
        ? null
        : 'must be a whole number above 0';
    case 'text':
      if (typeof value !== 'string' || value === '') return 'must be a text';
      if (spec.oneOf === undefined || spec.oneOf.includes(value)) return null;
      return `must be one of ${spec.oneOf.join(', ')}`;
    default:
      return null;
  }
}

function nearestName(names: readonly string[], wanted: string): string {
  let nearest = '';
  let distance = Number.POSITIVE_INFINITY;
  for (const name of names) {
    const found = editDistance(name.toLowerCase(), wanted.toLowerCase().slice(0, 64));
    if (found < distance) {
      distance = found;
      nearest = name;
    }
  }
  return nearest;
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
