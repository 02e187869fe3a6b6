/** Which marks a step of a node reaches, and what the story says of it. */

import type { ConfState, NodeId, RaftStatus } from '../raft/types.ts';
import type { GroupStep } from '../replica/group/types.ts';
import type { Marks } from './marks.ts';
import type { SimNode } from './node.ts';
import type { Story } from './story.ts';

/** `before` is null for the first step of a life. */
export function markStep(
  marks: Marks,
  before: RaftStatus | null,
  { input, output, node }: GroupStep,
  status: RaftStatus,
): void {
  const isJoint = status.conf.votersOutgoing.length > 0;
  if (before !== null) markRole(marks, before, status);
  const { persist } = output;
  if (persist !== null) {
    const first = persist.entries[0];
    if (first !== undefined && first.index <= (before?.lastIndex ?? 0)) {
      marks.reach('log cut where it conflicted');
    }
    if (persist.isLogDiscarded) {
      marks.reach('snapshot installed');
      if (isJoint) marks.reach('snapshot installed in a joint configuration');
    }
  }
  if (input.kind === 'snapshotTaken') {
    marks.reach('snapshot taken');
    if (isJoint) marks.reach('snapshot taken in a joint configuration');
  }
  if (input.kind === 'applied' && input.checkpoint !== null) marks.reach('checkpoint taken');
  if (input.kind === 'message') {
    if (input.message.kind === 'removed') marks.reach('removed node told');
    if (input.message.kind === 'snapshotChunk' && input.message.offset > 0) {
      marks.reach('snapshot sent in chunks');
    }
  }
  if (status.role === 'leader' && before !== null && status.commit > before.commit) {
    const oldest = node.entryAt(before.commit + 1);
    if (oldest !== null && oldest.term < status.term)
      marks.reach('entry of an older term committed');
  }
  for (const reply of output.reply) {
    if (reply.kind === 'transferred') marks.reach('leadership transferred');
    if (reply.kind === 'alarm' && reply.alarm === 'disk-stalled') marks.reach('disk stalled');
    if (reply.kind === 'failed' && reply.error === 'superseded') marks.reach('proposal superseded');
    if (reply.kind === 'failed' && reply.error === 'read-lost') marks.reach('read lost');
  }
  if (before !== null && status.level > before.level) marks.reach('feature level raised');
}

function markRole(marks: Marks, before: RaftStatus, status: RaftStatus): void {
  if (status.electionsLost > before.electionsLost) marks.reach('election lost');
  if (status.role === before.role) return;
  if (status.role === 'leader') marks.reach('leader elected');
  if (before.role === 'leader') marks.reach('leader stepped down');
}

/** Changes of role and of members, as each node comes to believe in them. */
export function markMembership(
  marks: Marks,
  story: Story,
  node: SimNode,
  status: RaftStatus,
): void {
  const before = node.status;
  if (before === null) return;
  if (status.role !== before.role && (status.role === 'leader' || before.role === 'leader')) {
    const what = status.role === 'leader' ? 'leads' : 'leads no more: it is a ' + status.role;
    story.tell(`node ${node.id} ${what} in term ${status.term}`);
  }
  if (status.conf === before.conf) return;
  if (status.role === 'leader' && before.role === 'leader') {
    markConf(marks, node.id, before.conf, status.conf);
    story.tell(`node ${node.id} makes the configuration ${describe(status.conf)}`);
  } else if (status.conf.idMax < before.conf.idMax) marks.reach('configuration reverted');
}

function markConf(marks: Marks, leader: NodeId, before: ConfState, after: ConfState): void {
  if (after.votersOutgoing.length > 0) marks.reach('joint configuration');
  else if (before.votersOutgoing.length > 0) marks.reach('joint configuration left');
  if (after.idMax > before.idMax) marks.reach('member added');
  const wasVoter = (id: NodeId): boolean =>
    before.voters.includes(id) || before.votersOutgoing.includes(id);
  const isGone = (id: NodeId): boolean => !after.members.some((member) => member.id === id);
  if (after.voters.some((id) => before.learners.includes(id))) marks.reach('learner promoted');
  for (const { id } of before.members) {
    if (wasVoter(id) && after.learners.includes(id)) marks.reach('voter demoted');
    if (!isGone(id)) continue;
    if (wasVoter(id)) marks.reach('voter removed');
    if (id === leader) marks.reach('leader removed');
  }
}

function describe(conf: ConfState): string {
  const old = conf.votersOutgoing.length === 0 ? '' : ` and ${conf.votersOutgoing.join(' ')}`;
  const learners = conf.learners.length === 0 ? '' : `, learners ${conf.learners.join(' ')}`;
  return `voters ${conf.voters.join(' ')}${old}${learners}`;
}
