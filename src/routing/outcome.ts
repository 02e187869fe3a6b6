/**
 * How an attempt ended, as far as the health of its target is concerned. Blame is told apart from
 * retry: a client's mistake and a cancelled race say nothing bad about a target, a 429 asks for
 * rest, and a cut stream is a failure although its status was 200.
 */

/** One attempt's end, for the router. */
export type AttemptOutcome =
  | { readonly kind: 'answered' }
  /** The client's fault: the target is healthy. */
  | { readonly kind: 'rejected' }
  /** Over a limit of the target: it rests, without blame. Null: it did not say how long. */
  | { readonly kind: 'rate-limited'; readonly retryAfterMs: number | null }
  | { readonly kind: 'overloaded'; readonly retryAfterMs: number | null }
  | { readonly kind: 'failed'; readonly phase: 'connect' | 'before-content' | 'mid-stream' }
  /** Its stream went on far slower than its own norm: counted against it, but ejects nobody. */
  | { readonly kind: 'stalled' }
  /** It lost a race for the first content: how slow it was is learned, without blame. */
  | { readonly kind: 'outraced' }
  /** We stopped it (the client left): neutral. */
  | { readonly kind: 'cancelled' };
