/**
 * What can be said of a command without the state. Run by whoever proposes, so that a bad command
 * never reaches the log, and again when it is applied, because the log is not to be trusted.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import type { AuditInput, Compare, ControlCommand, ControlError, Operation } from './types.ts';

const PRINTABLE = /^[!-~]+$/;

/** What is wrong with it, or null. */
export function checkCommand(command: ControlCommand): ControlError | null {
  if (command.kind === 'compact') return null;
  const { audit, compares, success, failure } = command;
  if (!isAuditWellFormed(audit)) return 'malformed-audit';
  if (compares.length > CONTROL_LIMITS.comparesMax) return 'too-many-operations';
  for (const compare of compares) {
    const error = checkCompare(compare);
    if (error !== null) return error;
  }
  return checkBranch(success) ?? checkBranch(failure);
}

function checkCompare(compare: Compare): ControlError | null {
  if (!isKey(compare.key)) return 'malformed-key';
  if (compare.kind !== 'value') return null;
  return compare.value.length > CONTROL_LIMITS.valueBytesMax ? 'value-too-long' : null;
}

function checkBranch(operations: readonly Operation[]): ControlError | null {
  if (operations.length > CONTROL_LIMITS.operationsMax) return 'too-many-operations';
  const changed = new Set<string>();
  for (const operation of operations) {
    const error = checkOperation(operation);
    if (error !== null) return error;
    if (operation.kind === 'range') continue;
    if (changed.has(operation.key)) return 'duplicate-key';
    changed.add(operation.key);
  }
  return null;
}

function checkOperation(operation: Operation): ControlError | null {
  if (operation.kind === 'range') {
    const { prefix, after, keysMax } = operation;
    if (keysMax < 1 || keysMax > CONTROL_LIMITS.rangeKeysMax) return 'too-many-operations';
    const isFine = (prefix === '' || isKey(prefix)) && (after === '' || isKey(after));
    return isFine ? null : 'malformed-key';
  }
  if (!isKey(operation.key)) return 'malformed-key';
  if (operation.kind === 'delete') return null;
  const { type, value } = operation;
  if (type.length > CONTROL_LIMITS.typeCharsMax || !PRINTABLE.test(type)) return 'malformed-type';
  return value.length > CONTROL_LIMITS.valueBytesMax ? 'value-too-long' : null;
}

/** Printable ASCII: the order of characters is the order of bytes, in every language. */
export function isKey(text: string): boolean {
  return text.length <= CONTROL_LIMITS.keyCharsMax && PRINTABLE.test(text);
}

function isAuditWellFormed(audit: AuditInput): boolean {
  const texts = [audit.who, audit.from, audit.what, audit.why];
  if (texts.some((text) => text.length > CONTROL_LIMITS.auditCharsMax)) return false;
  return audit.who !== '' && audit.from !== '' && audit.what !== '';
}
