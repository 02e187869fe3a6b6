/** What verbs print: JSON for programs, tables for people, aligned where Chinese stands in them. */

/** `-o json` or `-o table`. */
export type OutputFormat = 'json' | 'table';

/**
 * Columns that one code point takes in a terminal: 2 for East Asian wide and full-width ones and
 * emoji, 0 for combining marks, else 1 (Unicode UAX #11, the ranges that terminals agree on).
 */
function columnsOfCodePoint(code: number): number {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return 0;
  if ((code >= 0x300 && code <= 0x36f) || code === 0x200b || code === 0x200d) return 0;
  if (code >= 0xfe00 && code <= 0xfe0f) return 0;
  const isWide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0x303e) ||
    (code >= 0x3041 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe4f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) ||
    (code >= 0x1f300 && code <= 0x1f64f) ||
    (code >= 0x1f900 && code <= 0x1f9ff) ||
    (code >= 0x20000 && code <= 0x3fffd);
  return isWide ? 2 : 1;
}

/** Columns that `text` takes in a terminal. */
export function textColumns(text: string): number {
  let columns = 0;
  for (const character of text) columns += columnsOfCodePoint(character.codePointAt(0) ?? 0);
  return columns;
}

/**
 * Control characters out: what a server or a model says must not drive the terminal. A line break
 * and every other control character becomes a space.
 */
export function printable(text: string): string {
  // The point of this expression is to match control characters.
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}

function padded(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - textColumns(text)));
}

/**
 * A plain table: two spaces between columns, none at line ends. `null` cells show as `-`.
 * Ends with a line break.
 */
export function renderTable(
  header: readonly string[],
  rows: readonly (readonly (string | number | null)[])[],
): string {
  const lines = [header, ...rows].map((cells) =>
    header.map((_, index) => {
      const cell = cells[index] ?? null;
      return cell === null || cell === '' ? '-' : printable(String(cell));
    }),
  );
  const widths = header.map((_, index) =>
    Math.max(...lines.map((cells) => textColumns(cells[index] ?? ''))),
  );
  return lines
    .map((cells) => cells.map((cell, index) => padded(cell, widths[index] ?? 0)).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** JSON for programs: two spaces of indentation, ends with a line break. */
export function renderJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** Milliseconds for people: `850 ms`, `12.3 s`, `4 min 5 s`, `3 h 2 min`, `5 d 3 h`. */
export function renderDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.floor(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
