/**
 * A model server that misbehaves on demand, over a plain socket so that every byte is ours. It
 * answers in both dialects (`fakeAnswers.ts`) and applies the fault that the test has set. Real
 * servers cannot be asked to fail in these ways; everything else is tested against real ones.
 */

import { createServer, type Server, type Socket } from 'node:net';

import {
  isAnthropicPath,
  parsedBody,
  streamEvents,
  unaryBody,
  type SeenRequest,
} from './fakeAnswers.ts';

export type { SeenRequest } from './fakeAnswers.ts';

/** One way to misbehave. `none` answers properly. */
export type Fault =
  | { readonly kind: 'none' }
  | { readonly kind: 'reset' } // Accepts, reads the request, resets.
  | { readonly kind: 'close' } // The same with an orderly end.
  | { readonly kind: 'stall-before-head' }
  | { readonly kind: 'stall-after-head' }
  | { readonly kind: 'stall-mid-stream'; readonly events: number }
  | { readonly kind: 'cut-at-byte'; readonly bytes: number }
  | { readonly kind: 'reset-after-events'; readonly events: number }
  | { readonly kind: 'malformed-chunk'; readonly events: number }
  | { readonly kind: 'malformed-head' }
  | { readonly kind: 'wrong-content-type' }
  | { readonly kind: 'early-end'; readonly events: number } // Clean transport end, no [DONE].
  | { readonly kind: 'in-band-error'; readonly events: number }
  | { readonly kind: 'slow-drip'; readonly gapMs: number }
  | { readonly kind: 'shred'; readonly bytes: number } // A proper answer, so many bytes a write.
  | { readonly kind: 'late'; readonly delayMs: number } // Thinks, then answers properly.
  | { readonly kind: 'flood'; readonly bytes: number } // A long answer, as fast as it is read.
  | { readonly kind: 'redirect'; readonly location: string }
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: readonly string[];
      readonly body?: string;
    };

/** A running fake. */
export interface FakeUpstream {
  readonly port: number;
  readonly origin: string;
  /** Requests so far, oldest first. */
  readonly seen: readonly SeenRequest[];
  /** When connections were closed by the other side with an answer under way; performance.now(). */
  readonly aborts: readonly number[];
  /** Bytes of floods that the sockets took. */
  readonly floodedBytes: number;
  setFault(fault: Fault): void;
  /** The fault of requests for `model`, before the one of `setFault`. */
  setFaultOf(model: string, fault: Fault): void;
  /** Faults for the next requests, one each, before all others. */
  queueFaults(faults: readonly Fault[]): void;
  /** Decides the fault of each request that is neither queued nor of a model with its own. */
  chooseFaults(choose: (request: SeenRequest) => Fault): void;
  setWords(words: readonly string[]): void;
  /** Forgets the requests and aborts so far: a long run would keep them all. */
  forget(): void;
  close(): Promise<void>;
}

/** The answer to a plain question, a word a token. */
export const DEFAULT_WORDS: readonly string[] = ['Hello', ' from', ' 假', '模型', ' 🌳', '.'];

/** Everything that one connection needs of its server. */
interface Shared {
  readonly name: string;
  readonly seen: SeenRequest[];
  readonly aborts: number[];
  readonly faultOf: (request: SeenRequest) => Fault;
  readonly words: () => readonly string[];
  readonly flooded: (bytes: number) => void;
}

/**
 * Starts a fake on 127.0.0.1, on a free port unless one is given. `name` is the model that it says
 * it is.
 */
export async function startFakeUpstream(name = 'fake', onPort = 0): Promise<FakeUpstream> {
  let fault: Fault = { kind: 'none' };
  let queued: Fault[] = [];
  let words = DEFAULT_WORDS;
  let choose: ((request: SeenRequest) => Fault) | null = null;
  let floodedBytes = 0;
  const faultsByModel = new Map<string, Fault>();
  const sockets = new Set<Socket>();
  const shared: Shared = {
    name,
    seen: [],
    aborts: [],
    faultOf: (request) =>
      queued.shift() ??
      faultsByModel.get(String(parsedBody(request)['model'])) ??
      choose?.(request) ??
      fault,
    words: () => words,
    flooded: (bytes) => {
      floodedBytes += bytes;
    },
  };
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveSocket(socket, shared);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(onPort, '127.0.0.1', resolve);
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    port,
    origin: `http://127.0.0.1:${port}`,
    seen: shared.seen,
    aborts: shared.aborts,
    get floodedBytes() {
      return floodedBytes;
    },
    setFault: (next) => {
      fault = next;
    },
    setFaultOf: (model, next) => {
      faultsByModel.set(model, next);
    },
    queueFaults: (next) => {
      queued = [...next];
    },
    chooseFaults: (next) => {
      choose = next;
    },
    setWords: (next) => {
      words = next;
    },
    forget: () => {
      shared.seen.length = 0;
      shared.aborts.length = 0;
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** Answers the requests of one connection, one after another. */
function serveSocket(socket: Socket, shared: Shared): void {
  let pending: Buffer = Buffer.alloc(0);
  let isAnswering = false;
  const timers = new Set<NodeJS.Timeout>();
  const later = (delayMs: number, run: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      run();
    }, delayMs);
    timers.add(timer);
  };
  const next = (): void => {
    const parsed = takeRequest(pending);
    if (parsed === null || isAnswering) return;
    pending = parsed.rest;
    shared.seen.push(parsed.request);
    isAnswering = true;
    answer({
      socket,
      request: parsed.request,
      fault: shared.faultOf(parsed.request),
      words: shared.words(),
      name: shared.name,
      later,
      flooded: shared.flooded,
      done: () => {
        isAnswering = false;
        setImmediate(next);
      },
    });
  };
  socket.on('close', () => {
    if (isAnswering) shared.aborts.push(performance.now());
    for (const timer of timers) clearTimeout(timer);
  });
  socket.on('error', () => {}); // Resets are what this server is for.
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    next();
  });
}

function takeRequest(bytes: Buffer): { request: SeenRequest; rest: Buffer } | null {
  const end = bytes.indexOf('\r\n\r\n');
  if (end === -1) return null;
  const [start = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const [method = '', path = ''] = start.split(' ');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const length = Number(headers.get('content-length') ?? '0');
  const bodyStart = end + 4;
  if (bytes.length < bodyStart + length) return null;
  const body = bytes.subarray(bodyStart, bodyStart + length).toString('utf8');
  return {
    request: { method, path, headers, body },
    rest: bytes.subarray(bodyStart + length),
  };
}

function chunked(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

function head(status: number, contentType: string, more: readonly string[] = []): string {
  return [`HTTP/1.1 ${status} Fake`, `content-type: ${contentType}`, ...more, '', ''].join('\r\n');
}

/** The bytes of a proper answer: what a cut cuts. */
export function wholeAnswer(
  request: SeenRequest,
  words: readonly string[] = DEFAULT_WORDS,
  name = 'fake',
): Buffer {
  if (parsedBody(request)['stream'] === true) {
    const events = streamEvents(request, words, name).map(chunked).join('');
    return Buffer.from(`${head(200, SSE, CHUNKED)}${events}0\r\n\r\n`);
  }
  const body = unaryBody(request, words, name);
  const length = `content-length: ${Buffer.byteLength(body)}`;
  return Buffer.from(head(200, 'application/json', [length]) + body);
}

/** One answer to give. */
interface Task {
  readonly socket: Socket;
  readonly request: SeenRequest;
  readonly fault: Fault;
  readonly words: readonly string[];
  readonly name: string;
  readonly later: (delayMs: number, run: () => void) => void;
  readonly flooded: (bytes: number) => void;
  /** The answer is over: what closes the connection now is no abort. */
  readonly done: () => void;
}

const SSE = 'text/event-stream';
const CHUNKED = ['transfer-encoding: chunked'];

/** Faults that need no answer, then those of whole answers and of streams. */
function answer(task: Task): void {
  const { socket, request, fault, words, name, done } = task;
  switch (fault.kind) {
    case 'reset':
      done();
      socket.resetAndDestroy();
      return;
    case 'close':
      done();
      socket.end();
      return;
    case 'stall-before-head':
      return;
    case 'malformed-head':
      end(task, 'HTTP/1.1 banana\r\n\r\n');
      return;
    case 'redirect':
      end(task, head(302, 'text/plain', [`location: ${fault.location}`, 'content-length: 0']));
      return;
    case 'status': {
      const body = fault.body ?? errorBody(request, fault.status);
      const more = [`content-length: ${Buffer.byteLength(body)}`, ...(fault.headers ?? [])];
      end(task, head(fault.status, 'application/json', more) + body);
      return;
    }
    case 'shred':
      shred(task, wholeAnswer(request, words, name), fault.bytes);
      return;
    case 'late':
      task.later(fault.delayMs, () => end(task, wholeAnswer(request, words, name)));
      return;
    case 'cut-at-byte':
      done();
      socket.end(wholeAnswer(request, words, name).subarray(0, fault.bytes));
      return;
    default:
      if (parsedBody(request)['stream'] === true) answerStream(task);
      else answerWhole(task);
  }
}

function end(task: Task, text: string | Buffer): void {
  task.socket.write(text);
  task.done();
}

function answerStream(task: Task): void {
  const { socket, request, fault, words, name, done } = task;
  const events = streamEvents(request, words, name);
  const start = head(200, fault.kind === 'wrong-content-type' ? 'text/html' : SSE, CHUNKED);
  const first = (count: number): string => start + events.slice(0, count).map(chunked).join('');
  switch (fault.kind) {
    case 'stall-after-head':
      socket.write(start);
      return;
    case 'stall-mid-stream':
      socket.write(first(fault.events));
      return;
    case 'reset-after-events':
      // A reset overtakes what the other side has not read: it comes when that is there.
      socket.write(first(fault.events));
      task.later(30, () => {
        done();
        socket.resetAndDestroy();
      });
      return;
    case 'malformed-chunk':
      end(task, `${first(fault.events)}zz\r\nnot a chunk\r\n`);
      return;
    case 'early-end':
      end(task, `${first(fault.events)}0\r\n\r\n`);
      return;
    case 'in-band-error':
      end(task, `${first(fault.events)}${chunked(inBandError(request))}0\r\n\r\n`);
      return;
    case 'wrong-content-type':
      end(task, `${first(events.length)}0\r\n\r\n`);
      return;
    case 'slow-drip':
      socket.write(start);
      drip(task, events, fault.gapMs, 0);
      return;
    case 'flood':
      flood(task, start, events, fault.bytes);
      return;
    default:
      end(task, wholeAnswer(request, words, name));
  }
}

/** Writes `answer` in pieces of `bytes`, each after what is due has been read. */
function shred(task: Task, whole: Buffer, bytes: number): void {
  const { socket } = task;
  socket.setNoDelay(true);
  const pump = (start: number): void => {
    if (socket.destroyed) return;
    const next = start + bytes;
    if (next >= whole.length) {
      end(task, whole.subarray(start));
      return;
    }
    socket.write(whole.subarray(start, next));
    setImmediate(() => pump(next));
  };
  pump(0);
}

/** One event every `gapMs`. */
function drip(task: Task, events: readonly string[], gapMs: number, index: number): void {
  const text = events[index];
  if (text === undefined) {
    end(task, '0\r\n\r\n');
    return;
  }
  task.socket.write(chunked(text));
  task.later(gapMs, () => drip(task, events, gapMs, index + 1));
}

/** Repeats the event in the middle until `bytes` are out, no faster than they are read. */
function flood(task: Task, start: string, events: readonly string[], bytes: number): void {
  const { socket } = task;
  const middle = chunked(events[Math.floor(events.length / 2)] ?? '').repeat(256);
  socket.write(start + events.slice(0, 2).map(chunked).join(''));
  let left = bytes;
  const pump = (): void => {
    while (left > 0 && !socket.destroyed) {
      left -= middle.length;
      task.flooded(middle.length);
      if (!socket.write(middle)) {
        socket.once('drain', pump);
        return;
      }
    }
    if (!socket.destroyed) end(task, `${events.slice(-2).map(chunked).join('')}0\r\n\r\n`);
  };
  pump();
}

function answerWhole(task: Task): void {
  const { socket, request, fault, words, name } = task;
  const body = unaryBody(request, words, name);
  const start = head(200, 'application/json', [`content-length: ${Buffer.byteLength(body)}`]);
  switch (fault.kind) {
    case 'stall-after-head':
      socket.write(start);
      return;
    case 'stall-mid-stream':
      socket.write(start + body.slice(0, 20));
      return;
    case 'reset-after-events':
      socket.write(start + body.slice(0, 20));
      task.later(30, () => {
        task.done();
        socket.resetAndDestroy();
      });
      return;
    case 'malformed-chunk':
      end(task, `${head(200, 'application/json', CHUNKED)}zz\r\n`);
      return;
    case 'wrong-content-type':
      end(task, `${head(200, 'text/html', ['content-length: 6'])}<html>`);
      return;
    case 'early-end':
      end(task, `${head(200, 'application/json', ['content-length: 9'])}{"id":"x"`);
      return;
    case 'in-band-error': {
      const error = inBandJson(request);
      end(task, head(200, 'application/json', [`content-length: ${error.length}`]) + error);
      return;
    }
    case 'slow-drip':
      task.later(fault.gapMs, () => end(task, start + body));
      return;
    default:
      end(task, start + body);
  }
}

function errorBody(request: SeenRequest, status: number): string {
  const message = `fake status ${status}`;
  return JSON.stringify(
    isAnthropicPath(request)
      ? { type: 'error', error: { type: anthropicType(status), message } }
      : { error: { message, type: 'server_error', code: null, param: null } },
  );
}

function anthropicType(status: number): string {
  const types: Readonly<Record<number, string>> = {
    400: 'invalid_request_error',
    401: 'authentication_error',
    404: 'not_found_error',
    429: 'rate_limit_error',
    529: 'overloaded_error',
  };
  return types[status] ?? 'api_error';
}

function inBandJson(request: SeenRequest): string {
  return isAnthropicPath(request)
    ? '{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
    : '{"error":{"message":"busy","type":"server_error","code":null}}';
}

function inBandError(request: SeenRequest): string {
  const data = `data: ${inBandJson(request)}\n\n`;
  return isAnthropicPath(request) ? `event: error\n${data}` : data;
}
