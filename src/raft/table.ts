/**
 * What each role does with each message of its own term: a total table, so that a new role or kind
 * of message does not compile until somebody has thought about it. `step` (node.ts) has settled
 * cluster, membership and terms before.
 */

import { onPreVote, onPreVoteReply, onTimeoutNow, onVote, onVoteReply } from './election.ts';
import { followLeader, onAppend, onHeartbeat } from './follower.ts';
import { onForward, onForwardReply } from './proposals.ts';
import { onReadAsk, onReadReply } from './reads.ts';
import { onAppendNo, onAppendOk, onHeartbeatOk } from './replication.ts';
import { onSnapshotChunk, onSnapshotOk } from './snapshots.ts';
import { mayStand, raiseAlarm, type Core } from './state.ts';
import type { Body, Header, MessageKind, MessageOf, Role } from './types.ts';

type Row = { readonly [Kind in MessageKind]: (self: Core, message: MessageOf<Kind>) => void };

/** For roles that do not wait for this answer: it is late. */
function late(): void {}

const FOLLOWER: Row = {
  preVote: onPreVote,
  vote: onVote,
  preVoteReply: late,
  voteReply: late,
  append: fromLeader(onAppend),
  appendOk: late,
  appendNo: late,
  heartbeat: fromLeader(onHeartbeat),
  heartbeatOk: late,
  snapshotChunk: fromLeader(onSnapshotChunk),
  snapshotOk: late,
  timeoutNow: onTimeoutNow,
  forward: onForward,
  forwardReply: onForwardReply,
  readAsk: onReadAsk,
  readReply: onReadReply,
  removed: onRemoved,
};

const HANDLERS: { readonly [R in Role]: Row } = {
  follower: FOLLOWER,
  preCandidate: { ...FOLLOWER, preVoteReply: onPreVoteReply },
  // A candidate has voted: `onVote` refuses. Nobody leads, so that nobody can hand over.
  candidate: { ...FOLLOWER, voteReply: onVoteReply, timeoutNow: late },
  leader: {
    ...FOLLOWER,
    append: fromSecondLeader,
    heartbeat: fromSecondLeader,
    snapshotChunk: fromSecondLeader,
    appendOk: onAppendOk,
    appendNo: onAppendNo,
    heartbeatOk: onHeartbeatOk,
    snapshotOk: onSnapshotOk,
    timeoutNow: late,
    removed: late,
  },
};

/** Gives the message to the handler of this node's role. */
export function dispatch(self: Core, message: Header & Body): void {
  const handler = HANDLERS[self.role][message.kind] as (self: Core, message: Header & Body) => void;
  handler(self, message);
}

function fromLeader<M extends Header>(
  handler: (self: Core, message: M) => void,
): (self: Core, message: M) => void {
  return (self, message) => {
    followLeader(self, message.from);
    handler(self, message);
  };
}

/** Election safety is broken, here or at the peer: `followLeader` asserts. */
function fromSecondLeader(self: Core, message: Header): void {
  followLeader(self, message.from);
}

/** A member says that this node is none any more. It may be the first to know. */
function onRemoved(self: Core, message: MessageOf<'removed'>): void {
  if (message.index <= self.committedConf.index || self.isRemoved) return;
  if (!mayStand(self)) return;
  self.isRemoved = true;
  raiseAlarm(self, 'removed', self.options.id, message.index);
}
