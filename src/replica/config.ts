/**
 * The configuration of one node, parsed and checked: plain data that the gateway is built from.
 * `main/config` makes it from `banyan.yaml`; a new one replaces the old as a whole, and an exchange
 * keeps the one that it began with.
 */

import type { HeaderList } from '../base/headers.ts';
import type { ModelName, RegionName, TargetName } from '../base/names.ts';
import type { StallSpec } from '../exchange/stall.ts';
import type { RegionWish } from '../regions/desired.ts';
import type { Residency } from '../regions/residency.ts';
import type { Priority } from '../routing/admission.ts';
import type { HedgeSpec } from '../routing/hedge.ts';
import type { RouteSpec } from '../routing/spec.ts';

/** What a place may use of the rates of a key that is divided. */
export interface KeyShare {
  readonly percent: number;
  /** Those that have any. */
  readonly places: readonly string[];
  /** It has none yet: others have not said so far that they use less. */
  readonly isComing: boolean;
}

/** One API key. The key itself is never kept. */
export interface KeyConfig {
  /** For people: logs, metrics and limits speak of it. */
  readonly name: string;
  /** Lower-case hex SHA-256 of the key. */
  readonly sha256: string;
  /** Allowed models; `*` allows all, a trailing `*` a prefix. */
  readonly models: readonly string[];
  /** Null: unlimited. */
  readonly requestsPerMinute: number | null;
  /** Tokens in and out; null: unlimited. */
  readonly tokensPerMinute: number | null;
  /** Exchanges under way; null: unlimited. */
  readonly inFlightMax: number | null;
  /** Its class under load; a request may lower it, never raise it. */
  readonly priority: Priority;
  /** In which regions its requests may be inferred. */
  readonly residency: Residency;
  /** The rates above are this share of the key's; null: they are the whole. */
  readonly share: KeyShare | null;
}

/** The four deadlines of one exchange or attempt, milliseconds. */
export interface Deadlines {
  /** One attempt: to a usable connection. */
  readonly connectMs: number;
  /** One attempt: from the request's last byte to the first content. */
  readonly firstByteMs: number;
  /** One attempt: between pieces of a stream. */
  readonly idleMs: number;
  /** The exchange: all attempts together. */
  readonly totalMs: number;
}

/** A place that can run models: provider, address, credentials. */
export interface TargetConfig {
  readonly name: TargetName;
  /** The adapter's name: `openai`, `anthropic`, `llama`. */
  readonly kind: string;
  /** `http://host:port` or `https://host:port`. */
  readonly origin: string;
  readonly pathPrefix: string;
  readonly query: string;
  readonly apiKey: string | null;
  readonly headers: HeaderList;
  readonly options: Readonly<Record<string, string | number | boolean>>;
  /** Path of an active probe that answers 2xx when healthy; null: no probes. */
  readonly probePath: string | null;
}

/** What may go on with an answer: the same model elsewhere, its fallbacks too, or nobody. */
export type ContinueRule = 'same-model' | 'fallbacks' | 'off';

/** One model that clients can ask for in this region. */
export interface ModelConfig {
  readonly name: ModelName;
  readonly route: RouteSpec;
  /** The model's name at each target; absent: the same name. */
  readonly upstreamNames: Readonly<Record<TargetName, string>>;
  /** Models to try when this one cannot be served. */
  readonly fallbacks: readonly ModelName[];
  readonly deadlines: Deadlines;
  /** Attempts for one exchange, the first included. */
  readonly attemptsMax: number;
  /** Hedging of the first token of streams; null: none. */
  readonly hedge: HedgeSpec | null;
  /** Whether an answer whose target dies goes on elsewhere, and whether another model may do it. */
  readonly continue: ContinueRule;
  /** When a stream counts as stalled; null: never. */
  readonly stall: StallSpec | null;
  /** Unix seconds shown by GET /v1/models. */
  readonly createdSeconds: number;
}

/** One node. */
export interface NodeConfig {
  readonly region: RegionName;
  readonly node: string;
  /** This node's peer name (`base/peerName.ts`). */
  readonly peer: string;
  readonly keys: readonly KeyConfig[];
  readonly targets: readonly TargetConfig[];
  readonly models: readonly ModelConfig[];
  /** Percent of live requests that may be retries, 0 to 100. */
  readonly retryBudgetPercent: number;
  /** Exchanges under way in this node; past it requests are shed. */
  readonly exchangesMax: number;
  /** Their request bodies together, bytes; past it requests are shed. */
  readonly requestBodiesBytesMax: number;
  /** Lag of the event loop that may stand, ms; past it requests are shed by class. */
  readonly loopLagMsMax: number;
  readonly requestBodyBytesMax: number;
  /**
   * What operators want of regions, this one too; a region that is not here is as usual. Null: the
   * control state has not told yet.
   */
  readonly wishes: readonly RegionWish[] | null;
}
