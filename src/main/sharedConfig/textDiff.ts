/** The difference of two texts, line by line, as `diff -u` writes it. Pure. */

/** Lines around a change that are shown, too. */
const CONTEXT = 3;
/** Texts whose differing parts come to more pairs of lines are shown as one change. */
const PAIRS_MAX = 4_000_000;

/** One line of the way from one text to the other. */
export interface DiffLine {
  readonly kind: ' ' | '-' | '+';
  readonly text: string;
}

/** Empty: the texts are equal. */
export function unifiedDiff(from: string, to: string, fromName: string, toName: string): string {
  const lines = diffLines(from, to);
  if (lines.every(({ kind }) => kind === ' ')) return '';
  const isShown = lines.map(() => false);
  lines.forEach(({ kind }, at) => {
    if (kind !== ' ') isShown.fill(true, Math.max(0, at - CONTEXT), at + CONTEXT + 1);
  });
  const out = [`--- ${fromName}`, `+++ ${toName}`];
  let [fromLine, toLine] = [1, 1];
  for (let at = 0; at < lines.length;) {
    let end = at;
    while (end < lines.length && isShown[end] === isShown[at]) end += 1;
    const part = lines.slice(at, end);
    const fromCount = part.filter(({ kind }) => kind !== '+').length;
    const toCount = part.filter(({ kind }) => kind !== '-').length;
    if (isShown[at] === true) {
      out.push(`@@ -${spanOf(fromLine, fromCount)} +${spanOf(toLine, toCount)} @@`);
      out.push(...part.map(({ kind, text }) => kind + text));
    }
    fromLine += fromCount;
    toLine += toCount;
    at = end;
  }
  return `${out.join('\n')}\n`;
}

/** As `diff -u` counts: a part without lines stands behind the line before it. */
function spanOf(line: number, count: number): string {
  return `${count === 0 ? line - 1 : line},${count}`;
}

/** All lines of both, in order; a longest common part is kept. */
export function diffLines(from: string, to: string): readonly DiffLine[] {
  const [a, b] = [linesOf(from), linesOf(to)];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(a.length, b.length) - head && a.at(-1 - tail) === b.at(-1 - tail))
    tail += 1;
  const same = (texts: readonly string[]) => texts.map((text) => ({ kind: ' ' as const, text }));
  return [
    ...same(a.slice(0, head)),
    ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...same(a.slice(a.length - tail)),
  ];
}

function linesOf(text: string): readonly string[] {
  if (text === '') return [];
  const lines = text.split('\n');
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines;
}

/** By the table of longest common subsequences (Hunt, McIlroy 1976, in its simplest form). */
function middle(a: readonly string[], b: readonly string[]): readonly DiffLine[] {
  if (a.length * b.length > PAIRS_MAX) {
    return [
      ...a.map((text) => ({ kind: '-' as const, text })),
      ...b.map((text) => ({ kind: '+' as const, text })),
    ];
  }
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number) => common[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const isSame = a[i] === b[j];
      common[i * width + j] = isSame ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [left, right] = [a[i], b[j]];
    if (left !== undefined && left === right) {
      lines.push({ kind: ' ', text: left });
      i += 1;
      j += 1;
    } else if (left !== undefined && (right === undefined || at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ kind: '-', text: left });
      i += 1;
    } else {
      lines.push({ kind: '+', text: right ?? '' });
      j += 1;
    }
  }
  return lines;
}
