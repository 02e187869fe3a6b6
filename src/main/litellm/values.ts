/** Values of a LiteLLM file: text, numbers and references to the environment. */

import { CONFIG_LIMITS } from '../../base/limits.ts';
import type { ConfigPath } from '../config/document.ts';
import { renderPath } from '../config/document.ts';
import type { ImportNote, NoteCode } from './notes.ts';
import type { LitellmSource } from './source.ts';

const REFERENCE = /^os\.environ\/([A-Za-z_]\w*)$/;

/** A variable of the environment that the written file refers to. */
export interface Variable {
  readonly name: string;
  /** What it holds: an address, or something secret or short. */
  readonly isAddress: boolean;
}

/** Collects what an import tells and which variables it needs. */
export class ImportLedger {
  readonly notes: ImportNote[] = [];
  readonly variables = new Map<string, Variable>();
  readonly #source: LitellmSource;
  /** Names that the file itself refers to: an invented name must differ. */
  readonly #taken: ReadonlySet<string>;
  readonly #told = new Set<string>();
  readonly #invented = new Map<string, string>();

  constructor(source: LitellmSource, taken: ReadonlySet<string>) {
    this.#source = source;
    this.#taken = taken;
  }

  note(
    code: NoteCode,
    path: ConfigPath,
    values: Readonly<Record<string, string | number>> = {},
  ): void {
    const place = this.#source.placeOf(path);
    const shown = renderPath(path);
    // What holds for all models is found again at each of them.
    const key = `${code} ${shown}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.notes.push({ code, place, path: shown, values });
  }

  line(path: ConfigPath): number {
    return this.#source.placeOf(path).line;
  }

  /** Refers to a variable; gives `${NAME}`. */
  refer(name: string, isAddress = false): string {
    const known = this.variables.get(name);
    this.variables.set(name, { name, isAddress: isAddress || known?.isAddress === true });
    return `\${${name}}`;
  }

  /** A variable for a secret that stands in the file; the same one for the same secret. */
  invent(wanted: string, secret: string): string {
    const known = this.#invented.get(secret);
    if (known !== undefined) return known;
    const used = new Set(this.#invented.values());
    let name = wanted;
    for (let count = 2; used.has(name) || this.#taken.has(name); count += 1) {
      name = `${wanted}_${count}`;
    }
    this.#invented.set(secret, name);
    return name;
  }
}

/** The name in `os.environ/NAME`; null for everything else. */
export function referenceOf(value: unknown): string | null {
  return typeof value === 'string' ? (REFERENCE.exec(value)?.[1] ?? null) : null;
}

/** Every name that some text of the file refers to. */
export function referencesIn(text: string): ReadonlySet<string> {
  return new Set([...text.matchAll(/os\.environ\/([A-Za-z_]\w*)/g)].map((found) => found[1] ?? ''));
}

/** Text as our files write it: `${` stands for itself. */
export function literal(text: string): string {
  return text.replaceAll('${', () => '$${');
}

/** Text that our files can hold; null where it is none, or empty, or too long. */
export function textOf(value: unknown): string | null {
  if (typeof value !== 'string' || value.trim() === '') return null;
  return value.length <= CONFIG_LIMITS.textCharsMax / 2 ? value : null;
}

/** A number, also one that is written as text; null for everything else. */
export function numberOf(value: unknown): number | null {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : null;
}

/** The whole number nearest to `value` within limits. */
export function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(Math.round(value), least), most);
}
