/**
 * HTTP/1.1, both ways: requests as the listener reads them and responses as the client side does,
 * mutated from the tables of the room or made by a grammar that leans to what smuggles. Node's own
 * parser is the oracle: what we take, Node takes with the same meaning.
 */

import assert from 'node:assert/strict';

import type { Prng } from '../../src/base/prng.ts';
import { bytesOf, mutateRequest } from '../../src/io/http1/requestTables.ts';
import {
  comparable,
  Oracle,
  parseRequests,
  parseResponse,
  ResponseOracle,
} from '../../src/io/http1/testkit.ts';
import { chance, cutsOf, mutateText, pick, several, type Area } from './area.ts';

// Not Proxy-Connection: no standard knows it. Node closes when it says so; we pass it over.
const NAMES = [
  'X',
  'Accept',
  'Content-Type',
  'X-Y',
  'a',
  '!#$',
  'Connection',
  'Date',
  'Via',
  'Upgrade',
  'TE',
  'Expect',
  'Keep-Alive',
];
const VALUES = [
  '',
  '1',
  'a b',
  'text/plain',
  '\t',
  'close',
  'keep-alive',
  'a\tb',
  '\x80',
  '"q"',
  'upgrade',
  'h2c',
  '100-continue',
];
const FRAMING = [
  'Content-Length: 3',
  'Content-Length: 0',
  'content-length:3',
  'Content-Length: 03',
  'Content-Length: 3, 3',
  'Content-Length: +3',
  'Transfer-Encoding: chunked',
  'transfer-encoding:chunked',
  'Transfer-Encoding: Chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding:\tchunked',
  ' Transfer-Encoding: chunked',
];
const SPLICES = ['\r\n', '\n', '\r', '\0', ' ', '\t', ':', ';', '0', 'f', '0\r\n\r\n', 'HTTP/1.1 '];
const ENDS = ['\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r'];

function fieldLine(prng: Prng): string {
  if (chance(prng, 30)) return pick(prng, FRAMING);
  const space = pick(prng, ['', ' ', ' ', ' ', '\t', '  ']);
  return `${pick(prng, NAMES)}:${space}${pick(prng, VALUES)}${chance(prng, 10) ? ' ' : ''}`;
}

function chunk(prng: Prng): string {
  const size = prng.nextBelow(20);
  const shown = pick(prng, [size.toString(16), size.toString(16).toUpperCase(), `00${size}`]);
  const extension = chance(prng, 20)
    ? pick(prng, [';a', ';a=b', ';a="b;c"', ';', ' ;a', ';a b'])
    : '';
  const data = 'x'.repeat(chance(prng, 95) ? size : size + 1);
  return `${shown}${extension}${pick(prng, ENDS)}${data}${pick(prng, ENDS)}`;
}

function body(prng: Prng): string {
  if (chance(prng, 40)) return pick(prng, ['', 'abc', 'abcGET / HTTP/1.1\r\nHost: x\r\n\r\n']);
  const trailers = several(prng, 2, () => `${fieldLine(prng)}\r\n`).join('');
  return `${several(prng, 4, () => chunk(prng)).join('')}0\r\n${trailers}\r\n`;
}

function fields(prng: Prng, host: string): string {
  const lines = several(prng, 4, () => fieldLine(prng) + pick(prng, ENDS));
  if (host !== '') lines.splice(prng.nextBelow(lines.length + 1), 0, host);
  return `${lines.join('')}\r\n`;
}

function request(prng: Prng): string {
  const method = pick(prng, ['GET', 'POST', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'FOO']);
  const target = pick(prng, ['/', '/v1/messages', '/a?b=c', '/%00', '*', 'http://y/', '/a b']);
  const version = pick(prng, ['1.1', '1.1', '1.1', '1.1', '1.0', '2.0']);
  const host = pick(prng, ['Host: x\r\n', 'Host: x\r\n', 'Host: x\r\n', '', 'Host: x y\r\n']);
  return `${method} ${target} HTTP/${version}\r\n${fields(prng, host)}${body(prng)}`;
}

function response(prng: Prng): string {
  const interim = chance(prng, 10) ? `HTTP/1.1 10${prng.nextBelow(4)} x\r\n\r\n` : '';
  const status = pick(prng, ['200', '200', '200', '204', '304', '404', '500', '099', '20', '600']);
  const reason = pick(prng, [' OK', '', ' ', ' a\tb', ' \x80']);
  const version = pick(prng, ['1.1', '1.1', '1.1', '1.0', '1.2']);
  return `${interim}HTTP/${version} ${status}${reason}\r\n${fields(prng, '')}${body(prng)}`;
}

function quoted(bytes: Buffer): string {
  return JSON.stringify(bytes.toString('latin1'));
}

/** Requests and responses, one of two. */
export function httpArea(): Area {
  const requests = new Oracle();
  const responses = new ResponseOracle();

  async function oneRequest(prng: Prng): Promise<boolean> {
    let bytes: Buffer;
    if (chance(prng, 50)) bytes = mutateRequest(prng);
    else {
      const text = chance(prng, 25) ? request(prng) + request(prng) : request(prng);
      bytes = bytesOf(chance(prng, 50) ? mutateText(prng, text, SPLICES) : text);
    }
    // With an LF at the end the last line is complete, and so is the verdict on it (H1).
    const ended = Buffer.concat([bytes, bytesOf('\n')]);
    const cuts = cutsOf(prng, ended.length);
    const label = `request ${quoted(bytes)}, cut at ${cuts.join()}`;
    assert.deepEqual(parseRequests(ended, cuts), parseRequests(ended), label);
    const ours = comparable(parseRequests(bytes).requests);
    if (ours.length === 0) return false;
    const node = comparable((await requests.ask(bytes)).requests);
    assert.deepEqual(ours, node.slice(0, ours.length), label);
    return true;
  }

  async function oneResponse(prng: Prng): Promise<boolean> {
    const text = response(prng);
    const bytes = bytesOf(chance(prng, 60) ? mutateText(prng, text, SPLICES) : text);
    const ended = Buffer.concat([bytes, bytesOf('\n')]);
    const cuts = cutsOf(prng, ended.length);
    const label = `response ${quoted(bytes)}, cut at ${cuts.join()}`;
    assert.deepEqual(parseResponse(ended, cuts), parseResponse(ended), label);
    const ours = parseResponse(bytes);
    if (ours.end !== 'whole') return false;
    const node = await responses.ask(bytes);
    assert.deepEqual({ ...ours }, { ...node }, label);
    return true;
  }

  return {
    claim: 'what we take Node takes alike, and no cut changes what is read',
    one: (prng) => (chance(prng, 60) ? oneRequest(prng) : oneResponse(prng)),
    close: () => requests.close(),
  };
}
