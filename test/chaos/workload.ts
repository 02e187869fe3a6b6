/**
 * Clients of a `banyan kv` cluster, and what they saw: reads, writes and compare-and-sets on a few
 * keys, sent to any member. Half of them use a session and send a call again until they know its
 * fate; the others send once. Every value is written once only, so that a version stands for a value.
 */

import type { Prng } from '../../src/base/prng.ts';
import type { Operation, Outcome } from '../../src/sim/checkers/history.ts';
import type { KvInput, KvOutput } from '../../src/sim/checkers/kvModel.ts';
import type { KvAnswer, KvCluster } from '../support/kvCluster.ts';

export type KvOperation = Operation<KvInput, KvOutput>;

const KEYS = 4;
/** Keys change so often: the search for an order grows with what one key has seen. */
const EPOCH_OPERATIONS = 150;
const CALL_MS = 3_000;
const THINK_MS = 12;
/** A session call is sent again for so long before its client gives up. */
const PERSIST_MS = 20_000;

export class Workload {
  readonly operations: KvOperation[] = [];
  readonly #cluster: KvCluster;
  readonly #clients: Promise<void>[] = [];
  #count = 0;
  #values = 0;
  #isOver = false;

  constructor(cluster: KvCluster) {
    this.#cluster = cluster;
  }

  /** Starts clients, each with randomness of its own. */
  start(prngs: readonly Prng[]): void {
    prngs.forEach((prng, at) => {
      this.#clients.push(new Client(this, this.#cluster, `c${at}`, at % 2 === 0, prng).run());
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
  }

  record(operation: KvOperation): void {
    this.#count += 1;
    this.operations.push(operation);
  }

  key(number: number): string {
    return `e${Math.floor(this.#count / EPOCH_OPERATIONS)}-k${number % KEYS}`;
  }

  /** A value that nobody wrote before. */
  value(): string {
    this.#values += 1;
    return `v${this.#values};`;
  }

  /** Reads every key once: what the cluster says in the end belongs to the history too. */
  async readAll(): Promise<void> {
    const keys = new Set(this.operations.map(({ input }) => input.key));
    const [member] = this.#cluster.members.filter((one) => one.isRunning);
    for (const key of keys) {
      const calledAtMs = performance.now();
      const answer = (await member?.ask('GET', `/v1/kv/${key}`)) ?? null;
      const outcome = outcomeOf({ kind: 'get', key }, answer);
      this.record({ client: 'end', input: { kind: 'get', key }, calledAtMs, outcome });
    }
  }

  /** How many ended how. */
  tally(): Readonly<Record<Outcome<KvOutput>['kind'], number>> {
    const counts = { answered: 0, refused: 0, unknown: 0 };
    for (const { outcome } of this.operations) counts[outcome.kind] += 1;
    return counts;
  }
}

/** What a client has seen of a key: the condition of its compare-and-sets. */
interface Seen {
  readonly version: number;
  readonly value: string | null;
}

class Client {
  readonly #workload: Workload;
  readonly #cluster: KvCluster;
  readonly #name: string;
  readonly #hasSession: boolean;
  readonly #prng: Prng;
  readonly #seen = new Map<string, Seen>();
  #session = 0;
  #seq = 0;

  constructor(
    workload: Workload,
    cluster: KvCluster,
    name: string,
    hasSession: boolean,
    prng: Prng,
  ) {
    this.#workload = workload;
    this.#cluster = cluster;
    this.#name = name;
    this.#hasSession = hasSession;
    this.#prng = prng;
  }

  async run(): Promise<void> {
    while (!this.#workload.isOver) {
      if (this.#hasSession && this.#session === 0) await this.#openSession();
      else await this.#operate(this.#draw());
      await new Promise((resolve) => setTimeout(resolve, this.#prng.nextBelow(2 * THINK_MS)));
    }
  }

  #draw(): KvInput {
    const key = this.#workload.key(this.#prng.nextBelow(1_000));
    const dice = this.#prng.nextBelow(20);
    const value = this.#workload.value();
    if (dice < 8) return { kind: 'get', key };
    if (dice < 12) return { kind: 'put', key, value };
    if (dice < 14) return { kind: 'append', key, value };
    if (dice < 15) return { kind: 'delete', key };
    const expected = this.#seen.get(key)?.value ?? null;
    return { kind: 'cas', key, expected, value };
  }

  async #operate(input: KvInput): Promise<void> {
    const calledAtMs = performance.now();
    const isCall = this.#hasSession && input.kind !== 'get';
    const answer = isCall ? await this.#persist(input) : await this.#send(input, {});
    const outcome = outcomeOf(input, answer);
    this.#learn(input, answer, outcome);
    this.#workload.record({ client: this.#name, input, calledAtMs, outcome });
  }

  /** Sends a call of the session until its fate is known. */
  async #persist(input: KvInput): Promise<KvAnswer | null> {
    this.#seq += 1;
    const headers = {
      'banyan-session': `${this.#session}`,
      'banyan-seq': `${this.#seq}`,
      'banyan-unacked': `${this.#seq}`,
    };
    const endMs = performance.now() + PERSIST_MS;
    let isSure = true;
    for (;;) {
      const answer = await this.#send(input, headers);
      const isRefused = answer?.status === 503;
      // Once one try may have run, only an answer of the state machine settles it.
      if (answer === null || answer.status === 504) isSure = false;
      else if (answer.status === 410) {
        this.#session = 0;
        return null;
      } else if (!isRefused) return answer;
      if (performance.now() > endMs || (this.#workload.isOver && isSure)) {
        this.#session = 0;
        return isSure ? answer : null;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #send(input: KvInput, headers: Readonly<Record<string, string>>): Promise<KvAnswer | null> {
    const running = this.#cluster.members.filter((member) => member.isRunning);
    const member = running[this.#prng.nextBelow(Math.max(1, running.length))];
    if (member === undefined) return { status: 503, text: '', version: 0 }; // Nothing was sent.
    const path = `/v1/kv/${input.key}`;
    switch (input.kind) {
      case 'get':
        return await member.ask('GET', path, null, CALL_MS);
      case 'put':
        return await member.ask('PUT', path, input.value, CALL_MS, headers);
      case 'append':
        return await member.ask('POST', path, input.value, CALL_MS, headers);
      case 'delete':
        return await member.ask('DELETE', path, null, CALL_MS, headers);
      case 'cas': {
        const version = this.#seen.get(input.key)?.version ?? 0;
        return await member.ask('PUT', `${path}?version=${version}`, input.value, CALL_MS, headers);
      }
      default:
        return input satisfies never;
    }
  }

  #learn(input: KvInput, answer: KvAnswer | null, outcome: Outcome<KvOutput>): void {
    if (answer === null || outcome.kind !== 'answered') return;
    const { key } = input;
    if (outcome.output.kind === 'value') {
      this.#seen.set(key, { version: answer.version, value: outcome.output.value });
    } else if (input.kind === 'put' || (input.kind === 'cas' && answer.status === 200)) {
      this.#seen.set(key, { version: answer.version, value: input.value });
    } else this.#seen.delete(key);
  }

  async #openSession(): Promise<void> {
    const running = this.#cluster.members.filter((member) => member.isRunning);
    const member = running[this.#prng.nextBelow(Math.max(1, running.length))];
    const answer = await member?.ask('POST', '/v1/sessions', null, CALL_MS);
    if (answer?.status !== 201) return;
    this.#session = (JSON.parse(answer.text) as { session: number }).session;
    this.#seq = 0;
  }
}

function outcomeOf(input: KvInput, answer: KvAnswer | null): Outcome<KvOutput> {
  const atMs = performance.now();
  const answered = (output: KvOutput): Outcome<KvOutput> => ({ kind: 'answered', atMs, output });
  if (input.kind === 'get') {
    // A read without an answer changes nothing.
    if (answer?.status === 200) return answered({ kind: 'value', value: answer.text });
    if (answer?.status === 404) return answered({ kind: 'value', value: null });
    return { kind: 'refused' };
  }
  if (answer === null || answer.status === 504) return { kind: 'unknown' };
  if (answer.status === 503) return { kind: 'refused' };
  if (input.kind === 'cas') return answered({ kind: 'swapped', isSwapped: answer.status === 200 });
  // A delete of what is not there is done, too.
  return answered({ kind: 'done' });
}
