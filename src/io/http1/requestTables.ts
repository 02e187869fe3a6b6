/** For tests and the fuzzer: requests that must be taken, requests that must be refused, mutants. */

import type { Prng } from '../../base/prng.ts';

export const HOST = 'Host: x\r\n';

export function get(fields: string): string {
  return `GET / HTTP/1.1\r\n${HOST}${fields}\r\n`;
}

export function chunked(body: string): string {
  return `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${body}`;
}

/** Whole requests that must be taken, and how many there are. */
export const ACCEPTED: readonly (readonly [name: string, input: string, count: number])[] = [
  ['a plain GET', get(''), 1],
  ['two pipelined', get('') + get('X: y\r\n'), 2],
  ['a body by length', `POST /a?b=c HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc`, 1],
  ['a length of 0', `POST / HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`, 1],
  ['a length with leading zeros', `POST / HTTP/1.1\r\n${HOST}Content-Length: 03\r\n\r\nabc`, 1],
  ['chunks', chunked('3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n'), 1],
  ['chunk sizes in both cases', chunked('a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n'), 1],
  ['chunk size with zeros', chunked('0003\r\nabc\r\n000\r\n\r\n'), 1],
  ['chunk extensions', chunked('3;a;b=c;d="e f"\r\nabc\r\n0;z\r\n\r\n'), 1],
  ['trailers', chunked('3\r\nabc\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n') + get(''), 2],
  ['Transfer-Encoding in capitals', get('Transfer-Encoding: CHUNKED\r\n') + '0\r\n\r\n', 1],
  ['an empty value', get('X:\r\nY: \r\n'), 1],
  ['white space around a value', get('X: \t a b \t\r\n'), 1],
  ['obs-text in a value', get('X: \u00e9\u00ff\r\n'), 1],
  ['a tab inside a value', get('X: a\tb\r\n'), 1],
  ['every token mark in a name', get("!#$%&'*+-.^_`|~9aZ: 1\r\n"), 1],
  ['one empty line before', `\r\n${get('')}`, 1],
  ['Expect: 100-continue', get('Expect: 100-continue\r\n'), 1],
  ['HTTP/1.0 without Host', 'GET / HTTP/1.0\r\n\r\n', 1],
  ['an upgrade that is not taken', get('Connection: x\r\nUpgrade: h2c\r\n'), 1],
  ['an address as host', 'GET / HTTP/1.1\r\nHost: [::1]:8101\r\n\r\n', 1],
  ['both keys', get('Authorization: Bearer a\r\nX-Api-Key: a\r\n'), 1],
];

/**
 * What is refused. Where Node takes it, the reason why we are stricter stands beside; the test
 * fails when Node comes to refuse it too, so that the list stays true.
 */
export const REFUSED: readonly (readonly [name: string, input: string, stricter?: string])[] = [
  ['bare LF after the request line', 'GET / HTTP/1.1\nHost: x\r\n\r\n'],
  ['bare LF after a field', 'GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n'],
  ['bare LF at the end', 'GET / HTTP/1.1\r\nHost: x\r\n\n'],
  ['bare CR in a value', get('X: a\rb\r\n')],
  ['bare CR before a name', get('\rX: a\r\n')],
  ['folding', get('X: a\r\n b\r\n')],
  ['folding with a tab', get('X: a\r\n\tb\r\n')],
  ['a first field that begins with space', `GET / HTTP/1.1\r\n Host: x\r\n\r\n`],
  ['space before a colon', get('X : a\r\n')],
  ['tab before a colon', get('X\t: a\r\n')],
  ['no colon', get('X\r\n')],
  ['an empty name', get(': a\r\n')],
  ['a space in a name', get('X Y: a\r\n')],
  ['a bracket in a name', get('X(: a\r\n')],
  ['obs-text in a name', get('X\u00e9: a\r\n')],
  ['NUL in a name', get('X\0: a\r\n')],
  ['NUL in a value', get('X: a\0b\r\n')],
  ['a control character in a value', get('X: a\x01b\r\n')],
  ['DEL in a value', get('X: a\x7fb\r\n')],
  ['lengths that differ', get('Content-Length: 1\r\nContent-Length: 2\r\n') + 'ab'],
  ['the same length twice', get('Content-Length: 1\r\nContent-Length: 1\r\n') + 'a'],
  ['a list of lengths', get('Content-Length: 1, 1\r\n') + 'a'],
  ['a negative length', get('Content-Length: -1\r\n')],
  ['a length with a plus', get('Content-Length: +1\r\n') + 'a'],
  ['a hexadecimal length', get('Content-Length: 0x1\r\n') + 'a'],
  ['a length with a space', get('Content-Length: 1 1\r\n') + 'a'],
  ['an empty length', get('Content-Length:\r\n')],
  ['two lengths in other cases', get('content-length: 1\r\nCONTENT-LENGTH: 1\r\n') + 'a'],
  ['a length of 0 and another', get('Content-Length: 0\r\nContent-Length: 1\r\n') + 'a'],
  ['a list of lengths that differ', get('Content-Length: 1, 2\r\n') + 'ab'],
  ['a length with an underscore', get('Content-Length: 1_0\r\n') + '0123456789'],
  ['a length as a fraction', get('Content-Length: 1.0\r\n') + 'a'],
  ['a length with an exponent', get('Content-Length: 1e0\r\n') + 'a'],
  ['a length with a parameter', get('Content-Length: 1;a\r\n') + 'a'],
  ['a length in quotes', get('Content-Length: "1"\r\n') + 'a'],
  ['a length after a no-break space', get('Content-Length: \xa01\r\n') + 'a'],
  ['a length in Arabic digits', get('Content-Length: \xd9\xa1\r\n') + 'a'],
  ['a length that is folded', get('Content-Length:\r\n 1\r\n') + 'a'],
  ['a length over 2^64', get('Content-Length: 18446744073709551617\r\n') + 'a'],
  [
    'length beside chunks',
    get('Content-Length: 3\r\nTransfer-Encoding: chunked\r\n') + '0\r\n\r\n',
  ],
  [
    'chunks beside length',
    get('Transfer-Encoding: chunked\r\nContent-Length: 3\r\n') + '0\r\n\r\n',
  ],
  [
    'gzip, chunked',
    get('Transfer-Encoding: gzip, chunked\r\n') + '0\r\n\r\n',
    'We undo no other coding, so its body would be misread.',
  ],
  ['chunked, gzip', get('Transfer-Encoding: chunked, gzip\r\n') + '0\r\n\r\n'],
  ['identity', get('Transfer-Encoding: identity\r\n')],
  ['chunked and a tab', get('Transfer-Encoding: chunked\t\r\n') + '0\r\n\r\n'],
  [
    'chunked and a space',
    get('Transfer-Encoding: chunked \r\n') + '0\r\n\r\n',
    'One form of a framing field is enough; Node refuses the tab.',
  ],
  ['a length and a space', get('Content-Length: 1 \r\n') + 'a', 'As above.'],
  ['chunked, identity', get('Transfer-Encoding: chunked, identity\r\n') + '0\r\n\r\n'],
  [
    'identity, chunked',
    get('Transfer-Encoding: identity, chunked\r\n') + '0\r\n\r\n',
    'As gzip: we undo no other coding.',
  ],
  [
    'an empty coding before chunked',
    get('Transfer-Encoding: , chunked\r\n') + '0\r\n\r\n',
    'One form of a framing field is enough.',
  ],
  ['an empty coding after chunked', get('Transfer-Encoding: chunked,\r\n') + '0\r\n\r\n'],
  ['chunked with a parameter', get('Transfer-Encoding: chunked;q=1\r\n') + '0\r\n\r\n'],
  ['chunked in quotes', get('Transfer-Encoding: "chunked"\r\n') + '0\r\n\r\n'],
  ['chunked and NUL', get('Transfer-Encoding: chunked\0\r\n') + '0\r\n\r\n'],
  ['chunkedx', get('Transfer-Encoding: chunkedx\r\n') + '0\r\n\r\n'],
  ['a space before its colon', get('Transfer-Encoding : chunked\r\n') + '0\r\n\r\n'],
  ['chunked that is folded', get('Transfer-Encoding:\r\n chunked\r\n') + '0\r\n\r\n'],
  ['a length and space before its colon', get('Content-Length : 1\r\n') + 'a'],
  [
    'identity, then chunked, in two fields',
    get('Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n') + '0\r\n\r\n',
    'As gzip: we undo no other coding.',
  ],
  [
    'chunks and a length in HTTP/1.0',
    'POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['xchunked', get('Transfer-Encoding: xchunked\r\n') + '0\r\n\r\n'],
  ['chunked with a tab', get('Transfer-Encoding: \x0bchunked\r\n') + '0\r\n\r\n'],
  [
    'chunked twice',
    get('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n') + '0\r\n\r\n',
  ],
  ['an empty Transfer-Encoding', get('Transfer-Encoding:\r\n')],
  [
    'chunks in HTTP/1.0',
    'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.0 has no chunks; a reader that follows it sees another body.',
  ],
  ['a chunk without size', chunked('\r\nabc\r\n0\r\n\r\n')],
  ['a negative chunk', chunked('-3\r\nabc\r\n0\r\n\r\n')],
  ['a chunk with a plus', chunked('+3\r\nabc\r\n0\r\n\r\n')],
  ['a chunk in 0x', chunked('0x3\r\nabc\r\n0\r\n\r\n')],
  ['space before a chunk size', chunked(' 3\r\nabc\r\n0\r\n\r\n')],
  ['space after a chunk size', chunked('3 \r\nabc\r\n0\r\n\r\n')],
  ['a chunk size over 2^64', chunked('10000000000000003\r\nabc\r\n0\r\n\r\n')],
  [
    'a chunk size of 11 digits',
    chunked('00000000003\r\nabc\r\n0\r\n\r\n'),
    'No body is that long; zeros only hide what follows.',
  ],
  ['a chunk that is too short', chunked('4\r\nabc\r\n0\r\n\r\n')],
  ['a chunk that is too long', chunked('2\r\nabc\r\n0\r\n\r\n')],
  ['bare LF after a chunk size', chunked('3\nabc\r\n0\r\n\r\n')],
  ['bare LF after a chunk', chunked('3\r\nabc\n0\r\n\r\n')],
  ['bare CR after a chunk size', chunked('3\rabc\r\n0\r\n\r\n')],
  ['an extension without a name', chunked('3;\r\nabc\r\n0\r\n\r\n')],
  ['an extension with a space', chunked('3;a b\r\nabc\r\n0\r\n\r\n')],
  ['an extension without its value', chunked('3;a=\r\nabc\r\n0\r\n\r\n'), 'Not in the grammar.'],
  ['a chunk size with an underscore', chunked('1_0\r\n0123456789abcdef\r\n0\r\n\r\n')],
  ['an extension with bare CR', chunked('3;a\rb\r\nabc\r\n0\r\n\r\n')],
  ['an extension on a bare CR line', chunked('3;\r\r\nabc\r\n0\r\n\r\n')],
  ['other bytes where a chunk ends', chunked('3\r\nabcXX0\r\n\r\n')],
  ['bare CR where a chunk ends', chunked('3\r\nabc\r0\r\n\r\n')],
  ['bare LF after the last chunk', chunked('0\n\r\n')],
  ['bare LF for the empty line', chunked('0\r\n\n')],
  ['space before the last chunk', chunked('3\r\nabc\r\n 0\r\n\r\n')],
  ['an extension with bare LF', chunked('3;a\nabc\r\n0\r\n\r\n')],
  ['an extension with a quote left open', chunked('3;a="b\r\nabc\r\n0\r\n\r\n')],
  ['an extension with NUL', chunked('3;a\0\r\nabc\r\n0\r\n\r\n')],
  ['a folded trailer', chunked('0\r\nX: a\r\n b\r\n\r\n')],
  ['a trailer with a bare LF', chunked('0\r\nX: a\n\r\n')],
  ['a trailer without colon', chunked('0\r\nX\r\n\r\n')],
  ['a length in the trailer', chunked('0\r\nContent-Length: 3\r\n\r\n')],
  ['Transfer-Encoding in the trailer', chunked('0\r\nTransfer-Encoding: chunked\r\n\r\n')],
  [
    'Connection in the trailer',
    chunked('0\r\nConnection: close\r\n\r\n'),
    'Node closes after it, others pass it over: they would disagree on what follows.',
  ],
  [
    'no Host',
    'GET / HTTP/1.1\r\n\r\n',
    'Node refuses it in its server, past the parser that the oracle watches.',
  ],
  ['two Hosts', get('Host: y\r\n'), 'Two readers may route by different ones.'],
  ['a Host with a space', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 'It is no authority.'],
  ['a Host with a user', 'GET / HTTP/1.1\r\nHost: u@x\r\n\r\n', 'It is no authority.'],
  ['a Host with a path', 'GET / HTTP/1.1\r\nHost: x/y\r\n\r\n', 'It is no authority.'],
  ['a Host list', 'GET / HTTP/1.1\r\nHost: x, y\r\n\r\n', 'It is no authority.'],
  ['an unknown method', `FOO / HTTP/1.1\r\n${HOST}\r\n`],
  ['a method in lower case', `get / HTTP/1.1\r\n${HOST}\r\n`],
  ['a method with a suffix', `GETX / HTTP/1.1\r\n${HOST}\r\n`],
  ['CONNECT', `CONNECT x:1 HTTP/1.1\r\n${HOST}\r\n`, 'It asks for a tunnel; we are no proxy.'],
  ['TRACE', `TRACE / HTTP/1.1\r\n${HOST}\r\n`, 'It echoes keys; nothing here serves it.'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['two spaces before the target', `GET  / HTTP/1.1\r\n${HOST}\r\n`, 'One space is the grammar.'],
  ['two spaces before the version', `GET /  HTTP/1.1\r\n${HOST}\r\n`, 'One space is the grammar.'],
  ['a tab in the request line', `GET\t/ HTTP/1.1\r\n${HOST}\r\n`],
  ['a space at the end of the line', `GET / HTTP/1.1 \r\n${HOST}\r\n`],
  ['space before the method', ` GET / HTTP/1.1\r\n${HOST}\r\n`],
  ['no version', `GET /\r\n${HOST}\r\n`, 'That is HTTP/0.9, which has no framing.'],
  ['HTTP/0.9', `GET / HTTP/0.9\r\n${HOST}\r\n`, 'It has no framing at all.'],
  ['HTTP/1.2', `GET / HTTP/1.2\r\n${HOST}\r\n`],
  ['HTTP/2.0', `GET / HTTP/2.0\r\n${HOST}\r\n`, 'It is not this protocol.'],
  ['http/1.1', `GET / http/1.1\r\n${HOST}\r\n`],
  ['HTTP/01.1', `GET / HTTP/01.1\r\n${HOST}\r\n`],
  ['HTTP/1.1x', `GET / HTTP/1.1x\r\n${HOST}\r\n`],
  ['a target without slash', `GET x HTTP/1.1\r\n${HOST}\r\n`],
  [
    'an absolute target',
    `GET http://y/ HTTP/1.1\r\n${HOST}\r\n`,
    'No request may name another host; we are no proxy.',
  ],
  ['the target *', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, 'Nothing here is about the whole server.'],
  ['an empty target', `GET  HTTP/1.1\r\n${HOST}\r\n`],
  ['NUL in the target', `GET /\0 HTTP/1.1\r\n${HOST}\r\n`],
  ['obs-text in the target', `GET /\u00e9 HTTP/1.1\r\n${HOST}\r\n`],
  ['a fragment in the target', `GET /#a HTTP/1.1\r\n${HOST}\r\n`, 'A fragment is never sent.'],
  ['a control character in the target', `GET /\x7f HTTP/1.1\r\n${HOST}\r\n`],
  [
    'two empty lines before',
    `\r\n\r\n${get('')}`,
    'RFC 9112 asks for one to be passed over; more only waste time.',
  ],
  ['bare LF before', `\n${get('')}`, 'A bare LF is refused everywhere.'],
  ['Expect of something else', get('Expect: 200-ok\r\n')],
  [
    'two Authorizations',
    get('Authorization: Bearer a\r\nAuthorization: Bearer b\r\n'),
    'It would be a guess which key is meant.',
  ],
  ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'],
];

/** Latin-1: a character is a byte. */
export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

const SPLICES = [
  '\r\n',
  '\n',
  '\r',
  '\r\n\r\n',
  ' ',
  '\t',
  '\0',
  ':',
  ';',
  ',',
  '0',
  '1',
  'ffffffff',
  '-',
  '+',
  'Content-Length: 5\r\n',
  'Content-Length: 0\r\n',
  'Transfer-Encoding: chunked\r\n',
  '0\r\n\r\n',
  'Transfer-Encoding : chunked\r\n',
  'Host: y\r\n',
  'Connection: close\r\n',
  'GET / HTTP/1.1\r\n',
  'HTTP/1.0',
  '"',
  '\\',
  '=',
  '\x7f',
  '\x80',
  '\xff',
  '%00',
  '#',
  '?',
  '/',
  'é',
];

/** A valid input with one to four bytes or pieces changed, dropped, doubled or spliced in. */
export function mutateRequest(prng: Prng): Buffer {
  const pick = (count: number): number => prng.nextBelow(count);
  const source = pick(4) === 0 ? REFUSED : ACCEPTED;
  let bytes = bytesOf(source[pick(source.length)]?.[1] ?? '');
  if (pick(4) === 0)
    bytes = Buffer.concat([bytes, bytesOf(ACCEPTED[pick(ACCEPTED.length)]?.[1] ?? '')]);
  for (let change = pick(4); change >= 0; change -= 1) {
    const at = pick(bytes.length + 1);
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
    const kind = pick(5);
    if (kind === 0) bytes = Buffer.concat([head, Buffer.from([pick(256)]), tail.subarray(1)]);
    else if (kind === 1) bytes = Buffer.concat([head, tail.subarray(1 + pick(4))]);
    else if (kind === 2) bytes = Buffer.concat([head, tail.subarray(0, 1 + pick(8)), tail]);
    else bytes = Buffer.concat([head, bytesOf(SPLICES[pick(SPLICES.length)] ?? ''), tail]);
  }
  return bytes;
}
