/**
 * What an exchange keeps so that an answer can go on when its target dies: the bytes that the client
 * was sent, and events held back because they could not be taken back.
 *
 * C1: a tool call reaches the client whole or not at all: from its first event on everything is held
 *     until the answer is done. A cut before that regenerates it, and nobody has seen it.
 * C2: a place that refuses one way to go on is asked in the next: prefill, a further message,
 *     repetition.
 * C3: past the limit of kept bytes an answer is passed on as before, and a cut is told honestly.
 * @hot
 */

import { assert } from '../base/assert.ts';
import { BytePattern, EMPTY_BYTES, encodeUtf8 } from '../base/bytes.ts';
import type { HeaderList } from '../base/headers.ts';
import { EXCHANGE_LIMITS } from '../base/limits.ts';
import type {
  Adapter,
  AdapterTarget,
  ContinuationMode,
  ParsedRequest,
  StreamReader,
} from '../protocol/adapter.ts';
import type { Usage } from '../protocol/dialect.ts';
import {
  addUsage,
  finishSent,
  isLengthReached,
  readSent,
  resumeRequest,
  type ResumeWay,
  type SentAnswer,
} from '../protocol/resume.ts';
import { ResumedReader } from '../protocol/resumedReader.ts';
import { EventStore, viewOf } from './eventStore.ts';
import { keyOf, type Place } from './place.ts';

/** What a cut means. */
export type CutStep =
  | { readonly kind: 'go-on' }
  /** The answer was whole but for its end: these bytes complete it. */
  | { readonly kind: 'complete'; readonly bytes: Uint8Array }
  | { readonly kind: 'impossible'; readonly why: string };

// A quote inside a JSON string is escaped: these are a key and a whole value, never text.
const OPENAI_TOOL = new BytePattern(encodeUtf8('"tool_calls"'));
const OPENAI_FUNCTION = new BytePattern(encodeUtf8('"function_call"'));
const ANTHROPIC_TOOL = new BytePattern(encodeUtf8('"tool_use"'));
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const COLON = 0x3a;
const OPENING = 0x5b;
const CLOSING = 0x5d;

const MODES: ReadonlySet<string> = new Set(['prefill', 'message', 'regenerate', 'none']);

/** The ways to go on at a place whose own way is the key, the best first. */
const LADDERS: Readonly<Record<ContinuationMode, readonly ContinuationMode[]>> = {
  prefill: ['prefill', 'message', 'regenerate'],
  message: ['message', 'regenerate'],
  regenerate: ['regenerate'],
  none: [],
};

/** A request for the rest of an answer; `way` is null where all of it is asked for. */
export interface Asked {
  readonly request: ParsedRequest;
  readonly way: ResumeWay | null;
}

/** One answer that can go on. */
export class Continuation {
  /** Tokens of the attempts that died. */
  prior: Usage | null = null;
  private readonly request: ParsedRequest;
  private readonly headers: HeaderList;
  private readonly kept: EventStore = new EventStore();
  private readonly held: EventStore = new EventStore();
  /** Ways that places have refused, by place. */
  private readonly refused: Map<string, ContinuationMode[]> = new Map();
  /** Tokens were spent twice: their sum says nothing of what the client has. */
  private isRepeated = false;
  private isHolding = false;
  private isOverLimit = false;
  /** The name of a tool call's member stands in events that tell of none: all are searched whole. */
  private isNameUsual = false;
  private sent: SentAnswer | null = null;
  private readonly total: { bytes: number; readonly bytesMax: number };
  /** Of the total, what is this answer's. */
  private counted = 0;

  /** `total` is shared by all exchanges of the node. */
  constructor(
    request: ParsedRequest,
    headers: HeaderList,
    total: { bytes: number; readonly bytesMax: number },
  ) {
    this.request = request;
    this.headers = headers;
    this.total = total;
  }

  /** The exchange is over: what was kept for it is free again. */
  dispose(): void {
    this.account(-this.counted);
    this.kept.clear();
    this.held.clear();
  }

  /** Streams of chats with one choice; everything else is answered whole or not at all. */
  static fits(request: ParsedRequest): boolean {
    const isChat = request.operation === 'chat' || request.operation === 'messages';
    return request.isStream && isChat && request.choicesCount === 1;
  }

  /** Has the client been sent anything? */
  get hasSent(): boolean {
    return this.kept.length > 0 || this.isOverLimit;
  }

  /** Is all kept that is needed to go on? */
  get canGoOn(): boolean {
    return !this.isOverLimit;
  }

  /** Takes a piece of whole events; returns what may go to the client now. */
  pass(bytes: Uint8Array): Uint8Array {
    if (this.isOverLimit) return bytes;
    if (this.isHolding) {
      this.hold(bytes);
      return this.isOverLimit ? this.release() : EMPTY_BYTES;
    }
    const mark = this.keepUntilMark(bytes);
    if (mark === -1) return bytes;
    // From the start of the event that tells of the call.
    const start = eventStart(bytes, mark);
    this.isHolding = true;
    this.hold(bytes.subarray(start));
    if (!this.isOverLimit) return bytes.subarray(0, start);
    this.dropHeld(); // Nothing is held past the limit, or it would come after what follows it.
    return bytes;
  }

  /** Keeps events up to the one that tells of a tool call; returns where it does, -1: none does. */
  private keepUntilMark(bytes: Uint8Array): number {
    const { kept } = this;
    const heldBefore = kept.bytesHeld;
    const view = viewOf(bytes);
    let mark = -1;
    let at = 0;
    while (at < bytes.length) {
      const end = kept.look(bytes, view, at);
      mark = this.toolMark(bytes, at, end);
      if (mark !== -1) break;
      kept.take(bytes);
      at = end;
    }
    // Where events end in CRLF the store takes several for one.
    const start = mark === -1 ? at : eventStart(bytes, mark);
    if (start > at) kept.add(bytes.subarray(at, start));
    this.settle(kept, heldBefore);
    return mark;
  }

  /**
   * Where the event that was looked at tells of a tool call; -1: nowhere. Servers space their JSON as
   * they like. What it has in common with an earlier event was searched there.
   */
  private toolMark(bytes: Uint8Array, start: number, end: number): number {
    const isAnthropic = this.request.dialect === 'anthropic';
    const pattern = isAnthropic ? ANTHROPIC_TOOL : OPENAI_TOOL;
    const reach = this.isNameUsual ? bytes.length : pattern.length - 1;
    const to = Math.min(end, this.kept.freshEnd + reach);
    let at = pattern.indexIn(bytes, Math.max(start, this.kept.freshStart - reach), to);
    while (at !== -1) {
      const after = at + pattern.length;
      if (isAnthropic || hasElement(bytes, after)) return at;
      this.isNameUsual = true;
      at = pattern.indexIn(bytes, after, to);
    }
    return -1;
  }

  /** Ends the holding: what was held may go out. */
  release(): Uint8Array {
    const bytes = this.held.length === 0 ? EMPTY_BYTES : this.held.read();
    this.dropHeld();
    return bytes;
  }

  /** The target died. `usage`: what its attempt used, where it answered at all. */
  cut(usage: Usage | null): CutStep {
    if (this.isOverLimit) return { kind: 'impossible', why: 'the answer is too long to be kept' };
    this.dropHeld();
    this.prior = addUsage(this.prior, usage);
    const bytes = this.kept.read();
    if (bytes.length === 0) return { kind: 'go-on' }; // All of it was held: it is asked for anew.
    if (OPENAI_FUNCTION.indexIn(bytes) !== -1) {
      return { kind: 'impossible', why: 'a function call has begun' };
    }
    const sent = readSent(this.request, bytes, this.isRepeated ? null : this.prior);
    if (sent === null) return { kind: 'impossible', why: 'what was sent cannot be added to' };
    if (sent.isFinished || isLengthReached(this.request, sent)) {
      return { kind: 'complete', bytes: finishSent(this.request, sent, this.prior) };
    }
    this.sent = sent;
    return { kind: 'go-on' };
  }

  /** How `place` can be asked: for the whole answer, or for its rest. Null: it cannot. */
  ask(place: Place): Asked | null {
    if (this.sent === null) return { request: this.request, way: null };
    const refused = this.refused.get(keyOf(place)) ?? [];
    const own = wayOf(place);
    for (const mode of LADDERS[own.mode]) {
      if (refused.includes(mode)) continue;
      const way = { ...own, mode };
      const request = resumeRequest(this.request, this.sent, way, this.headers);
      if (request !== null) return { request, way };
    }
    return null;
  }

  /** `place` refused to go on in that way, or could not. `isTooLong`: there was no room for more. */
  refuse(place: Place, mode: ContinuationMode, isTooLong: boolean): void {
    const refused = this.refused.get(keyOf(place)) ?? [];
    refused.push(mode);
    if (isTooLong) refused.push('prefill', 'message');
    this.refused.set(keyOf(place), refused);
  }

  /** How the stream of the rest is read. */
  wrap(way: ResumeWay): (reader: StreamReader) => ResumedReader {
    const { sent, prior, request } = this;
    assert(sent !== null, 'only what was begun goes on');
    this.isRepeated ||= way.mode === 'regenerate';
    return (reader) => new ResumedReader(request, reader, sent, way, prior);
  }

  private dropHeld(): void {
    this.account(-this.held.bytesHeld);
    this.held.clear();
    this.isHolding = false;
  }

  private account(bytes: number): void {
    this.counted += bytes;
    this.total.bytes += bytes;
  }

  private hold(bytes: Uint8Array): void {
    const heldBefore = this.held.bytesHeld;
    this.held.add(bytes);
    this.settle(this.held, heldBefore);
  }

  /** Counts what `store` has grown by; past a limit nothing is kept any more. */
  private settle(store: EventStore, heldBefore: number): void {
    this.account(store.bytesHeld - heldBefore);
    const { continuationBytesMax, continuationEventBytesMax } = EXCHANGE_LIMITS;
    const isKept =
      store.bytesHeld <= continuationBytesMax &&
      store.length <= continuationEventBytesMax &&
      this.total.bytes <= this.total.bytesMax;
    if (isKept) return;
    this.isOverLimit = true;
    this.account(-this.kept.bytesHeld);
    this.kept.clear();
  }
}

function wayOf(place: Place): ResumeWay {
  if (place.resume !== null) return place.resume;
  return { mode: modeOf(place), isTrimmed: place.adapter.dialect === 'anthropic' };
}

function modeOf(place: Place): ContinuationMode {
  const { adapter, target } = place;
  return target === null ? adapter.continuation : continuationMode(adapter, target);
}

/** How a target goes on: its option, else as its provider does. */
export function continuationMode(adapter: Adapter, target: AdapterTarget): ContinuationMode {
  const option = target.options['continuation'];
  return typeof option === 'string' && isMode(option) ? option : adapter.continuation;
}

function isMode(text: string): text is ContinuationMode {
  return MODES.has(text);
}

/** Does `: [` and an element follow? Some servers put an empty list into every event. */
function hasElement(bytes: Uint8Array, from: number): boolean {
  let at = from;
  let isList = false;
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === OPENING && !isList) isList = true;
    else if (byte !== SPACE && byte !== COLON) break;
  }
  return isList && bytes[at] !== CLOSING;
}

/** Where the event that holds byte `at` begins: after the last blank line before it. */
function eventStart(bytes: Uint8Array, at: number): number {
  for (let index = at - 1; index > 0; index -= 1) {
    if (bytes[index] !== LF) continue;
    const before = bytes[index - 1] === CR ? index - 2 : index - 1;
    if (before >= 0 && bytes[before] === LF) return index + 1;
  }
  return 0;
}
