/**
 * What is the same for every call to one target, worked out once: header fields, query, the model's
 * name as JSON. And the body of a call whose dialect is the client's own, edited by its bytes. @hot
 */

import { concatBytes, decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import type { HeaderList } from '../base/headers.ts';
import type { AdapterTarget, ParsedRequest, PreparedCall } from '../protocol/adapter.ts';
import { editBytes, editPieces, SHARED_BYTES_MAX, type ByteEdit } from '../protocol/edit.ts';
import { recordOf } from '../protocol/json.ts';

/** The parts of calls to one target. */
export interface TargetPlan {
  readonly headers: HeaderList;
  readonly pathPrefix: string;
  /** With its `?`; empty where there is none. */
  readonly query: string;
  /** The model's name as a JSON string. */
  readonly modelBytes: Uint8Array;
  /** The same, then the member that asks for usage in a stream. */
  readonly modelUsageBytes: Uint8Array;
}

const NO_REST: readonly Uint8Array[] = [];
const ASK_USAGE = encodeUtf8(',"stream_options":{"include_usage":true}');

/**
 * Makes the plan of a target. `{model}` in the path prefix stands for the model's name, as Azure's
 * deployments want it. `own` are the provider's header fields; those of the configuration win.
 */
export function planTarget(target: AdapterTarget, own: HeaderList): TargetPlan {
  const given = new Set(target.headers.filter((_, index) => index % 2 === 0));
  const headers: string[] = [];
  for (const list of [['content-type', 'application/json'], own]) {
    for (let index = 0; index < list.length; index += 2) {
      const name = list[index] ?? '';
      if (!given.has(name)) headers.push(name, list[index + 1] ?? '');
    }
  }
  const modelBytes = encodeUtf8(JSON.stringify(target.model));
  return {
    headers: [...headers, ...target.headers],
    pathPrefix: target.pathPrefix.replaceAll('{model}', encodeURIComponent(target.model)),
    query: target.query === '' ? '' : `?${target.query}`,
    modelBytes,
    modelUsageBytes: concatBytes([modelBytes, ASK_USAGE]),
  };
}

/** A call to `path` below the target's prefix. `more` are fields of the client's request. */
export function callOf(
  plan: TargetPlan,
  path: string,
  more: HeaderList,
  pieces: readonly [Uint8Array, ...Uint8Array[]],
): PreparedCall {
  const [body] = pieces;
  return {
    method: 'POST',
    path: plan.pathPrefix + path + plan.query,
    headers: more.length === 0 ? plan.headers : mergeHeaders(plan.headers, more),
    body,
    bodyRest: pieces.length === 1 ? NO_REST : pieces.slice(1),
  };
}

/** Adds `more`; a field of `more` replaces one of the same name, lists (`…-beta`) are joined. */
function mergeHeaders(headers: HeaderList, more: HeaderList): HeaderList {
  const merged = [...headers];
  for (let index = 0; index < more.length; index += 2) {
    const name = more[index] ?? '';
    const value = more[index + 1] ?? '';
    const at = merged.findIndex((field, place) => place % 2 === 0 && field === name);
    if (at === -1) merged.push(name, value);
    else if (name.endsWith('-beta')) merged[at + 1] = `${merged[at + 1]},${value}`;
    else merged[at + 1] = value;
  }
  return merged;
}

/** What else a target wants changed in a body of its own dialect. */
export interface BodyWishes {
  /** Ask for usage at the end of the stream though the client did not. */
  readonly asksUsage: boolean;
  /** Rename `max_tokens` or `max_completion_tokens` to this; empty: as sent. */
  readonly maxTokensField: string;
}

/**
 * The client's body with the target's model name; gateway-only members are gone. A large one comes in
 * pieces, which are not copied.
 */
export function bodyForTarget(
  request: ParsedRequest,
  target: AdapterTarget,
  plan: TargetPlan,
  wishes: BodyWishes,
): readonly [Uint8Array, ...Uint8Array[]] {
  const { layout } = request;
  const edits: ByteEdit[] = [];
  const hasOptions = layout.streamOptionsStart !== -1;
  const isAppended = wishes.asksUsage && !hasOptions;
  if (layout.modelStart === -1) {
    const usage = isAppended ? decodeUtf8(ASK_USAGE) : '';
    const insert = `"model":${JSON.stringify(target.model)}${usage},`;
    edits.push({
      start: layout.membersStart,
      end: layout.membersStart,
      insert: encodeUtf8(insert),
    });
  } else if (isAppended || !isNamed(request, plan)) {
    const insert = isAppended ? plan.modelUsageBytes : plan.modelBytes;
    edits.push({ start: layout.modelStart, end: layout.modelEnd, insert });
  }
  if (wishes.asksUsage && hasOptions) edits.push(usageEdit(request));
  if (layout.cuts.length > 0) addCuts(edits, layout.cuts);
  if (wishes.maxTokensField !== '') addRename(edits, request, wishes.maxTokensField);
  if (edits.length > 1) edits.sort((a, b) => a.start - b.start);
  if (request.body.length <= SHARED_BYTES_MAX) return [editBytes(request.body, edits)];
  const [first = NOTHING, ...rest] = editPieces(request.body, edits);
  return [first, ...rest];
}

/** The body already holds the target's name for the model. */
function isNamed(request: ParsedRequest, plan: TargetPlan): boolean {
  const { modelStart, modelEnd } = request.layout;
  const { modelBytes } = plan;
  if (modelEnd - modelStart !== modelBytes.length) return false;
  for (let index = 0; index < modelBytes.length; index += 1) {
    if (request.body[modelStart + index] !== modelBytes[index]) return false;
  }
  return true;
}

/** Adds `include_usage` to the stream options that the client sent. */
function usageEdit(request: ParsedRequest): ByteEdit {
  const { streamOptionsStart: start, streamOptionsEnd: end } = request.layout;
  const sent = recordOf(JSON.parse(decodeUtf8(request.body.subarray(start, end))));
  const merged = JSON.stringify({ ...sent, include_usage: true });
  return { start, end, insert: encodeUtf8(merged) };
}

const NOTHING = new Uint8Array(0);

function addCuts(edits: ByteEdit[], cuts: readonly number[]): void {
  for (let index = 0; index < cuts.length; index += 2) {
    edits.push({ start: cuts[index] ?? 0, end: cuts[index + 1] ?? 0, insert: NOTHING });
  }
}

/** Renames the limit of the answer's length, unless both of its names were sent. */
function addRename(edits: ByteEdit[], request: ParsedRequest, field: string): void {
  const { maxTokensKeyStart, maxCompletionTokensKeyStart } = request.layout;
  if (maxTokensKeyStart !== -1 && maxCompletionTokensKeyStart !== -1) return;
  const start = Math.max(maxTokensKeyStart, maxCompletionTokensKeyStart);
  if (start === -1) return;
  const end = request.body.indexOf(0x22, start + 1) + 1;
  edits.push({ start, end, insert: encodeUtf8(JSON.stringify(field)) });
}
