/**
 * llama.cpp behind a small interface: a tokenizer and a number of sequences, each evaluating the
 * tokens of one answer at a time. The engine above decides; nothing here knows chats or HTTP.
 */

import type { LlamaContextSequence, LlamaModel, Token } from 'node-llama-cpp';

/** How the next token is chosen. Temperature 0: the likeliest. */
export interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
}

/** One token to evaluate; with `choose`, the token that follows it is wanted. */
export interface StepToken {
  readonly token: number;
  readonly choose: Sampling | null;
}

/** One sequence: the tokens it holds, and what follows them. */
export interface LlamaSequence {
  /** What it holds now. */
  tokens(): readonly number[];
  /** Drops all tokens after the first `count`. */
  keep(count: number): Promise<void>;
  /** Evaluates tokens after those that it holds; null where nothing was to be chosen. */
  step(input: readonly StepToken[]): Promise<readonly (number | null)[]>;
}

/** A loaded model. */
export interface LlamaRuntime {
  /** `general.name` of the file; null where it has none. */
  readonly name: string | null;
  /** The Jinja text of the file's chat template; empty where it has none. */
  readonly chatTemplate: string;
  /** Tokens that one sequence holds. */
  readonly contextTokens: number;
  readonly sequences: readonly LlamaSequence[];
  /** Ids of plain text: what looks like a special token stays text. */
  tokenize(text: string): readonly number[];
  /** The id of one special token by its text, or null. */
  special(text: string): number | null;
  /** Text of tokens; bytes that make no whole character become U+FFFD. */
  detokenize(tokens: readonly number[]): string;
  /** True for the tokens that end an answer. */
  isEnd(token: number): boolean;
}

/** What to load. */
export interface LlamaRuntimeOptions {
  /** GGUF file. */
  readonly modelFile: string;
  readonly threads: number;
  /** Answers at the same time. */
  readonly sequences: number;
  /** Of each; null: what the model was trained with. */
  readonly contextTokens: number | null;
}

/**
 * Loads a model. Rejects where the file is missing or is no model. Never compiles or downloads: only
 * the prebuilt llama.cpp that came with the package is used.
 */
export async function loadLlama(options: LlamaRuntimeOptions): Promise<LlamaRuntime> {
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp');
  // ggml's threads spin while they wait for one another: more than the machine has to spare, and
  // an answer takes fifty times as long. One is the safe default of the command line.
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    maxThreads: options.threads,
    logLevel: LlamaLogLevel.error,
  });
  const model = await llama.loadModel({ modelPath: options.modelFile });
  const contextTokens = Math.min(
    options.contextTokens ?? model.trainContextSize,
    model.trainContextSize,
  );
  const context = await model.createContext({
    contextSize: contextTokens,
    sequences: options.sequences,
    threads: options.threads,
    batchSize: Math.min(512, contextTokens),
  });
  const sequences: LlamaSequence[] = [];
  const inTurn = createTurns();
  for (let index = 0; index < options.sequences; index += 1) {
    sequences.push(wrapSequence(context.getSequence(), inTurn));
  }
  return {
    name: model.fileInfo.metadata.general.name ?? null,
    chatTemplate: model.fileInfo.metadata.tokenizer.chat_template ?? '',
    contextTokens,
    sequences,
    tokenize: (text) => (text === '' ? [] : model.tokenize(text, false)),
    special: (text) => specialToken(model, text),
    detokenize: (tokens) => model.detokenize(tokens.map(asToken)),
    isEnd: (token) => model.isEogToken(asToken(token)),
  };
}

/** The library brands its ids; ours are plain numbers, parsed here. */
function asToken(id: number): Token {
  return id as Token;
}

function specialToken(model: LlamaModel, text: string): number | null {
  const ids = model.tokenize(text, true);
  return ids.length === 1 ? (ids[0] ?? null) : null;
}

/** Runs one task at a time, first come first served; a task that fails holds up nobody. */
type Turns = <T>(task: () => Promise<T>) => Promise<T>;

function createTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve();
  return (task) => {
    const mine = last.then(task);
    last = mine.catch(() => {}); // Whoever asked for the task is told.
    return mine;
  };
}

/**
 * One sequence. Sequences of a context take turns: evaluated at the same time through
 * node-llama-cpp 3.21.1 their answers now and then doubled a word or left one out (2 of 240 at 4 at
 * a time, 20 of 480 at 8; in turns none of either). A batch of several gains next to nothing here.
 */
function wrapSequence(sequence: LlamaContextSequence, inTurn: Turns): LlamaSequence {
  return {
    tokens: () => sequence.contextTokens,
    keep: (count) =>
      inTurn(async () => {
        const end = sequence.nextTokenIndex;
        if (count >= end) return;
        if (count === 0) await sequence.clearHistory();
        else await sequence.eraseContextTokenRanges([{ start: count, end }]);
      }),
    async step(input) {
      // No repeat penalty: it would depend on what this very call generated, and a continuation in
      // another process would then differ.
      const outputs = await inTurn(() =>
        sequence.controlledEvaluate(
          input.map(({ token, choose }) =>
            choose === null
              ? asToken(token)
              : [asToken(token), { generateNext: { token: true, options: choose } }],
          ),
        ),
      );
      return input.map((_, index) => outputs[index]?.next.token ?? null);
    },
  };
}
