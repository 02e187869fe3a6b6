/**
 * Two documents as one: a node's own file and the configuration that all regions share, with what
 * the latter says of this node's region. Every value keeps the place where it stands.
 *
 * MG1: of one value the most specific place counts: the node's file, then the region, then all.
 * MG2: a target, model or key stands in the node's file or in the shared configuration, not in both.
 */

import type {
  ConfigPath,
  ConfigProblem,
  Interpolation,
  Origin,
  Place,
  ReadDocument,
} from './document.ts';
import { renderPath } from './document.ts';
import { valueAt } from './issues.ts';

const LISTS = ['targets', 'models', 'keys'] as const;
type List = (typeof LISTS)[number];
const SCALARS = ['limits', 'retryBudgetPercent'] as const;

/** Where a value may stand, the most specific first. */
interface Source {
  readonly document: ReadDocument;
  readonly path: ConfigPath;
}

interface Entry {
  readonly value: unknown;
  readonly sources: readonly Source[];
}

/** One document of a node of `region`. `file` is the node's own. */
export function mergeDocuments(
  own: ReadDocument,
  file: string,
  shared: ReadDocument,
  region: string,
): ReadDocument {
  return new MergedDocument(own, file, shared, region);
}

/** What the shared configuration alone says of a region, as one value. */
export function sharedFor(shared: ReadDocument, region: string): object {
  const nothing: ReadDocument = { ...shared, value: {} };
  const { value } = new MergedDocument(nothing, '', shared, region);
  const rollout = valueAt(shared.value, ['rollout']);
  return { ...record(value), ...(rollout === undefined ? {} : { rollout }) };
}

class MergedDocument implements ReadDocument {
  readonly value: unknown;
  readonly problems: readonly ConfigProblem[];
  readonly #own: ReadDocument;
  readonly #file: string;
  readonly #entries: Readonly<Record<List, readonly Entry[]>>;
  readonly #scalars: readonly Source[];

  constructor(own: ReadDocument, file: string, shared: ReadDocument, region: string) {
    this.#own = own;
    this.#file = file;
    const merged = (list: List) => mergeList(list, own, shared, region);
    this.#entries = { targets: merged('targets'), models: merged('models'), keys: merged('keys') };
    this.#scalars = [
      { document: own, path: [] },
      { document: shared, path: ['regions', region] },
      { document: shared, path: [] },
    ];
    const value = record(own.value);
    for (const list of LISTS) {
      const values = this.#entries[list].map((entry) => entry.value);
      if (values.length > 0) value[list] = values;
    }
    for (const name of SCALARS) {
      const found = this.#scalars.map((source) =>
        valueAt(source.document.value, [...source.path, name]),
      );
      const [first] = found.filter((each) => each !== undefined);
      if (first === undefined) continue;
      const isMapping = name === 'limits';
      value[name] = isMapping ? Object.assign({}, ...found.toReversed().map(record)) : first;
    }
    this.value = value;
    const repeats = LISTS.flatMap((list) => [
      ...repeated(list, shared, region),
      ...collisions(list, own, file, shared, region),
    ]);
    this.problems = [...shared.problems, ...repeats];
  }

  origin(path: ConfigPath): Origin {
    const { document, path: at } = this.#sourceOf(path);
    return document === this.#own ? { path: at, file: this.#file } : { path: at, file: null };
  }

  placeOf(path: ConfigPath): Place {
    const source = this.#sourceOf(path);
    return source.document.placeOf(source.path);
  }

  keyPlaceOf(path: ConfigPath): Place {
    const source = this.#sourceOf(path);
    return source.document.keyPlaceOf(source.path);
  }

  interpolationOf(path: ConfigPath): Interpolation | null {
    const source = this.#sourceOf(path);
    return source.document.interpolationOf(source.path);
  }

  #sourceOf(path: ConfigPath): Source {
    const [root, index, ...rest] = path;
    const list = LISTS.find((name) => name === root);
    if (list !== undefined && typeof index === 'number') {
      const sources = this.#entries[list][index]?.sources;
      if (sources !== undefined) return inside(sources, rest, 1);
    }
    const isScalar = SCALARS.some((name) => name === root);
    return isScalar ? inside(this.#scalars, path, 2) : { document: this.#own, path };
  }
}

/** The place of a value: the most specific one that has its first `depth` fields, else the last. */
function inside(sources: readonly Source[], rest: ConfigPath, depth: number): Source {
  const [last] = sources.slice(-1);
  if (last === undefined) throw new Error('a value stands somewhere');
  const has = ({ document, path }: Source): boolean =>
    valueAt(document.value, [...path, ...rest.slice(0, depth)]) !== undefined;
  const { document, path } = rest.length === 0 ? last : (sources.find(has) ?? last);
  return { document, path: [...path, ...rest] };
}

/** Shared entries first, so that an index is the one of the shared text; then the node's own. */
function mergeList(
  list: List,
  own: ReadDocument,
  shared: ReadDocument,
  region: string,
): readonly Entry[] {
  const inRegion = ['regions', region, list];
  const overrides = entriesOf(shared, inRegion);
  const base = entriesOf(shared, [list]);
  const used = new Set<Entry>();
  const merged = base.map((entry) => {
    const over = overrides.find(
      ({ value }) => nameOf(value) !== null && nameOf(value) === nameOf(entry.value),
    );
    if (over === undefined) return entry;
    used.add(over);
    const value = { ...record(entry.value), ...record(over.value) };
    return { value, sources: [...over.sources, ...entry.sources] };
  });
  const added = overrides.filter((entry) => !used.has(entry) && !isRepeat(entry, overrides));
  const shown = [...merged, ...added];
  const names = new Set(shown.map(({ value }) => nameOf(value)));
  // A collision is told once, with both places.
  return [...shown, ...entriesOf(own, [list]).filter(({ value }) => !names.has(nameOf(value)))];
}

/** A second entry of one name in one list: told as a problem, and left out. */
function isRepeat(entry: Entry, entries: readonly Entry[]): boolean {
  const name = nameOf(entry.value);
  return name !== null && entries.find(({ value }) => nameOf(value) === name) !== entry;
}

function repeated(list: List, shared: ReadDocument, region: string): readonly ConfigProblem[] {
  const overrides = entriesOf(shared, ['regions', region, list]);
  return overrides
    .filter((entry) => isRepeat(entry, overrides))
    .flatMap(({ sources }) =>
      sources.map(({ document, path }) => {
        const at = [...path, 'name'];
        const message = 'stands twice in the list of this region';
        return problem(document.placeOf(at), at, message);
      }),
    );
}

/** MG2. */
function collisions(
  list: List,
  own: ReadDocument,
  file: string,
  shared: ReadDocument,
  region: string,
): readonly ConfigProblem[] {
  const ownEntries = entriesOf(own, [list]);
  const sharedEntries = [
    ...entriesOf(shared, [list]),
    ...entriesOf(shared, ['regions', region, list]),
  ];
  return sharedEntries.flatMap(({ value, sources }) => {
    const name = nameOf(value);
    const [source] = sources;
    const same = ownEntries.findIndex((entry) => nameOf(entry.value) === name);
    if (same === -1 || source === undefined || name === null) return [];
    const at = [...source.path, 'name'];
    const isSecret = shared.interpolationOf(at)?.isReference === true;
    const { line, column } = own.placeOf([list, same, 'name']);
    const shown = isSecret ? 'it' : `"${name}"`;
    const message = `${shown} stands in the node's own file too (${file}:${line}:${column})`;
    return [problem(shared.placeOf(at), at, message)];
  });
}

function problem(place: Place, path: ConfigPath, message: string): ConfigProblem {
  return { severity: 'error', place, path: renderPath(path), message };
}

function entriesOf(document: ReadDocument, path: ConfigPath): readonly Entry[] {
  const list = valueAt(document.value, path);
  if (!Array.isArray(list)) return [];
  return list.map((value: unknown, index) => ({
    value,
    sources: [{ document, path: [...path, index] }],
  }));
}

function nameOf(value: unknown): string | null {
  const name = valueAt(value, ['name']);
  return typeof name === 'string' ? name : null;
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}
