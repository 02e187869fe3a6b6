/**
 * Calls to the endpoints of an etcd cluster, over its JSON gateway: one endpoint until it fails, then
 * the next one. A call that certainly was not sent is made there at once; whether to ask again after
 * an answer that got lost is for whoever called.
 */

import { Agent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent as TlsAgent, request as httpsRequest, type AgentOptions } from 'node:https';
import { createSecureContext } from 'node:tls';

import type { z } from 'zod';

import { ETCD_LIMITS } from '../../base/etcdLimits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { EtcdFailure } from '../../replica/etcd/store.ts';
import { refusalAnswer, tokenAnswer } from './json.ts';

/** Codes of gRPC that say what was not done. */
const CODE = { invalid: 3, notFound: 5, denied: 7, exhausted: 8, outOfRange: 11, notAllowed: 16 };
/** Refused before it was proposed to the cluster, or by what applied it; nothing has changed. */
const DEFINITE: ReadonlySet<number> = new Set(Object.values(CODE));

const POOL = { keepAlive: true, maxSockets: 32, scheduling: 'lifo' } as const;

/** PEM texts; null: those of the system, and no certificate of our own. */
export interface EtcdTls {
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  readonly serverName: string | null;
}

export interface GatewayOptions {
  /** `http://host:port` or `https://host:port`, the nearest first. */
  readonly endpoints: readonly string[];
  readonly tls: EtcdTls | null;
  readonly user: { readonly name: string; readonly password: string } | null;
}

/** A body that comes in lines, as long as it comes. */
export interface LineHandler {
  onLine(line: string): void;
  onEnd(detail: string): void;
}

export class EtcdGateway {
  readonly #options: GatewayOptions;
  #agent: Agent;
  #current = 0;
  #token: string | null = null;
  readonly #open = new Set<ClientRequest>();

  constructor(options: GatewayOptions) {
    this.#options = options;
    const isTls = options.endpoints[0]?.startsWith('https:') === true;
    this.#agent = isTls ? new TlsAgent(tlsOptions(options.tls)) : new Agent(POOL);
  }

  /** New connections use these; what is under way ends on its own. Why not: the old ones stay. */
  setTls(tls: EtcdTls): Result<null, string> {
    const before = this.#agent;
    if (!(before instanceof TlsAgent)) return ok(null);
    const options = tlsOptions(tls);
    try {
      createSecureContext(options);
    } catch (cause) {
      return err(String(cause)); // Texts that are no certificates, or do not fit each other.
    }
    this.#agent = new TlsAgent(options);
    before.maxFreeSockets = 0; // Those in use are closed once they are free.
    for (const socket of Object.values(before.freeSockets).flat()) socket?.destroy();
    return ok(null);
  }

  get endpoints(): readonly string[] {
    return this.#options.endpoints;
  }

  /** Where calls go now. */
  get endpoint(): string {
    return this.#options.endpoints[this.#current] ?? '';
  }

  turn(): void {
    this.#current = (this.#current + 1) % this.#options.endpoints.length;
  }

  close(): void {
    for (const open of this.#open) open.destroy();
    this.#agent.destroy();
  }

  /** Calls the endpoint that answers now, or the next ones where nobody took the call. */
  async call<T>(path: string, body: object, schema: z.ZodType<T>): Promise<Result<T, EtcdFailure>> {
    let result: Result<T, EtcdFailure> = err(failure(true, 'no endpoint'));
    for (let tries = 0; tries < this.#options.endpoints.length; tries += 1) {
      const at = this.#current;
      result = await this.callAt(this.endpoint, path, body, schema);
      if (result.ok || result.error.isFinal || result.error.isCompacted) return result;
      if (this.#current === at) this.turn();
      if (!result.error.isDefinite) return result;
    }
    return result;
  }

  /** Calls one endpoint. */
  async callAt<T>(
    endpoint: string,
    path: string,
    body: object,
    schema: z.ZodType<T>,
  ): Promise<Result<T, EtcdFailure>> {
    const signed = await this.#signIn(endpoint);
    if (!signed.ok) return signed;
    const answer = await this.#post(endpoint, path, body);
    if (!answer.ok) return answer;
    const { status, text } = answer.value;
    if (status !== 200) return err(this.#refusal(status, text));
    const parsed = schema.safeParse(parseJson(text));
    // It was done, though we do not know how it ended.
    return parsed.success ? ok(parsed.data) : err(failure(false, `${path}: not understood`));
  }

  /** Opens a body that goes on; the result ends it, and then nothing is called back. */
  lines(path: string, body: object, handler: LineHandler): () => void {
    const at = this.#current;
    const { endpoint } = this;
    let isOver = false;
    let open: ClientRequest | null = null;
    const end = (detail: string): void => {
      if (isOver) return;
      isOver = true;
      open?.destroy();
      if (this.#current === at) this.turn();
      handler.onEnd(detail);
    };
    const start = async (): Promise<void> => {
      const signed = await this.#signIn(endpoint);
      if (isOver) return;
      if (!signed.ok) return end(signed.error.detail);
      open = this.#request(endpoint, path, body, (response) => {
        readLines(response, (line) => isOver || handler.onLine(line), end);
      });
      open.on('error', (cause) => end(`${endpoint}: ${cause.message}`));
    };
    void start();
    return () => {
      isOver = true;
      open?.destroy();
    };
  }

  async #signIn(endpoint: string): Promise<Result<null, EtcdFailure>> {
    const { user } = this.#options;
    if (user === null || this.#token !== null) return ok(null);
    const answer = await this.#post(endpoint, '/v3/auth/authenticate', user);
    // Nothing of what was asked for has been sent yet.
    if (!answer.ok) return err(failure(true, answer.error.detail));
    const { status, text } = answer.value;
    const parsed = tokenAnswer.safeParse(parseJson(text));
    if (status === 200 && parsed.success) {
      this.#token = parsed.data.token;
      return ok(null);
    }
    const { detail } = this.#refusal(status, text);
    return err(failure(true, `${endpoint}: signing in as ${user.name}: ${detail}`));
  }

  #refusal(status: number, text: string): EtcdFailure {
    const parsed = refusalAnswer.safeParse(parseJson(text));
    if (!parsed.success) return failure(false, `HTTP ${status}`);
    const { code, message } = parsed.data;
    if (code === CODE.notAllowed || /auth/.test(message)) {
      this.#token = null; // It was too old: the next call signs in again.
      return failure(true, message);
    }
    return {
      isDefinite: DEFINITE.has(code),
      isFinal: DEFINITE.has(code) && code !== CODE.outOfRange,
      isCompacted: code === CODE.outOfRange && message.includes('compacted'),
      isLeaseGone: code === CODE.notFound && message.includes('lease not found'),
      detail: message,
    };
  }

  #post(
    endpoint: string,
    path: string,
    body: object,
  ): Promise<Result<{ readonly status: number; readonly text: string }, EtcdFailure>> {
    return new Promise((resolve) => {
      let isConnected = false;
      const open = this.#request(endpoint, path, body, (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > ETCD_LIMITS.answerBytesMax) open.destroy(new Error('its answer is too long'));
          else chunks.push(chunk);
        });
        response.on('end', () => {
          clearTimeout(timer);
          const text = Buffer.concat(chunks).toString('utf8');
          resolve(ok({ status: response.statusCode ?? 0, text }));
        });
        response.on('error', (cause) => fail(cause));
      });
      const fail = (cause: Error): void => {
        clearTimeout(timer);
        resolve(err(failure(!isConnected, `${endpoint}: ${cause.message}`)));
      };
      const timer = setTimeout(
        () => open.destroy(new Error('no answer in time')),
        ETCD_LIMITS.requestMs,
      );
      open.on('socket', (socket) => {
        // One of the pool is connected already; a new one has a shorter time for that alone.
        isConnected = !socket.connecting;
        if (isConnected) return;
        socket.once(this.#agent instanceof TlsAgent ? 'secureConnect' : 'connect', () => {
          isConnected = true;
          clearTimeout(connecting);
        });
        const connecting = setTimeout(
          () => open.destroy(new Error('no connection in time')),
          ETCD_LIMITS.connectMs,
        );
        open.once('close', () => clearTimeout(connecting));
      });
      open.on('error', fail);
    });
  }

  #request(
    endpoint: string,
    path: string,
    body: object,
    onResponse: (response: IncomingMessage) => void,
  ): ClientRequest {
    const bytes = Buffer.from(JSON.stringify(body));
    const start = this.#agent instanceof TlsAgent ? httpsRequest : httpRequest;
    const open = start(`${endpoint}${path}`, {
      method: 'POST',
      agent: this.#agent,
      headers: {
        'content-type': 'application/json',
        'content-length': bytes.length,
        ...(this.#token === null ? {} : { authorization: this.#token }),
      },
    });
    this.#open.add(open);
    open.on('close', () => this.#open.delete(open));
    open.on('response', onResponse);
    open.end(bytes);
    return open;
  }
}

function tlsOptions(tls: EtcdTls | null): AgentOptions {
  return {
    ...POOL,
    minVersion: 'TLSv1.2',
    ...(tls?.ca == null ? {} : { ca: tls.ca }),
    ...(tls?.cert == null ? {} : { cert: tls.cert }),
    ...(tls?.key == null ? {} : { key: tls.key }),
    ...(tls?.serverName == null ? {} : { servername: tls.serverName }),
  };
}

function readLines(
  response: IncomingMessage,
  onLine: (line: string) => void,
  onEnd: (detail: string) => void,
): void {
  let rest: Buffer[] = [];
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...rest, chunk.subarray(from, at)]).toString('utf8');
      [rest, bytes, from] = [[], 0, at + 1];
      if (line !== '') onLine(line);
    }
    rest.push(chunk.subarray(from));
    bytes += chunk.length - from;
    if (bytes > ETCD_LIMITS.answerBytesMax) onEnd('a line of the stream is too long');
  });
  response.on('end', () => onEnd('the stream ended'));
  response.on('error', (cause) => onEnd(cause.message));
}

function failure(isDefinite: boolean, detail: string): EtcdFailure {
  return { isDefinite, isFinal: false, isCompacted: false, isLeaseGone: false, detail };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // Not JSON: whoever answers there is no etcd.
  }
}
