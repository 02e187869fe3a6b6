/**
 * The prefixes of LiteLLM's model names (`azure/…`, `ollama/…`) and what they are here: a kind of
 * target, an address and the environment variable that LiteLLM itself takes the key from. What is not
 * listed speaks a protocol of its own, for which there is no adapter.
 */

/** How one prefix is taken over. */
export interface LitellmProvider {
  readonly kind: 'openai' | 'anthropic';
  /** Where LiteLLM calls it if the file says nothing; null: the file must say it. */
  readonly baseUrl: string | null;
  /** Where the key comes from if the file gives none; null: it goes without. */
  readonly keyVariable: string | null;
  /** What must end the path of `api_base` here, where LiteLLM adds it by itself. */
  readonly pathSuffix?: string;
  readonly options?: Readonly<Record<string, string | boolean>>;
}

function compatible(baseUrl: string | null, keyVariable: string | null): LitellmProvider {
  return { kind: 'openai', baseUrl, keyVariable };
}

/** By prefix. */
export const LITELLM_PROVIDERS: ReadonlyMap<string, LitellmProvider> = new Map([
  ['openai', compatible('https://api.openai.com/v1', 'OPENAI_API_KEY')],
  ['text-completion-openai', compatible('https://api.openai.com/v1', 'OPENAI_API_KEY')],
  [
    'anthropic',
    {
      kind: 'anthropic',
      baseUrl: 'https://api.anthropic.com/v1',
      keyVariable: 'ANTHROPIC_API_KEY',
      pathSuffix: '/v1',
    },
  ],
  [
    'azure',
    {
      kind: 'openai',
      baseUrl: null,
      keyVariable: 'AZURE_API_KEY',
      options: { authHeader: 'api-key' },
    },
  ],
  ['hosted_vllm', compatible(null, null)],
  ['ollama', { ...compatible('http://localhost:11434/v1', null), pathSuffix: '/v1' }],
  ['ollama_chat', { ...compatible('http://localhost:11434/v1', null), pathSuffix: '/v1' }],
  ['deepseek', compatible('https://api.deepseek.com/v1', 'DEEPSEEK_API_KEY')],
  [
    'dashscope',
    compatible('https://dashscope-intl.aliyuncs.com/compatible-mode/v1', 'DASHSCOPE_API_KEY'),
  ],
  ['moonshot', compatible('https://api.moonshot.ai/v1', 'MOONSHOT_API_KEY')],
  ['volcengine', compatible('https://ark.cn-beijing.volces.com/api/v3', 'VOLCENGINE_API_KEY')],
  ['mistral', compatible('https://api.mistral.ai/v1', 'MISTRAL_API_KEY')],
  ['groq', compatible('https://api.groq.com/openai/v1', 'GROQ_API_KEY')],
  ['together_ai', compatible('https://api.together.xyz/v1', 'TOGETHERAI_API_KEY')],
  ['fireworks_ai', compatible('https://api.fireworks.ai/inference/v1', 'FIREWORKS_AI_API_KEY')],
  ['openrouter', compatible('https://openrouter.ai/api/v1', 'OPENROUTER_API_KEY')],
  ['xai', compatible('https://api.x.ai/v1', 'XAI_API_KEY')],
  ['perplexity', compatible('https://api.perplexity.ai', 'PERPLEXITYAI_API_KEY')],
  ['cerebras', compatible('https://api.cerebras.ai/v1', 'CEREBRAS_API_KEY')],
  ['nvidia_nim', compatible('https://integrate.api.nvidia.com/v1', 'NVIDIA_NIM_API_KEY')],
  ['deepinfra', compatible('https://api.deepinfra.com/v1/openai', 'DEEPINFRA_API_KEY')],
  [
    'gemini',
    compatible('https://generativelanguage.googleapis.com/v1beta/openai', 'GEMINI_API_KEY'),
  ],
  ['lm_studio', compatible(null, null)],
  ['llamafile', compatible(null, null)],
  ['xinference', compatible(null, null)],
  ['openai_like', compatible(null, null)],
  ['custom_openai', compatible(null, null)],
  ['litellm_proxy', compatible(null, null)],
]);

/** The provider and the model's name there. */
export interface LitellmModel {
  readonly prefix: string;
  readonly model: string;
}

/** Splits `azure/gpt-4o-eu`; a bare name is told by its first letters, as LiteLLM does. */
export function splitModel(text: string, given: string | null): LitellmModel {
  if (given !== null) {
    const isRepeated = text.startsWith(`${given}/`);
    return { prefix: given, model: isRepeated ? text.slice(given.length + 1) : text };
  }
  const slash = text.indexOf('/');
  if (slash > 0) return { prefix: text.slice(0, slash), model: text.slice(slash + 1) };
  return { prefix: text.startsWith('claude') ? 'anthropic' : 'openai', model: text };
}

/** LiteLLM's `routing_strategy` and the algorithm that is nearest to it. */
export const LITELLM_STRATEGIES: ReadonlyMap<string, string> = new Map([
  ['simple-shuffle', 'weighted-random'],
  ['least-busy', 'weighted-least-connections'],
  ['usage-based-routing', 'least-tokens'],
  ['usage-based-routing-v2', 'least-tokens'],
  ['latency-based-routing', 'p2c-peak-ewma'],
]);
