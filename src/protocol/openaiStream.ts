/** Streams of chat completions (OpenAI), in and out of chat events. */

import { REQUEST_LIMITS } from '../base/limits.ts';
import type { AnswerContext, ChatEvent, StreamDecoder, StreamEncoder } from './chat.ts';
import { translatedId } from './ids.ts';
import {
  arrayOf,
  countOf,
  isRecord,
  parseJson,
  recordOf,
  textOf,
  type JsonRecord,
} from './json.ts';
import { argumentsOf, finishOfOpenai, finishToOpenai } from './openaiAnswer.ts';
import { formatEvent } from './sse.ts';
import { finishError, malformedError, readInBandError } from './upstreamError.ts';
import { usageOfJson, usageToOpenai } from './usage.ts';

/** One call as far as it was told. */
interface Call {
  id: string;
  name: string;
  isStarted: boolean;
  /** Arguments that came before the name. */
  waiting: string;
}

/**
 * Decodes the first choice of a stream. Servers differ in how they tell calls: the index may be
 * missing, or be 0 for all of them with an id each (Gemini's), or the id may come again.
 */
export class OpenaiStreamDecoder implements StreamDecoder {
  readonly #calls: Call[] = [];
  /** Which call an index of the wire means now. */
  readonly #callOfIndex = new Map<number, number>();
  #isStarted = false;
  #finish: ChatEvent | null = null;
  #isDone = false;

  decode(data: string): readonly ChatEvent[] {
    if (this.#isDone || data === '') return [];
    if (data.trim() === '[DONE]') {
      this.#isDone = true;
      return [{ kind: 'done' }];
    }
    const json = parseJson(data);
    if (!isRecord(json)) {
      return [
        { kind: 'error', error: malformedError('An event of the stream is no JSON object.') },
      ];
    }
    const error = readInBandError(json);
    if (error !== null) return [{ kind: 'error', error }];
    return this.#decodeChunk(json);
  }

  complete(): readonly ChatEvent[] {
    return this.#finish === null || this.#isDone ? [] : [{ kind: 'done' }];
  }

  #decodeChunk(json: JsonRecord): readonly ChatEvent[] {
    const events: ChatEvent[] = [];
    if (!this.#isStarted) {
      this.#isStarted = true;
      events.push({ kind: 'start', id: textOf(json['id']) ?? '', usage: null });
    }
    for (const item of arrayOf(json['choices'])) {
      const choice = recordOf(item);
      if ((countOf(choice['index']) ?? 0) === 0) this.#decodeChoice(choice, events);
    }
    const usage = usageOfJson(json['usage']);
    if (usage !== null) events.push({ kind: 'usage', usage });
    return events;
  }

  #decodeChoice(choice: JsonRecord, events: ChatEvent[]): void {
    const delta = recordOf(choice['delta']);
    const reasoning = textOf(delta['reasoning_content']) ?? textOf(delta['reasoning']) ?? '';
    if (reasoning !== '') events.push({ kind: 'reasoning', text: reasoning });
    const text = textOf(delta['content']) ?? '';
    if (text !== '') events.push({ kind: 'text', text });
    const refusal = textOf(delta['refusal']) ?? '';
    if (refusal !== '') events.push({ kind: 'refusal', text: refusal });
    const calls = arrayOf(delta['tool_calls']);
    for (let index = 0; index < calls.length; index += 1) {
      this.#decodeCall(recordOf(calls[index]), index, events);
    }
    const reason = textOf(choice['finish_reason']);
    if (reason === null || this.#finish !== null) return;
    if (reason === 'error') {
      events.push({ kind: 'error', error: finishError() });
      return;
    }
    const stopSequence = textOf(choice['stop_reason']);
    const finish = finishOfOpenai(reason, this.#calls.length > 0, stopSequence !== null);
    this.#finish = { kind: 'finish', finish, stopSequence };
    events.push(this.#finish);
  }

  #decodeCall(delta: JsonRecord, place: number, events: ChatEvent[]): void {
    const wireIndex = countOf(delta['index']) ?? place;
    const id = textOf(delta['id']) ?? '';
    const fn = recordOf(delta['function']);
    let number = this.#callOfIndex.get(wireIndex);
    let call = number === undefined ? undefined : this.#calls[number];
    if (call === undefined || (id !== '' && call.id !== '' && call.id !== id)) {
      if (this.#calls.length === REQUEST_LIMITS.answerBlocksMax) {
        events.push({ kind: 'error', error: malformedError('Too many tool calls.') });
        return;
      }
      number = this.#calls.length;
      call = { id, name: '', isStarted: false, waiting: '' };
      this.#calls.push(call);
      this.#callOfIndex.set(wireIndex, number);
    }
    if (call.id === '') call.id = id;
    if (call.name === '') call.name = textOf(fn['name']) ?? '';
    const json = argumentsOf(fn['arguments']);
    if (!call.isStarted && call.name === '') {
      call.waiting += json;
      return;
    }
    const at = number ?? 0;
    if (!call.isStarted) {
      call.isStarted = true;
      const named = call.id === '' ? `call_${at}` : call.id;
      events.push({ kind: 'tool-start', call: at, id: named, name: call.name });
    }
    const all = call.waiting + json;
    call.waiting = '';
    if (all !== '') events.push({ kind: 'tool-arguments', call: at, json: all });
  }
}

/** Encodes the chunks of one stream with one id, one `created` and one role. */
export class OpenaiStreamEncoder implements StreamEncoder {
  readonly #context: AnswerContext;
  #id = '';
  #usage: JsonRecord | null = null;

  constructor(context: AnswerContext) {
    this.#context = context;
  }

  encode(event: ChatEvent): string {
    switch (event.kind) {
      case 'start':
        this.#id = this.#context.id ?? translatedId('openai', event.id);
        if (event.usage !== null) this.#usage = usageToOpenai(event.usage);
        return this.#delta({ role: 'assistant', content: '', refusal: null });
      case 'text':
        return this.#delta({ content: event.text });
      case 'reasoning':
        return this.#delta({ reasoning_content: event.text });
      case 'refusal':
        return this.#delta({ refusal: event.text });
      case 'tool-start': {
        const { call: index, id, name } = event;
        const fn = { name, arguments: '' };
        return this.#delta({ tool_calls: [{ index, id, type: 'function', function: fn }] });
      }
      case 'tool-arguments': {
        const fn = { arguments: event.json };
        return this.#delta({ tool_calls: [{ index: event.call, function: fn }] });
      }
      case 'finish':
        return this.#delta({}, finishToOpenai(event.finish));
      case 'usage':
        this.#usage = usageToOpenai(event.usage);
        return '';
      case 'ping':
        return ': keep-alive\n\n';
      case 'done':
        return `${this.#lastChunk()}data: [DONE]\n\n`;
      case 'reasoning-signature': // Only its provider could use it.
      case 'error': // Told by the exchange, in the client's dialect.
      default:
        return '';
    }
  }

  #delta(delta: JsonRecord, finish: string | null = null): string {
    return this.#chunk([{ index: 0, delta, logprobs: null, finish_reason: finish }], null);
  }

  #lastChunk(): string {
    return this.#context.wantsUsage && this.#usage !== null ? this.#chunk([], this.#usage) : '';
  }

  #chunk(choices: readonly JsonRecord[], usage: JsonRecord | null): string {
    const chunk = {
      id: this.#id,
      object: 'chat.completion.chunk',
      created: this.#context.createdSeconds,
      model: this.#context.model,
      choices,
    };
    return formatEvent('', JSON.stringify(this.#context.wantsUsage ? { ...chunk, usage } : chunk));
  }
}
