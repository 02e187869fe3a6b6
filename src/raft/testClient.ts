/**
 * A client of a test cluster: opens a session, sends numbered calls to any node, tries again what
 * got no answer, and reads. It asserts that acknowledged calls are there, each once, and that a read
 * sees every call that was acknowledged, to any client, before it began.
 */

import { assert } from '../base/assert.ts';
import { RAFT_ERRORS } from './errors.ts';
import {
  decodeSessionReply,
  encodeSessionCommand,
  type SessionCommand,
  type SessionReply,
} from './sessions.ts';
import type { TestCluster, TestNode } from './testkit.ts';
import type { NodeId } from './types.ts';

/** A command without a session, proposed once: its answer alone says what became of it. */
interface Shot {
  readonly node: NodeId;
  readonly request: number;
  readonly data: string;
}

/** Calls that any client of a cluster has an answer to: what every later read must see. */
const ACKNOWLEDGED = new WeakMap<TestCluster, Set<string>>();

interface UnderWay {
  readonly request: number;
  readonly node: NodeId;
  readonly life: number;
  readonly sinceMs: number;
  readonly kind: 'command' | 'read';
  /** For a read: what was acknowledged when it began. */
  readonly mustSee: readonly string[];
}

export class TestClient {
  readonly #cluster: TestCluster;
  readonly #id: number;
  readonly #acknowledged: Set<string>;
  readonly #fired: Shot[] = [];
  #session = 0;
  #seq = 1;
  #underWay: UnderWay | null = null;
  #isStopped = false;
  #shots = 0;
  doneCount = 0;
  readCount = 0;

  constructor(cluster: TestCluster, id: number) {
    this.#cluster = cluster;
    this.#id = id;
    this.#acknowledged = ACKNOWLEDGED.get(cluster) ?? new Set();
    ACKNOWLEDGED.set(cluster, this.#acknowledged);
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Looks for an answer, and asks again or for the next thing. */
  poll(): void {
    if (this.#underWay !== null) this.#lookForAnswer(this.#underWay);
    if (this.#underWay === null && !this.#isStopped) this.#ask();
  }

  #lookForAnswer(underWay: UnderWay): void {
    const node = this.#cluster.node(underWay.node);
    if (node.life !== underWay.life || node.raft === null) {
      this.#underWay = null; // The node died with the answer.
      return;
    }
    const reply = this.#cluster.replyTo(underWay.node, underWay.request);
    if (reply === null) {
      if (this.#cluster.nowMs - underWay.sinceMs > 5_000) this.#underWay = null;
      return;
    }
    this.#underWay = null;
    if (reply.kind === 'readable') this.#checkRead(node, underWay);
    if (reply.kind !== 'committed') return;
    const result = node.results.get(reply.index);
    const answer = result === undefined ? null : decodeSessionReply(result);
    if (answer !== null) this.#take(answer);
  }

  #take(answer: SessionReply): void {
    if (answer.kind === 'opened') this.#session = answer.session;
    // A proposal without a session to hold it may have opened one for another answer; that is lost.
    if (answer.kind !== 'done' && answer.kind !== 'forgotten') return;
    this.#acknowledged.add(this.#mark(this.#seq));
    this.#seq += 1;
    this.doneCount += 1;
  }

  #mark(seq: number): string {
    return `${this.#id}:${seq & 0xff}:${seq >>> 8}`;
  }

  #ask(): void {
    const { prng } = this.#cluster;
    const running = [...this.#cluster.nodes.values()].filter(
      (node) => node.raft !== null && !node.isPaused,
    );
    const node = running[prng.nextBelow(Math.max(1, running.length))];
    if (node === undefined) return;
    const isRead = prng.nextBelow(4) === 0;
    this.#fire(node);
    const mustSee = [...this.#acknowledged];
    const request = isRead
      ? this.#cluster.read(node.id)
      : this.#cluster.propose(node.id, encodeSessionCommand(this.#command()));
    this.#underWay = {
      request,
      node: node.id,
      life: node.life,
      sinceMs: this.#cluster.nowMs,
      kind: isRead ? 'read' : 'command',
      mustSee,
    };
  }

  /** Session 0 does not exist: the machine refuses it, and its entry can be counted in the log. */
  #fire(node: TestNode): void {
    this.#shots += 1;
    const seq = this.#id * 100_000 + this.#shots;
    const payload = new Uint8Array(0);
    const data = encodeSessionCommand({ kind: 'call', session: 0, seq, firstUnacked: 0, payload });
    const request = this.#cluster.propose(node.id, data);
    this.#fired.push({ node: node.id, request, data: data.join(' ') });
  }

  /** P1, P3, A4: proposed once is committed at most once, and not at all after a definite refusal. */
  #checkShots(): void {
    const counts = new Map<string, number>();
    for (const { data, kind } of this.#cluster.checker.committed.values()) {
      if (kind !== 'command') continue;
      const text = data.join(' ');
      counts.set(text, (counts.get(text) ?? 0) + 1);
    }
    for (const { node, request, data } of this.#fired) {
      const count = counts.get(data) ?? 0;
      assert(count <= 1, 'P1: what was proposed once is committed at most once');
      const reply = this.#cluster.replyTo(node, request);
      if (reply?.kind === 'committed') assert(count === 1, 'A4: committed means committed');
      const isRefused = reply?.kind === 'failed' && RAFT_ERRORS[reply.error].definite;
      if (isRefused) assert(count === 0, 'P3: a definite refusal is one for ever');
    }
  }

  #command(): SessionCommand {
    if (this.#session === 0) return { kind: 'open' };
    const seq = this.#seq;
    const payload = Uint8Array.of(this.#id, seq & 0xff, seq >>> 8);
    return { kind: 'call', session: this.#session, seq, firstUnacked: seq, payload };
  }

  #checkRead(node: TestNode, underWay: UnderWay): void {
    this.readCount += 1;
    const seen = new Set(commandsOf(node));
    for (const mark of underWay.mustSee) {
      assert(seen.has(mark), 'a read sees what was acknowledged before it began');
    }
  }

  /** After a quiet time: every node has every acknowledged call, each once, in one order. */
  checkAll(): void {
    this.#checkShots();
    const leader = this.#cluster.leader();
    assert(leader !== null && leader.raft !== null, 'a quiet cluster has a leader');
    const expected = commandsOf(leader);
    assert(new Set(expected).size === expected.length, 'U1: each call ran once');
    for (const mark of this.#acknowledged) {
      assert(expected.includes(mark), 'what was acknowledged is there');
    }
    const { members } = leader.raft.status().conf;
    for (const { id } of members) {
      const marks = commandsOf(this.#cluster.node(id)).join(' ');
      assert(marks === expected.join(' '), 'every member has the same state');
    }
  }
}

/** The calls that a node's machine holds, three bytes each. */
function commandsOf(node: TestNode): readonly string[] {
  const bytes = node.list.snapshot();
  const marks: string[] = [];
  for (let at = 0; at + 2 < bytes.length; at += 3) {
    marks.push(`${bytes[at]}:${bytes[at + 1]}:${bytes[at + 2]}`);
  }
  return marks;
}
