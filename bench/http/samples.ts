/** What the right answer is, taken from the upstream, and whether a system's answer equals it. */

import { ask, type Started } from './systems.ts';

/** The upstream's own answer. */
export interface Sample {
  readonly text: string;
}

/** Asks the upstream directly. */
export async function takeSample(upstreamPort: number, body: string): Promise<Sample> {
  const answer = await ask(upstreamPort, '/v1/chat/completions', [], body);
  if (answer.status !== 200) throw new Error(`the upstream answers ${answer.status}`);
  return { text: answer.text };
}

/** Why the system's answer is not the upstream's; null: it is. */
export async function sampleWrong(
  started: Started,
  body: string,
  sample: Sample,
): Promise<string | null> {
  const answer = await ask(started.port, started.system.path, started.headers, body);
  if (answer.status !== 200) return `status ${answer.status}: ${answer.text.slice(0, 200)}`;
  if (answer.text === sample.text) return null;
  if (started.system.isExact) return `another body: ${answer.text.slice(0, 200)}`;
  return contentOf(answer.text) === contentOf(sample.text) ? null : 'another text';
}

/** All text of the assistant in an answer, streamed or whole. */
function contentOf(text: string): string {
  const documents = text.startsWith('{')
    ? [text]
    : text
        .split('\n')
        .filter((line) => line.startsWith('data: {'))
        .map((line) => line.slice('data: '.length));
  return documents.map(textOf).join('');
}

function textOf(document: string): string {
  const parsed: unknown = JSON.parse(document);
  const choice = member(member(parsed, 'choices'), '0');
  const content = member(member(choice, 'delta') ?? member(choice, 'message'), 'content');
  return typeof content === 'string' ? content : '';
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.entries(value).find(([key]) => key === name)?.[1];
}
