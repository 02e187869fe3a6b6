/**
 * Measures the demo model on held-out questions through llama.cpp: `npm run model:eval`.
 *
 * Two figures a language, both over the `H:` lines of training/corpus, which training never sees:
 * perplexity of a right answer's tokens, and topic accuracy: the model answers greedily, the
 * corpus answer nearest to what it said gives a topic, and that must be the topic of the question.
 * An answer that several topics share counts for each. Prompt format: docs/internals/model.md.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { getLlama } from 'node-llama-cpp';
import type { LlamaContextSequence, LlamaModel, Token } from 'node-llama-cpp';

const LANGUAGES = ['en', 'zh'] as const;
export type Language = (typeof LANGUAGES)[number];

/** One topic of the corpus in one language, as far as measuring needs it. */
export type Topic = {
  readonly id: string;
  readonly language: Language;
  readonly questions: readonly string[];
  readonly held: readonly string[];
  readonly answers: readonly string[];
};

/** A question to ask, with one of its right answers. */
export type HeldOut = {
  readonly language: Language;
  readonly topic: string;
  readonly question: string;
  readonly answer: string;
};

export type LanguageFigures = {
  readonly questions: number;
  readonly perplexity: number;
  readonly topicAccuracy: number;
  /** Share of answers that are an answer of the corpus to the letter. */
  readonly verbatim: number;
  /** Share of answers that ended by themselves within ANSWER_TOKENS_MAX. */
  readonly finished: number;
  readonly answerTokensMean: number;
};

/** Longest answer asked for, tokens; the longest of the corpus has fewer than 120. */
const ANSWER_TOKENS_MAX = 200;
const CONTEXT_TOKENS = 512;
const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const USAGE = `usage: npm run model:eval -- [options]
  --limit N             at most N held-out questions a language, spread over the topics
  --model PATH          another GGUF (its checksum is then not checked)
  --min-accuracy-en X   end with exit code 1 below this topic accuracy (default 0)
  --min-accuracy-zh X
  --max-perplexity-en X end with exit code 1 above this perplexity (default none)
  --max-perplexity-zh X
  --show-wrong          print each question that got an answer of another topic
  -o json               print JSON`;

type Slots = Readonly<Record<Language, Readonly<Record<string, readonly string[]>>>>;

/** Reads training/corpus (format: its README). Dialogues are not part of measuring. */
export function readCorpus(folder: string): readonly Topic[] {
  const topics: Topic[] = [];
  for (const language of LANGUAGES) {
    const names = readdirSync(join(folder, language)).filter((name) => name.endsWith('.txt'));
    for (const name of names.sort()) {
      const text = readFileSync(join(folder, language, name), 'utf8');
      for (const section of text.split(/^== /m).slice(1)) {
        const [id = '', ...lines] = section.split('\n').map((line) => line.trim());
        const marked = (mark: string): readonly string[] =>
          lines.filter((line) => line.startsWith(mark)).map((line) => line.slice(2).trim());
        const [questions, held, answers] = [marked('Q:'), marked('H:'), marked('A:')];
        topics.push({ id: id.trim(), language, questions, held, answers });
      }
    }
  }
  return topics;
}

/** Fills slots without chance, as the trainer does for held-out lines (training/lm/noise.py). */
export function fillFixed(text: string, slots: Slots[Language], index: number): string {
  let filled = text;
  for (const [name, values] of Object.entries(slots)) {
    filled = filled.replaceAll(`{${name}}`, values[index % values.length] ?? '');
  }
  return filled.replaceAll('{order}', String(48_213 + index));
}

/** Returns the held-out questions of a language, at most `limit`, evenly taken. */
export function heldOut(
  topics: readonly Topic[],
  language: Language,
  slots: Slots,
  limit: number,
): readonly HeldOut[] {
  const all = topics
    .filter((topic) => topic.language === language)
    .flatMap((topic) =>
      topic.held.map((text, index) => ({
        language,
        topic: topic.id,
        question: fillFixed(text, slots[language], index),
        answer: topic.answers[index % topic.answers.length] ?? '',
      })),
    );
  if (all.length <= limit) return all;
  return Array.from(
    { length: limit },
    (_, index) => all[Math.floor((index * all.length) / limit)],
  ).filter((row) => row !== undefined);
}

function trigrams(text: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const padded = `  ${text.toLowerCase()}  `;
  for (let at = 0; at + 3 <= padded.length; at += 1) {
    const gram = padded.slice(at, at + 3);
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** Says which topics an answer belongs to: those of the nearest corpus answer (Dice, trigrams). */
export class AnswerJudge {
  readonly #exact = new Map<string, Set<string>>();
  readonly #grams: readonly (readonly [ReadonlyMap<string, number>, number, ReadonlySet<string>])[];

  constructor(topics: readonly Topic[]) {
    for (const topic of topics) {
      for (const answer of topic.answers) {
        const keys = this.#exact.get(answer) ?? new Set();
        keys.add(`${topic.language}/${topic.id}`);
        this.#exact.set(answer, keys);
      }
    }
    this.#grams = [...this.#exact].map(([text, keys]) => [trigrams(text), text.length + 2, keys]);
  }

  isVerbatim(text: string): boolean {
    return this.#exact.has(text);
  }

  /** Returns keys `language/topic`; none for an answer that is like nothing in the corpus. */
  topics(text: string): ReadonlySet<string> {
    const exact = this.#exact.get(text);
    if (exact !== undefined) return exact;
    const said = trigrams(text);
    let best = 0;
    let found: ReadonlySet<string> = new Set();
    for (const [grams, size, keys] of this.#grams) {
      let common = 0;
      for (const [gram, count] of said) common += Math.min(count, grams.get(gram) ?? 0);
      const score = (2 * common) / (size + text.length + 2);
      if (score <= best) continue;
      best = score;
      found = keys;
    }
    return found;
  }
}

/** Ids of the special tokens, found by name: control tokens of one id each. */
export type RoleTokens = {
  readonly user: Token;
  readonly assistant: Token;
  readonly end: Token;
};

export function roleTokens(model: LlamaModel): RoleTokens {
  const one = (name: string): Token => {
    const [id, ...rest] = model.tokenize(name, true);
    if (id === undefined || rest.length > 0) throw new Error(`${name} is not one token`);
    return id;
  };
  return { user: one('<|user|>'), assistant: one('<|assistant|>'), end: one('<|im_end|>') };
}

/** Returns the prompt of one question. The text is never read as special tokens. */
export function promptTokens(model: LlamaModel, roles: RoleTokens, question: string): Token[] {
  return [roles.user, ...model.tokenize(question, false), roles.end, roles.assistant];
}

async function answer(
  model: LlamaModel,
  sequence: LlamaContextSequence,
  prompt: readonly Token[],
): Promise<{ readonly text: string; readonly tokens: number }> {
  const said: Token[] = [];
  await sequence.clearHistory();
  for await (const token of sequence.evaluate([...prompt], { temperature: 0 })) {
    said.push(token);
    if (said.length >= ANSWER_TOKENS_MAX) break;
  }
  return { text: model.detokenize(said), tokens: said.length };
}

/** Returns the sum of -ln p of the answer's tokens and of its end, and how many they are. */
async function surprise(
  model: LlamaModel,
  sequence: LlamaContextSequence,
  prompt: readonly Token[],
  row: HeldOut,
  end: Token,
): Promise<{ readonly nats: number; readonly tokens: number }> {
  const wanted = [...model.tokenize(row.answer, false), end];
  const options = { temperature: 1, topK: 0, topP: 1, minP: 0 };
  const judged = [...prompt.slice(-1), ...wanted.slice(0, -1)];
  await sequence.clearHistory();
  const results = await sequence.controlledEvaluate([
    ...prompt.slice(0, -1),
    ...judged.map((token): [Token, { generateNext: { probabilities: true; options: object } }] => [
      token,
      { generateNext: { probabilities: true, options } },
    ]),
  ]);
  let nats = 0;
  wanted.forEach((token, index) => {
    const probability = results[prompt.length - 1 + index]?.next.probabilities?.get(token) ?? 0;
    nats -= Math.log(Math.max(probability, 1e-12));
  });
  return { nats, tokens: wanted.length };
}

/** Measures one language; `onWrong` hears of each question that got another topic's answer. */
async function measure(
  model: LlamaModel,
  sequence: LlamaContextSequence,
  rows: readonly HeldOut[],
  judge: AnswerJudge,
  onWrong: (row: HeldOut, said: string) => void,
): Promise<LanguageFigures> {
  const roles = roleTokens(model);
  const sum = { nats: 0, natTokens: 0, right: 0, verbatim: 0, finished: 0, tokens: 0 };
  for (const row of rows) {
    const prompt = promptTokens(model, roles, row.question);
    const said = await answer(model, sequence, prompt);
    if (judge.topics(said.text).has(`${row.language}/${row.topic}`)) sum.right += 1;
    else onWrong(row, said.text);
    if (judge.isVerbatim(said.text)) sum.verbatim += 1;
    if (said.tokens < ANSWER_TOKENS_MAX) sum.finished += 1;
    sum.tokens += said.tokens;
    const { nats, tokens } = await surprise(model, sequence, prompt, row, roles.end);
    sum.nats += nats;
    sum.natTokens += tokens;
  }
  const share = (count: number): number => round(count / Math.max(1, rows.length));
  return {
    questions: rows.length,
    perplexity: round(Math.exp(sum.nats / Math.max(1, sum.natTokens))),
    topicAccuracy: share(sum.right),
    verbatim: share(sum.verbatim),
    finished: share(sum.finished),
    answerTokensMean: share(sum.tokens),
  };
}

function round(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}

/** Returns the SHA-256 of a file in hex. */
export function fileSha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Returns why the committed model is not the one its metrics describe, or null. */
export function checksumProblem(root: string): string | null {
  const metrics: unknown = JSON.parse(
    readFileSync(join(root, 'models', 'banyan-support.json'), 'utf8'),
  );
  const stated = metrics instanceof Object && 'ggufSha256' in metrics ? metrics.ggufSha256 : null;
  const found = fileSha256(join(root, 'models', 'banyan-support.gguf'));
  if (stated === found) return null;
  return `models/banyan-support.gguf has SHA-256 ${found}, its metrics state ${String(stated)}`;
}

/** Opens a model as the product serves it: CPU, one thread, nothing compiled or downloaded. */
export async function openModel(path: string): Promise<LlamaModel> {
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    maxThreads: 1,
  });
  return await llama.loadModel({ modelPath: path });
}

const OPTIONS = {
  limit: { type: 'string', default: '100000' },
  model: { type: 'string' },
  'min-accuracy-en': { type: 'string', default: '0' },
  'min-accuracy-zh': { type: 'string', default: '0' },
  'max-perplexity-en': { type: 'string', default: 'Infinity' },
  'max-perplexity-zh': { type: 'string', default: 'Infinity' },
  'show-wrong': { type: 'boolean', default: false },
  output: { type: 'string', short: 'o', default: 'text' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

async function main(): Promise<number> {
  const flags = parseArgs({ options: OPTIONS }).values;
  const limits = [flags.limit, ...LANGUAGES.map((x) => flags[`min-accuracy-${x}`])]
    .concat(LANGUAGES.map((x) => flags[`max-perplexity-${x}`]))
    .map(Number);
  if (flags.help || limits.some(Number.isNaN) || !['text', 'json'].includes(flags.output)) {
    console.error(USAGE);
    return flags.help ? 0 : 2;
  }
  const problem = flags.model === undefined ? checksumProblem(ROOT) : null;
  if (problem !== null) {
    console.error(`model:eval: ${problem}; run npm run model:build or restore the file`);
    return 1;
  }
  const path = flags.model ?? join(ROOT, 'models', 'banyan-support.gguf');
  const corpus = join(ROOT, 'training', 'corpus');
  const topics = readCorpus(corpus);
  const slots = JSON.parse(readFileSync(join(corpus, 'slots.json'), 'utf8')) as Slots;
  const judge = new AnswerJudge(topics);
  const model = await openModel(path);
  const context = await model.createContext({
    contextSize: CONTEXT_TOKENS,
    batchSize: CONTEXT_TOKENS,
    sequences: 1,
    threads: 1,
  });
  const sequence = context.getSequence();
  const figures: Partial<Record<Language, LanguageFigures>> = {};
  let isGood = true;
  for (const language of LANGUAGES) {
    const rows = heldOut(topics, language, slots, Number(flags.limit));
    const found = await measure(model, sequence, rows, judge, (row, said) => {
      if (flags['show-wrong'])
        console.error(`${language} ${row.topic}: ${row.question} -> ${said}`);
    });
    figures[language] = found;
    if (found.topicAccuracy < Number(flags[`min-accuracy-${language}`])) isGood = false;
    if (found.perplexity > Number(flags[`max-perplexity-${language}`])) isGood = false;
    if (flags.output === 'text') console.log(describe(language, found));
  }
  if (flags.output === 'json') {
    console.log(JSON.stringify({ ggufSha256: fileSha256(path), ok: isGood, ...figures }, null, 2));
  } else if (!isGood) {
    console.log('below the thresholds asked for');
  }
  await model.dispose();
  return isGood ? 0 : 1;
}

function describe(language: Language, found: LanguageFigures): string {
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  return (
    `${language}: topic accuracy ${percent(found.topicAccuracy)} of ${found.questions} held-out ` +
    `questions, perplexity ${found.perplexity}, verbatim ${percent(found.verbatim)}, ` +
    `finished ${percent(found.finished)}, ${found.answerTokensMean.toFixed(1)} tokens an answer`
  );
}

if (import.meta.main) process.exit(await main());
