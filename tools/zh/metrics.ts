/** Chinese texts of `docs/reference/zh/metrics.md`; a metric without one does not compile. */

import type { MetricName } from '../../src/io/observe/metricTable.ts';
import type { MetricsWords } from '../../src/io/observe/reference.ts';

const METRICS_ZH: Readonly<Record<MetricName, string>> = {
  gen_ai_server_request_duration_seconds: '从请求的第一个字节到响应结束。',
  gen_ai_server_time_to_first_token_seconds: '从流式请求的第一个字节到客户端收到首个内容。',
  gen_ai_server_time_per_output_token_seconds:
    '流式回答：首个内容之后的时间除以其余输出 token 数。',
  gen_ai_client_token_usage: '单个请求的 token 数，按 gen_ai_token_type 分为 input 与 output。',
  gen_ai_client_operation_duration_seconds: '对后端或区域的一次尝试，从开始到结束。',
  gen_ai_client_operation_time_to_first_chunk_seconds: '一次尝试，从开始到首个内容。',
  banyan_exchanges_total: '客户端请求，按结局分。',
  banyan_exchange_errors_total: '以错误告终的请求，按错误码分。',
  banyan_exchanges_in_flight: '在途请求。',
  banyan_exchanges_recovered_total: '至少失败过一次尝试、客户端无感而得到回答的请求。',
  banyan_exchanges_forwarded_total: '由其他区域转发到此的请求。',
  banyan_exchange_attempts: '单个请求的尝试次数。',
  banyan_overhead_seconds: '请求在网关自身所用的时间：不含等待后端。',
  banyan_shed_total: '因负载而拒绝的请求，按级别与超限项分：exchanges、bodies、lag。',
  banyan_shed_pressure: '因事件循环延迟而拒绝的级别：0 无，1 全部 batch，2 加上 standard，3 全部。',
  banyan_loop_lag_seconds: '上一间隔内持续存在的事件循环延迟。',
  banyan_http_connections: '客户端的打开连接。',
  banyan_http_refused_total:
    '网关处理之前即拒绝的请求：格式错误、过大、过慢；admin_…：由管理接口拒绝。',
  banyan_request_bytes_total: '请求体的字节数。',
  banyan_response_bytes_total: '响应体的字节数。',
  banyan_attempts_total: '尝试，按去处与结局分。',
  banyan_target_tokens_total:
    '各次尝试的 token，按后端与 gen_ai_token_type 分；后端未告知时为估计值。',
  banyan_continuations_total:
    '后端丢失后接续回答的尝试，按方式（prefill、message、regenerate）与结局分。',
  banyan_retries_total: '首次之后的尝试。',
  banyan_hedges_total:
    '首 token 慢到应当再试一次的请求，按结果分：won、lost、failed、cancelled、' +
    'suppressed（预算用尽）、no-place。',
  banyan_hedge_tokens_total: '对冲中落败的尝试所用的 token，按 gen_ai_token_type 分；估计值。',
  banyan_retries_suppressed_total: '未做的重试，按原因分。',
  banyan_rate_limited_total: '因密钥超出限额而拒绝的请求。',
  banyan_key_requests_total: '各密钥的请求。',
  banyan_key_tokens_total: '各密钥的 token，按 gen_ai_token_type 分。',
  banyan_target_state: '后端对某个模型所处的状态为 1。',
  banyan_target_state_changes_total: '后端进入某状态的次数，按原因分。',
  banyan_region_state: '其他区域被看到的状态为 1。',
  banyan_region_rtt_seconds: '到其他区域的往返时延。',
  banyan_region_phi: '对其他区域宕机的怀疑值（phi accrual）。',
  banyan_config_reloads_total: '重新读取的配置：applied 或 refused。',
  banyan_trace_spans_total: 'span，按去向分：exported、queue-full、unreachable、refused、stopped。',
  banyan_trace_queue_spans: '等待发往 collector 的 span。',
  banyan_region_drained: '操作者已排空本区域：1，否则 0；没有控制面状态时无此序列。',
  banyan_control_leader_known: '本节点能听到控制组的领导者：1，否则 0；没有控制面状态时无此序列。',
  banyan_control_feature_level: '集群的特性级别：其中每个程序都理解的内容。',
  banyan_control_revision: '本节点已应用的控制面状态的最新版本。',
  banyan_config_shared_version: '生效的共享配置版本；0 表示没有；没有控制面状态时无此序列。',
  banyan_config_shared_refused: '指派给本区域的共享配置版本在此无法生效：1，否则 0。',
  banyan_config_rollout_halted: '共享配置的逐区域发布已停止，等待操作者处理：1，否则 0。',
  banyan_registers_ready: '本节点可受理租约与认领：1，否则 0；未启用寄存器时无此序列。',
  banyan_registers_epoch: '本节点所知的接受者与世代的版本。',
  banyan_registers_acceptors: '共同决定租约与认领的接受者数量。',
  banyan_registers_keys: '本接受者保存的租约、认领与名称数量。',
  banyan_registers_fill_ratio:
    '认领占用其数量上限或内存上限的比例（取较大者）：到 1 时不再受理新键。',
  banyan_registers_requests: '本节点正在进行的寄存器请求数。',
  banyan_registers_rounds: '本节点启动以来发起的 CASPaxos 轮次数。',
  banyan_registers_conflicts: '因其他提议者或无应答而放弃的轮次数。',
  banyan_registers_leases_held: '本节点持有的租约数。',
  banyan_workers: '正在服务的工作进程数；节点只有一个进程时为 0。',
  banyan_worker_restarts_total: '自行结束或失去响应的工作进程数。',
  banyan_worker_exchanges_lost_total: '工作进程结束时正在其中处理的请求数。',
  banyan_log_lines_dropped_total: '因无人及时读取而丢失的日志行。',
  banyan_metric_series_merged_total: '指标的序列达到上限、新的标签值计入 “other” 的次数。',
  banyan_build_info: '恒为 1；标签说明运行的是什么。',
};

/** The page's words. */
export const METRICS_WORDS_ZH: MetricsWords = {
  head: [
    '# 指标',
    '',
    '由 `node tools/generate.ts` 从 `src/io/observe/metricTable.ts` 生成，请勿手工修改。',
    '',
    '管理接口的 `GET /metrics`，Prometheus 文本格式。此外还有 `prom-client` 提供的进程指标（`process_*`、`nodejs_*`：',
    '处理器、内存、事件循环延迟、垃圾回收）。未配置的模型名计入 `other`，超过指标序列上限的也是。',
  ],
  columns: '| 名称 | 类型 | 标签 | 含义 |',
  conventions: ['## OpenTelemetry 名称', '', '生成式 AI 语义约定的 Prometheus 写法。'],
  conventionColumns: '| 约定 | 这里 |',
  meaningOf: (name) => METRICS_ZH[name],
};
