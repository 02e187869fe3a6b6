/** The providers by the name that a configuration gives (`kind`). */

import type { Adapter } from '../protocol/adapter.ts';
import { ANTHROPIC_OPTIONS, anthropicAdapter } from './anthropic/adapter.ts';
import { LLAMA_OPTIONS, llamaAdapter } from './llama/adapter.ts';
import { OPENAI_OPTIONS, openaiAdapter } from './openai/adapter.ts';
import { checkOptionTable, type Options, type OptionTable } from './options.ts';

interface Provider {
  readonly adapter: Adapter;
  readonly options: OptionTable;
}

const PROVIDERS: ReadonlyMap<string, Provider> = new Map([
  ['openai', { adapter: openaiAdapter, options: OPENAI_OPTIONS }],
  ['anthropic', { adapter: anthropicAdapter, options: ANTHROPIC_OPTIONS }],
  ['llama', { adapter: llamaAdapter, options: LLAMA_OPTIONS }],
]);

/** The kinds that a configuration may name. */
export const PROVIDER_KINDS: readonly string[] = [...PROVIDERS.keys()];

/** The adapter of a kind; null: there is none of that name. */
export function adapterOf(kind: string): Adapter | null {
  return PROVIDERS.get(kind)?.adapter ?? null;
}

/** The options that targets of a kind take; null: there is no such kind. */
export function optionsOf(kind: string): OptionTable | null {
  return PROVIDERS.get(kind)?.options ?? null;
}

/** Null where the options of a target are well-formed, else a sentence that says what is not. */
export function checkOptions(kind: string, options: Options): string | null {
  const table = optionsOf(kind);
  if (table !== null) return checkOptionTable(table, options);
  return `Unknown kind ${JSON.stringify(kind)}; known are ${PROVIDER_KINDS.join(', ')}.`;
}
