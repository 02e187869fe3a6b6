/** The imported configuration as the text of a `banyan.yaml`, with comments. */

import { Document, isMap, isSeq, type Node } from 'yaml';

import { EXCHANGE_LIMITS } from '../../base/limits.ts';
import type { Language } from '../messages.ts';
import { printable } from '../output.ts';
import type { Imported, ImportedModel, ImportedRoute } from './convert.ts';
import { noteText } from './notes.ts';
import { literal } from './values.ts';

/** Comments of the file, in both languages. */
const COMMENTS = {
  head: {
    en:
      ' Taken over from {file} by "banyan config import litellm".\n' +
      ' Look at the end for what was left out; then: banyan config check FILE.',
    zh:
      ' 由 “banyan config import litellm” 从 {file} 生成。\n' +
      ' 未接管的内容见文末；之后运行：banyan config check 文件。',
  },
  listen: {
    en: " LiteLLM's port, on this machine only; 0.0.0.0:4000 lets others in.",
    zh: ' LiteLLM 的端口，仅限本机；0.0.0.0:4000 则对外开放。',
  },
  keys: {
    en: ' Better: a key for each client, as SHA-256 ("banyan keys hash").',
    zh: ' 更好的做法：每个客户端一个密钥，只存 SHA-256（“banyan keys hash”）。',
  },
  rest: { en: ' Not taken over as it stood:', zh: ' 未按原样接管：' },
} as const;

/** How the file is made. */
export interface RenderOptions {
  /** The name of the LiteLLM file, for comments. */
  readonly file: string;
  readonly region: string;
  readonly language: Language;
}

/** The text. */
export function renderImported(imported: Imported, options: RenderOptions): string {
  const { language } = options;
  const document = new Document(
    {
      region: options.region,
      listen: { api: '127.0.0.1:4000', admin: '127.0.0.1:9090' },
      keys: [{ name: 'litellm-master', key: imported.clientKey }],
      targets: imported.targets.map(({ name, draft }) => ({ name, ...draft })),
      models: imported.models.map(modelRow),
      ...(imported.exchangesMax === null
        ? {}
        : { limits: { exchangesMax: imported.exchangesMax } }),
      ...(imported.isVerbose ? { log: { level: 'debug' } } : {}),
    },
    { aliasDuplicateObjects: false },
  );
  const root = document.contents;
  document.commentBefore = COMMENTS.head[language].replace('{file}', printable(options.file));
  if (isMap(root)) {
    for (const name of ['listen', 'keys'] as const) {
      const pair = root.items.find(({ key }) => String(key) === name);
      if (pair !== undefined) commentKey(pair.key, COMMENTS[name][language]);
    }
    const targets = root.get('targets');
    if (isSeq(targets)) {
      targets.items.forEach((item, index) => {
        const comments = imported.targets[index]?.comments ?? [];
        if (isMap(item)) item.commentBefore = comments.join('\n');
      });
    }
  }
  const notes = imported.notes.map(
    (note) => ` line ${note.place.line}, ${printable(note.path)}: ${noteText(note, language)}`,
  );
  if (notes.length > 0) document.comment = [COMMENTS.rest[language], ...notes].join('\n');
  return document.toString({ lineWidth: 0 });
}

function commentKey(key: unknown, comment: string): void {
  if (typeof key === 'object' && key !== null) (key as Node).commentBefore = comment;
}

function modelRow(model: ImportedModel): object {
  const { name, algorithm, fallbacks, attemptsMax, deadlines, health } = model;
  return {
    name,
    ...(algorithm === null ? {} : { algorithm }),
    targets: model.routes.map((route) => routeRow(route, name)),
    ...(fallbacks.length === 0 ? {} : { fallbacks }),
    ...(Object.keys(deadlines).length === 0 ? {} : { deadlines: told(deadlines) }),
    ...(attemptsMax === null ? {} : { attemptsMax }),
    ...(Object.keys(health).length === 0 ? {} : { health }),
  };
}

function routeRow(route: ImportedRoute, name: string): object | string {
  const { target, weight, priority, inFlightMax } = route;
  const rest = {
    ...(route.model === name ? {} : { model: literal(route.model) }),
    ...(weight === null ? {} : { weight }),
    ...(priority === null ? {} : { priority }),
    ...(inFlightMax === null ? {} : { inFlightMax }),
  };
  return Object.keys(rest).length === 0 ? target : { target, ...rest };
}

/** Without those that are the default. */
function told(deadlines: Readonly<Record<string, number>>): object {
  const defaults: Readonly<Record<string, number>> = {
    connectMs: EXCHANGE_LIMITS.connectMsDefault,
    firstByteMs: EXCHANGE_LIMITS.firstByteMsDefault,
    idleMs: EXCHANGE_LIMITS.idleMsDefault,
    totalMs: EXCHANGE_LIMITS.totalMsDefault,
  };
  return Object.fromEntries(
    Object.entries(deadlines).filter(([name, ms]) => defaults[name] !== ms),
  );
}
