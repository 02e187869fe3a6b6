/** `banyan chat`: asks the demo a question, streams the answer, and says who served it. */

import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline/promises';

import type { Command } from 'commander';

import { DEMO_LIMITS } from '../../base/limits.ts';
import { createSseReader } from './sseLines.ts';
import { askAdmin } from '../adminClient.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { isRow } from '../json.ts';
import { printable, type OutputFormat } from '../output.ts';
import { DEMO_KEY, DEMO_MODEL } from '../up/plan.ts';
import { note, print, say, withOutput, withServer } from '../verb.ts';
import { cell, rows } from './get.ts';

interface ChatFlags {
  readonly output: OutputFormat;
  readonly server: string;
  readonly region?: string;
  readonly model: string;
  readonly key: string;
}

interface Turn {
  readonly role: 'user' | 'assistant';
  readonly content: string;
}

/** One answer and who gave it. */
interface Served {
  readonly text: string;
  readonly region: string | null;
  readonly target: string | null;
  /** The region that took the request and passed it on; null: it served it itself. */
  readonly forwardedBy: string | null;
  readonly attempts: number | null;
  readonly firstTokenMs: number | null;
  readonly totalMs: number;
}

/** Adds the verb. */
export function registerChat(program: Command): void {
  withServer(withOutput(program.command('chat').description(say('chat.about'))))
    .argument('[question]', say('chat.question'))
    .option('--region <region>', say('chat.region'))
    .option('--model <model>', say('chat.model'), DEMO_MODEL)
    .option('--key <key>', say('chat.key'), process.env['BANYAN_API_KEY'] ?? DEMO_KEY)
    .action(chat);
}

async function chat(question: string | undefined, flags: ChatFlags): Promise<void> {
  if (question !== undefined) return void (await oneTurn([], question, flags));
  if (!process.stdin.isTTY) {
    const chunks: string[] = [];
    for await (const chunk of process.stdin.setEncoding('utf8')) chunks.push(String(chunk));
    const text = chunks.join('').trim();
    if (text === '') throw new CliError(EXIT.usage, say('chat.noQuestion'));
    return void (await oneTurn([], text, flags));
  }
  note(say('chat.hint'));
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt: '> ' });
  let turns: readonly Turn[] = [];
  lines.prompt();
  for await (const line of lines) {
    if (line.trim() !== '') turns = await oneTurn(turns, line.trim(), flags);
    lines.prompt();
  }
}

/** Asks and prints; returns the conversation with the new turns. */
async function oneTurn(
  before: readonly Turn[],
  question: string,
  flags: ChatFlags,
): Promise<readonly Turn[]> {
  const asked: readonly Turn[] = [...before, { role: 'user', content: question }];
  const api = await findApi(flags);
  const isJson = flags.output === 'json';
  const served = await askModel(api, asked, flags, (piece) => {
    if (!isJson) process.stdout.write(safe(piece));
  });
  print(flags.output, served, () => '\n');
  if (!isJson) note(summary(served));
  const turns: readonly Turn[] = [...asked, { role: 'assistant', content: served.text }];
  return turns.slice(-DEMO_LIMITS.chatTurnsMax);
}

/** Model text for the terminal: line breaks stay, other control characters go. */
function safe(piece: string): string {
  return piece.split('\n').map(printable).join('\n');
}

function summary(served: Served): string {
  const { region, target, forwardedBy, attempts, firstTokenMs } = served;
  const line = say('chat.served', {
    place: `${printable(region ?? '?')}/${printable(target ?? '?')}`,
    attempts: attempts ?? '?',
    firstTokenMs: firstTokenMs === null ? '-' : Math.round(firstTokenMs),
  });
  if (forwardedBy === null) return line;
  return `${line} ${say('chat.forwarded', { region: printable(forwardedBy) })}`;
}

/** The API of the region that was asked for, else of the first that is up. */
async function findApi(flags: ChatFlags): Promise<string> {
  const regions = rows((await askAdmin(flags.server, '/admin/v1/regions'))['items']);
  if (flags.region !== undefined) {
    const found = regions.find((row) => row['region'] === flags.region);
    const api = found === undefined ? null : cell(found, 'api');
    if (api !== null) return String(api);
    throw new CliError(EXIT.notFound, say('chat.noRegion', { region: printable(flags.region) }));
  }
  const isDown = (state: unknown): boolean => state === 'down' || state === 'paused';
  const found = regions.find((row) => !isDown(row['state'])) ?? regions[0];
  const api = found === undefined ? null : cell(found, 'api');
  if (api === null) throw new CliError(EXIT.unreachable, say('chat.noApi'));
  return String(api);
}

function askModel(
  api: string,
  messages: readonly Turn[],
  flags: ChatFlags,
  onPiece: (piece: string) => void,
): Promise<Served> {
  const startMs = performance.now();
  const body = Buffer.from(JSON.stringify({ model: flags.model, stream: true, messages }));
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown): void =>
      reject(new CliError(EXIT.unreachable, say('chat.failed', { api, why }), cause));
    const outgoing = request(
      new URL('/v1/chat/completions', api),
      {
        method: 'POST',
        agent: false,
        signal: AbortSignal.timeout(DEMO_LIMITS.chatMs),
        headers: {
          'content-type': 'application/json',
          'content-length': body.length,
          authorization: `Bearer ${flags.key}`,
        },
      },
      (response) => {
        if (response.statusCode !== 200) {
          readError(response).then(
            ({ exitCode, message }) => reject(new CliError(exitCode, message)),
            (cause: unknown) => fail(String(cause), cause),
          );
          return;
        }
        readAnswer(response, startMs, onPiece).then(resolve, (cause: unknown) =>
          fail(cause instanceof Error ? cause.message : String(cause), cause),
        );
      },
    );
    outgoing.on('error', (cause) =>
      fail('code' in cause ? String(cause.code) : cause.message, cause),
    );
    outgoing.end(body);
  });
}

async function readError(
  response: IncomingMessage,
): Promise<{ exitCode: typeof EXIT.failed | typeof EXIT.refused; message: string }> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8').slice(0, 4_096);
  const status = response.statusCode ?? 0;
  const exitCode = status < 500 ? EXIT.refused : EXIT.failed;
  return { exitCode, message: `HTTP ${status}: ${printable(errorMessage(text) ?? text)}` };
}

function errorMessage(text: string): string | null {
  try {
    const value: unknown = JSON.parse(text);
    const error = isRow(value) ? value['error'] : null;
    return isRow(error) && typeof error['message'] === 'string' ? error['message'] : null;
  } catch {
    return null; // Not JSON: the text is shown as it is.
  }
}

/** Reads the stream to its `[DONE]`; rejects where it breaks off or carries an error. */
async function readAnswer(
  response: IncomingMessage,
  startMs: number,
  onPiece: (piece: string) => void,
): Promise<Served> {
  let text = '';
  let firstTokenMs: number | null = null;
  let isDone = false;
  const reader = createSseReader((data) => {
    if (data === '[DONE]') {
      isDone = true;
      return;
    }
    const failure = errorMessage(data);
    if (failure !== null) throw new Error(printable(failure));
    const piece = pieceOf(data);
    if (piece === '') return;
    firstTokenMs ??= performance.now() - startMs;
    text += piece;
    onPiece(piece);
  });
  for await (const chunk of response.setEncoding('utf8')) reader(String(chunk));
  if (!isDone) throw new Error(say('chat.broken'));
  const header = (name: string): string | null => {
    const value = response.headers[name];
    return typeof value === 'string' ? value : null;
  };
  const attempts = header('x-banyan-attempts');
  return {
    text,
    region: header('x-banyan-region'),
    target: header('x-banyan-target'),
    forwardedBy: header('x-banyan-forwarded-by'),
    attempts: attempts === null ? null : Number(attempts),
    firstTokenMs,
    totalMs: performance.now() - startMs,
  };
}

function pieceOf(data: string): string {
  try {
    const value: unknown = JSON.parse(data);
    const [choice] = isRow(value) ? rows(value['choices']) : [];
    const delta = choice?.['delta'];
    return isRow(delta) && typeof delta['content'] === 'string' ? delta['content'] : '';
  } catch {
    return ''; // A piece that is no JSON carries no text; the end of the stream tells the rest.
  }
}
