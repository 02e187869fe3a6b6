/**
 * Reads YAML into plain values and remembers where each stood, so that every later complaint names
 * line and column. `${NAME}` and `${NAME:-default}` in string values are replaced from the
 * environment; `$${` writes a plain `${`.
 *
 * C1: no problem's message repeats a value of the environment, or text of the file beyond keys and
 * names of targets and models: it may be a secret. Checked by problems.test.ts.
 */

import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import type { Alias, Document, ErrorCode, Node } from 'yaml';

import { CONFIG_LIMITS } from '../../base/limits.ts';

/** A path into the document: keys and indexes from the root. */
export type ConfigPath = readonly (string | number)[];

/** Line and column, both from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** One thing wrong with the file. A warning does not keep it from being used. */
export interface ConfigProblem {
  readonly severity: 'error' | 'warning';
  readonly place: Place;
  /** As `renderPath` writes it; empty for the whole file. */
  readonly path: string;
  readonly message: string;
  /** Where it is in another file than the one that is read. */
  readonly file?: string;
}

/** Where a value of a document comes from. */
export interface Origin {
  readonly path: ConfigPath;
  /** Null: the file that is read. */
  readonly file: string | null;
}

/** How a string value came about. */
export interface Interpolation {
  /** At least one `${…}` was replaced. */
  readonly isReference: boolean;
  /** Some of it stands in the file: text around the reference, or a default that is not empty. */
  readonly hasLiteral: boolean;
}

/** A document, read. `value` is undefined where the file has no content. */
export interface ReadDocument {
  readonly value: unknown;
  readonly problems: readonly ConfigProblem[];
  /** Where the value at `path` stands, or the nearest of its parents. */
  placeOf(path: ConfigPath): Place;
  /** Where the key at `path` stands, or the nearest of its parents. */
  keyPlaceOf(path: ConfigPath): Place;
  /** Null where the value at `path` is not a string of the file. */
  interpolationOf(path: ConfigPath): Interpolation | null;
  origin(path: ConfigPath): Origin;
}

/** Environment variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Writes a path as people do: `models[0].targets[1].weight`. */
export function renderPath(path: ConfigPath): string {
  let shown = '';
  for (const part of path) {
    if (typeof part === 'number') shown += `[${part}]`;
    else if (/^[A-Za-z_][\w-]*$/.test(part)) shown += shown === '' ? part : `.${part}`;
    else shown += `[${JSON.stringify(part)}]`;
  }
  return shown;
}

/** Own sentences for the parser's errors: its own may quote the file (C1). */
const SYNTAX: Partial<Readonly<Record<ErrorCode, string>>> = {
  BAD_ALIAS: 'an alias (*name) without its anchor (&name)',
  BAD_DQ_ESCAPE: 'an unknown escape in a double-quoted text',
  BAD_INDENT: 'wrong indentation',
  BLOCK_AS_IMPLICIT_KEY: 'wrong indentation, or a value with ": " inside that needs quotes',
  DUPLICATE_KEY: 'this key stands here twice',
  MISSING_CHAR: 'a character is missing: a closing quote, bracket, comma or the space after ":"',
  MULTILINE_IMPLICIT_KEY: 'a key goes over several lines; is a ":" missing?',
  MULTIPLE_DOCS: 'the file holds more than one document (a line of ---)',
  NON_STRING_KEY: 'a key must be text',
  TAB_AS_INDENT: 'a tab indents this line; use spaces',
  TAG_RESOLVE_FAILED: 'tags (!name) are not used here',
  UNEXPECTED_TOKEN: 'something here does not belong in YAML',
};

const START: Place = { line: 1, column: 1 };

/** Reads `text`. Never throws for what a file can hold; the problems say it. */
export function readDocument(text: string, env: Environment): ReadDocument {
  if (text.length > CONFIG_LIMITS.fileBytesMax) {
    const message = `the file is over ${CONFIG_LIMITS.fileBytesMax} bytes`;
    return new Reader(env).result(undefined, [problem(START, [], message)]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    merge: false,
    logLevel: 'error',
  });
  const syntax = [...document.errors, ...document.warnings].map((error) =>
    problem(placeAt(lines, error.pos[0]), [], SYNTAX[error.code] ?? `YAML: ${error.code}`),
  );
  const reader = new Reader(env, document, lines);
  if (syntax.length > 0) return reader.result(undefined, syntax);
  const value = reader.read(document.contents, []);
  return reader.result(value, []);
}

function problem(place: Place, path: ConfigPath, message: string): ConfigProblem {
  return { severity: 'error', place, path: renderPath(path), message };
}

function placeAt(lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/**
 * What each alias stands for: the last node before it with its anchor. Found in one walk: the
 * library's own `Alias.resolve` walks the whole file for every alias.
 */
function aliasTargets(document: Document): ReadonlyMap<Alias, Node> {
  const anchored = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  visit(document, {
    Node: (_key, node) => {
      if (isAlias(node)) {
        const target = anchored.get(node.source);
        if (target !== undefined) targets.set(node, target);
      } else if (node.anchor !== undefined) anchored.set(node.anchor, node);
    },
  });
  return targets;
}

/** Walks one tree once and collects values, places and problems. */
class Reader {
  readonly #env: Environment;
  readonly #targets: ReadonlyMap<Alias, Node>;
  readonly #lines: LineCounter;
  readonly #valuePlaces = new Map<string, Place>();
  readonly #keyPlaces = new Map<string, Place>();
  readonly #interpolations = new Map<string, Interpolation>();
  readonly #problems: ConfigProblem[] = [];
  #nodes = 0;

  constructor(env: Environment, document: Document | null = null, lines = new LineCounter()) {
    this.#env = env;
    this.#targets = document === null ? new Map() : aliasTargets(document);
    this.#lines = lines;
  }

  result(value: unknown, more: readonly ConfigProblem[]): ReadDocument {
    return {
      value,
      problems: [...more, ...this.#problems],
      placeOf: (path) => nearest(this.#valuePlaces, path),
      keyPlaceOf: (path) =>
        this.#keyPlaces.get(renderPath(path)) ?? nearest(this.#valuePlaces, path),
      interpolationOf: (path) => this.#interpolations.get(renderPath(path)) ?? null,
      origin: (path) => ({ path, file: null }),
    };
  }

  /** The plain value of `node`; undefined for null, so that an empty key is an absent one. */
  read(node: unknown, path: ConfigPath): unknown {
    this.#nodes += 1;
    const isTooMuch = this.#nodes > CONFIG_LIMITS.nodesMax || path.length > CONFIG_LIMITS.depthMax;
    if (isTooMuch) {
      if (this.#nodes <= CONFIG_LIMITS.nodesMax + 1) this.#complain(path, 'too deep or too much');
      return undefined;
    }
    if (isAlias(node)) {
      const target = this.#targets.get(node);
      if (target !== undefined) return this.read(target, path);
      this.#mark(node, path);
      this.#complain(path, SYNTAX.BAD_ALIAS ?? '');
      return undefined;
    }
    if (isNode(node) && node.tag !== undefined) {
      this.#mark(node, path);
      this.#complain(path, SYNTAX.TAG_RESOLVE_FAILED ?? '');
      return undefined;
    }
    if (isMap(node)) return this.#readMap(node.items, this.#mark(node, path));
    if (isSeq(node)) {
      this.#mark(node, path);
      return node.items.map((item, index) => this.read(item, [...path, index]));
    }
    if (!isScalar(node)) return undefined;
    this.#mark(node, path);
    if (node.value === null) return undefined;
    return typeof node.value === 'string' ? this.#interpolate(node.value, path) : node.value;
  }

  #readMap(
    items: readonly { readonly key: unknown; readonly value: unknown }[],
    path: ConfigPath,
  ): Record<string, unknown> {
    const map: Record<string, unknown> = {};
    for (const { key, value } of items) {
      if (!isScalar(key) || typeof key.value !== 'string') continue; // The parser refused it.
      const at = [...path, key.value];
      const start = key.range?.[0];
      if (start !== undefined) this.#keyPlaces.set(renderPath(at), placeAt(this.#lines, start));
      if (key.value === '__proto__') this.#complain(at, 'unknown key');
      else map[key.value] = this.read(value, at);
    }
    return map;
  }

  #mark(node: Node, path: ConfigPath): ConfigPath {
    const start = node.range?.[0];
    if (start !== undefined) this.#valuePlaces.set(renderPath(path), placeAt(this.#lines, start));
    return path;
  }

  #interpolate(source: string, path: ConfigPath): string {
    let rest = '';
    let isReference = false;
    let hasDefault = false;
    const value = source.replace(
      /\$\$\{|\$\{([^}]*)(\}?)|[^$]+|\$/g,
      (part: string, inside: string | undefined, close: string | undefined) => {
        if (inside === undefined) {
          const literal = part === '$${' ? '${' : part;
          rest += literal;
          return literal;
        }
        const parsed = /^([A-Za-z_]\w*)(?::-(.*))?$/s.exec(inside);
        if (parsed === null || close !== '}') {
          this.#complain(
            path,
            'a reference is ${NAME} or ${NAME:-default}; write $${ for a plain ${',
          );
          return '';
        }
        isReference = true;
        const [, name = '', fallback] = parsed;
        const found = this.#env[name];
        if (fallback !== undefined && (found === undefined || found === '')) {
          hasDefault ||= fallback !== '';
          return fallback;
        }
        if (found !== undefined) return found;
        this.#complain(path, `the environment variable ${name} is not set`);
        return '';
      },
    );
    // A default stands in the file even where the variable hides it.
    hasDefault ||= isReference && /\$\{\w+:-[^}]/.test(source);
    this.#interpolations.set(renderPath(path), {
      isReference,
      hasLiteral: rest !== '' || hasDefault,
    });
    return value;
  }

  #complain(path: ConfigPath, message: string): void {
    const place = this.#valuePlaces.get(renderPath(path)) ?? nearest(this.#keyPlaces, path);
    this.#problems.push(problem(place, path, message));
  }
}

function nearest(places: ReadonlyMap<string, Place>, path: ConfigPath): Place {
  for (let length = path.length; length >= 0; length -= 1) {
    const place = places.get(renderPath(path.slice(0, length)));
    if (place !== undefined) return place;
  }
  return START;
}
