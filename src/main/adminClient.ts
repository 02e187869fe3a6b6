/** Asks an admin API: a node's, or that of the demo's supervisor. */

import { request, type IncomingMessage } from 'node:http';
import { request as requestTls } from 'node:https';

import { OBSERVE_LIMITS } from '../base/limits.ts';
import { readCredentials, type AdminCredentials } from './adminCredentials.ts';
import { isLoopback } from './config/address.ts';
import { CliError, EXIT, type ExitCode } from './exitCodes.ts';
import { isRow, type JsonRow } from './json.ts';
import { printable } from './output.ts';
import { say } from './verb.ts';

export { isRow, type JsonRow };

/** All was sent, and no whole answer came: it may have been done. The cause of a `CliError`. */
export class UnansweredError extends Error {
  override readonly name = 'UnansweredError';
}

/** Of this process: the verb's options decide once, before it asks anybody. */
let credentials: AdminCredentials | null = null;

/** Takes the key of a file instead of that of the environment; null: there is no such option. */
export function useCredentials(keyFile: string | null): void {
  credentials = readCredentials(process.env, keyFile);
}

/**
 * Calls `path` of the admin API at `server` and gives the JSON of its answer. Throws `CliError`: with
 * `unreachable` where nobody answers in time, else by the status of the refusal.
 */
export async function askAdmin(
  server: string,
  path: string,
  body?: unknown,
  limitMs: number = OBSERVE_LIMITS.adminRequestMs,
): Promise<JsonRow> {
  const { status, text } = await callServer(server, path, body, limitMs);
  const answer = parseRow(text);
  if (answer === null) {
    throw new CliError(EXIT.unreachable, say('client.notAdmin', { server, status }));
  }
  if (status < 400) return answer;
  throw refusal(status, answer);
}

function refusal(status: number, { error }: JsonRow): CliError {
  const told = isRow(error) && typeof error['message'] === 'string' ? error['message'] : '';
  // Problems of a configuration are lines.
  const lines = (told === '' ? `HTTP ${status}` : told).split('\n');
  const message = lines.map(printable).join('\n');
  const code = isRow(error) ? error['code'] : null;
  if (status === 401) return new CliError(EXIT.refused, say('client.notKnown', { message }));
  if (code === 'role_too_low' || code === 'no_role') {
    return new CliError(EXIT.refused, say('client.roleTooLow', { message }));
  }
  return new CliError(exitOfStatus(status), message);
}

/** The text at `path`, e.g. of the metrics. Throws `CliError` as `askAdmin` does. */
export async function askAdminText(server: string, path: string, limitMs: number): Promise<string> {
  const { status, text } = await callServer(server, path, undefined, limitMs);
  if (status === 200) return text;
  const answer = parseRow(text);
  if (answer !== null) throw refusal(status, answer);
  throw new CliError(EXIT.unreachable, say('client.notAdmin', { server, status }));
}

async function callServer(
  server: string,
  path: string,
  body: unknown,
  limitMs: number,
): ReturnType<typeof call> {
  const base = URL.parse(server);
  if (base === null || !['http:', 'https:'].includes(base.protocol)) {
    throw new CliError(EXIT.usage, say('client.badServer', { server: printable(server) }));
  }
  credentials ??= readCredentials(process.env, null);
  if (
    credentials.key !== null &&
    base.protocol === 'http:' &&
    !isLoopback(base.hostname.replace(/^\[|\]$/g, ''))
  ) {
    throw new CliError(EXIT.usage, say('client.unencrypted', { server: printable(server) }));
  }
  return call(new URL(path, base), body, limitMs, credentials).catch((cause: unknown) => {
    const why = errorText(cause);
    throw new CliError(EXIT.unreachable, say('client.unreachable', { server, why }), cause);
  });
}

function exitOfStatus(status: number): ExitCode {
  if (status === 404) return EXIT.notFound;
  if (status === 400) return EXIT.usage;
  if (status === 502 || status === 503 || status === 504) return EXIT.unreachable;
  return status < 500 ? EXIT.refused : EXIT.failed;
}

function errorText(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
}

function parseRow(text: string): JsonRow | null {
  try {
    const value: unknown = JSON.parse(text);
    return isRow(value) ? value : null;
  } catch {
    return null; // Not JSON: whoever answers there is no Banyan.
  }
}

function call(
  url: URL,
  body: unknown,
  limitMs: number,
  { key, ca, cert, certKey }: AdminCredentials,
): Promise<{ readonly status: number; readonly text: string }> {
  const bytes = body === undefined ? null : Buffer.from(JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const start = url.protocol === 'https:' ? requestTls : request;
    const outgoing = start(
      url,
      {
        ...(ca === null ? {} : { ca }),
        ...(cert === null || certKey === null ? {} : { cert, key: certKey }),
        method: bytes === null ? 'GET' : 'POST',
        agent: false,
        signal: AbortSignal.timeout(limitMs),
        headers: {
          ...(key === null ? {} : { authorization: `Bearer ${key}` }),
          ...(bytes === null
            ? {}
            : { 'content-type': 'application/json', 'content-length': bytes.length }),
        },
      },
      (response) => {
        readAll(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, text }),
          (cause: unknown) => reject(new UnansweredError(errorText(cause), { cause })),
        );
      },
    );
    outgoing.on('error', (cause) => {
      const why = cause.name === 'AbortError' ? `timeout (${limitMs} ms)` : errorText(cause);
      const isSent = outgoing.writableFinished;
      reject(isSent ? new UnansweredError(why, { cause }) : new Error(why, { cause }));
    });
    outgoing.end(bytes ?? undefined);
  });
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > OBSERVE_LIMITS.adminAnswerBytesMax) throw new Error('the answer is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
