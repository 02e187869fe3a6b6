/**
 * A client of the simulated group: one call after the other, in a session, tried again at other
 * nodes until it has an answer or gives up. It notes what it asked and heard; checkers read that.
 */

import type { Prng } from '../base/prng.ts';
import { RAFT_ERRORS } from '../raft/errors.ts';
import { decodeSessionReply, encodeSessionCommand, type SessionReply } from '../raft/sessions.ts';
import type { GroupReply } from '../replica/group/types.ts';
import type { Operation } from './checkers/history.ts';
import type { KvInput, KvOutput } from './checkers/kvModel.ts';
import { decodeOutput, encodeCall } from './machine.ts';
import type { SimNode } from './node.ts';
import { happens, streamOf } from './streams.ts';
import type { World } from './world.ts';

export type KvOperation = Operation<KvInput, KvOutput>;

/** A client goes to another node when it has heard nothing for so many request time-outs. */
const PATIENCE = 1.5;
/** Calls of one client are numbered from its own number times this. */
const CALLS_MAX = 100_000;

interface Call {
  readonly number: number;
  readonly input: KvInput;
  readonly calledAtMs: number;
  /** Attempts whose outcome is not known. */
  unsure: number;
  attempts: number;
  attempt: number;
}

export class SimClient {
  readonly history: KvOperation[] = [];
  /** Calls and reads that were answered. */
  answered = 0;
  private readonly world: World;
  private readonly number: number;
  private readonly prng: Prng;
  private session = 0;
  private seq = 1;
  private calls = 0;
  private attempts = 0;
  /** Proposals sent: each is one attempt, known by its number. */
  private sent = 0;
  private call: Call | null = null;
  private favourite = 0;
  private isStopped = false;

  constructor(world: World, number: number) {
    this.world = world;
    this.number = number;
    this.prng = streamOf(world.plan.seed, `client/${number}`);
    this.later(this.prng.nextBelow(200), () => this.next());
  }

  /** Asks nothing new; what is under way stays without an answer. */
  stop(): void {
    this.isStopped = true;
    this.giveUp();
  }

  private later(ms: number, run: () => void): void {
    this.world.queue.after(ms, run);
  }

  private think(): void {
    const { thinkMs } = this.world.plan;
    this.later(1 - thinkMs * Math.log(1 - this.prng.nextFloat()), () => this.next());
  }

  private next(): void {
    if (this.isStopped) return;
    if (this.session === 0) this.open();
    else if (this.prng.nextBelow(3) === 0) this.read();
    else this.begin(this.drawInput());
  }

  private drawInput(): KvInput {
    const { prng } = this;
    const key = `k${prng.nextBelow(this.world.plan.keys)}`;
    const value = `${this.number}.${this.calls + 1};`;
    const draw = prng.nextBelow(10);
    if (draw < 4) return { kind: 'append', key, value };
    if (draw < 6) return { kind: 'put', key, value };
    if (draw < 7) return { kind: 'delete', key };
    if (draw < 9) return { kind: 'cas', key, expected: this.lastSeen, value };
    return { kind: 'get', key };
  }

  private lastSeen: string | null = null;

  /** A node that runs, the one that answered last by preference. */
  private pickNode(): SimNode | null {
    const { nodes } = this.world;
    const known = nodes.get(this.favourite);
    if (known?.state === 'up' && this.prng.nextBelow(4) > 0) return known;
    const running = [...nodes.values()].filter((node) => node.state === 'up' && !node.isRetired);
    return running[this.prng.nextBelow(Math.max(1, running.length))] ?? null;
  }

  /**
   * Sends a request to a node and hears of its answer, each after a little while. The first of
   * answer and time-out calls back, once.
   */
  private ask<T>(
    send: (node: SimNode, done: (reply: GroupReply<T>) => void) => void,
    done: (reply: GroupReply<T> | null) => void,
  ): void {
    const node = this.pickNode();
    if (node === null) {
      this.later(50, () => done(null));
      return;
    }
    let isOver = false;
    const finish = (reply: GroupReply<T> | null): void => {
      if (isOver) return;
      isOver = true;
      this.favourite = reply?.ok === true ? node.id : (reply?.error.leader ?? 0);
      done(reply);
    };
    const travelMs = (): number => 0.1 + this.prng.nextFloat() * 2;
    this.later(travelMs(), () => {
      const { process } = node;
      process?.enter(() =>
        send(node, (reply) => this.world.queue.after(travelMs(), () => finish(reply))),
      );
    });
    this.later(this.world.plan.times.requestMs * PATIENCE, () => finish(null));
  }

  private open(): void {
    const data = encodeSessionCommand({ kind: 'open' });
    this.ask<Uint8Array>(
      (node, done) => node.group?.propose(data, done),
      (reply) => {
        const answer = reply?.ok === true ? decodeSessionReply(reply.value) : null;
        if (answer?.kind === 'opened') {
          this.session = answer.session;
          this.seq = 1;
        }
        this.think();
      },
    );
  }

  private read(): void {
    const input: KvInput = { kind: 'get', key: `k${this.prng.nextBelow(this.world.plan.keys)}` };
    const calledAtMs = this.world.queue.nowMs;
    this.calls += 1;
    const number = this.number * CALLS_MAX + this.calls;
    this.world.checkers.readBegan(number);
    let value: string | null = null;
    this.ask<number>(
      (node, done) => {
        const { machine } = node;
        node.group?.read((reply) => {
          if (reply.ok && machine !== null) {
            value = machine.get(input.key);
            this.world.checkers.readDone(number, machine.appliedTo);
            if (node.status?.role !== 'leader') this.world.marks.reach('read at a follower');
          }
          done(reply);
        });
      },
      (reply) => {
        if (reply?.ok === true) {
          this.note(input, calledAtMs, { kind: 'value', value });
          this.lastSeen = value;
        }
        this.think();
      },
    );
  }

  private begin(input: KvInput): void {
    this.calls += 1;
    this.call = {
      number: this.number * CALLS_MAX + this.calls,
      input,
      calledAtMs: this.world.queue.nowMs,
      unsure: 0,
      attempts: 0,
      attempt: 0,
    };
    this.attempt(this.call);
  }

  private attempt(call: Call): void {
    if (this.isStopped) return;
    this.attempts += 1;
    call.attempts += 1;
    call.attempt = this.attempts;
    const { attempt } = call;
    const { session, seq } = this;
    const copies = happens(this.prng, 0.05) ? 2 : 1; // An impatient client asks two at once.
    let isHeard = false;
    for (let copy = 0; copy < copies; copy += 1) {
      call.unsure += 1;
      this.sent += 1;
      const sent = this.number * CALLS_MAX + this.sent;
      const payload = encodeCall(call.number, sent, call.input);
      const data = encodeSessionCommand({ kind: 'call', session, seq, firstUnacked: seq, payload });
      this.ask<Uint8Array>(
        (node, done) => node.group?.propose(data, done),
        (reply) => {
          if (reply !== null && (reply.ok || isDefinite(reply))) call.unsure -= 1;
          if (reply !== null && isDefinite(reply)) this.world.checkers.proposals.isRefused(sent);
          if (this.call !== call) return;
          // An answer counts whenever it comes; a refusal only once for the attempt under way.
          const isNews = reply?.ok === true || (!isHeard && call.attempt === attempt);
          if (!isNews) return;
          isHeard = true;
          this.heard(call, reply);
        },
      );
    }
  }

  private heard(call: Call, reply: GroupReply<Uint8Array> | null): void {
    const { marks } = this.world;
    if (reply?.ok === true) {
      const answer = decodeSessionReply(reply.value);
      if (answer !== null) this.take(call, answer);
      return;
    }
    const definite = reply !== null && isDefinite(reply);
    marks.reach(definite ? 'proposal refused for certain' : 'proposal without a known outcome');
    if (call.attempts >= 12 && this.prng.nextBelow(3) === 0) {
      this.giveUp();
      this.think();
      return;
    }
    this.later(5 + this.prng.nextBelow(60), () => {
      if (this.call === call) this.attempt(call);
    });
  }

  private take(call: Call, answer: SessionReply): void {
    if (answer.kind === 'done') {
      const output = decodeOutput(answer.payload);
      if (output === null) {
        this.world.refute({
          checker: 'clients',
          text: `call ${call.number}: no answer of a store`,
        });
        return;
      }
      if (call.attempts > 1) this.world.marks.reach('call answered twice');
      this.world.checkers.acknowledged(call.number);
      this.note(call.input, call.calledAtMs, output);
      this.call = null;
      this.seq += 1;
    } else if (answer.kind === 'expired') {
      // An earlier attempt may have run before the session went.
      this.world.marks.reach('session expired');
      if (call.attempts === 1 && call.unsure === 0) this.refuse();
      else this.giveUp();
      this.session = 0;
    } else {
      const text = `call ${call.number} of a live session is answered ${answer.kind}`;
      this.world.refute({ checker: 'clients', text });
    }
    this.think();
  }

  private note(input: KvInput, calledAtMs: number, output: KvOutput): void {
    this.answered += 1;
    const atMs = this.world.queue.nowMs;
    const outcome = { kind: 'answered', atMs, output } as const;
    this.history.push({ client: `c${this.number}`, input, calledAtMs, outcome });
  }

  private refuse(): void {
    this.call = null;
  }

  /** Its outcome stays unknown, and its number is not used again. */
  private giveUp(): void {
    const { call } = this;
    if (call === null) return;
    this.call = null;
    this.seq += 1;
    if (call.unsure === 0) return; // Every attempt was refused for certain.
    const { input, calledAtMs } = call;
    const outcome = { kind: 'unknown' } as const;
    this.history.push({ client: `c${this.number}`, input, calledAtMs, outcome });
  }
}

function isDefinite(reply: GroupReply<unknown>): boolean {
  return !reply.ok && RAFT_ERRORS[reply.error.error].definite;
}
