/** Whether two records add to the same series, told without making a key of their labels. @hot */

import type { AttemptRecord, ExchangeRecord } from '../../replica/observer.ts';

/** Do both add to the same series? */
export function isSameExchange(one: ExchangeRecord, other: ExchangeRecord): boolean {
  return (
    one.operation === other.operation &&
    one.providerKind === other.providerKind &&
    one.model === other.model &&
    one.modelServed === other.modelServed &&
    one.end === other.end &&
    one.status === other.status &&
    one.errorCode === other.errorCode
  );
}

/** Do both add to the same series? */
export function isSameAttempt(one: AttemptRecord, other: AttemptRecord): boolean {
  return (
    one.providerKind === other.providerKind &&
    one.model === other.model &&
    one.target === other.target &&
    one.region === other.region &&
    one.end === other.end &&
    one.reason === other.reason
  );
}
