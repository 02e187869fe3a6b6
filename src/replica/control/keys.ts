/** API keys of clients in the control state: `keys/NAME` (keyStore.ts). */

import { PRIORITIES, type Priority } from '../../routing/admission.ts';
import type { KeyConfig } from '../config.ts';
import type { ControlView } from './engine.ts';
import { secretsInForce, type Fields, type KeyKind } from './keyStore.ts';

type Own = Omit<KeyConfig, 'name' | 'sha256'>;

export const API_KEYS: KeyKind<Own> = { prefix: 'keys/', type: 'api-key/1', read };

/** What the gateway may let in at this time, and when that changes by itself; null: never. */
export function keysInForce(
  view: ControlView,
  wallMs: number,
): { readonly keys: readonly KeyConfig[]; readonly changesMs: number | null } {
  const { records, changesMs } = secretsInForce(API_KEYS, view, wallMs);
  const keys = records.map(({ createdMs: _created, previous: _previous, ...config }) => config);
  return { keys, changesMs };
}

function read({ models, priority, ...fields }: Fields): Own | null {
  const isWhole =
    Array.isArray(models) &&
    models.every((model) => typeof model === 'string') &&
    isPriority(priority);
  if (!isWhole) return null;
  return {
    models,
    requestsPerMinute: limitOf(fields['requestsPerMinute']),
    tokensPerMinute: limitOf(fields['tokensPerMinute']),
    inFlightMax: limitOf(fields['inFlightMax']),
    priority,
  };
}

function isPriority(value: unknown): value is Priority {
  return PRIORITIES.some((known) => known === value);
}

function limitOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : null;
}
