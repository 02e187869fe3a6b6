/** `GET /v1/models` in both dialects. */

import { encodeUtf8 } from '../base/bytes.ts';
import type { Dialect } from '../protocol/dialect.ts';
import type { ModelConfig } from './config.ts';

function iso8601(seconds: number): string {
  // Civil-from-days (Hinnant, "chrono-compatible low-level date algorithms"); cores have no Date.
  const days = Math.floor(seconds / 86_400);
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthShifted = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthShifted + 2) / 5) + 1;
  const month = monthShifted < 10 ? monthShifted + 3 : monthShifted - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const rest = seconds - days * 86_400;
  const two = (value: number): string => String(value).padStart(2, '0');
  const time = [Math.floor(rest / 3600), Math.floor(rest / 60) % 60, rest % 60].map(two).join(':');
  return `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}T${time}Z`;
}

function shape(dialect: Dialect, model: ModelConfig): Readonly<Record<string, unknown>> {
  return dialect === 'openai'
    ? { id: model.name, object: 'model', created: model.createdSeconds, owned_by: 'banyan' }
    : {
        type: 'model',
        id: model.name,
        display_name: model.name,
        created_at: iso8601(model.createdSeconds),
      };
}

/** The body of the list of models. */
export function renderModels(dialect: Dialect, models: readonly ModelConfig[]): Uint8Array {
  const data = models.map((model) => shape(dialect, model));
  const body =
    dialect === 'openai'
      ? { object: 'list', data }
      : {
          data,
          has_more: false,
          first_id: models[0]?.name ?? null,
          last_id: models.at(-1)?.name ?? null,
        };
  return encodeUtf8(JSON.stringify(body));
}

/** The body of one model. */
export function renderModel(dialect: Dialect, model: ModelConfig): Uint8Array {
  return encodeUtf8(JSON.stringify(shape(dialect, model)));
}
