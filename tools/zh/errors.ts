/** Chinese texts of `docs/reference/zh/errors.md`; an error without one does not compile. */

import type { ErrorCode } from '../../src/base/errors.ts';

/** Sentence and what to do. */
export const ERRORS_ZH: Readonly<Record<ErrorCode, readonly [string, string]>> = {
  invalid_json: ['请求体不是合法的 JSON。', '发送一个 UTF-8 编码的 JSON 对象。'],
  invalid_request: ['请求不合规范。', '改正消息所指的字段。'],
  body_too_large: ['请求体超过网关的上限。', '缩小请求体，或调高 limits.requestBodyBytesMax。'],
  headers_too_large: ['请求头超过网关的上限。', '减少或缩短请求头字段。'],
  bad_http: ['请求不是网关接受的 HTTP/1.1。', '改正客户端或其前面的代理。'],
  request_timeout: ['请求没有及时到齐。', '不停顿地发完整个请求。'],
  missing_key: ['没有给出 API 密钥。', '发送 Authorization: Bearer KEY 或 x-api-key: KEY。'],
  unknown_key: ['这里不认识该 API 密钥。', '核对密钥，或新建一个。'],
  model_not_allowed: ['该密钥不可使用此模型。', '请管理员把模型加入密钥。'],
  residency_refused: [
    '没有区域可以为此 API 密钥服务。',
    '运维：用 banyan region set 给区域加上密钥的某个标签，或用 banyan keys set 更改密钥的标签。',
  ],
  residency_unavailable: [
    '可以为此 API 密钥服务的区域目前都不能接收请求。',
    '按 Retry-After 重试；运维：banyan get regions。',
  ],
  residency_elsewhere: ['本区域不得为此 API 密钥服务。', '只告知转发来的区域，由其另寻区域。'],
  model_not_found: ['没有配置这个模型。', 'GET /v1/models 列出该密钥可用的模型。'],
  not_found: ['没有这个路径。', '核对基础地址与路径。'],
  method_not_allowed: ['该路径不接受此方法。', 'Allow 响应头列出所接受的方法。'],
  unsupported_media_type: ['内容类型不是 JSON。', '发送 Content-Type: application/json。'],
  unsupported_feature: [
    '该模型的后端都做不到请求所要求的。',
    '去掉消息所指的字段，或配置支持它的后端。',
  ],
  rate_limited: ['该密钥超出速率限额。', '按 Retry-After 等待。'],
  no_share: [
    '此 API 密钥的限额在本区域没有份额。',
    '改用消息中列出的区域；运维：banyan keys allot。',
  ],
  too_many_requests: ['该密钥的在途请求已达上限。', '等其中一些结束，或调高 keys[].inFlightMax。'],
  idempotency_in_progress: [
    '另一个带此 Idempotency-Key 的请求正在进行，或受理它的进程已不在。',
    '等待其答复；换新键则会重新执行。',
  ],
  idempotency_done: [
    '带此 Idempotency-Key 的请求已执行过。',
    '其答复不予保存；换新键则会重新执行。',
  ],
  idempotency_mismatch: [
    '此 Idempotency-Key 已用于另一个请求。',
    '一个键只用于一个请求：每次重试路径与请求体都须相同。',
  ],
  idempotency_unavailable: [
    '目前无法得知此 Idempotency-Key 是否用过，因此请求未执行。',
    '按 Retry-After 以同一键重试；运维：查看 banyan_registers_ready。',
  ],
  idempotency_full: [
    '在较早的 Idempotency-Key 到期之前无法再保存新键，因此请求未执行。',
    '按 Retry-After 以同一键重试；运维：缩短 control.registers.claimMs。',
  ],
  upstream_rate_limited: ['该模型的所有后端都超出速率限额。', '按 Retry-After 等待，或增加后端。'],
  upstream_rejected: ['模型服务拒绝了请求。', '按其消息改正。'],
  upstream_unauthorized: ['模型服务拒绝了网关的凭据。', '运维：核对后端的 API 密钥。'],
  upstream_failed: [
    '模型服务失败，没有其他后端可以接手。',
    '重试；运维：查看该请求 id 的决策记录。',
  ],
  upstream_unreachable: ['连不上任何模型服务。', '按 Retry-After 重试；运维：banyan get targets。'],
  upstream_timeout: ['模型服务没有及时回答。', '重试，或调高消息所指的时限。'],
  upstream_malformed: ['模型服务的响应无法理解。', '运维：核对后端的 kind 与版本。'],
  stream_broken: ['回答在结束之前中断。', '重试；已收到的不是完整的回答。'],
  no_target: [
    '没有健康的后端可以接受请求。',
    '按 Retry-After 重试；运维：banyan route explain --model M。',
  ],
  overloaded: [
    '节点不堪重负。',
    '按 Retry-After 重试，或改用其他区域；运维：见 banyan_shed_total。',
  ],
  draining: ['节点正在关闭。', '重试：由其他节点接手。'],
  region_unreachable: ['应当服务的区域无法到达。', '按 Retry-After 重试。'],
  internal: ['网关内部故障。', '运维：日志中有该请求 id。'],
};
