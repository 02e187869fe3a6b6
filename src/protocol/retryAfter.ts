/**
 * How long a provider asks to wait. Absolute times are read against the response's own `date`
 * field, so that neither a clock is needed here nor a wrong one does harm.
 */

import { headerValue, type HeaderList } from '../base/headers.ts';
import { REQUEST_LIMITS } from '../base/limits.ts';

/** The wait in ms, at most `retryAfterMsMax`; null where the response says none. */
export function retryAfterOf(status: number, headers: HeaderList): number | null {
  const direct =
    numberOf(headerValue(headers, 'retry-after-ms')) ??
    numberOf(headerValue(headers, 'x-ms-retry-after-ms'));
  if (direct !== null) return bounded(direct);
  const date = parseHttpDate(headerValue(headers, 'date') ?? '');
  const field = headerValue(headers, 'retry-after');
  if (field !== null) {
    const seconds = numberOf(field);
    if (seconds !== null) return bounded(seconds * 1000);
    const until = parseHttpDate(field);
    if (until !== null && date !== null) return bounded(until - date);
  }
  return status === 429 ? resetOf(headers, date) : null;
}

/** The longest reset among the limits that are used up. */
function resetOf(headers: HeaderList, date: number | null): number | null {
  let longest: number | null = null;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    const waitMs = resetWait(headers, name, headers[index + 1] ?? '', date);
    if (waitMs !== null && (longest === null || waitMs > longest)) longest = waitMs;
  }
  return longest;
}

function resetWait(
  headers: HeaderList,
  name: string,
  value: string,
  date: number | null,
): number | null {
  let remainingName = '';
  if (name.startsWith('anthropic-ratelimit-') && name.endsWith('-reset')) {
    remainingName = `${name.slice(0, -'reset'.length)}remaining`;
  } else if (name.startsWith('x-ratelimit-reset-')) {
    remainingName = name.replace('-reset-', '-remaining-');
  } else return null;
  if (headerValue(headers, remainingName) !== '0') return null;
  const until = parseRfc3339(value);
  if (until !== null) return date === null ? null : bounded(until - date);
  return parseDuration(value);
}

function bounded(ms: number): number {
  return Math.min(Math.max(0, Math.ceil(ms)), REQUEST_LIMITS.retryAfterMsMax);
}

function numberOf(value: string | null): number | null {
  return value !== null && /^\d{1,12}(?:\.\d{1,9})?$/.test(value.trim()) ? Number(value) : null;
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** OpenAI's form of a span: `1s`, `6m0s`, `1h2m3.5s`, `20ms`; seconds where no unit is given. */
export function parseDuration(text: string): number | null {
  const seconds = numberOf(text);
  if (seconds !== null) return bounded(seconds * 1000);
  if (!/^(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[smhd])){1,5}$/.test(text)) return null;
  let total = 0;
  for (const [, amount = '', unit = ''] of text.matchAll(/([\d.]+)(ms|[smhd])/g)) {
    total += Number(amount) * (UNIT_MS[unit] ?? 0);
  }
  return bounded(total);
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** Unix time in ms of an IMF-fixdate (RFC 9110, 5.6.7); null where it is none. */
export function parseHttpDate(text: string): number | null {
  const match = /^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$/.exec(
    text,
  );
  if (match === null) return null;
  const [, day, monthName = '', year, hour, minute, second] = match;
  const month = MONTHS.indexOf(monthName);
  return month === -1 ? null : unixMs(Number(year), month, Number(day), [hour, minute, second]);
}

const RFC3339 =
  /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|([+-])(\d\d):(\d\d))$/;

/** Unix time in ms of an RFC 3339 time, fractions cut off; null where it is none. */
export function parseRfc3339(text: string): number | null {
  const match = RFC3339.exec(text.toUpperCase());
  if (match === null) return null;
  const [, year, month, day, hour, minute, second, sign, offsetHours, offsetMinutes] = match;
  const local = unixMs(Number(year), Number(month) - 1, Number(day), [hour, minute, second]);
  if (sign === undefined) return local;
  const offset = (Number(offsetHours) * 60 + Number(offsetMinutes)) * 60_000;
  return sign === '-' ? local + offset : local - offset;
}

/** Days from civil (Howard Hinnant), then the time of day. */
function unixMs(
  year: number,
  month: number,
  day: number,
  clock: readonly (string | undefined)[],
): number {
  const shifted = month < 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const yearOfEra = shifted - era * 400;
  const dayOfYear = Math.floor((153 * ((month + 10) % 12) + 2) / 5) + day - 1;
  const dayOfEra =
    yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  const days = era * 146_097 + dayOfEra - 719_468;
  const [hour, minute, second] = clock;
  return (((days * 24 + Number(hour)) * 60 + Number(minute)) * 60 + Number(second)) * 1000;
}
