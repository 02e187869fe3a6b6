/** What the tests of this folder share: transactions in short, their replies, random commands. */

import { encodeUtf8 } from '../../base/bytes.ts';
import { decodeReply, encodeCommand } from './codec.ts';
import type { ControlMachine } from './machine.ts';
import type { Compare, ControlCommand, ControlReply, Operation } from './types.ts';

export const AUDIT = { who: 'ann', from: 'eu-central-1', what: 'test', why: '' } as const;

export function put(key: string, value: string, type = 'text'): Operation {
  return { kind: 'put', key, type, value: encodeUtf8(value) };
}

export function transaction(
  success: readonly Operation[],
  compares: readonly Compare[] = [],
  failure: readonly Operation[] = [],
): ControlCommand {
  return { kind: 'transaction', audit: AUDIT, compares, success, failure };
}

/** Drives one machine, an entry after the other. */
export function driverOf(
  machine: ControlMachine,
  appliedIndex = 0,
): (command: ControlCommand) => ControlReply {
  let index = appliedIndex;
  return (command) => {
    index += 1;
    const reply = decodeReply(machine.apply(index, index * 10, encodeCommand(command)));
    if (reply === null) throw new Error('a machine answers with a reply');
    return reply;
  };
}
