/**
 * Golden files: what each provider makes of requests, answers, streams and errors. A case is a line
 * `== COMMAND ARGUMENTS`, its input, a line `----` and its result. `node --test FILE --rewrite` (or
 * REWRITE=1) writes the results anew; review them as a diff.
 *
 *   prepare KIND OPERATION [OPTIONS]   a client's body -> the call
 *   unary KIND OPERATION               a provider's body -> the client's, usage
 *   stream KIND OPERATION [REQUEST]    a provider's stream -> the client's, flags, usage
 *   error KIND STATUS                  header fields, blank line, body -> class, both dialects
 */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { failureStatus, type Failure } from '../base/errors.ts';
import type { Adapter, ParsedRequest, StreamReader } from '../protocol/adapter.ts';
import type { Operation } from '../protocol/dialect.ts';
import { failureOfUpstream, renderFailure, renderStreamFailure } from '../protocol/errorBody.ts';
import { parseRequest } from '../protocol/request.ts';
import { adapterOf } from './registry.ts';

const FOLDER = join(import.meta.dirname, 'testdata');
const isRewriting = process.argv.includes('--rewrite') || process.env['REWRITE'] === '1';

interface Case {
  readonly command: string;
  readonly input: string;
  readonly result: string;
}

function parseCases(text: string): { intro: string; cases: readonly Case[] } {
  const [intro = '', ...blocks] = text.split(/^== /m);
  const cases = blocks.map((block) => {
    const lineEnd = block.indexOf('\n');
    const [input = '', result = ''] = block.slice(lineEnd + 1).split(/^----\n/m);
    return { command: block.slice(0, lineEnd), input, result };
  });
  return { intro, cases };
}

function adapterNamed(kind: string): Adapter {
  const adapter = adapterOf(kind);
  assert.ok(adapter !== null, `there is a provider ${kind}`);
  return adapter;
}

function requestOf(operation: Operation, body: string): ParsedRequest {
  const parsed = parseRequest(
    operation,
    ['anthropic-beta', 'from-client'],
    encodeUtf8(body.trim()),
  );
  if (!parsed.ok) assert.fail(`${parsed.error.code}: ${parsed.error.detail}`);
  return parsed.value;
}

function pretty(json: unknown): string {
  return JSON.stringify(json, null, 1);
}

function showFailure(value: Failure): string {
  return `refused ${failureStatus(value)} ${value.code} ${value.param ?? '-'}: ${value.detail}\n`;
}

function runPrepare(kind: string, operation: Operation, options: string, input: string): string {
  const adapter = adapterNamed(kind);
  const target = {
    model: 'upstream-model',
    pathPrefix: '/v1',
    apiKey: 'secret',
    headers: [],
    query: '',
    options: JSON.parse(options || '{}') as Record<string, string>,
  };
  const request = requestOf(operation, input);
  const prepared = adapter.prepare(request, target);
  const refused = adapter.refusal(request, target);
  assert.equal(prepared.ok, refused === null, 'refusal and prepare agree');
  if (!prepared.ok) return showFailure(prepared.error);
  const { method, path, headers, body } = prepared.value;
  const fields = headers.filter((_, index) => index % 2 === 0);
  const text = decodeUtf8(body);
  const isSame = request.dialect === adapter.dialect;
  const shown = isSame ? text : pretty(JSON.parse(text));
  const names = fields.map((name, index) => `${name}: ${headers[index * 2 + 1]}`);
  return `${method} ${path}\n${names.join('\n')}\n\n${shown}\n`;
}

const CHAT_REQUEST = '{"model":"asked","messages":[{"role":"user","content":"Hello there"}]}';
const COMPLETION_REQUEST = '{"model":"asked","prompt":"Hello there"}';

function clientRequest(operation: Operation, more: string, isStream: boolean): ParsedRequest {
  const base = operation === 'completions' ? COMPLETION_REQUEST : CHAT_REQUEST;
  const extra = JSON.parse(more || '{}') as Record<string, unknown>;
  const json = { ...(JSON.parse(base) as Record<string, unknown>), stream: isStream, ...extra };
  return requestOf(operation, JSON.stringify(json));
}

function runUnary(kind: string, operation: Operation, more: string, input: string): string {
  const adapter = adapterNamed(kind);
  const request = clientRequest(operation, more, false);
  const headers = ['content-type', 'application/json', 'x-request-id', 'up-1'];
  const answer = adapter.readUnary(request, headers, encodeUtf8(input.trimEnd()), 1_700_000_000);
  if (!answer.ok) return `error ${JSON.stringify(answer.error)}\n`;
  const { body, usage } = answer.value;
  const text = decodeUtf8(body);
  const isSame = request.dialect === adapter.dialect;
  const fields = answer.value.headers.join(' ');
  return `${isSame ? text : pretty(JSON.parse(text))}\n# headers ${fields}\n${showUsage(usage)}`;
}

function showUsage(usage: unknown): string {
  return `# usage ${JSON.stringify(usage)}\n`;
}

/** Feeds `pieces` and tells everything that a caller could see. */
function readStream(reader: StreamReader, pieces: readonly Uint8Array[]): string {
  let text = '';
  let hadContent = false;
  let wasDone = false;
  const steps = [...pieces.map((piece) => (): unknown => reader.push(piece)), () => reader.end()];
  for (const next of steps) {
    const step = next() as ReturnType<StreamReader['push']>;
    text += decodeUtf8(step.bytes);
    assert.ok(step.hasContent || !hadContent, 'content never goes back');
    assert.ok(step.isDone || !wasDone, 'done never goes back');
    hadContent = step.hasContent;
    wasDone = step.isDone;
    if (step.error !== null) {
      text += `# error ${JSON.stringify(step.error)}\n`;
      break;
    }
  }
  const flags = `# content ${String(hadContent)}, done ${String(wasDone)}\n`;
  return `${text}${flags}${showUsage(reader.usage())}`;
}

/** Two pieces at every byte, one byte at a time, and all at once must come to the same. */
function runStream(kind: string, operation: Operation, more: string, input: string): string {
  const adapter = adapterNamed(kind);
  const request = clientRequest(operation, more, true);
  // A file cannot end a line without its end: one is taken off unless the stream ends an event.
  const sent = input.endsWith('\n\n') ? input : input.slice(0, -1);
  const bytes = encodeUtf8(sent.replaceAll('<CR>', '\r').replaceAll('<BOM>', '\uFEFF'));
  const open = (): StreamReader => adapter.openStream(request, 'asked', 1_700_000_000);
  const whole = readStream(open(), [bytes]);
  for (let at = 0; at <= bytes.length; at += 1) {
    const pieces = [bytes.slice(0, at), bytes.slice(at)];
    assert.equal(readStream(open(), pieces), whole, `split at byte ${at}`);
  }
  const single = Array.from(bytes, (_, at) => bytes.slice(at, at + 1));
  assert.equal(readStream(open(), single), whole, 'one byte at a time');
  return whole.replaceAll('\r', '<CR>').replaceAll('\uFEFF', '<BOM>');
}

function runError(kind: string, status: number, input: string): string {
  const blank = input.indexOf('\n\n');
  const headers = input
    .slice(0, blank)
    .split('\n')
    .filter((line) => line.includes(': '))
    .flatMap((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]);
  const error = adapterNamed(kind).readError(status, headers, encodeUtf8(input.slice(blank + 2)));
  const told = failureOfUpstream(error);
  return [
    JSON.stringify(error),
    `${failureStatus(told)} ${decodeUtf8(renderFailure('openai', told, 'req_1'))}`,
    `${failureStatus(told)} ${decodeUtf8(renderFailure('anthropic', told, 'req_1'))}`,
    decodeUtf8(renderStreamFailure('anthropic', told, 'req_1')).trim(),
    '',
  ].join('\n');
}

function run(command: string, input: string): string {
  const [verb = '', kind = '', third = '', ...rest] = command.split(' ');
  const more = rest.join(' ');
  switch (verb) {
    case 'prepare':
      return runPrepare(kind, third as Operation, more, input);
    case 'unary':
      return runUnary(kind, third as Operation, more, input);
    case 'stream':
      return runStream(kind, third as Operation, more, input);
    case 'error':
      return runError(kind, Number(third), input);
    default:
      return assert.fail(`unknown command ${verb}`);
  }
}

for (const name of readdirSync(FOLDER).toSorted()) {
  const path = join(FOLDER, name);
  test(`golden file ${name} holds`, () => {
    const { intro, cases } = parseCases(readFileSync(path, 'utf8'));
    assert.ok(cases.length > 0, 'a golden file holds cases');
    const written = cases.map(({ command, input, result }) => {
      const found = `${run(command, input).trimEnd()}\n\n`;
      if (!isRewriting) assert.equal(found.trimEnd(), result.trimEnd(), `== ${command}`);
      return `== ${command}\n${input}----\n${found}`;
    });
    if (isRewriting) writeFileSync(path, `${intro}${written.join('')}`.trimEnd() + '\n');
  });
}
