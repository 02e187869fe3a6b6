/** Streams of a message (Anthropic), in and out of chat events. */

import { REQUEST_LIMITS } from '../base/limits.ts';
import { finishOfAnthropic, finishToAnthropic } from './anthropicAnswer.ts';
import {
  JSON_TOOL_NAME,
  type AnswerContext,
  type ChatEvent,
  type StreamDecoder,
  type StreamEncoder,
} from './chat.ts';
import type { Usage } from './dialect.ts';
import { translatedId } from './ids.ts';
import { countOf, isRecord, parseJson, recordOf, textOf, type JsonRecord } from './json.ts';
import { formatEvent } from './sse.ts';
import { malformedError, readInBandError } from './upstreamError.ts';
import { usageOfJson, usageToAnthropic } from './usage.ts';

/** What an open block of the wire is. */
type OpenBlock =
  | { readonly kind: 'call'; readonly call: number; readonly input: string; isTold: boolean }
  | { readonly kind: 'json' } // A structured answer that came as a call: its arguments are text.
  | { readonly kind: 'plain' }; // Text or thinking: the deltas say which.

/** Decodes one stream. */
export class AnthropicStreamDecoder implements StreamDecoder {
  readonly #blocks = new Map<number, OpenBlock>();
  #counts: JsonRecord = {};
  #callCount = 0;

  decode(data: string): readonly ChatEvent[] {
    const json = parseJson(data);
    if (!isRecord(json)) {
      return [
        { kind: 'error', error: malformedError('An event of the stream is no JSON object.') },
      ];
    }
    switch (json['type']) {
      case 'message_start': {
        const message = recordOf(json['message']);
        const usage = this.#count(message['usage']);
        return [{ kind: 'start', id: textOf(message['id']) ?? '', usage }];
      }
      case 'content_block_start':
        return this.#startBlock(countOf(json['index']) ?? 0, recordOf(json['content_block']));
      case 'content_block_delta':
        return this.#decodeDelta(countOf(json['index']) ?? 0, recordOf(json['delta']));
      case 'content_block_stop':
        return this.#stopBlock(countOf(json['index']) ?? 0);
      case 'message_delta':
        return this.#decodeMessageDelta(json);
      case 'message_stop':
        return [{ kind: 'done' }];
      case 'ping':
        return [{ kind: 'ping' }];
      case 'error': {
        const error = readInBandError(json) ?? malformedError('An error event without an error.');
        return [{ kind: 'error', error }];
      }
      default:
        return []; // What a later version of the dialect adds.
    }
  }

  /** Only `message_stop` ends a message. */
  complete(): readonly ChatEvent[] {
    return [];
  }

  #startBlock(index: number, block: JsonRecord): readonly ChatEvent[] {
    if (this.#blocks.size >= REQUEST_LIMITS.answerBlocksMax) {
      return [{ kind: 'error', error: malformedError('Too many content blocks.') }];
    }
    if (block['type'] !== 'tool_use') {
      this.#blocks.set(index, { kind: 'plain' });
      const text = textOf(block['text']) ?? '';
      if (block['type'] === 'text' && text !== '') return [{ kind: 'text', text }];
      const thinking = textOf(block['thinking']) ?? '';
      return thinking === '' ? [] : [{ kind: 'reasoning', text: thinking }];
    }
    const name = textOf(block['name']) ?? '';
    if (name === JSON_TOOL_NAME) {
      this.#blocks.set(index, { kind: 'json' });
      return [];
    }
    const call = this.#callCount;
    this.#callCount += 1;
    const input = recordOf(block['input']);
    const whole = Object.keys(input).length === 0 ? '{}' : JSON.stringify(input);
    this.#blocks.set(index, { kind: 'call', call, input: whole, isTold: false });
    return [{ kind: 'tool-start', call, id: textOf(block['id']) ?? `call_${call}`, name }];
  }

  #decodeDelta(index: number, delta: JsonRecord): readonly ChatEvent[] {
    const block = this.#blocks.get(index);
    switch (delta['type']) {
      case 'text_delta':
        return textEvents('text', delta['text']);
      case 'thinking_delta':
        return textEvents('reasoning', delta['thinking']);
      case 'signature_delta': {
        const signature = textOf(delta['signature']) ?? '';
        return [{ kind: 'reasoning-signature', signature }];
      }
      case 'input_json_delta': {
        const json = textOf(delta['partial_json']) ?? '';
        if (block === undefined || json === '') return [];
        if (block.kind === 'json') return [{ kind: 'text', text: json }];
        if (block.kind !== 'call') return [];
        block.isTold = true;
        return [{ kind: 'tool-arguments', call: block.call, json }];
      }
      default:
        return []; // Citations, and what a later version adds.
    }
  }

  #stopBlock(index: number): readonly ChatEvent[] {
    const block = this.#blocks.get(index);
    this.#blocks.delete(index);
    if (block?.kind !== 'call' || block.isTold) return [];
    // The whole input stood in the start of the block, or there is none.
    return [{ kind: 'tool-arguments', call: block.call, json: block.input }];
  }

  #decodeMessageDelta(json: JsonRecord): readonly ChatEvent[] {
    const events: ChatEvent[] = [];
    const usage = this.#count(json['usage']);
    if (usage !== null) events.push({ kind: 'usage', usage });
    const delta = recordOf(json['delta']);
    const reason = textOf(delta['stop_reason']);
    if (reason !== null) {
      const finish = finishOfAnthropic(reason, this.#callCount > 0);
      events.push({ kind: 'finish', finish, stopSequence: textOf(delta['stop_sequence']) });
    }
    return events;
  }

  /** Later counts replace earlier ones; null says nothing. */
  #count(usage: unknown): Usage | null {
    const known = Object.entries(recordOf(usage)).filter(([, value]) => value !== null);
    this.#counts = { ...this.#counts, ...Object.fromEntries(known) };
    return usageOfJson(this.#counts);
  }
}

function textEvents(kind: 'text' | 'reasoning', value: unknown): readonly ChatEvent[] {
  const text = textOf(value) ?? '';
  return text === '' ? [] : [{ kind, text }];
}

/** A call that waits for the block before it to end. */
interface WaitingCall {
  readonly id: string;
  readonly name: string;
  json: string;
}

/**
 * Encodes one stream. Blocks of this dialect come one after another, calls of OpenAI's may
 * interleave: the first call goes out as it comes, the others wait until it is certain to be whole.
 */
export class AnthropicStreamEncoder implements StreamEncoder {
  readonly #context: AnswerContext;
  /** The open block: its kind, and for a call its number. */
  #open: 'none' | 'text' | 'thinking' | 'call' = 'none';
  #openCall = -1;
  #index = -1;
  readonly #waiting = new Map<number, WaitingCall>();
  #finish: { readonly reason: string; readonly sequence: string | null } | null = null;
  #usage: JsonRecord = { input_tokens: 0, output_tokens: 0 };

  constructor(context: AnswerContext) {
    this.#context = context;
  }

  encode(event: ChatEvent): string {
    switch (event.kind) {
      case 'start':
        return this.#start(event.id, event.usage);
      case 'text':
      case 'refusal':
        return this.#inBlock('text', { type: 'text_delta', text: event.text });
      case 'reasoning':
        return this.#inBlock('thinking', { type: 'thinking_delta', thinking: event.text });
      case 'reasoning-signature': {
        if (this.#open !== 'thinking') return '';
        return this.#delta({ type: 'signature_delta', signature: event.signature });
      }
      case 'tool-start':
        return this.#startCall(event.call, event.id, event.name);
      case 'tool-arguments':
        return this.#callArguments(event.call, event.json);
      case 'finish':
        this.#finish = { reason: finishToAnthropic(event.finish), sequence: event.stopSequence };
        return '';
      case 'usage':
        this.#usage = usageToAnthropic(event.usage);
        return '';
      case 'ping':
        return formatEvent('ping', '{"type":"ping"}');
      case 'done':
        return this.#done();
      case 'error': // Told by the exchange, in the client's dialect.
      default:
        return '';
    }
  }

  /**
   * Goes on with a message that the client has a part of: its last block has number `index` (-1: it
   * has none) and is open as `open`.
   */
  resumeAt(index: number, open: 'none' | 'text' | 'thinking'): void {
    this.#index = index;
    this.#open = open;
  }

  #start(id: string, usage: Usage | null): string {
    if (usage !== null) this.#usage = usageToAnthropic(usage);
    const message = {
      id: translatedId('anthropic', id),
      type: 'message',
      role: 'assistant',
      model: this.#context.model,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: this.#usage,
    };
    return formatEvent('message_start', JSON.stringify({ type: 'message_start', message }));
  }

  #inBlock(kind: 'text' | 'thinking', delta: JsonRecord): string {
    if (this.#open === kind) return this.#delta(delta);
    const block =
      kind === 'text'
        ? { type: 'text', text: '' }
        : { type: 'thinking', thinking: '', signature: '' };
    return this.#closeAll() + this.#openBlock(kind, block) + this.#delta(delta);
  }

  #startCall(call: number, id: string, name: string): string {
    if (this.#open === 'call') {
      this.#waiting.set(call, { id, name, json: '' });
      return '';
    }
    return this.#closeAll() + this.#openCallBlock(call, id, name);
  }

  #openCallBlock(call: number, id: string, name: string): string {
    this.#openCall = call;
    const block = { type: 'tool_use', id: id.replace(/[^\w-]/g, '_'), name, input: {} };
    return this.#openBlock('call', block);
  }

  #callArguments(call: number, json: string): string {
    const waiting = this.#waiting.get(call);
    if (waiting !== undefined) {
      waiting.json += json;
      return '';
    }
    // Arguments of a call whose block had to close cannot be said any more in this dialect.
    if (this.#open !== 'call' || this.#openCall !== call) return '';
    return this.#delta({ type: 'input_json_delta', partial_json: json });
  }

  #done(): string {
    const finish = this.#finish ?? { reason: 'end_turn', sequence: null };
    const delta = { stop_reason: finish.reason, stop_sequence: finish.sequence };
    const last = { type: 'message_delta', delta, usage: this.#usage };
    return (
      this.#closeAll() +
      formatEvent('message_delta', JSON.stringify(last)) +
      formatEvent('message_stop', '{"type":"message_stop"}')
    );
  }

  #openBlock(kind: 'text' | 'thinking' | 'call', block: JsonRecord): string {
    this.#open = kind;
    this.#index += 1;
    const start = { type: 'content_block_start', index: this.#index, content_block: block };
    return formatEvent('content_block_start', JSON.stringify(start));
  }

  #delta(delta: JsonRecord): string {
    const event = { type: 'content_block_delta', index: this.#index, delta };
    return formatEvent('content_block_delta', JSON.stringify(event));
  }

  /** Ends the open block, then tells the calls that waited, each in a block of its own. */
  #closeAll(): string {
    let text = this.#close();
    for (const [call, { id, name, json }] of this.#waiting) {
      text += this.#openCallBlock(call, id, name);
      if (json !== '') text += this.#delta({ type: 'input_json_delta', partial_json: json });
      text += this.#close();
    }
    this.#waiting.clear();
    return text;
  }

  #close(): string {
    if (this.#open === 'none') return '';
    this.#open = 'none';
    this.#openCall = -1;
    const stop = { type: 'content_block_stop', index: this.#index };
    return formatEvent('content_block_stop', JSON.stringify(stop));
  }
}
