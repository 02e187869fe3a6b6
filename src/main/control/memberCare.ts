/** What the leader does by itself for the members, one operation at a time (C3). */

import type { Clock } from '../../base/ports.ts';
import type { Log } from '../../io/observe/log.ts';
import { nameOf } from '../../raft/membership.ts';
import type { RaftStatus } from '../../raft/types.ts';
import type { GroupMember } from '../../replica/group/types.ts';
import {
  operate,
  silencesOf,
  supersededMember,
  surplusVoter,
  takeOver,
  type Operation,
  type Silences,
} from './members.ts';

/** Between two tries of what was refused, ms. */
const AGAIN_MS = 2_000;

export interface MemberCareOptions {
  /** How long a voter is silent before its vote goes to a further node of its region, ms. */
  readonly takeOverMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** The vote of a region was taken from a node, or went to another one: for the audit log. */
  readonly onVoteMoved: (what: string) => void;
}

interface Due {
  readonly event: 'superseded' | 'surplus-voter' | 'vote-taken-over';
  readonly operation: Operation;
  /** Null: no vote goes to another node. */
  readonly audit: string | null;
}

export class MemberCare {
  readonly #options: MemberCareOptions;
  #silences: Silences = new Map();
  #isBusy = false;
  /** What was refused is not asked for again before then. */
  #againMs = Number.NEGATIVE_INFINITY;

  constructor(options: MemberCareOptions) {
    this.#options = options;
  }

  /** Called every half second or so, wherever the leader is. */
  look(group: GroupMember): void {
    const status = group.status();
    const nowMs = this.#options.clock.nowMs();
    this.#silences = silencesOf(this.#silences, status, nowMs);
    const due = this.#isBusy || nowMs < this.#againMs ? null : this.#due(status, nowMs);
    if (due === null) return;
    this.#isBusy = true;
    const { event, operation, audit } = due;
    void operate(group, operation).then(({ error }) => {
      this.#isBusy = false;
      if (error !== null) this.#againMs = this.#options.clock.nowMs() + AGAIN_MS;
      const detail = { member: operation.id, why: audit, error: error?.code ?? null };
      this.#options.log.warn(`control-${event}`, detail);
      if (error === null && audit !== null) this.#options.onVoteMoved(audit);
    });
  }

  #due(status: RaftStatus, nowMs: number): Due | null {
    const older = supersededMember(status);
    if (older !== null) {
      const operation = { kind: 'remove', id: older, force: false } as const;
      return { event: 'superseded', operation, audit: null };
    }
    const surplus = surplusVoter(status);
    if (surplus !== null) {
      const operation = { kind: 'demote', id: surplus, force: false } as const;
      const audit = `demote member ${surplus}: another node of its region votes`;
      return { event: 'surplus-voter', operation, audit };
    }
    const { takeOverMs } = this.#options;
    const taken = takeOver(status, this.#silences, nowMs, takeOverMs);
    if (taken === null) return null;
    const { from, to } = taken;
    const operation = { kind: 'promote', id: to.id, replace: true } as const;
    const audit =
      `member ${to.id} (${nameOf(to)}) takes the vote of member ${from.id} (${nameOf(from)}), ` +
      `silent for ${Math.round(takeOverMs / 1_000)} s`;
    return { event: 'vote-taken-over', operation, audit };
  }
}
