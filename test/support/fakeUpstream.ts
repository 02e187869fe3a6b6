/**
 * A model server that misbehaves on demand, over a plain socket so that every byte is ours. It
 * speaks just enough of both dialects to answer chats, streamed and not, and applies the fault that
 * the test has set. Real servers cannot be asked to fail in these ways; everything else is tested
 * against real ones.
 */

import { createServer, type Server, type Socket } from 'node:net';

/** One way to misbehave. `none` answers properly. */
export type Fault =
  | { readonly kind: 'none' }
  | { readonly kind: 'reset' } // Accepts, reads the request, resets.
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
  | { readonly kind: 'redirect'; readonly location: string }
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: readonly string[];
      readonly body?: string;
    };

/** One request as it was received. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A running fake. */
export interface FakeUpstream {
  readonly port: number;
  readonly origin: string;
  /** Requests so far, oldest first. */
  readonly seen: readonly SeenRequest[];
  /** Connections that the other side closed while an answer was under way, with the time. */
  readonly aborts: readonly number[];
  setFault(fault: Fault): void;
  /** Faults for the next requests, one each; afterwards the fault that is set. */
  queueFaults(faults: readonly Fault[]): void;
  setWords(words: readonly string[]): void;
  close(): Promise<void>;
}

const DEFAULT_WORDS = ['Hello', ' from', ' the', ' fake', ' model', '.'];

/** Starts a fake on a free port of 127.0.0.1. */
export async function startFakeUpstream(name = 'fake'): Promise<FakeUpstream> {
  let fault: Fault = { kind: 'none' };
  let queued: Fault[] = [];
  let words: readonly string[] = DEFAULT_WORDS;
  const seen: SeenRequest[] = [];
  const aborts: number[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    let pending: Buffer = Buffer.alloc(0);
    let answering = false;
    const timers = new Set<NodeJS.Timeout>();
    socket.on('close', () => {
      if (answering) aborts.push(performance.now());
      for (const timer of timers) clearTimeout(timer);
      sockets.delete(socket);
    });
    socket.on('error', () => {}); // Resets are what this server is for.
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      const parsed = takeRequest(pending);
      if (parsed === null || answering) return;
      pending = parsed.rest;
      seen.push(parsed.request);
      answering = true;
      const chosen = queued.shift() ?? fault;
      const later = (delayMs: number, run: () => void): void => {
        const timer = setTimeout(() => {
          timers.delete(timer);
          run();
        }, delayMs);
        timers.add(timer);
      };
      answer(socket, parsed.request, chosen, words, name, later, () => {
        answering = false;
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    port,
    origin: `http://127.0.0.1:${port}`,
    seen,
    aborts,
    setFault: (next) => {
      fault = next;
    },
    queueFaults: (next) => {
      queued = [...next];
    },
    setWords: (next) => {
      words = next;
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
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

function isAnthropic(request: SeenRequest): boolean {
  return request.path.includes('/messages');
}

/** The events of a whole stream, in the dialect of the path. */
export function streamEvents(
  request: SeenRequest,
  words: readonly string[],
  name: string,
): readonly string[] {
  const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
  if (isAnthropic(request)) {
    const event = (value: { type: string }): string => `event: ${value.type}\n${data(value)}`;
    const usage = { input_tokens: 7, output_tokens: 1 };
    const message = { id: 'msg_fake', type: 'message', role: 'assistant', model: name };
    const start = { ...message, content: [], stop_reason: null, stop_sequence: null, usage };
    const events = [
      event({ type: 'message_start', message: start } as { type: string }),
      event({
        type: 'content_block_start',
        index: 0,
        content_block: { type: 'text', text: '' },
      } as { type: string }),
    ];
    for (const text of words) {
      const delta = { type: 'text_delta', text };
      events.push(event({ type: 'content_block_delta', index: 0, delta } as { type: string }));
    }
    events.push(event({ type: 'content_block_stop', index: 0 } as { type: string }));
    events.push(
      event({
        type: 'message_delta',
        delta: { stop_reason: 'end_turn', stop_sequence: null },
        usage: { output_tokens: words.length },
      } as { type: string }),
    );
    events.push(event({ type: 'message_stop' }));
    return events;
  }
  const base = { id: 'chatcmpl-fake', object: 'chat.completion.chunk', created: 1, model: name };
  const chunk = (delta: unknown, reason: string | null): string =>
    data({ ...base, choices: [{ index: 0, delta, finish_reason: reason }] });
  const events = [chunk({ role: 'assistant', content: '' }, null)];
  for (const content of words) events.push(chunk({ content }, null));
  events.push(chunk({}, 'stop'));
  if (request.body.includes('"include_usage":true')) {
    const usage = {
      prompt_tokens: 7,
      completion_tokens: words.length,
      total_tokens: 7 + words.length,
    };
    events.push(data({ ...base, choices: [], usage }));
  }
  events.push('data: [DONE]\n\n');
  return events;
}

/** A whole answer, in the dialect of the path. */
export function unaryBody(request: SeenRequest, words: readonly string[], name: string): string {
  const text = words.join('');
  if (isAnthropic(request)) {
    return JSON.stringify({
      id: 'msg_fake',
      type: 'message',
      role: 'assistant',
      model: name,
      content: [{ type: 'text', text }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 7, output_tokens: words.length },
    });
  }
  if (request.path.includes('/embeddings')) {
    return JSON.stringify({
      object: 'list',
      model: name,
      data: [{ object: 'embedding', index: 0, embedding: [0.25, -0.5] }],
      usage: { prompt_tokens: 3, total_tokens: 3 },
    });
  }
  return JSON.stringify({
    id: 'chatcmpl-fake',
    object: 'chat.completion',
    created: 1,
    model: name,
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 7, completion_tokens: words.length, total_tokens: 7 + words.length },
  });
}

function chunked(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

function head(status: number, contentType: string, more: readonly string[] = []): string {
  return [`HTTP/1.1 ${status} Fake`, `content-type: ${contentType}`, ...more, '', ''].join('\r\n');
}

function answer(
  socket: Socket,
  request: SeenRequest,
  fault: Fault,
  words: readonly string[],
  name: string,
  later: (delayMs: number, run: () => void) => void,
  done: () => void,
): void {
  const isStream = /"stream"\s*:\s*true/.test(request.body);
  const sse = 'text/event-stream';
  const end = (text: string): void => {
    done();
    socket.write(text);
  };
  switch (fault.kind) {
    case 'reset':
      done();
      socket.resetAndDestroy();
      return;
    case 'stall-before-head':
      return;
    case 'malformed-head':
      end('HTTP/1.1 banana\r\n\r\n');
      return;
    case 'redirect':
      end(head(302, 'text/plain', [`location: ${fault.location}`, 'content-length: 0']));
      return;
    case 'status': {
      const body = fault.body ?? errorBody(request, fault.status);
      const more = [`content-length: ${Buffer.byteLength(body)}`, ...(fault.headers ?? [])];
      end(head(fault.status, 'application/json', more) + body);
      return;
    }
    default:
      break;
  }
  if (!isStream) {
    answerWhole(socket, request, fault, words, name, end);
    return;
  }
  const events = streamEvents(request, words, name);
  const type = fault.kind === 'wrong-content-type' ? 'text/html' : sse;
  const start = head(200, type, ['transfer-encoding: chunked']);
  const first = (count: number): string => start + events.slice(0, count).map(chunked).join('');
  switch (fault.kind) {
    case 'stall-after-head':
      socket.write(start);
      return;
    case 'stall-mid-stream':
      socket.write(first(fault.events));
      return;
    case 'reset-after-events':
      socket.write(first(fault.events), () => {
        done();
        socket.resetAndDestroy();
      });
      return;
    case 'malformed-chunk':
      end(`${first(fault.events)}zz\r\nnot a chunk\r\n`);
      return;
    case 'early-end':
      end(`${first(fault.events)}0\r\n\r\n`);
      return;
    case 'in-band-error':
      end(`${first(fault.events)}${chunked(inBandError(request))}0\r\n\r\n`);
      return;
    case 'cut-at-byte': {
      const whole = Buffer.from(`${first(events.length)}0\r\n\r\n`);
      done();
      socket.end(whole.subarray(0, fault.bytes));
      return;
    }
    case 'slow-drip': {
      socket.write(start);
      const drip = (index: number): void => {
        const event = events[index];
        if (event === undefined) {
          end('0\r\n\r\n');
          return;
        }
        socket.write(chunked(event));
        later(fault.gapMs, () => drip(index + 1));
      };
      drip(0);
      return;
    }
    default:
      end(`${first(events.length)}0\r\n\r\n`);
  }
}

function answerWhole(
  socket: Socket,
  request: SeenRequest,
  fault: Fault,
  words: readonly string[],
  name: string,
  end: (text: string) => void,
): void {
  const body = unaryBody(request, words, name);
  const length = `content-length: ${Buffer.byteLength(body)}`;
  switch (fault.kind) {
    case 'stall-after-head':
      socket.write(head(200, 'application/json', [length]));
      return;
    case 'cut-at-byte':
      end('');
      socket.end(
        Buffer.from(head(200, 'application/json', [length]) + body).subarray(0, fault.bytes),
      );
      return;
    case 'malformed-chunk':
      end(`${head(200, 'application/json', ['transfer-encoding: chunked'])}zz\r\n`);
      return;
    case 'wrong-content-type':
      end(`${head(200, 'text/html', ['content-length: 6'])}<html>`);
      return;
    default:
      end(head(200, 'application/json', [length]) + body);
  }
}

function errorBody(request: SeenRequest, status: number): string {
  const message = `fake status ${status}`;
  return JSON.stringify(
    isAnthropic(request)
      ? {
          type: 'error',
          error: { type: status === 529 ? 'overloaded_error' : 'api_error', message },
        }
      : { error: { message, type: 'server_error', code: null, param: null } },
  );
}

function inBandError(request: SeenRequest): string {
  return isAnthropic(request)
    ? 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    : 'data: {"error":{"message":"busy","type":"server_error","code":null}}\n\n';
}
