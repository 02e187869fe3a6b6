/** Asks an admin API: a node's, or that of the demo's supervisor. */

import { request, type IncomingMessage } from 'node:http';

import { OBSERVE_LIMITS } from '../base/limits.ts';
import { CliError, EXIT, type ExitCode } from './exitCodes.ts';
import { isRow, type JsonRow } from './json.ts';
import { printable } from './output.ts';
import { say } from './verb.ts';

export { isRow, type JsonRow };

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
  const { error } = answer;
  const message = isRow(error) && typeof error['message'] === 'string' ? error['message'] : '';
  // Problems of a configuration are lines.
  const shown = (message === '' ? `HTTP ${status}` : message).split('\n').map(printable).join('\n');
  throw new CliError(exitOfStatus(status), shown);
}

/** The text at `path`, e.g. of the metrics. Throws `CliError` as `askAdmin` does. */
export async function askAdminText(server: string, path: string, limitMs: number): Promise<string> {
  const { status, text } = await callServer(server, path, undefined, limitMs);
  if (status === 200) return text;
  throw new CliError(EXIT.unreachable, say('client.notAdmin', { server, status }));
}

async function callServer(
  server: string,
  path: string,
  body: unknown,
  limitMs: number,
): ReturnType<typeof call> {
  const base = URL.parse(server);
  if (base === null || base.protocol !== 'http:') {
    throw new CliError(EXIT.usage, say('client.badServer', { server: printable(server) }));
  }
  return call(new URL(path, base), body, limitMs).catch((cause: unknown) => {
    const why = cause instanceof Error ? errorWord(cause) : String(cause);
    throw new CliError(EXIT.unreachable, say('client.unreachable', { server, why }), cause);
  });
}

function exitOfStatus(status: number): ExitCode {
  if (status === 404) return EXIT.notFound;
  if (status === 400) return EXIT.usage;
  if (status === 502 || status === 503 || status === 504) return EXIT.unreachable;
  return status < 500 ? EXIT.refused : EXIT.failed;
}

function errorWord(cause: Error): string {
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
): Promise<{ readonly status: number; readonly text: string }> {
  const bytes = body === undefined ? null : Buffer.from(JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        method: bytes === null ? 'GET' : 'POST',
        agent: false,
        signal: AbortSignal.timeout(limitMs),
        headers:
          bytes === null
            ? {}
            : { 'content-type': 'application/json', 'content-length': bytes.length },
      },
      (response) => {
        readAll(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, text }),
          (cause: unknown) => reject(cause instanceof Error ? cause : new Error(String(cause))),
        );
      },
    );
    outgoing.on('error', (cause) =>
      reject(cause.name === 'AbortError' ? new Error(`timeout (${limitMs} ms)`) : cause),
    );
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
