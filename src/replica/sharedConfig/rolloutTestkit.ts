/** A world for tests of roll-outs: one control state, nodes that take what they are given. */

import { decodeReply, encodeCommand } from '../control/codec.ts';
import { ControlMachine } from '../control/machine.ts';
import type { Transaction } from '../control/types.ts';
import { regionOfPeer } from '../../base/peerName.ts';
import { changeHead, endRollout, outcomeOf, resumeRollout, startVersion } from './changes.ts';
import { assignedTo, readHead, type ConfigHead, type StoredHead } from './records.ts';
import type { NodeReport, NodeSeen, SeenNodes } from './regionReport.ts';
import { nextStep } from './rollout.ts';

const AUDIT = { who: 'ops', from: 'here', what: 'test', why: '' };

type Changing = { -readonly [Name in keyof NodeReport]: NodeReport[Name] };

export class RolloutWorld {
  readonly machine = new ControlMachine();
  /** By peer name. */
  readonly nodes = new Map<string, Changing>();
  /** Nodes that do not answer, and for how long. */
  readonly silent = new Map<string, number>();
  /** Versions that a node does not take. */
  readonly refusing = new Map<string, number>();
  nowMs = 1_000_000;
  #index = 0;

  constructor(...peers: readonly string[]) {
    for (const peer of peers) {
      const before = { requests: 1_000, errors: 0 };
      const counts = { requests: 0, errors: 0 };
      this.nodes.set(peer, { boot: 1, applied: 0, refused: null, counts, before, out: [] });
    }
  }

  run(transaction: Transaction): boolean {
    this.#index += 1;
    const reply = decodeReply(this.machine.apply(this.#index, 0, encodeCommand(transaction)));
    if (reply?.kind !== 'done') throw new Error(JSON.stringify(reply));
    return reply.isSuccess;
  }

  get stored(): StoredHead {
    const stored = readHead(this.machine);
    if (stored === null) throw new Error('the head is readable');
    return stored;
  }

  get head(): ConfigHead {
    return this.stored.head;
  }

  node(name: string): Changing {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  push(text: string, more: Partial<Parameters<typeof startVersion>[2]> = {}) {
    const usual = { of: 0, isEmergency: false, bakeMs: 1_000, order: [], timeMs: this.nowMs };
    const next = { ...usual, ...more, text };
    return this.run(startVersion(this.machine, this.stored, next, AUDIT));
  }

  end(): boolean {
    return this.run(endRollout(this.machine, this.stored, AUDIT));
  }

  resume(): boolean {
    const { rollout } = this.head;
    if (rollout === null) throw new Error('there is a roll-out');
    return this.run(resumeRollout(this.stored, rollout, this.nowMs, AUDIT));
  }

  /** Nodes take what their regions are to have. */
  settle(): void {
    for (const [name, node] of this.nodes) {
      if (this.silent.has(name)) continue;
      const version = assignedTo(this.head, regionOfPeer(name));
      if (version !== 0 && this.refusing.get(name) === version) {
        node.refused = { version, why: 'no such file' };
      } else {
        node.applied = version;
        node.refused = null;
      }
    }
  }

  seen(): SeenNodes {
    const seen = new Map<string, NodeSeen>();
    for (const [name, node] of this.nodes) {
      const silentMs = this.silent.get(name);
      const report = silentMs === undefined ? { ...node } : null;
      seen.set(name, { report, silentMs: silentMs ?? 0 });
    }
    return seen;
  }

  /** The transaction that a leader sends now, decided from `stored`; null: none. */
  decide(stored: StoredHead, last: string | null = null): Transaction | null {
    const step = nextStep(stored.head, this.seen(), last, this.nowMs);
    if (step === null) return null;
    const more = step.isOver ? outcomeOf(this.machine, stored.head.rollout, 'everywhere') : [];
    return changeHead(stored, step.head, { ...AUDIT, what: step.what }, more);
  }

  /** Nodes settle, the leader takes a step if there is one; what it did. */
  step(last: string | null = null): string | null {
    this.settle();
    const transaction = this.decide(this.stored, last);
    if (transaction === null) return null;
    this.run(transaction);
    return transaction.audit.what.replace(/^config roll-out of \d+: /, '');
  }

  /** Steps, a second passing with each, until nothing happens; what was done. */
  steps(last: string | null = null): readonly string[] {
    const done: string[] = [];
    for (let idle = 0; idle < 2;) {
      const what = this.step(last);
      idle = what === null ? idle + 1 : 0;
      if (what !== null) done.push(what);
      this.nowMs += 1_000;
    }
    return done;
  }

  serve(name: string, requests: number, errors: number): void {
    const node = this.node(name);
    const { counts } = node;
    node.counts = { requests: counts.requests + requests, errors: counts.errors + errors };
  }
}
