/** Messages, entries and replies as short text: for scenarios, traces and pictures. */

import { decodeUtf8 } from '../base/bytes.ts';
import { decodeConf, decodeLevel } from './codec.ts';
import type { ConfState, Entry, Message, Reply } from './types.ts';

/** `kind->to term=2 …`. */
export function describeMessage(message: Message): string {
  const head = `${message.kind}->${message.to} term=${message.term}`;
  const detail = detailOf(message);
  return detail === '' ? head : `${head} ${detail}`;
}

function detailOf(message: Message): string {
  switch (message.kind) {
    case 'preVote':
    case 'vote': {
      const transfer = message.isTransfer ? ' transfer' : '';
      return `last=${message.lastIndex}/${message.lastTerm}${transfer}`;
    }
    case 'preVoteReply':
    case 'voteReply':
      return message.isGranted ? 'granted' : 'refused';
    case 'append': {
      const { prevIndex, prevTerm, commit, entries } = message;
      return `prev=${prevIndex}/${prevTerm} commit=${commit} ${describeEntries(entries)}`.trim();
    }
    case 'appendOk':
      return `match=${message.match}`;
    case 'appendNo':
      return `prev=${message.prevIndex} hint=${message.hintIndex}/${message.hintTerm}`;
    case 'heartbeat':
      return `commit=${message.commit} round=${message.round}`;
    case 'heartbeatOk':
      return `round=${message.round}`;
    case 'snapshotChunk': {
      const { meta, offset, data } = message;
      return `index=${meta.index}/${meta.term} bytes=${offset}+${data.length}/${meta.dataBytes}`;
    }
    case 'snapshotOk':
      return `index=${message.index} bytes=${message.offset}`;
    case 'timeoutNow':
      return '';
    case 'forward':
      return `attempt=${message.attempt} proposals=${message.proposals.length}`;
    case 'forwardReply':
      return `attempt=${message.attempt} ${message.error ?? `first=${message.firstIndex}`}`;
    case 'readAsk':
      return `attempt=${message.attempt}`;
    case 'readReply':
      return `attempt=${message.attempt} ${message.error ?? `index=${message.index}`}`;
    case 'removed':
      return `index=${message.index}`;
  }
}

/** `[index/term what, …]`; a configuration and a level as what they say. */
export function describeEntries(entries: readonly Entry[]): string {
  return `[${entries.map((entry) => describeEntry(entry)).join(', ')}]`;
}

function describeEntry({ index, term, kind, data }: Entry): string {
  const place = `${index}/${term}`;
  if (kind === 'command') return `${place} "${decodeUtf8(data)}"`;
  if (kind === 'level') return `${place} level ${decodeLevel(data)}`;
  const conf = kind === 'config' ? decodeConf(data) : null;
  return conf === null ? `${place} ${kind}` : `${place} ${describeConf(conf)}`;
}

/** `voters=(1 2)&&(1 3) learners=(4)`. */
export function describeConf(conf: ConfState): string {
  const list = (ids: readonly number[]): string => `(${ids.join(' ')})`;
  let text = `voters=${list(conf.voters)}`;
  if (conf.votersOutgoing.length > 0) text += `&&${list(conf.votersOutgoing)}`;
  if (conf.learners.length > 0) text += ` learners=${list(conf.learners)}`;
  if (conf.learnersNext.length > 0) text += ` learnersNext=${list(conf.learnersNext)}`;
  return conf.autoLeave ? `${text} autoLeave` : text;
}

export function describeReply(reply: Reply): string {
  switch (reply.kind) {
    case 'committed':
      return `${reply.id} committed ${reply.index}/${reply.term}`;
    case 'readable':
      return `${reply.id} readable at ${reply.index}`;
    case 'transferred':
      return `${reply.id} transferred to ${reply.to}`;
    case 'failed':
      return `${reply.id} failed: ${reply.error}`;
    case 'alarm':
      return `alarm ${reply.alarm} node=${reply.node}`;
  }
}
