/** Short questions to a node's admin listener, over connections of their own. */

import { request } from 'node:http';

import { DEMO_LIMITS, OBSERVE_LIMITS } from '../../base/limits.ts';
import { err, ok } from '../../base/result.ts';
import type { AdminAnswer } from '../../io/admin/route.ts';
import { isRow, type JsonRow } from '../json.ts';

/** What came back. */
export interface Reply {
  readonly status: number;
  readonly text: string;
}

/** What a question has beside its path. */
export interface Question {
  /** Absent: GET. */
  readonly body?: object;
  readonly limitMs?: number;
  /** Null: no credentials. */
  readonly authorization?: string | null;
}

/** Asks; null where nobody answers in time. */
export function ask(port: number, path: string, question: Question = {}): Promise<Reply | null> {
  const { body, limitMs = DEMO_LIMITS.askMs, authorization = null } = question;
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
        headers: {
          ...(authorization === null ? {} : { authorization }),
          ...(bytes === null
            ? {}
            : { 'content-type': 'application/json', 'content-length': bytes.length }),
        },
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

/**
 * Passes a question on; null where the node does not answer. Its answer is that of our own node of
 * the same version: its shape is that of the route.
 */
export async function askForAnswer<Answer extends object>(
  port: number,
  path: string,
  question: Question = {},
): Promise<AdminAnswer<Answer> | null> {
  const reply = await ask(port, path, question);
  if (reply === null) return null;
  const answer = parseObject(reply.text);
  if (reply.status === 200) return ok(answer as unknown as Answer);
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

/** The node takes requests; one of a drained region does, and says at `/readyz` to go elsewhere. */
export async function isServing(port: number): Promise<boolean> {
  const reply = await ask(port, '/admin/v1/status');
  return reply?.status === 200 && /"state":\s*"ready"/.test(reply.text);
}
