/**
 * What the fake model server answers when it behaves, in both dialects. The request decides: tools
 * are called once each, a JSON schema gets JSON, `think` in the question gets reasoning, `say: X`
 * gets X, a trailing assistant message is gone on with, stop sequences and token limits hold. A word
 * is a token.
 */

/** One request as it was received. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** One answer, in no dialect. */
interface Answer {
  readonly reasoning: readonly string[];
  readonly words: readonly string[];
  readonly tools: readonly { readonly id: string; readonly name: string; readonly json: string }[];
  readonly finish: 'stop' | 'length' | 'tool' | 'stop-sequence';
  readonly stopSequence: string | null;
}

type Loose = Readonly<Record<string, unknown>>;

const record = (value: unknown): Loose =>
  typeof value === 'object' && value !== null ? (value as Loose) : {};
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** The arguments of every tool call. */
export const TOOL_JSON = '{"city":"Paris","unit":"celsius"}';
/** The answer where a form is prescribed. */
export const STRUCTURED_JSON = '{"city":"Paris","degrees":21}';
/** The reasoning of a request that says `think`. */
export const REASONING = ['Let', ' me', ' think', '.'] as const;
/** What the prompt counts for, tokens. */
export const PROMPT_TOKENS = 7;

/** The body parsed; empty where it is no object. */
export function parsedBody(request: SeenRequest): Loose {
  try {
    return record(JSON.parse(request.body));
  } catch {
    return {}; // A test that sends no JSON gets the plain answer.
  }
}

export function isAnthropicPath(request: SeenRequest): boolean {
  return request.path.includes('/messages');
}

/** The text of one message, whatever the form of its content. */
function messageText(message: unknown): string {
  const { content } = record(message);
  if (typeof content === 'string') return content;
  return list(content)
    .map((part) => text(record(part)['text']))
    .join('');
}

/**
 * How much of the answer the request holds already: a prefill, or messages to be continued, several
 * where the answer was continued more than once.
 */
function givenText(messages: readonly unknown[]): string {
  const last = messages.at(-1);
  if (record(last)['role'] === 'assistant') {
    return givenText(messages.slice(0, -1)) + messageText(last);
  }
  const isContinue = /^(?:Your previous message was interrupted|你的上一条消息中断了)/.test(
    messageText(last),
  );
  return isContinue ? givenText(messages.slice(0, -1)) : '';
}

/** The rest of `words` after the text `given`; all of them where it is no beginning of theirs. */
function restOf(words: readonly string[], given: string): readonly string[] {
  const whole = words.join('');
  if (given === '' || !whole.startsWith(given)) return words;
  let left = given.length;
  const rest: string[] = [];
  for (const word of words) {
    if (left >= word.length) left -= word.length;
    else {
      rest.push(word.slice(left));
      left = 0;
    }
  }
  return rest;
}

/** The words that the question wants to hear (`say: …`); null: it leaves them to us. */
function wordsToSay(messages: readonly unknown[]): readonly string[] | null {
  for (const message of messages) {
    const said = messageText(message);
    if (said.startsWith('say: ')) return said.slice(5).match(/.{1,5}/gsu) ?? [];
  }
  return null;
}

function isToolResult(message: unknown): boolean {
  const { role, content } = record(message);
  return role === 'tool' || list(content).some((part) => record(part)['type'] === 'tool_result');
}

/** Decides what to answer. */
function answerOf(request: SeenRequest, words: readonly string[]): Answer {
  const body = parsedBody(request);
  const messages = list(body['messages']);
  const last = messages.at(-1);
  const reasoning = /\bthink\b/.test(messageText(last)) ? REASONING : [];
  const plain = { reasoning, tools: [], finish: 'stop', stopSequence: null } as const;
  const names = list(body['tools']).map((tool) =>
    text(record(record(tool)['function'])['name'] ?? record(tool)['name']),
  );
  const mayCall = body['tool_choice'] !== 'none' && record(body['tool_choice'])['type'] !== 'none';
  if (names.length > 0 && mayCall && !isToolResult(last)) {
    const tools = names.map((name, index) => ({ id: `call_${index}`, name, json: TOOL_JSON }));
    return { ...plain, words: [], tools, finish: 'tool' };
  }
  const isStructured =
    text(record(body['response_format'])['type']).startsWith('json') ||
    record(body['output_config'])['format'] !== undefined;
  if (isStructured) return { ...plain, words: STRUCTURED_JSON.match(/.{1,6}/g) ?? [] };
  let chosen = restOf(wordsToSay(messages) ?? words, givenText(messages));
  const stop = list(body['stop_sequences'] ?? body['stop']);
  const stops = typeof body['stop'] === 'string' ? [body['stop']] : stop.map(text);
  for (const sequence of stops) {
    const at = chosen.join('').indexOf(sequence);
    if (at === -1) continue;
    return {
      ...plain,
      words: [chosen.join('').slice(0, at)],
      finish: 'stop-sequence',
      stopSequence: sequence,
    };
  }
  const limit = body['max_completion_tokens'] ?? body['max_tokens'];
  if (typeof limit === 'number' && limit < chosen.length) {
    chosen = chosen.slice(0, limit);
    return { ...plain, words: chosen, finish: 'length' };
  }
  return { ...plain, words: chosen };
}

const OPENAI_FINISH = {
  stop: 'stop',
  length: 'length',
  tool: 'tool_calls',
  'stop-sequence': 'stop',
} as const;
const ANTHROPIC_FINISH = {
  stop: 'end_turn',
  length: 'max_tokens',
  tool: 'tool_use',
  'stop-sequence': 'stop_sequence',
} as const;

const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
const event = (value: Loose): string => `event: ${text(value['type'])}\n${data(value)}`;

/** The events of a whole stream, in the dialect of the path. */
export function streamEvents(
  request: SeenRequest,
  words: readonly string[],
  name: string,
): readonly string[] {
  const answer = answerOf(request, words);
  if (isAnthropicPath(request)) return anthropicEvents(answer, name);
  if (isCompletion(request)) return completionEvents(request, answer, name);
  return openaiEvents(request, answer, name);
}

function anthropicEvents(answer: Answer, name: string): readonly string[] {
  const start = {
    id: 'msg_fake',
    type: 'message',
    role: 'assistant',
    model: name,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { input_tokens: PROMPT_TOKENS, output_tokens: 1 },
  };
  const events = [event({ type: 'message_start', message: start })];
  let index = 0;
  const block = (content: Loose, deltas: readonly Loose[]): void => {
    events.push(event({ type: 'content_block_start', index, content_block: content }));
    for (const delta of deltas) events.push(event({ type: 'content_block_delta', index, delta }));
    events.push(event({ type: 'content_block_stop', index }));
    index += 1;
  };
  if (answer.reasoning.length > 0) {
    block({ type: 'thinking', thinking: '', signature: '' }, [
      ...answer.reasoning.map((thinking) => ({ type: 'thinking_delta', thinking })),
      { type: 'signature_delta', signature: 'c2lnbmVk' },
    ]);
  }
  if (answer.tools.length === 0) {
    block(
      { type: 'text', text: '' },
      answer.words.map((word) => ({ type: 'text_delta', text: word })),
    );
  }
  for (const { id, name: tool, json } of answer.tools) {
    const parts = [json.slice(0, 9), json.slice(9)];
    block(
      { type: 'tool_use', id, name: tool, input: {} },
      parts.map((part) => ({ type: 'input_json_delta', partial_json: part })),
    );
  }
  const stopReason = ANTHROPIC_FINISH[answer.finish];
  events.push(
    event({
      type: 'message_delta',
      delta: { stop_reason: stopReason, stop_sequence: answer.stopSequence },
      usage: { output_tokens: tokensOf(answer) },
    }),
    event({ type: 'message_stop' }),
  );
  return events;
}

/** A tool call counts as one. */
function tokensOf(answer: Answer): number {
  return answer.reasoning.length + answer.words.length + answer.tools.length;
}

function openaiUsage(answer: Answer, choices = 1): Loose {
  const completion = tokensOf(answer) * choices;
  return {
    prompt_tokens: PROMPT_TOKENS,
    completion_tokens: completion,
    total_tokens: PROMPT_TOKENS + completion,
  };
}

function logprobOf(word: string): Loose {
  const one = { token: word, logprob: -0.25, bytes: [...Buffer.from(word)] };
  return { ...one, top_logprobs: [one] };
}

/** The deltas of one choice, the role first. */
function openaiDeltas(answer: Answer): readonly Loose[] {
  const deltas: Loose[] = [{ role: 'assistant', content: '' }];
  for (const word of answer.reasoning) deltas.push({ reasoning_content: word });
  for (const word of answer.words) deltas.push({ content: word });
  answer.tools.forEach(({ id, name, json }, index) => {
    const call = { index, id, type: 'function', function: { name, arguments: '' } };
    deltas.push({ tool_calls: [call] });
    for (const part of [json.slice(0, 9), json.slice(9)]) {
      deltas.push({ tool_calls: [{ index, function: { arguments: part } }] });
    }
  });
  return deltas;
}

function openaiEvents(request: SeenRequest, answer: Answer, name: string): readonly string[] {
  const body = parsedBody(request);
  const base = { id: 'chatcmpl-fake', object: 'chat.completion.chunk', created: 1, model: name };
  const chunk = (index: number, delta: Loose, reason: string | null): string => {
    const logprobs =
      body['logprobs'] === true && typeof delta['content'] === 'string' && delta['content'] !== ''
        ? { logprobs: { content: [logprobOf(delta['content'])], refusal: null } }
        : {};
    return data({ ...base, choices: [{ index, delta, ...logprobs, finish_reason: reason }] });
  };
  const count = typeof body['n'] === 'number' ? body['n'] : 1;
  const events: string[] = [];
  for (const delta of openaiDeltas(answer)) {
    for (let index = 0; index < count; index += 1) events.push(chunk(index, delta, null));
  }
  for (let index = 0; index < count; index += 1) {
    events.push(chunk(index, {}, OPENAI_FINISH[answer.finish]));
  }
  if (record(body['stream_options'])['include_usage'] === true) {
    events.push(data({ ...base, choices: [], usage: openaiUsage(answer, count) }));
  }
  events.push('data: [DONE]\n\n');
  return events;
}

function isCompletion(request: SeenRequest): boolean {
  return request.path.endsWith('/completions') && !request.path.endsWith('/chat/completions');
}

function completionEvents(request: SeenRequest, answer: Answer, name: string): readonly string[] {
  const base = { id: 'cmpl-fake', object: 'text_completion', created: 1, model: name };
  const events = answer.words.map((word) =>
    data({ ...base, choices: [{ index: 0, text: word, finish_reason: null, logprobs: null }] }),
  );
  const finish = OPENAI_FINISH[answer.finish];
  events.push(data({ ...base, choices: [{ index: 0, text: '', finish_reason: finish }] }));
  if (record(parsedBody(request)['stream_options'])['include_usage'] === true) {
    events.push(data({ ...base, choices: [], usage: openaiUsage(answer) }));
  }
  events.push('data: [DONE]\n\n');
  return events;
}

/** A whole answer, in the dialect of the path. */
export function unaryBody(request: SeenRequest, words: readonly string[], name: string): string {
  if (request.path.endsWith('/count_tokens')) return JSON.stringify({ input_tokens: 42 });
  if (request.path.endsWith('/embeddings')) return JSON.stringify(embeddings(request, name));
  const answer = answerOf(request, words);
  if (isAnthropicPath(request)) return JSON.stringify(anthropicMessage(answer, name));
  const whole = answer.words.join('');
  const body = parsedBody(request);
  const finish = OPENAI_FINISH[answer.finish];
  const usage = openaiUsage(answer, typeof body['n'] === 'number' ? body['n'] : 1);
  if (isCompletion(request)) {
    const choices = [{ index: 0, text: whole, finish_reason: finish, logprobs: null }];
    return JSON.stringify({
      id: 'cmpl-fake',
      object: 'text_completion',
      created: 1,
      model: name,
      choices,
      usage,
    });
  }
  const message = {
    role: 'assistant',
    content: answer.tools.length > 0 ? null : whole,
    ...(answer.reasoning.length > 0 ? { reasoning_content: answer.reasoning.join('') } : {}),
    ...(answer.tools.length > 0
      ? {
          tool_calls: answer.tools.map(({ id, name: tool, json }) => ({
            id,
            type: 'function',
            function: { name: tool, arguments: json },
          })),
        }
      : {}),
  };
  const logprobs =
    body['logprobs'] === true
      ? { logprobs: { content: answer.words.map(logprobOf), refusal: null } }
      : {};
  const count = typeof body['n'] === 'number' ? body['n'] : 1;
  const choices = Array.from({ length: count }, (_, index) => ({
    index,
    message,
    ...logprobs,
    finish_reason: finish,
  }));
  return JSON.stringify({
    id: 'chatcmpl-fake',
    object: 'chat.completion',
    created: 1,
    model: name,
    choices,
    usage,
  });
}

function anthropicMessage(answer: Answer, name: string): Loose {
  const content: Loose[] = [];
  if (answer.reasoning.length > 0) {
    const thinking = answer.reasoning.join('');
    content.push({ type: 'thinking', thinking, signature: 'c2lnbmVk' });
  }
  if (answer.tools.length === 0) content.push({ type: 'text', text: answer.words.join('') });
  for (const { id, name: tool, json } of answer.tools) {
    content.push({ type: 'tool_use', id, name: tool, input: JSON.parse(json) as unknown });
  }
  return {
    id: 'msg_fake',
    type: 'message',
    role: 'assistant',
    model: name,
    content,
    stop_reason: ANTHROPIC_FINISH[answer.finish],
    stop_sequence: answer.stopSequence,
    usage: { input_tokens: PROMPT_TOKENS, output_tokens: tokensOf(answer) },
  };
}

function embeddings(request: SeenRequest, name: string): Loose {
  const body = parsedBody(request);
  const count = Array.isArray(body['input']) ? body['input'].length : 1;
  const numbers = [0.25, -0.5];
  const isBase64 = body['encoding_format'] === 'base64';
  const embedding = isBase64
    ? Buffer.from(new Float32Array(numbers).buffer).toString('base64')
    : numbers;
  return {
    object: 'list',
    model: name,
    data: Array.from({ length: count }, (_, index) => ({ object: 'embedding', index, embedding })),
    usage: { prompt_tokens: 3, total_tokens: 3 },
  };
}
