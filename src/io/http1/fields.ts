/** Header fields on the way out: lines, dates, and what may not leave. @hot */

import { STATUS_CODES } from 'node:http';

import { assert } from '../../base/assert.ts';
import type { HeaderList } from '../../base/headers.ts';
import type { Clock } from '../../base/ports.ts';
import { IS_VALUE, TOKEN_LOWER } from './chars.ts';

/** Fields that belong to one connection; the transport writes its own. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'date',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const STATUS_LINES: readonly string[] = Array.from(
  { length: 600 },
  (_, status) => `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Status'}\r\n`,
);

/** The status line with its CRLF. `status` is a final one. */
export function statusLine(status: number): string {
  assert(status >= 200 && status <= 599, 'a response has a final status');
  return STATUS_LINES[status] ?? '';
}

/**
 * Field lines with their CRLFs, without the fields that the transport writes itself and without
 * `host` where `isRequest`. A character that no field value may hold goes out as `?`: a value made
 * from configuration or an upstream's error cannot split a message.
 */
export function fieldLines(headers: HeaderList, isRequest: boolean): string {
  let lines = '';
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (isOwnField(name) || (isRequest && name === 'host')) continue;
    lines += `${name}: ${cleanValue(headers[index + 1] ?? '')}\r\n`;
  }
  return lines;
}

/** Names that were looked at, bounded: a look at a table costs less than at each character. */
const seenNames = new Map<string, boolean>([...OWN_FIELDS].map((name) => [name, true]));
const SEEN_NAMES_MAX = 1024;

/** Does the transport write this field itself? */
function isOwnField(name: string): boolean {
  const seen = seenNames.get(name);
  if (seen !== undefined) return seen;
  assert(isToken(name), 'a field name is a token');
  if (seenNames.size < SEEN_NAMES_MAX) seenNames.set(name, false);
  return false;
}

function isToken(name: string): boolean {
  for (let index = 0; index < name.length; index += 1) {
    const code = name.charCodeAt(index);
    if (code > 127 || TOKEN_LOWER[code] === 0) return false;
  }
  return name.length > 0;
}

function cleanValue(value: string): string {
  for (let index = 0; index < value.length; index += 1) {
    if (IS_VALUE[value.charCodeAt(index)] !== 1) return replaceInvalid(value);
  }
  return value;
}

function replaceInvalid(value: string): string {
  let clean = '';
  for (const char of value) {
    clean += IS_VALUE[char.codePointAt(0) ?? 0] === 1 ? char : '?';
  }
  return clean;
}

/** The `date` line, made once a second. */
export class DateLine {
  readonly #clock: Clock;
  #second = -1;
  #line = '';

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `date: …` with its CRLF. */
  text(): string {
    const second = Math.floor(this.#clock.wallMs() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#line = `date: ${new Date(second * 1000).toUTCString()}\r\n`;
    }
    return this.#line;
  }
}
