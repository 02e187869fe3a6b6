/**
 * Every metric of the product by name: one table, from which the series are made and
 * `docs/reference/metrics.md` is generated. Names and buckets of `gen_ai_*` are those of the
 * OpenTelemetry semantic conventions for generative AI in Prometheus form: dots become underscores,
 * the unit is a suffix (open-telemetry/semantic-conventions-genai, status Development).
 */

/** One metric. */
export interface MetricSpec {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds, ascending, for histograms; `+Inf` is added. */
  readonly buckets: readonly number[];
  /** The OpenTelemetry name; null: the gateway's own. */
  readonly convention: string | null;
}

const NONE: readonly number[] = [];
const SECONDS = [
  0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const FIRST_TOKEN_SECONDS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
const PER_TOKEN_SECONDS = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const TOKENS = [
  1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864,
];
/** The gateway's own share of a request: from 50 µs to a second. */
const OVERHEAD_SECONDS = [
  0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
];
const ATTEMPTS = [1, 2, 3, 4, 5, 6, 7, 8];

const GEN_AI = [
  'gen_ai_operation_name',
  'gen_ai_provider_name',
  'gen_ai_request_model',
  'gen_ai_response_model',
];

function counter(help: string, labels: readonly string[] = []): MetricSpec {
  return { type: 'counter', help, labels, buckets: NONE, convention: null };
}

function gauge(help: string, labels: readonly string[] = []): MetricSpec {
  return { type: 'gauge', help, labels, buckets: NONE, convention: null };
}

function histogram(
  help: string,
  labels: readonly string[],
  buckets: readonly number[],
  convention: string | null = null,
): MetricSpec {
  return { type: 'histogram', help, labels, buckets, convention };
}

/** The table. */
export const METRICS = {
  gen_ai_server_request_duration_seconds: histogram(
    'From the first byte of a request to the end of its answer.',
    [...GEN_AI, 'error_type'],
    SECONDS,
    'gen_ai.server.request.duration',
  ),
  gen_ai_server_time_to_first_token_seconds: histogram(
    'From the first byte of a streamed request to the first content for the client.',
    GEN_AI,
    FIRST_TOKEN_SECONDS,
    'gen_ai.server.time_to_first_token',
  ),
  gen_ai_server_time_per_output_token_seconds: histogram(
    'Of streamed answers: time after the first content, divided by the other output tokens.',
    GEN_AI,
    PER_TOKEN_SECONDS,
    'gen_ai.server.time_per_output_token',
  ),
  gen_ai_client_token_usage: histogram(
    'Tokens of one request, by gen_ai_token_type: input or output.',
    [...GEN_AI, 'gen_ai_token_type'],
    TOKENS,
    'gen_ai.client.token.usage',
  ),
  gen_ai_client_operation_duration_seconds: histogram(
    'One attempt at a target or region, from its start to its end.',
    ['gen_ai_provider_name', 'gen_ai_request_model', 'error_type'],
    SECONDS,
    'gen_ai.client.operation.duration',
  ),
  gen_ai_client_operation_time_to_first_chunk_seconds: histogram(
    'One attempt, from its start to its first content.',
    ['gen_ai_provider_name', 'gen_ai_request_model', 'target'],
    FIRST_TOKEN_SECONDS,
    'gen_ai.client.operation.time_to_first_chunk',
  ),
  banyan_exchanges_total: counter('Requests of clients by how they ended.', [
    'operation',
    'end',
    'status',
  ]),
  banyan_exchange_errors_total: counter('Requests that ended with an error, by its code.', [
    'code',
  ]),
  banyan_exchanges_in_flight: gauge('Requests under way.'),
  banyan_exchanges_recovered_total: counter(
    'Requests answered after at least one failed attempt, unseen by the client.',
    ['model'],
  ),
  banyan_exchanges_forwarded_total: counter('Requests that another region forwarded here.', [
    'from',
  ]),
  banyan_exchange_attempts: histogram('Attempts of one request.', ['operation'], ATTEMPTS),
  banyan_overhead_seconds: histogram(
    'Time of a request in the gateway itself: all but the waiting for targets.',
    ['operation'],
    OVERHEAD_SECONDS,
  ),
  banyan_shed_total: counter(
    'Requests refused under load, by class and by what there was too much of: exchanges, bodies, lag.',
    ['priority', 'reason'],
  ),
  banyan_shed_pressure: gauge(
    'Classes refused because the event loop lags: 0 none, 1 all of batch, 2 standard too, 3 all.',
  ),
  banyan_loop_lag_seconds: gauge('Lag of the event loop that stood through the last interval.'),
  banyan_http_connections: gauge('Open connections of clients.'),
  banyan_http_refused_total: counter(
    'Requests refused before the gateway saw them: malformed, too large, slow; admin_…: by the admin API.',
    ['code'],
  ),
  banyan_request_bytes_total: counter('Bytes of request bodies.'),
  banyan_response_bytes_total: counter('Bytes of response bodies.'),
  banyan_attempts_total: counter('Attempts by place and how they ended.', [
    'target',
    'region',
    'end',
    'reason',
  ]),
  banyan_target_tokens_total: counter(
    'Tokens of attempts by target and gen_ai_token_type; estimated where the target does not say.',
    ['target', 'gen_ai_token_type'],
  ),
  banyan_continuations_total: counter(
    'Attempts that went on with an answer whose target was lost, by how (prefill, message, ' +
      'regenerate) and how they ended.',
    ['model', 'mode', 'end'],
  ),
  banyan_retries_total: counter('Attempts after the first.', ['model']),
  banyan_hedges_total: counter(
    'First tokens that were slow enough for a second attempt, by what became of it: won, lost, ' +
      'failed, cancelled, suppressed (budget spent), no-place.',
    ['model', 'outcome'],
  ),
  banyan_hedge_tokens_total: counter(
    'Tokens of attempts that lost the race of a hedge, by gen_ai_token_type; estimated.',
    ['model', 'gen_ai_token_type'],
  ),
  banyan_retries_suppressed_total: counter('Retries that were not made, by why.', [
    'model',
    'reason',
  ]),
  banyan_rate_limited_total: counter('Requests refused because a key was over its limit.', ['key']),
  banyan_key_requests_total: counter('Requests by key.', ['key']),
  banyan_key_tokens_total: counter('Tokens by key and gen_ai_token_type.', [
    'key',
    'gen_ai_token_type',
  ]),
  banyan_target_state: gauge('1 for the state that a target is in, for one model.', [
    'model',
    'target',
    'state',
  ]),
  banyan_target_state_changes_total: counter('Changes of a target into a state, by why.', [
    'model',
    'target',
    'state',
    'reason',
  ]),
  banyan_region_state: gauge('1 for the state that another region is seen in.', [
    'region',
    'state',
  ]),
  banyan_region_rtt_seconds: gauge('Round trip to another region.', ['region']),
  banyan_region_phi: gauge('Suspicion that another region is down (phi accrual).', ['region']),
  banyan_config_reloads_total: counter('Configurations read again: applied or refused.', [
    'result',
  ]),
  banyan_trace_spans_total: counter(
    'Spans by what became of them: exported, queue-full, unreachable, refused, stopped.',
    ['result'],
  ),
  banyan_trace_queue_spans: gauge('Spans that wait for the collector.'),
  banyan_workers: gauge('Worker processes that serve; 0 where the node is one process.'),
  banyan_worker_restarts_total: counter('Worker processes that ended by themselves or hung.'),
  banyan_worker_exchanges_lost_total: counter(
    'Requests that were under way in a worker process when it ended.',
  ),
  banyan_region_drained: gauge(
    'An operator has drained this region: 1, else 0; no series without control state.',
  ),
  banyan_control_leader_known: gauge(
    'The control group has a leader that this node hears: 1, else 0; no series without control state.',
  ),
  banyan_control_feature_level: gauge(
    'Feature level of the cluster: what every program in it understands.',
  ),
  banyan_control_revision: gauge(
    'Newest revision of the control state that this node has applied.',
  ),
  banyan_config_shared_version: gauge(
    'Version of the shared configuration in force; 0: none; no series without control state.',
  ),
  banyan_config_shared_refused: gauge(
    'The version of the shared configuration meant for this region does not work here: 1, else 0.',
  ),
  banyan_config_rollout_halted: gauge(
    'A roll-out of the shared configuration is halted and waits for an operator: 1, else 0.',
  ),
  banyan_registers_ready: gauge(
    'Leases and claims are taken here: 1, else 0; no series without registers.',
  ),
  banyan_registers_epoch: gauge('Version of the acceptors and generations that this node knows.'),
  banyan_registers_acceptors: gauge('Acceptors that leases and claims are agreed on with.'),
  banyan_registers_keys: gauge('Leases, claims and names that this acceptor keeps.'),
  banyan_registers_fill_ratio: gauge(
    'How full the room for claims is, in keys or in memory: at 1 no new key is taken.',
  ),
  banyan_registers_requests: gauge('Requests of registers under way at this node.'),
  banyan_registers_rounds: gauge('Rounds of CASPaxos that this node began since it started.'),
  banyan_registers_conflicts: gauge('Rounds that gave way to another proposer or to silence.'),
  banyan_registers_leases_held: gauge('Leases that this node holds.'),
  banyan_log_lines_dropped_total: counter('Log lines lost because nobody took them in time.'),
  banyan_metric_series_merged_total: counter(
    'Times that a new label value was counted as "other" because a metric had its limit of series.',
    ['metric'],
  ),
  banyan_build_info: gauge('Always 1; its labels say what runs.', [
    'version',
    'node_version',
    'region',
    'node',
  ]),
} as const satisfies Readonly<Record<string, MetricSpec>>;

export type MetricName = keyof typeof METRICS;
