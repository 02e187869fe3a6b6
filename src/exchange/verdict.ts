/**
 * What the end of an attempt means. Two questions are answered apart, as Caddy's errors do: may the
 * exchange go on elsewhere, and is the target to blame? A third is what the client is told if
 * nothing else works.
 *
 * V1: a request that cannot have run is always safe to send elsewhere (`isDefinite`).
 * V2: what a client caused is passed on and blames nobody.
 * V3: a generation that broke before its first content is repeated: nobody saw it, and it has no
 *     side effect but tokens, which are counted as possibly charged twice.
 */

import { unreachable } from '../base/assert.ts';
import { failure, type Failure } from '../base/errors.ts';
import type { UpstreamFailure } from '../base/ports.ts';
import type { UpstreamError } from '../protocol/adapter.ts';
import { failureOfUpstream } from '../protocol/errorBody.ts';
import type { AttemptOutcome } from '../routing/outcome.ts';

/** Where the exchange may go on: nowhere, at another place, or with another model only. */
export type NextStep = 'no' | 'elsewhere' | 'other-model';

/** The meaning of one attempt's end. */
export interface Verdict {
  readonly next: NextStep;
  /** The request certainly did not run: repeating it costs nothing. */
  readonly isDefinite: boolean;
  /** For the router: who is to blame. */
  readonly outcome: AttemptOutcome;
  /** For the client, if this is the last attempt. */
  readonly failure: Failure;
  /** For metrics and the trace: a kind, a class or a deadline. */
  readonly reason: string;
  readonly status: number;
}

/** Of an answer that has begun the client is told that it broke off, whatever brought it about. */
export function midAnswer(verdict: Verdict): Verdict {
  const isTold = verdict.failure.code === 'stream_broken';
  return isTold ? verdict : { ...verdict, failure: failure('stream_broken') };
}

/** The rest of an answer cannot be had in the way that it was asked for; another may do. */
export function isWayAtFault(verdict: Verdict): boolean {
  return verdict.outcome.kind === 'rejected' || verdict.reason === 'different';
}

/** The connection broke: the target died, or the way to it did. */
export function isConnectionLoss(verdict: Verdict): boolean {
  return verdict.reason === 'reset' || verdict.reason === 'truncated';
}

/** The deadlines that an attempt can miss; `connect` is reported by the transport. */
export type DeadlineKind = 'first-byte' | 'idle' | 'total';

function phaseOf(hasContent: boolean): 'before-content' | 'mid-stream' {
  return hasContent ? 'mid-stream' : 'before-content';
}

/** Judges a transport failure. `hasContent`: the client has seen content of this attempt. */
export function judgeFailure(cause: UpstreamFailure, hasContent: boolean): Verdict {
  switch (cause.kind) {
    case 'refused':
    case 'unresolved':
    case 'tls':
    case 'connect-timeout':
    case 'link-down':
      return {
        next: 'elsewhere',
        isDefinite: cause.bytesSent === 0,
        outcome: { kind: 'failed', phase: hasContent ? 'mid-stream' : 'connect' },
        failure: hasContent ? failure('stream_broken') : failure('upstream_unreachable'),
        reason: cause.kind,
        status: 0,
      };
    case 'pool-full':
      return {
        next: 'elsewhere',
        isDefinite: true,
        outcome: { kind: 'overloaded', retryAfterMs: null },
        failure: failure('overloaded', 'Every connection to the model server is busy.'),
        reason: cause.kind,
        status: 0,
      };
    case 'reset':
    case 'truncated':
      return {
        next: 'elsewhere',
        isDefinite: cause.bytesSent === 0,
        outcome: { kind: 'failed', phase: phaseOf(hasContent) },
        failure: failure(hasContent ? 'stream_broken' : 'upstream_failed'),
        reason: cause.kind,
        status: 0,
      };
    case 'malformed':
    case 'too-large':
      return {
        next: 'elsewhere',
        isDefinite: false,
        outcome: { kind: 'failed', phase: phaseOf(hasContent) },
        failure: failure(hasContent ? 'stream_broken' : 'upstream_malformed'),
        reason: cause.kind,
        status: 0,
      };
    default:
      return unreachable(cause.kind);
  }
}

/** Judges an error that a provider answered, with a status or inside a stream. */
export function judgeError(error: UpstreamError, hasContent: boolean): Verdict {
  const told = {
    failure: hasContent ? failure('stream_broken') : failureOfUpstream(error),
    reason: error.class,
    status: error.status,
  };
  switch (error.class) {
    case 'rate-limited':
      return {
        ...told,
        next: 'elsewhere',
        isDefinite: true,
        outcome: { kind: 'rate-limited', retryAfterMs: error.retryAfterMs },
      };
    case 'overloaded':
      return {
        ...told,
        next: 'elsewhere',
        isDefinite: true,
        outcome: { kind: 'overloaded', retryAfterMs: error.retryAfterMs },
      };
    case 'server':
    case 'timeout':
    case 'malformed':
      return {
        ...told,
        next: 'elsewhere',
        isDefinite: false,
        outcome: { kind: 'failed', phase: phaseOf(hasContent) },
      };
    case 'unauthorized':
    case 'model-missing':
      // Ours to repair at that target; the client's request is fine elsewhere.
      return {
        ...told,
        next: 'elsewhere',
        isDefinite: true,
        outcome: { kind: 'failed', phase: 'before-content' },
      };
    case 'misdirected':
      return { ...told, next: 'elsewhere', isDefinite: true, outcome: { kind: 'cancelled' } };
    case 'different':
      // What was shown already cannot be taken back. A model may differ from itself: no blame.
      return {
        ...told,
        next: hasContent ? 'no' : 'elsewhere',
        isDefinite: false,
        outcome: { kind: 'cancelled' },
      };
    case 'context-length':
      return { ...told, next: 'other-model', isDefinite: true, outcome: { kind: 'rejected' } };
    case 'invalid-request':
    case 'content-policy':
      return { ...told, next: 'no', isDefinite: true, outcome: { kind: 'rejected' } };
    default:
      return unreachable(error.class);
  }
}

/** Judges a missed deadline. */
export function judgeDeadline(kind: DeadlineKind, hasContent: boolean, limitMs: number): Verdict {
  const detail = `The ${kind} deadline of ${limitMs} ms passed.`;
  return {
    next: kind === 'total' ? 'no' : 'elsewhere',
    isDefinite: false,
    outcome: { kind: 'failed', phase: phaseOf(hasContent) },
    failure: failure(hasContent ? 'stream_broken' : 'upstream_timeout', detail),
    reason: `${kind}-deadline`,
    status: 0,
  };
}

/** The stream goes on far slower than its target's do. */
export function judgeStall(): Verdict {
  return {
    next: 'elsewhere',
    isDefinite: false,
    outcome: { kind: 'stalled' },
    failure: failure('stream_broken', 'It had almost stopped.'),
    reason: 'stalled',
    status: 0,
  };
}

/** The stream ended by its transport's framing but not by its dialect's. */
export function judgeEarlyEnd(hasContent: boolean): Verdict {
  return {
    next: 'elsewhere',
    isDefinite: false,
    outcome: { kind: 'failed', phase: phaseOf(hasContent) },
    failure: failure(hasContent ? 'stream_broken' : 'upstream_failed', 'It ended early.'),
    reason: 'early-end',
    status: 0,
  };
}

/** A response that is not what was asked for: a redirect, or no event stream. */
export function judgeUnexpected(status: number, detail: string): Verdict {
  return {
    next: 'elsewhere',
    isDefinite: false,
    outcome: { kind: 'failed', phase: 'before-content' },
    failure: failure('upstream_malformed', detail),
    reason: 'malformed',
    status,
  };
}
