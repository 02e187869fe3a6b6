/**
 * A plain HTTP client for tests that must see what an SDK hides: how a connection ended, bytes of
 * errors, header fields. Streams are read to their end, clean or not.
 */

import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';

import { TEST_KEY } from './node.ts';

export type ClientDialect = 'openai' | 'anthropic';

/** One question to a node. */
export interface Question {
  readonly dialect: ClientDialect;
  readonly model: string;
  readonly isStream: boolean;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Further members of the body. */
  readonly more?: object;
  readonly signal?: AbortSignal;
  /** Told when the first piece of the answer is there. */
  readonly began?: () => void;
  /** A slow reader: rests so long after each read of its socket, ms. */
  readonly readGapMs?: number;
}

/** What came back. */
export interface Reply {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** `aborted`: the connection broke before the response was complete by its own framing. */
  readonly end: 'clean' | 'aborted';
  /** From the request to the end, ms. */
  readonly totalMs: number;
}

const agent = new Agent({ keepAlive: true, maxSockets: 256 });

/** Closes the connections that wait for a next question. */
export function closeConnections(): void {
  agent.destroy();
}

/** The body of a question. */
export function questionBody(question: Question): string {
  return JSON.stringify({
    model: question.model,
    ...(question.dialect === 'anthropic' ? { max_tokens: 64 } : {}),
    ...(question.isStream ? { stream: true } : {}),
    messages: [{ role: 'user', content: question.text ?? 'Hello?' }],
    ...question.more,
  });
}

/** Asks and reads the answer to its end. Rejects only where no response came at all. */
export function ask(apiUrl: string, question: Question): Promise<Reply> {
  const path = question.dialect === 'openai' ? '/v1/chat/completions' : '/v1/messages';
  return post(
    `${apiUrl}${path}`,
    questionBody(question),
    question.headers ?? {},
    question.signal,
    question.began,
    question.readGapMs ?? 0,
  );
}

/** Posts JSON with the test key. */
export function post(
  url: string,
  body: string,
  headers: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
  began: () => void = () => {},
  readGapMs = 0,
): Promise<Reply> {
  const startMs = performance.now();
  return new Promise((resolve, reject) => {
    const fields = {
      'content-type': 'application/json',
      authorization: `Bearer ${TEST_KEY}`,
      ...headers,
    };
    const options = { method: 'POST', headers: fields, agent, ...(signal ? { signal } : {}) };
    const request = httpRequest(url, options, (response) => {
      let text = '';
      const over = (): void =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: text,
          end: response.complete ? 'clean' : 'aborted',
          totalMs: performance.now() - startMs,
        });
      response.setEncoding('utf8');
      response.once('data', began);
      response.on('data', (chunk: string) => {
        text += chunk;
        if (readGapMs === 0) return;
        // The socket, not the response: Node drops what a paused response holds when it breaks off.
        const { socket } = response;
        socket.pause();
        setTimeout(() => socket.resume(), readGapMs);
      });
      response.on('error', () => {}); // `close` follows and tells of it.
      response.on('close', over);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** One parsed server-sent event; `data` is the parsed JSON, or the text where it is none. */
export interface SseEvent {
  readonly event: string | null;
  readonly data: unknown;
}

/** The events of a stream. Comments are left out. */
export function sseEvents(body: string): readonly SseEvent[] {
  const events: SseEvent[] = [];
  for (const block of body.split('\n\n')) {
    let event: string | null = null;
    let data: string | null = null;
    for (const line of block.split('\n')) {
      if (line.startsWith('event: ')) event = line.slice(7);
      if (line.startsWith('data: ')) data = line.slice(6);
    }
    if (data !== null) events.push({ event, data: data === '[DONE]' ? data : parse(data) });
  }
  return events;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // A cut event: the caller sees that it is no object.
  }
}

/** What stands at `path` inside parsed JSON; undefined where nothing does. */
export function dig(value: unknown, ...path: readonly (string | number)[]): unknown {
  let at = value;
  for (const key of path) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Readonly<Record<string | number, unknown>>)[key];
  }
  return at;
}

/** The text at `path`; empty where there is none. */
export function textAt(value: unknown, ...path: readonly (string | number)[]): string {
  const found = dig(value, ...path);
  return typeof found === 'string' ? found : '';
}

/** The text of an answer, streamed or whole. */
export function answerText(dialect: ClientDialect, isStream: boolean, body: string): string {
  if (!isStream) {
    const json = parse(body);
    return dialect === 'openai'
      ? textAt(json, 'choices', 0, 'message', 'content')
      : textAt(json, 'content', 0, 'text');
  }
  return sseEvents(body)
    .map(({ data }) =>
      dialect === 'openai'
        ? textAt(data, 'choices', 0, 'delta', 'content')
        : textAt(data, 'delta', 'text'),
    )
    .join('');
}

/** Does the stream hold its dialect's own end? */
export function hasDialectEnd(dialect: ClientDialect, body: string): boolean {
  return sseEvents(body).some(({ event, data }) =>
    dialect === 'openai' ? data === '[DONE]' : event === 'message_stop',
  );
}

/** The error of a body or of a stream's last event: its code (OpenAI) and type; null: none. */
export function errorOf(
  body: string,
): { readonly code: string; readonly type: string; readonly message: string } | null {
  const events = sseEvents(body);
  const error = dig(events.length > 0 ? events.at(-1)?.data : parse(body), 'error');
  if (error === undefined) return null;
  return {
    code: textAt(error, 'code'),
    type: textAt(error, 'type'),
    message: textAt(error, 'message'),
  };
}
