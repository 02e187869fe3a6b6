/**
 * A refusal found deep inside a decoder. The only thing that decoders throw, and they catch it at
 * their own entry: threading a `Result` through every nested field would bury what they say.
 */

import { failure, type Failure } from '../base/errors.ts';

/** Carries a failure to the decoder's entry. Never leaves it. */
export class FieldError extends Error {
  override readonly name = 'FieldError';
  readonly failure: Failure;

  constructor(value: Failure) {
    super(value.detail);
    this.failure = value;
  }
}

/** The field at `param` is wrong in its own dialect. */
export function invalid(param: string, detail: string): FieldError {
  return new FieldError(failure('invalid_request', detail, { param }));
}

/** The field at `param` cannot be said in the target's dialect. */
export function unsupported(param: string, detail: string): FieldError {
  return new FieldError(failure('unsupported_feature', detail, { param }));
}
