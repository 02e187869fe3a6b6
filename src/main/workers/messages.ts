/**
 * What the first process of a node and its workers say to each other, over one ordered channel.
 * Plain data: it is copied by structured clone.
 */

import type { HeaderList } from '../../base/headers.ts';
import type { UpstreamFailure } from '../../base/ports.ts';
import type { LogLevel } from '../../io/observe/log.ts';
import type { MetricSamples } from '../../io/observe/mergedMetrics.ts';
import type { RegionView as KnownRegion } from '../../regions/directory.ts';
import type { NodeConfig } from '../../replica/config.ts';
import type { SiblingReport } from '../../replica/siblings.ts';
import type { Credit, LeaseAnswer, LeaseAsk } from '../../routing/lease.ts';
import type { Address } from '../config/address.ts';
import type { ClaimAsk, ClaimWord } from '../registers/claimClerk.ts';
import type { OriginShell, TlsFiles, TracingShell } from '../config/build.ts';

/** What a reload changes. */
export interface WorkerConfig {
  readonly node: NodeConfig;
  readonly origins: readonly OriginShell[];
  readonly logLevel: LogLevel;
  /** Null: no spans are made. */
  readonly tracing: TracingShell | null;
}

/** A call to another region, as the worker's exchange made it. */
export interface RegionCall {
  readonly origin: string;
  readonly method: string;
  readonly path: string;
  readonly headers: HeaderList;
  readonly body: Uint8Array;
  readonly connectMs: number;
}

/** To a worker. `id` is echoed in the reply. */
export type ToWorker =
  | {
      readonly kind: 'start';
      readonly worker: number;
      readonly workers: number;
      readonly config: WorkerConfig;
      readonly api: Address;
      readonly apiTls: TlsFiles | null;
      /** False: the node has no peers. */
      readonly hasPeers: boolean;
      /** `Idempotency-Key` is looked at. */
      readonly hasClaims: boolean;
    }
  | { readonly kind: 'heard'; readonly report: SiblingReport }
  | { readonly kind: 'lease'; readonly id: number; readonly answer: LeaseAnswer }
  | { readonly kind: 'config'; readonly id: number; readonly config: WorkerConfig }
  | { readonly kind: 'tls'; readonly id: number }
  | { readonly kind: 'metrics'; readonly id: number }
  /** No new requests from now on. */
  | { readonly kind: 'drain'; readonly id: number }
  /** Breaks off what is under way. */
  | { readonly kind: 'abort' }
  | { readonly kind: 'close' }
  /** A probe's result. */
  | { readonly kind: 'probe'; readonly target: string; readonly isHealthy: boolean }
  /** Known for certain: a model server of ours runs, or is gone. */
  | { readonly kind: 'child'; readonly target: string; readonly isRunning: boolean }
  | { readonly kind: 'regions'; readonly regions: readonly KnownRegion[] }
  | { readonly kind: 'region-lost'; readonly region: string }
  | { readonly kind: 'claimed'; readonly id: number; readonly word: ClaimWord }
  | ToCaller;

/** To the side of a region call that reads. */
export type ToCaller =
  | {
      readonly kind: 'call-head';
      readonly call: number;
      readonly status: number;
      readonly headers: HeaderList;
    }
  | { readonly kind: 'call-body'; readonly call: number; readonly bytes: Uint8Array }
  | { readonly kind: 'call-end'; readonly call: number }
  | { readonly kind: 'call-failed'; readonly call: number; readonly failure: UpstreamFailure };

/** From a worker. */
export type FromWorker =
  | { readonly kind: 'listening' }
  | { readonly kind: 'failed'; readonly why: string }
  | {
      readonly kind: 'news';
      readonly report: SiblingReport;
      readonly back: readonly (readonly [key: string, left: Credit])[];
    }
  | { readonly kind: 'ask'; readonly id: number; readonly ask: LeaseAsk }
  | { readonly kind: 'claim'; readonly id: number; readonly ask: ClaimAsk }
  /** A claimed request is over; null: it certainly did not run. */
  | { readonly kind: 'claim-over'; readonly id: number; readonly result: string | null }
  /** `why`: null, or why it was not done. */
  | { readonly kind: 'done'; readonly id: number; readonly why: string | null }
  /** `id` is null where nobody asked. */
  | { readonly kind: 'metrics'; readonly id: number | null; readonly samples: MetricSamples }
  | ToCallee;

/** To the side of a region call that has the link. */
export type ToCallee =
  | { readonly kind: 'call'; readonly call: number; readonly request: RegionCall }
  | { readonly kind: 'call-cancel'; readonly call: number }
  /** So many bytes of its body were read. */
  | { readonly kind: 'call-read'; readonly call: number; readonly bytes: number };
