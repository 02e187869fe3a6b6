/** The key that a request presents. It is hashed at the edge; nothing behind sees it. @hot */

import { hash } from 'node:crypto';

import { err, ok, type Result } from '../../base/result.ts';

const BEARER = 'bearer ';
const NO_KEY: Result<null, never> = ok(null);

/**
 * The key that one connection presents, hashed once while it stays the same. What is compared with
 * the last key is the same connection's own, so that the time it takes tells nobody anything.
 */
export class PresentedKey {
  #authorization: string | null = null;
  #apiKey: string | null = null;
  #hash: Result<string | null, 'contradiction'> = NO_KEY;

  /** See `presentedKeyHash`. */
  hashOf(
    authorization: string | null,
    apiKey: string | null,
  ): Result<string | null, 'contradiction'> {
    if (authorization !== this.#authorization || apiKey !== this.#apiKey) {
      this.#hash = presentedKeyHash(authorization, apiKey);
      this.#authorization = authorization;
      this.#apiKey = apiKey;
    }
    return this.#hash;
  }
}

/**
 * Lower-case hex SHA-256 over the bytes of the key in `Authorization: Bearer` or `x-api-key`; null
 * where no key was presented. Two different keys are refused: it is not ours to choose.
 */
export function presentedKeyHash(
  authorization: string | null,
  apiKey: string | null,
): Result<string | null, 'contradiction'> {
  let key = apiKey === '' ? null : apiKey;
  if (authorization !== null && authorization.slice(0, BEARER.length).toLowerCase() === BEARER) {
    const bearer = authorization.slice(BEARER.length).trim();
    if (key !== null && bearer !== key) return err('contradiction');
    if (bearer !== '') key = bearer;
  }
  if (key === null) return NO_KEY;
  // Field values are Latin-1 text of the bytes on the wire; ASCII needs no second buffer.
  const isAscii = Buffer.byteLength(key) === key.length;
  return ok(hash('sha256', isAscii ? key : Buffer.from(key, 'latin1')));
}
