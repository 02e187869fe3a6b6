/** Messages, registers and replies as short text: for scenarios, traces and pictures. */

import { decodeUtf8 } from '../base/bytes.ts';
import { isZeroBallot } from './ballot.ts';
import { keyText } from './state.ts';
import type { Acceptor, Ballot, Control, Message, Persist, Register, Reply } from './types.ts';

/** `epoch.counter.proposer`, or `-` for none. */
export function describeBallot(ballot: Ballot): string {
  return isZeroBallot(ballot) ? '-' : `${ballot.epoch}.${ballot.counter}.${ballot.proposer}`;
}

/** `v2=text(a b)`: version, value, the ids of the requests that made the latest versions. */
export function describeRegister({ version, value, recent }: Register): string {
  return version === 0 ? 'absent' : `v${version}=${decodeUtf8(value)}(${recent.join(' ')})`;
}

/** `kind->to e1 …`. */
export function describeMessage(message: Message): string {
  return `${message.kind}->${message.to} e${message.epoch} ${detailOf(message)}`;
}

function detailOf(message: Message): string {
  const ballot = describeBallot(message.ballot);
  switch (message.kind) {
    case 'prepare':
    case 'query':
    case 'accepted':
      return `${keyText(message.key)} ${ballot}`;
    case 'promise':
    case 'state': {
      const { key, accepted, register } = message;
      const what = `${describeBallot(accepted)} ${describeRegister(register)}`;
      return `${keyText(key)} ${ballot} accepted=${what}`;
    }
    case 'accept': {
      const { key, register, next } = message;
      const what = `${describeRegister(register)} next=${describeBallot(next)}`;
      return `${keyText(key)} ${ballot} ${what}`;
    }
    case 'refused': {
      const promised = isZeroBallot(message.promised) ? '' : ` ${describeBallot(message.promised)}`;
      return `${keyText(message.key)} ${ballot} ${message.reason}${promised}`;
    }
    case 'scan':
      return `${ballot} after=${message.after === null ? '-' : keyText(message.after)}`;
    case 'page': {
      const keys = message.keys.map((key) => keyText(key)).join(' ');
      return `${ballot} [${keys}]${message.isLast ? ' last' : ''}`;
    }
  }
}

/** `#1 e1 control=2 a: promised=… accepted=…`. */
export function describePersist(persist: Persist): string {
  const parts = [`#${persist.seq} e${persist.epoch}`];
  if (persist.control !== null) parts.push(`control=${describeControl(persist.control)}`);
  for (const { key, promised, accepted } of persist.slots) {
    const what =
      accepted === null
        ? ''
        : ` accepted=${describeBallot(accepted.ballot)} ${describeRegister(accepted.register)}`;
    parts.push(`[${keyText(key)} promised=${describeBallot(promised)}${what}]`);
  }
  return parts.join(' ');
}

/** `@index e1 (1 2 3)->(2 3 4) open=1..9 closed=3`. */
export function describeControl(control: Control): string {
  const ids = (set: readonly Acceptor[]): string => `(${set.map(({ id }) => id).join(' ')})`;
  const { index, epoch, acceptors, acceptorsNext, floor, openTo, closed } = control;
  const set = ids(acceptors) + (acceptorsNext.length > 0 ? `->${ids(acceptorsNext)}` : '');
  const open = `open=${floor + 1}..${openTo}`;
  return `@${index} e${epoch} ${set} ${open}${closed.length > 0 ? ` closed=${closed.join(',')}` : ''}`;
}

export function describeReply(reply: Reply): string {
  switch (reply.kind) {
    case 'changed':
      return `${reply.id} changed v${reply.version}`;
    case 'conflict':
    case 'value':
      return `${reply.id} ${reply.kind} ${describeRegister(reply.register)}`;
    case 'rescanned':
      return `${reply.id} rescanned e${reply.epoch}`;
    case 'failed':
      return `${reply.id} failed ${reply.error}`;
    case 'alarm':
      return `alarm ${reply.alarm} ${reply.node}`;
  }
}
