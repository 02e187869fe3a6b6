/**
 * The published tables of cases of etcd-io/raft and tikv/raft-rs, exact match. They are read from a
 * folder beside the project and not copied; without it the tests are skipped and say so.
 */

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseScenario, type ScenarioStep } from '../base/scenarioText.ts';
import {
  changeSimply,
  EMPTY_LISTS,
  enterJoint,
  idsOf,
  leaveJoint,
  type ConfLists,
  type ConfOp,
} from './confchange.ts';
import { jointCommit, jointGroupCommit, jointVote } from './quorum.ts';
import type { NodeId } from './types.ts';

const FOLDER = join(import.meta.dirname, '../../../shared/conformance');
const skip = existsSync(FOLDER) ? false : 'the folder ../shared/conformance is absent';

function runFolder(name: string, begin: () => (step: ScenarioStep) => string): void {
  const folder = join(FOLDER, name);
  const files = skip === false ? readdirSync(folder).filter((file) => file.endsWith('.txt')) : [];
  test(`${name}: the folder holds cases`, { skip }, () => assert.ok(files.length > 0));
  for (const file of files) {
    test(`${name}/${file} matches exactly`, () => {
      const run = begin();
      const steps = parseScenario(readFileSync(join(folder, file), 'utf8'));
      assert.ok(steps.length > 0);
      for (const step of steps) {
        assert.equal(run(step), step.expected, `line ${step.line}: ${step.command}`);
      }
    });
  }
}

runFolder('raft-quorum', () => runQuorum);
runFolder('raft-confchange', beginConfChange);

interface QuorumCase {
  readonly voters: readonly NodeId[];
  readonly outgoing: readonly NodeId[];
  readonly ids: readonly NodeId[];
  readonly values: readonly string[];
  readonly groups: readonly string[];
}

function parseQuorum(step: ScenarioStep): QuorumCase {
  const lists = new Map<string, readonly string[]>();
  for (const [, key, list] of step.command.matchAll(/(\w+)=(\([^)]*\)|zero)/g)) {
    const text = list === 'zero' ? '' : (list ?? '').slice(1, -1);
    lists.set(
      key ?? '',
      text.split(/[\s,]+/).filter((part) => part !== ''),
    );
  }
  const numbers = (key: string): readonly NodeId[] =>
    (lists.get(key) ?? []).map(Number).toSorted((a, b) => a - b);
  const inOrder = [...(lists.get('cfg') ?? []), ...(lists.get('cfgj') ?? [])].map(Number);
  const values = lists.get('idx') ?? lists.get('votes') ?? [];
  return {
    voters: numbers('cfg'),
    outgoing: numbers('cfgj'),
    ids: [...new Set(inOrder)],
    values,
    groups: lists.get('gid') ?? [],
  };
}

function runQuorum(step: ScenarioStep): string {
  const name = step.command.split(/\s/)[0];
  const { voters, outgoing, ids, values, groups } = parseQuorum(step);
  const given = ids.flatMap((id, place): readonly (readonly [NodeId, string])[] => {
    const value = values[place] ?? '_';
    return value === '_' ? [] : [[id, value]];
  });
  if (name === 'vote') {
    const votes = new Map(given.map(([id, value]) => [id, value === 'y']));
    const result = jointVote(voters, outgoing, votes);
    assert.equal(jointVote(outgoing, voters, votes), result, 'the halves are equals');
    return { won: 'VoteWon', lost: 'VoteLost', pending: 'VotePending' }[result];
  }
  const acked = new Map(given.map(([id, value]) => [id, Number(value)]));
  const of = (id: NodeId): number | undefined => acked.get(id);
  if (name === 'group_committed') {
    const group = new Map(ids.map((id, place) => [id, Number(groups[place]?.replace('_', '0'))]));
    return indexText(jointGroupCommit(voters, outgoing, of, (id) => group.get(id) ?? 0));
  }
  assert.equal(name, 'committed');
  const index = jointCommit(voters, outgoing, of);
  assert.equal(jointCommit(outgoing, voters, of), index, 'the halves are equals');
  return `${describe([...new Set([...voters, ...outgoing])], acked)}${indexText(index)}`;
}

function indexText(index: number): string {
  return Number.isFinite(index) ? String(index) : '∞';
}

/** The table that the files print: each voter's bar is as long as the number of those behind it. */
function describe(ids: readonly NodeId[], acked: ReadonlyMap<NodeId, number>): string {
  if (ids.length === 0) return '<empty majority quorum>';
  const indexOf = (id: NodeId): number => acked.get(id) ?? 0;
  const lines = ids
    .toSorted((a, b) => a - b)
    .map((id) => {
      const behind = ids.filter((other) => indexOf(other) < indexOf(id)).length;
      const bar = acked.has(id)
        ? `${'x'.repeat(behind)}>${' '.repeat(ids.length - behind)}`
        : `?${' '.repeat(ids.length)}`;
      return `${bar} ${String(indexOf(id)).padStart(5)}    (id=${id})\n`;
    });
  return `${' '.repeat(ids.length)}    idx\n${lines.join('')}`;
}

const OPS: Readonly<Record<string, ConfOp['kind']>> = {
  v: 'voter',
  l: 'learner',
  r: 'remove',
  u: 'update',
};

/** The files print what a leader tracks: a progress begins at the number of the step. */
function beginConfChange(): (step: ScenarioStep) => string {
  let lists: ConfLists = EMPTY_LISTS;
  let next = new Map<NodeId, number>();
  let stepsBefore = -1;
  return (step) => {
    stepsBefore += 1;
    const [first = '', ...more] = step.command.split('\n');
    const ops = more
      .join(' ')
      .split(/\s+/)
      .filter((word) => word !== '')
      .map((word): ConfOp => ({ kind: OPS[word[0] ?? ''] ?? 'update', id: Number(word.slice(1)) }));
    const result = first.startsWith('simple')
      ? changeSimply(lists, ops)
      : first.startsWith('enter-joint')
        ? enterJoint(lists, ops, first.includes('autoleave=true'))
        : leaveJoint(lists);
    if (!result.ok) return result.error;
    lists = result.value;
    next = new Map(idsOf(lists).map((id) => [id, next.get(id) ?? Math.max(stepsBefore, 1)]));
    return confText(lists, next);
  };
}

function confText(lists: ConfLists, next: ReadonlyMap<NodeId, number>): string {
  const list = (ids: readonly NodeId[]): string => `(${ids.join(' ')})`;
  let head = `voters=${list(lists.voters)}`;
  if (lists.votersOutgoing.length > 0) head += `&&${list(lists.votersOutgoing)}`;
  if (lists.learners.length > 0) head += ` learners=${list(lists.learners)}`;
  if (lists.learnersNext.length > 0) head += ` learners_next=${list(lists.learnersNext)}`;
  if (lists.autoLeave) head += ' autoleave';
  const rows = [...next].map(([id, at]) => {
    const mark = lists.learners.includes(id) ? ' learner' : '';
    return `${id}: StateProbe match=0 next=${at}${mark}`;
  });
  return [head, ...rows].join('\n');
}
