/** The gateway's own model server (`banyan model serve`): OpenAI's dialect, no surprises. */

import type { Adapter } from '../../protocol/adapter.ts';
import { OPENAI_OPTIONS, openaiAdapter } from '../openai/adapter.ts';
import type { OptionTable } from '../options.ts';

/** The same as of any server of that dialect. */
export const LLAMA_OPTIONS: OptionTable = OPENAI_OPTIONS;

/** The adapter of kind `llama`. */
export const llamaAdapter: Adapter = {
  ...openaiAdapter,
  kind: 'llama',
  continuation: 'prefill',
};
