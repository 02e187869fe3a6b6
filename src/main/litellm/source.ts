/**
 * A LiteLLM `config.yaml`, read into plain values that remember where they stood. Unlike our own
 * files it may hold anchors with merge keys, and `${…}` in it is plain text.
 */

import { isMap, isNode, isScalar, LineCounter, parseDocument, type Document } from 'yaml';

import { CONFIG_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { ConfigPath, Place } from '../config/document.ts';
import { isRow, type JsonRow } from '../json.ts';

/** A file, read. */
export interface LitellmSource {
  readonly root: JsonRow;
  /** Where the key or element at `path` stands, or the nearest of its parents. */
  placeOf(path: ConfigPath): Place;
}

/** Why a file could not be read; repeats nothing of it, for it may hold keys. */
export interface SourceProblem {
  readonly place: Place;
  readonly message: string;
}

const START: Place = { line: 1, column: 1 };

/** Reads the text of a file. */
export function readLitellm(text: string): Result<LitellmSource, SourceProblem> {
  if (text.length > CONFIG_LIMITS.fileBytesMax) {
    return err({ place: START, message: `the file is over ${CONFIG_LIMITS.fileBytesMax} bytes` });
  }
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    merge: true,
    logLevel: 'error',
  });
  const [first] = document.errors;
  if (first !== undefined) {
    return err({ place: placeAt(lines, first.pos[0]), message: `not YAML (${first.code})` });
  }
  let root: unknown;
  try {
    root = document.toJS({ maxAliasCount: 1_000 });
  } catch {
    // The library throws for aliases that unfold without end, and for those without an anchor.
    return err({ place: START, message: 'an alias (*name) is unknown, or there are too many' });
  }
  if (!isRow(root)) return err({ place: START, message: 'not a mapping' });
  return ok({ root, placeOf: (path) => placeOf(document, lines, path) });
}

function placeAt(lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/** The key of the last part where the parent is a mapping, else the element; else the parent's. */
function placeOf(document: Document, lines: LineCounter, path: ConfigPath): Place {
  for (let length = path.length; length > 0; length -= 1) {
    const last = path[length - 1];
    const parent = length === 1 ? document.contents : nodeAt(document, path.slice(0, length - 1));
    if (isMap(parent)) {
      const pair = parent.items.find(({ key }) => isScalar(key) && key.value === last);
      const range = isNode(pair?.key) ? pair.key.range : null;
      if (range !== null && range !== undefined) return placeAt(lines, range[0]);
    }
    const range = isNode(parent) ? nodeAt(document, path.slice(0, length))?.range : null;
    if (range !== null && range !== undefined) return placeAt(lines, range[0]);
  }
  return START;
}

function nodeAt(document: Document, path: ConfigPath) {
  try {
    const node: unknown = document.getIn(path, true);
    return isNode(node) ? node : null;
  } catch {
    return null; // Part of the path is an alias: what stands there is told by its parent's place.
  }
}
