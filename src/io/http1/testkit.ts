/** For the tests of this room: requests from bytes as the listener takes them, and Node's verdict. */

import { createServer, request as httpRequest, type Server } from 'node:http';
import { Duplex } from 'node:stream';

import { ChunkedDecoder } from './chunked.ts';
import { HeadParser, PARSE_FAULT, PARSE_MORE } from './parser.ts';

/** One request, taken apart. */
export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
  readonly body: string;
}

/** What became of an input: its whole requests, and why reading stopped. */
export interface Seen {
  readonly requests: readonly SeenRequest[];
  /** `more`: waiting for bytes; `closed`: the last request closes; else the code of the fault. */
  readonly end: string;
}

/** Parses `input`, delivered in pieces that end at `cuts`. */
export function parseRequests(input: Buffer, cuts: readonly number[] = []): Seen {
  const reader = new RequestReader();
  let from = 0;
  for (const cut of [...cuts, input.length]) {
    // A copy: the decoder writes into what it is given, and so may the next read.
    const piece = Buffer.from(input.subarray(from, cut));
    from = cut;
    if (!reader.feed(piece)) break;
    piece.fill(0x21);
  }
  return { requests: reader.requests, end: reader.end };
}

class RequestReader {
  readonly requests: SeenRequest[] = [];
  end = 'more';
  readonly #parser = new HeadParser('request');
  readonly #decoder = new ChunkedDecoder();
  #hasHead = false;
  #body = '';

  /** False once the input is refused. */
  feed(bytes: Buffer): boolean {
    let at = 0;
    while (at < bytes.length && at >= 0 && this.end !== 'closed') {
      at = this.#hasHead ? this.#feedBody(bytes, at) : this.#feedHead(bytes, at);
    }
    return this.end === 'more';
  }

  #feedHead(bytes: Buffer, at: number): number {
    const parser = this.#parser;
    const next = parser.push(bytes, at, bytes.length);
    if (next === PARSE_MORE) return bytes.length;
    if (next === PARSE_FAULT) {
      this.end = parser.fault?.code ?? 'no fault';
      return next;
    }
    this.#hasHead = true;
    if (!parser.isChunked && parser.contentLength <= 0) this.#done();
    return next;
  }

  #feedBody(bytes: Buffer, at: number): number {
    const parser = this.#parser;
    if (!parser.isChunked) {
      const next = Math.min(bytes.length, at + parser.contentLength - this.#body.length);
      this.#body += bytes.toString('latin1', at, next);
      if (this.#body.length === parser.contentLength) this.#done();
      return next;
    }
    const decoder = this.#decoder;
    const next = decoder.push(bytes, at, bytes.length);
    this.#body += bytes.toString('latin1', decoder.outStart, decoder.outEnd);
    if (next === PARSE_FAULT) this.end = decoder.fault?.code ?? 'no fault';
    else if (decoder.isDone) this.#done();
    return next;
  }

  #done(): void {
    const { method, target, headers, isClose, minor } = this.#parser;
    this.requests.push({ method, target, headers, body: this.#body });
    if (isClose || minor === 0) this.end = 'closed';
    this.#body = '';
    this.#hasHead = false;
    this.#parser.reset();
    this.#decoder.reset();
  }
}

/** Node's own parser, strict, asked through an in-memory connection. */
export class Oracle {
  readonly #server: Server;
  #requests: SeenRequest[] = [];
  #end = 'more';

  constructor() {
    const options = {
      insecureHTTPParser: false,
      maxHeaderSize: 64 * 1024,
      requireHostHeader: true,
    };
    this.#server = createServer(options, (request, response) => {
      let body = '';
      request.on('data', (piece: Buffer) => {
        body += piece.toString('latin1');
      });
      request.on('end', () => {
        const { method = '', url = '', rawHeaders } = request;
        this.#requests.push({ method, target: url, headers: rawHeaders, body });
        response.end();
      });
    });
    this.#server.on('clientError', () => {
      this.#end = 'refused';
    });
    this.#server.on('checkExpectation', (_request, response) => {
      this.#end = 'refused';
      response.end();
    });
    this.#server.on('dropRequest', () => {});
  }

  /** Lets the process end. */
  close(): void {
    this.#server.close();
  }

  /** What Node makes of `input`. */
  async ask(input: Buffer): Promise<Seen> {
    this.#requests = [];
    this.#end = 'more';
    const wire = new Duplex({
      read(): void {},
      write(_chunk, _encoding, done): void {
        done();
      },
    });
    wire.on('error', () => {});
    this.#server.emit('connection', wire);
    wire.push(input);
    for (let turn = 0; turn < 6; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    wire.destroy();
    return { requests: this.#requests, end: this.#end };
  }
}

/** Requests in a form in which ours and Node's can be compared. */
export function comparable(requests: readonly SeenRequest[]): readonly string[] {
  return requests.map(({ method, target, headers, body }) => {
    const fields: string[] = [];
    for (let index = 0; index + 1 < headers.length; index += 2) {
      const name = (headers[index] ?? '').toLowerCase();
      // The key is taken out of the fields by our parser.
      if (name !== 'authorization' && name !== 'x-api-key') {
        fields.push(`${name}: ${headers[index + 1] ?? ''}`);
      }
    }
    return JSON.stringify([method, target, fields, body]);
  });
}

/** One response, taken apart; `end` is `whole`, `more`, or the code of the fault. */
export interface SeenResponse {
  readonly status: number;
  readonly fields: readonly string[];
  readonly body: string;
  readonly end: string;
}

function fieldsOf(headers: readonly string[]): readonly string[] {
  const fields: string[] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    fields.push(`${(headers[index] ?? '').toLowerCase()}: ${headers[index + 1] ?? ''}`);
  }
  return fields;
}

/**
 * Parses the response to a GET, delivered in pieces that end at `cuts`; after the last the
 * connection ends. Interim responses are passed over.
 */
export function parseResponse(input: Buffer, cuts: readonly number[] = []): SeenResponse {
  const parser = new HeadParser('response');
  const decoder = new ChunkedDecoder();
  const seen = { status: 0, fields: [] as readonly string[], body: '', end: 'more' };
  let framing: 'head' | 'length' | 'chunked' | 'close' = 'head';
  let from = 0;
  for (const cut of [...cuts, input.length]) {
    const piece = Buffer.from(input.subarray(from, cut));
    from = cut;
    let at = 0;
    while (at >= 0 && at < piece.length && seen.end === 'more') {
      if (framing === 'head') {
        at = parser.push(piece, at, piece.length);
        if (at === PARSE_FAULT) seen.end = parser.fault?.code ?? 'no fault';
        if (at < 0) break; // PARSE_MORE: all of the piece was taken.
        if (parser.status < 200) {
          if (parser.status === 101) seen.end = 'upgrade';
          parser.reset();
          continue;
        }
        seen.status = parser.status;
        seen.fields = fieldsOf(parser.headers);
        const isEmpty = parser.status === 204 || parser.status === 304;
        if (isEmpty || (!parser.isChunked && parser.contentLength === 0)) seen.end = 'whole';
        framing = parser.isChunked ? 'chunked' : parser.contentLength >= 0 ? 'length' : 'close';
      } else if (framing === 'chunked') {
        at = decoder.push(piece, at, piece.length);
        seen.body += piece.toString('latin1', decoder.outStart, decoder.outEnd);
        if (at === PARSE_FAULT) seen.end = decoder.fault?.code ?? 'no fault';
        else if (decoder.isDone) seen.end = 'whole';
      } else {
        const room = framing === 'length' ? parser.contentLength - seen.body.length : piece.length;
        const next = Math.min(piece.length, at + room);
        seen.body += piece.toString('latin1', at, next);
        at = next;
        if (framing === 'length' && seen.body.length === parser.contentLength) seen.end = 'whole';
      }
    }
  }
  if (framing === 'close' && seen.end === 'more') seen.end = 'whole';
  return seen;
}

/** Node's own client, asked through an in-memory connection. */
export class ResponseOracle {
  /** What Node makes of `input` as the answer to a GET; the connection ends after it. */
  async ask(input: Buffer): Promise<SeenResponse> {
    const wire = new Duplex({
      read(): void {},
      write(_chunk, _encoding, done): void {
        done();
      },
    });
    const seen = { status: 0, fields: [] as readonly string[], body: '', end: 'more' };
    const request = httpRequest({ createConnection: () => wire }, (response) => {
      seen.status = response.statusCode ?? 0;
      seen.fields = fieldsOf(response.rawHeaders);
      response.on('data', (piece: Buffer) => {
        seen.body += piece.toString('latin1');
      });
      response.on('error', () => {});
      response.on('end', () => {
        if (response.complete) seen.end = 'whole';
      });
    });
    request.on('error', () => {
      if (seen.end === 'more') seen.end = 'refused';
    });
    request.end();
    await new Promise((resolve) => setImmediate(resolve));
    wire.push(input);
    wire.push(null);
    for (let turn = 0; turn < 6; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    request.destroy();
    wire.destroy();
    return seen;
  }
}
