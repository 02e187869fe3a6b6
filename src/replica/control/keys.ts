/**
 * API keys of clients in the control state: `keys/NAME` (keyStore.ts).
 *
 * KB1: a key whose binding or division is not of this version is not known at all, rather than let
 *      in anywhere, or with the whole of its rates. Held by `keys.test.ts`.
 */

import { PRIORITIES, type Priority } from '../../routing/admission.ts';
import type { KeyConfig, KeyShare } from '../config.ts';
import { partOf, readAllotment, shareInForce, waitsFor, type Allotment } from './allotments.ts';
import type { ControlView } from './engine.ts';
import {
  listSecrets,
  secretsInForce,
  type KeptSecret,
  type KeyKind,
  type StoredSecret,
} from './keyStore.ts';
import type { Fields } from './records.ts';

/** What an API key has beside its name and secret. */
export type ApiKey = Omit<KeyConfig, 'name' | 'sha256' | 'share'> & {
  /** Null: each place uses the whole of its rates. */
  readonly allotment: Allotment | null;
};

export const API_KEYS: KeyKind<ApiKey> = { prefix: 'keys/', type: 'api-key/1', read };

/** What the gateway of `place` may let in at this time, and when that changes by itself; null: never. */
export function keysInForce(
  view: ControlView,
  wallMs: number,
  place: string,
): { readonly keys: readonly KeyConfig[]; readonly changesMs: number | null } {
  const { records, changesMs } = secretsInForce(API_KEYS, view, wallMs);
  return { keys: records.map((record) => keyAt(record, place)), changesMs };
}

/** Keys of which larger shares elsewhere wait for `place`. */
export function keysAwaiting(view: ControlView, place: string): readonly StoredSecret<ApiKey>[] {
  return listSecrets(API_KEYS, view).filter(({ record: { allotment } }) => {
    return allotment !== null && waitsFor(allotment).includes(place);
  });
}

function keyAt(record: ApiKey & KeptSecret, place: string): KeyConfig {
  const { createdMs: _created, previous: _previous, allotment, ...config } = record;
  if (allotment === null) return { ...config, share: null };
  const percent = shareInForce(allotment, place);
  const requestsPerMinute = partOf(config.requestsPerMinute, percent);
  const tokensPerMinute = partOf(config.tokensPerMinute, percent);
  const places = Object.keys(allotment.shares);
  const share: KeyShare = { percent, places, isComing: percent === 0 && places.includes(place) };
  return { ...config, requestsPerMinute, tokensPerMinute, share };
}

function read({ models, priority, ...fields }: Fields): ApiKey | null {
  const residency = labelsOf(fields['residency']);
  const { allotment: told } = fields;
  const allotment = told === undefined || told === null ? null : readAllotment(told);
  const isWhole =
    isTexts(models) &&
    isPriority(priority) &&
    residency !== undefined &&
    (allotment !== null || told === undefined || told === null);
  if (!isWhole) return null;
  return {
    models,
    requestsPerMinute: limitOf(fields['requestsPerMinute']),
    tokensPerMinute: limitOf(fields['tokensPerMinute']),
    inFlightMax: limitOf(fields['inFlightMax']),
    priority,
    residency,
    allotment,
  };
}

/** Undefined: no labels, and not nothing either. */
function labelsOf(value: unknown): readonly string[] | null | undefined {
  if (value === undefined || value === null) return null;
  return isTexts(value) ? value : undefined;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

function isPriority(value: unknown): value is Priority {
  return PRIORITIES.some((known) => known === value);
}

function limitOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : null;
}
