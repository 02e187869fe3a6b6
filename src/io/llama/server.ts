/**
 * `banyan model serve`: one model behind the OpenAI dialect. It listens before the model is loaded, so
 * that `/health` can tell; it serves the loopback and knows no keys: the gateway stands in front.
 *
 * S1: a client that leaves stops its generation before the next token. S2: an answer that cannot be
 * finished ends with a broken connection, never with a clean end.
 */

import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';

import { LLAMA_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import {
  renderChunk,
  renderUsageChunk,
  renderWhole,
  STREAM_END,
  type AnswerFrame,
} from './answer.ts';
import { Engine, type Job, type JobResult } from './engine.ts';
import { readChatRequest, readCompletionRequest } from './request.ts';
import type { ChatRequest, GenerateOptions, RequestProblem } from './request.ts';
import type { LlamaRuntime } from './runtime.ts';
import { buildPrompt, templateOf, type ChatTemplate } from './template.ts';

/** What the server is built from. */
export interface ModelServerOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  /** The only name that is served; null: any, as the embedded server has one model anyway. */
  readonly model: string | null;
  readonly queueDepthMax: number;
  /** Pace of each answer; null: full speed. */
  readonly tokensPerSecondMax: number | null;
  readonly load: () => Promise<LlamaRuntime>;
  readonly nowSeconds: () => number;
}

/** A running server. */
export interface ModelServer {
  readonly port: number;
  /** Resolves when the model is loaded; rejects where it cannot be. */
  readonly loaded: Promise<void>;
  /** Stops at once: answers under way are broken off. */
  close(): Promise<void>;
}

interface Loaded {
  readonly engine: Engine;
  readonly template: ChatTemplate | null;
  readonly name: string;
}

/** Listens, then loads. Rejects where the address cannot be had. */
export async function startModelServer(options: ModelServerOptions): Promise<ModelServer> {
  const state: { loaded: Loaded | null } = { loaded: null };
  const counts = { requests: 0, tokens: 0, failed: 0 };
  const server = createServer(
    { noDelay: true, requestTimeout: LLAMA_LIMITS.requestMs, maxHeaderSize: 32 * 1024 },
    (request, response) => {
      counts.requests += 1;
      handle({ options, counts, loaded: state.loaded }, request, response).catch(
        (cause: unknown) => {
          counts.failed += 1;
          process.stderr.write(`banyan model serve: ${String(cause)}\n`);
          if (response.headersSent) response.destroy();
          else refuse(response, 500, 'server_error', 'internal', 'The model failed.', null);
        },
      );
    },
  );
  server.maxConnections = LLAMA_LIMITS.connectionsMax;
  const port = await listen(server, options);
  const loaded = options.load().then((runtime) => {
    state.loaded = {
      engine: new Engine(runtime, options.queueDepthMax),
      template: templateOf(runtime),
      name: options.model ?? runtime.name ?? 'model',
    };
  });
  return { port, loaded, close: () => close(server) };
}

function listen(server: Server, { host, port }: ModelServerOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

interface Context {
  readonly options: ModelServerOptions;
  readonly counts: { requests: number; tokens: number; failed: number };
  readonly loaded: Loaded | null;
}

async function handle(
  context: Context,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [path = '/'] = (request.url ?? '/').split('?', 1);
  const { loaded } = context;
  const isPost = path === '/v1/chat/completions' || path === '/v1/completions';
  const isGet = path === '/health' || path === '/metrics' || path.startsWith('/v1/models');
  if (!isPost && !isGet) {
    return refuse(response, 404, 'not_found_error', 'not_found', 'No such path.', null);
  }
  const isRightMethod = isPost
    ? request.method === 'POST'
    : request.method === 'GET' || request.method === 'HEAD';
  if (!isRightMethod) {
    response.setHeader('allow', isPost ? 'POST' : 'GET');
    return refuse(response, 405, 'invalid_request_error', 'method_not_allowed', 'Wrong method.');
  }
  if (loaded === null) {
    response.setHeader('retry-after', String(LLAMA_LIMITS.retryAfterSeconds));
    return refuse(response, 503, 'server_error', 'loading', 'The model is being loaded.');
  }
  if (isPost) return generate(context, loaded, path === '/v1/chat/completions', request, response);
  if (path === '/health') return sendJson(response, 200, JSON.stringify({ status: 'ok' }));
  if (path === '/metrics') return sendMetrics(context, loaded, response);
  sendModels(loaded, path, response);
}

function sendModels(loaded: Loaded, path: string, response: ServerResponse): void {
  const row = { id: loaded.name, object: 'model', created: 0, owned_by: 'banyan' };
  if (path === '/v1/models') {
    return sendJson(response, 200, JSON.stringify({ object: 'list', data: [row] }));
  }
  if (path === `/v1/models/${encodeURIComponent(loaded.name)}`) {
    return sendJson(response, 200, JSON.stringify(row));
  }
  refuseModel(response);
}

function sendMetrics({ counts }: Context, { engine }: Loaded, response: ServerResponse): void {
  const { active, waiting } = engine.load;
  const text =
    '# TYPE banyan_model_requests_total counter\n' +
    `banyan_model_requests_total ${counts.requests}\n` +
    '# TYPE banyan_model_failures_total counter\n' +
    `banyan_model_failures_total ${counts.failed}\n` +
    '# TYPE banyan_model_completion_tokens_total counter\n' +
    `banyan_model_completion_tokens_total ${counts.tokens}\n` +
    '# TYPE banyan_model_sequences_active gauge\n' +
    `banyan_model_sequences_active ${active}\n` +
    '# TYPE banyan_model_requests_waiting gauge\n' +
    `banyan_model_requests_waiting ${waiting}\n`;
  response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
  response.end(text);
}

async function generate(
  context: Context,
  loaded: Loaded,
  isChat: boolean,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const client = new AbortController();
  response.on('close', () => client.abort());
  const body = await readBody(request);
  if (!body.ok && body.error === 'gone') return;
  if (!body.ok) {
    response.setHeader('connection', 'close');
    const message = `The body is over ${LLAMA_LIMITS.requestBodyBytesMax} bytes.`;
    return refuse(response, 413, 'invalid_request_error', 'body_too_large', message);
  }
  const value = parseJson(body.value);
  if (value === undefined) {
    const message = 'The body is not valid JSON.';
    return refuse(response, 400, 'invalid_request_error', 'invalid_json', message);
  }
  const read = isChat ? readChatRequest(value) : readCompletionRequest(value);
  if (!read.ok) {
    const { message, param } = read.error;
    return refuse(response, 400, 'invalid_request_error', 'invalid_request', message, param);
  }
  const asked = read.value;
  const { model } = context.options;
  if (model !== null && asked.model !== model) return refuseModel(response);
  const prompt = promptOf(loaded, asked);
  if (!prompt.ok) {
    const { code, message, param } = prompt.error;
    return refuse(response, 400, 'invalid_request_error', code, message, param);
  }
  const frame: AnswerFrame = {
    id: `${isChat ? 'chatcmpl' : 'cmpl'}-${randomBytes(12).toString('hex')}`,
    createdSeconds: context.options.nowSeconds(),
    model: asked.model,
    isChat,
  };
  const job = jobOf(context, asked, prompt.value, client.signal);
  if (asked.isStream) await sendStream(context, loaded, frame, asked, job, response);
  else await sendWhole(context, loaded, frame, job, response);
}

interface PromptProblem extends RequestProblem {
  readonly code: 'invalid_request' | 'context_length_exceeded' | 'no_chat_template';
}

function promptOf(
  { engine, template }: Loaded,
  asked: GenerateOptions & ({ messages: ChatRequest['messages'] } | { prompt: string }),
): Result<{ readonly tokens: readonly number[]; readonly begun: string }, PromptProblem> {
  const { runtime } = engine;
  if ('prompt' in asked) {
    const tokens = runtime.tokenize(asked.prompt);
    const tokensMax = runtime.contextTokens - LLAMA_LIMITS.answerTokensMin;
    if (tokens.length > tokensMax) return err(tooLong(tokens.length, tokensMax));
    return ok({ tokens, begun: '' });
  }
  if (template === null) {
    const message = 'The model file has no chat template that this server knows.';
    return err({ code: 'no_chat_template', message, param: 'messages' });
  }
  const built = buildPrompt(template, runtime.contextTokens, asked.messages);
  if (built.ok) return built;
  if (built.error.kind === 'too-long') {
    return err(tooLong(built.error.tokens, built.error.tokensMax));
  }
  const message = 'There is no user message to answer.';
  return err({ code: 'invalid_request', message, param: 'messages' });
}

function tooLong(tokens: number, tokensMax: number): PromptProblem {
  const message = `The prompt has ${tokens} tokens; this model takes up to ${tokensMax}.`;
  return { code: 'context_length_exceeded', message, param: 'messages' };
}

function jobOf(
  { options }: Context,
  asked: GenerateOptions,
  prompt: { readonly tokens: readonly number[]; readonly begun: string },
  signal: AbortSignal,
): Omit<Job, 'onText'> {
  const { temperature, topP, topK, tokensMax, stops } = asked;
  // Without a seed the prompt is the seed: another process that continues the answer finds it too.
  const seed =
    asked.seed ?? createHash('sha256').update(prompt.tokens.join()).digest().readInt32LE();
  return {
    prompt: prompt.tokens,
    begun: prompt.begun,
    sampling: { temperature, topP, topK, seed },
    tokensMax,
    stops,
    tokensPerSecondMax: options.tokensPerSecondMax,
    signal,
  };
}

async function sendWhole(
  context: Context,
  { engine }: Loaded,
  frame: AnswerFrame,
  job: Omit<Job, 'onText'>,
  response: ServerResponse,
): Promise<void> {
  const pieces: string[] = [];
  const onText = (text: string): void => void pieces.push(text);
  const result = await engine.generate({ ...job, onText });
  if (result === 'queue-full') return refuseBusy(response);
  count(context, result);
  if (result.end === 'aborted') return;
  sendJson(response, 200, renderWhole(frame, pieces.join(''), result));
}

async function sendStream(
  context: Context,
  { engine }: Loaded,
  frame: AnswerFrame,
  asked: GenerateOptions,
  job: Omit<Job, 'onText'>,
  response: ServerResponse,
): Promise<void> {
  let isFirst = true;
  const onText = (text: string): void | Promise<void> => {
    if (isFirst) openStream(response);
    const isTaken = response.write(renderChunk(frame, { text, isFirst }));
    isFirst = false;
    return isTaken ? undefined : drained(response, job.signal);
  };
  const result = await engine.generate({ ...job, onText });
  if (result === 'queue-full') return refuseBusy(response);
  count(context, result);
  if (result.end === 'aborted') return void response.destroy();
  if (isFirst) openStream(response);
  let tail = isFirst ? renderChunk(frame, { text: '', isFirst }) : '';
  tail += renderChunk(frame, { end: result.end });
  if (asked.hasStreamUsage) tail += renderUsageChunk(frame, result);
  response.end(tail + STREAM_END);
}

function openStream(response: ServerResponse): void {
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
  });
}

/** Waits for a slow reader; a client that leaves ends the wait. */
function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    response.on('drain', done);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}

function count({ counts }: Context, result: JobResult): void {
  counts.tokens += result.completionTokens;
}

async function readBody(request: IncomingMessage): Promise<Result<string, 'too-large' | 'gone'>> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of request) {
      if (!Buffer.isBuffer(chunk)) continue;
      length += chunk.length;
      if (length > LLAMA_LIMITS.requestBodyBytesMax) return err('too-large');
      chunks.push(chunk);
    }
  } catch {
    return err('gone'); // The client left before its request was complete: nobody to answer.
  }
  return ok(Buffer.concat(chunks).toString('utf8'));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // JSON has no undefined: the caller tells it apart from every value.
  }
}

function refuseModel(response: ServerResponse): void {
  const message = 'This server does not have that model; GET /v1/models names it.';
  refuse(response, 404, 'not_found_error', 'model_not_found', message, 'model');
}

function refuseBusy(response: ServerResponse): void {
  response.setHeader('retry-after', String(LLAMA_LIMITS.retryAfterSeconds));
  refuse(response, 503, 'server_error', 'overloaded', 'Too many requests wait for this model.');
}

function refuse(
  response: ServerResponse,
  status: number,
  type: string,
  code: string,
  message: string,
  param: string | null = null,
): void {
  sendJson(response, status, JSON.stringify({ error: { message, type, param, code } }));
}

function sendJson(response: ServerResponse, status: number, text: string): void {
  const bytes = Buffer.from(text);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': bytes.length,
  });
  response.end(bytes);
}
