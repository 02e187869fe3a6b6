/** Short questions to a node's admin listener, over connections of their own. */

import { request } from 'node:http';

import { DEMO_LIMITS, OBSERVE_LIMITS } from '../../base/limits.ts';
import { err, ok } from '../../base/result.ts';
import type { AdminAnswer } from '../../io/admin/server.ts';
import { isRow, type JsonRow } from '../json.ts';

/** What came back. */
export interface Reply {
  readonly status: number;
  readonly text: string;
}

/** Asks; null where nobody answers in time. */
export function ask(
  port: number,
  path: string,
  body?: object,
  limitMs: number = DEMO_LIMITS.askMs,
): Promise<Reply | null> {
  const bytes = body === undefined ? null : Buffer.from(JSON.stringify(body));
  return new Promise((resolve) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port,
        path,
        method: bytes === null ? 'GET' : 'POST',
        agent: false,
        signal: AbortSignal.timeout(limitMs),
        headers:
          bytes === null
            ? {}
            : { 'content-type': 'application/json', 'content-length': bytes.length },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > OBSERVE_LIMITS.adminAnswerBytesMax) response.destroy();
          else chunks.push(chunk);
        });
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() });
        });
        response.on('close', () => resolve(null));
      },
    );
    outgoing.on('error', () => resolve(null)); // Down, paused or too slow: the caller shows it so.
    outgoing.end(bytes ?? undefined);
  });
}

/** Passes a question on; null where the node does not answer. */
export async function askForAnswer(
  port: number,
  path: string,
  body?: object,
  limitMs: number = DEMO_LIMITS.askMs,
): Promise<AdminAnswer | null> {
  const reply = await ask(port, path, body, limitMs);
  if (reply === null) return null;
  const answer = parseObject(reply.text);
  if (reply.status === 200) return ok(answer);
  const { error } = answer;
  const { code, message } = isRow(error) ? error : {};
  return err({ status: reply.status, code: String(code), message: String(message) });
}

function parseObject(text: string): JsonRow {
  try {
    const value: unknown = JSON.parse(text);
    return isRow(value) ? value : {};
  } catch {
    return {}; // Not JSON: the status alone tells what happened.
  }
}
