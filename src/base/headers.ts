/**
 * HTTP header fields as one flat list: `[name, value, name, value, …]`, names in lower case, in the
 * order of the wire. A list and not a map: repeated fields stay apart, and nothing is allocated for
 * a lookup of the few names that a request path asks for.
 */

/** An even number of strings; every even index is a lower-case name, the next its value. */
export type HeaderList = readonly string[];

/** The first value of `name` (lower case), or null. */
export function headerValue(headers: HeaderList, name: string): string | null {
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] === name) return headers[index + 1] ?? null;
  }
  return null;
}

/** Every value of `name` (lower case), in order. */
export function headerValues(headers: HeaderList, name: string): readonly string[] {
  const values: string[] = [];
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] === name) values.push(headers[index + 1] ?? '');
  }
  return values;
}
