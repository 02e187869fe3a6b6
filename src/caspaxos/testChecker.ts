/**
 * What must hold for one register, looked at from outside while it runs. Versions order all changes,
 * so that linearizability of the register comes down to these: each version has one content and one
 * maker (chain, no lost update, no phantom read), and what one answer has shown, no request that
 * began later may be answered from before it.
 *
 * Used by random runs and by the model checker: the state is small and can be copied.
 */

import { assert } from '../base/assert.ts';
import { decodeUtf8 } from '../base/bytes.ts';
import { isQuorum } from './control.ts';
import { CAS_ERRORS } from './errors.ts';
import { keyText } from './state.ts';
import type {
  Ballot,
  Control,
  Key,
  Message,
  NodeId,
  Register,
  Reply,
  SlotRecord,
} from './types.ts';

/** A request as the checker knows it. */
export interface Watched {
  /** Null: a read. */
  readonly requestId: string | null;
  readonly expect: number;
  /** The highest version that had been told to anyone when it began. */
  readonly floor: number;
}

export class RegisterChecker {
  /** Contents by version, as far as known. */
  #contents = new Map<number, string>();
  #makers = new Map<number, string>();
  #versions = new Map<string, number>();
  /** Requests that were told for certain that they have no effect. */
  #never = new Set<string>();
  /** The highest version that any answer has shown. */
  #told = 0;
  /** `text()` of a checker that nobody changes any more. */
  #text: string | null = null;

  copy(): RegisterChecker {
    const copy = new RegisterChecker();
    copy.#contents = new Map(this.#contents);
    copy.#makers = new Map(this.#makers);
    copy.#versions = new Map(this.#versions);
    copy.#never = new Set(this.#never);
    copy.#told = this.#told;
    return copy;
  }

  /** What decides about later violations and does not follow from messages. */
  text(): string {
    if (this.#text !== null) return this.#text;
    const makers = [...this.#makers].toSorted(([a], [b]) => a - b).join(' ');
    this.#text = `${this.#told};${[...this.#never].toSorted().join(' ')};${makers}`;
    return this.#text;
  }

  /** A request begins; it changes nothing here. */
  begin(requestId: string | null, expect: number): Watched {
    return { requestId, expect, floor: this.#told };
  }

  /** A register that was chosen or told: it is a part of the one history. */
  observe({ version, value, recent }: Register): void {
    this.#text = null;
    if (version === 0) return;
    const content = decodeUtf8(value);
    const known = this.#contents.get(version);
    assert(known === undefined || known === content, 'a version has one content');
    this.#contents.set(version, content);
    for (const [at, id] of recent.entries()) this.#made(version - recent.length + 1 + at, id);
  }

  #made(version: number, requestId: string): void {
    const maker = this.#makers.get(version);
    assert(maker === undefined || maker === requestId, 'a version has one maker: no lost update');
    const other = this.#versions.get(requestId);
    assert(other === undefined || other === version, 'a request takes effect once');
    assert(!this.#never.has(requestId), 'what was told to have no effect has none');
    this.#makers.set(version, requestId);
    this.#versions.set(requestId, version);
  }

  /** The answer to a request. */
  reply(watched: Watched, reply: Reply): void {
    this.#text = null;
    const { requestId, expect, floor } = watched;
    switch (reply.kind) {
      case 'changed':
        assert(requestId !== null && reply.version === expect + 1, 'a change makes one version');
        this.#made(reply.version, requestId);
        // A retry may find what an earlier call of the same request has made.
        this.#told = Math.max(this.#told, reply.version);
        return;
      case 'conflict':
      case 'value': {
        const { register } = reply;
        assert(register.version >= floor, 'no answer is older than what was told before');
        this.observe(register);
        this.#told = Math.max(this.#told, register.version);
        if (reply.kind === 'value') return;
        assert(register.version !== expect, 'a conflict shows another version');
        this.#isOver(requestId);
        return;
      }
      case 'failed':
        if (CAS_ERRORS[reply.error].definite) this.#isOver(requestId);
        return;
      case 'rescanned':
      case 'alarm':
        return;
    }
  }

  #isOver(requestId: string | null): void {
    if (requestId === null) return;
    assert(!this.#versions.has(requestId), 'what took effect is not called a failure');
    this.#never.add(requestId);
  }
}

/** A ballot's value and who has it on its disk. */
interface Proposed {
  readonly epoch: number;
  readonly register: Register;
  readonly acceptors: Set<NodeId>;
  isChosen: boolean;
}

/** Sees what is proposed and what becomes durable, and so knows what is chosen. */
export class ChosenWatch {
  readonly #proposed = new Map<string, Proposed>();

  leaves(message: Message): void {
    if (message.kind !== 'accept') return;
    const { ballot, key, epoch, register } = message;
    const name = nameOf(key, ballot);
    const known = this.#proposed.get(name);
    assert(known === undefined || known.register === register, 'a ballot has one value');
    if (known !== undefined) return;
    this.#proposed.set(name, { epoch, register, acceptors: new Set(), isChosen: false });
  }

  /** The register that is now chosen because `node` has it durable; null: none. */
  durable(
    node: NodeId,
    { key, accepted }: SlotRecord,
    controlOf: (epoch: number) => Control,
  ): Register | null {
    if (accepted === null) return null;
    const proposed = this.#proposed.get(nameOf(key, accepted.ballot));
    assert(proposed !== undefined, 'what is accepted was proposed');
    const { acceptors, register, epoch } = proposed;
    acceptors.add(node);
    if (proposed.isChosen || !isQuorum(controlOf(epoch), (id) => acceptors.has(id))) return null;
    proposed.isChosen = true;
    return register;
  }
}

function nameOf(key: Key, ballot: Ballot): string {
  return `${keyText(key)} ${ballot.epoch}.${ballot.counter}.${ballot.proposer}`;
}
