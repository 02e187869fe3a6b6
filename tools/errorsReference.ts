/** Renders `docs/reference/errors.md` from the catalogue of errors, in English or Chinese. */

import { ERRORS, type ErrorCode } from '../src/base/errors.ts';
import { ERRORS_ZH } from './zh/errors.ts';

const SHAPES = [
  '```json',
  '{"error":{"message":"…","type":"rate_limit_error","code":"rate_limited","param":null}}',
  '{"type":"error","error":{"type":"rate_limit_error","message":"…"},"request_id":"req_…"}',
  '```',
];

const HEADS = {
  en: [
    '# Errors',
    '',
    'Every error that Banyan itself answers, generated from `src/base/errors.ts` by `npm run generate`.',
    'The body has the shape of the dialect that the client speaks:',
    '',
    ...SHAPES,
    '',
    'An error that a model server answers because of the request itself keeps its own status and message.',
    '"Ran?" says whether the request may have had an effect: after a `no` it is always safe to repeat it.',
    'A stream that fails after its head ends with the error as an event and an aborted connection.',
    '',
    '| code | status | type (OpenAI / Anthropic) | ran? | meaning | what to do |',
  ],
  zh: [
    '# 错误',
    '',
    'Banyan 自身返回的全部错误，由 `npm run generate` 从 `src/base/errors.ts` 生成。响应体采用客户端所说的协议：',
    '',
    ...SHAPES,
    '',
    '因请求本身而由模型服务返回的错误，保留其状态码与消息。“是否执行”指请求是否可能已产生作用：为 `否` 时重发总是安全的。',
    '流在响应头之后失败，则以错误事件结束并中断连接。错误消息本身为英文。',
    '',
    '| 代码 | 状态码 | 类型（OpenAI / Anthropic） | 是否执行 | 含义 | 怎么办 |',
  ],
} as const;

/** The page, whole. */
export function renderErrorsReference(language: 'en' | 'zh' = 'en'): string {
  const isEnglish = language === 'en';
  const rows = (Object.keys(ERRORS) as ErrorCode[]).map((code) => {
    const entry = ERRORS[code];
    const effect = entry.definite ? (isEnglish ? 'no' : '否') : isEnglish ? 'possibly' : '可能';
    const types = `\`${entry.openaiType}\` / \`${entry.anthropicType}\``;
    const [sentence, action] = isEnglish ? [entry.sentence, entry.action] : ERRORS_ZH[code];
    return `| \`${code}\` | ${entry.status} | ${types} | ${effect} | ${sentence} | ${action} |`;
  });
  return [...HEADS[language], '|---|---|---|---|---|---|', ...rows, ''].join('\n');
}
