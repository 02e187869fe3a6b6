/**
 * The world of scenario files: nodes, a network and disks that move only when a command says so.
 * Every command answers with what the nodes gave out. The commands stand in `COMMANDS`; each file
 * of testdata/ says what it shows.
 */

import { assert } from '../base/assert.ts';
import { encodeUtf8 } from '../base/bytes.ts';
import { createPrng } from '../base/prng.ts';
import type { Result } from '../base/result.ts';
import { NO_BUGS, type Bugs } from './bugs.ts';
import { beginChange, closeBucket, finishChange, firstControl, openBuckets } from './control.ts';
import {
  describeBallot,
  describeControl,
  describeMessage,
  describePersist,
  describeRegister,
  describeReply,
} from './describe.ts';
import { CasNode } from './node.ts';
import { casOptions, copyStored, emptyStored, foldPersist } from './start.ts';
import { testAcceptor } from './testkit.ts';
import type { CasOptions, Control, Input, Key, Message, Output, Persist, Stored } from './types.ts';

interface WorldNode {
  readonly id: number;
  readonly options: CasOptions;
  readonly stored: Stored;
  cas: CasNode | null;
  unsynced: Persist[];
  held: { readonly seq: number; readonly messages: readonly Message[] }[];
  durableSeq: number;
}

interface Command {
  readonly words: readonly string[];
  readonly named: ReadonlyMap<string, string>;
}

export class ScenarioWorld {
  readonly #nodes = new Map<number, WorldNode>();
  #network: Message[] = [];
  readonly #controls: Control[] = [];
  #nowMs = 0;
  #requests = 0;
  #logIndex = 1;
  #lines: string[] = [];
  readonly #bugs: Bugs;

  constructor(bugs: Bugs = NO_BUGS) {
    this.#bugs = bugs;
  }

  /** Runs the lines of one command and gives what they printed. */
  run(text: string): string {
    this.#lines = [];
    for (const line of text.split('\n')) {
      const [name = '', ...rest] = line.trim().split(/\s+/);
      const command = this.#commands[name];
      if (command === undefined) return `unknown command: ${name}`;
      const named = rest.filter((word) => word.includes('=')).map((word) => word.split('=', 2));
      command({
        words: rest.filter((word) => !word.includes('=')),
        named: new Map(named.map(([key = '', value = '']) => [key, value])),
      });
    }
    return this.#lines.length === 0 ? 'ok' : this.#lines.join('\n');
  }

  #node(word: string | undefined): WorldNode {
    const node = this.#nodes.get(Number(word));
    if (node === undefined) throw new Error(`no node ${word}`);
    return node;
  }

  #feed(node: WorldNode, input: Input): void {
    if (node.cas === null) return;
    const output = node.cas.step(input, this.#nowMs);
    this.#print(node, output);
    this.#network.push(...output.send);
    if (output.persist !== null) node.unsynced.push(output.persist);
    if (output.afterFsync.length === 0) return;
    if (output.afterSeq <= node.durableSeq) this.#network.push(...output.afterFsync);
    else node.held.push({ seq: output.afterSeq, messages: output.afterFsync });
  }

  #print({ id }: WorldNode, output: Output): void {
    for (const message of output.send) this.#lines.push(`${id} send ${describeMessage(message)}`);
    const { persist } = output;
    if (persist !== null) this.#lines.push(`${id} persist ${describePersist(persist)}`);
    const wait = output.afterSeq === 0 ? 'now' : `#${output.afterSeq}`;
    for (const message of output.afterFsync) {
      this.#lines.push(`${id} after ${wait} ${describeMessage(message)}`);
    }
    for (const reply of output.reply) this.#lines.push(`${id} reply ${describeReply(reply)}`);
  }

  #start(node: WorldNode): void {
    const { options, stored } = node;
    const started = CasNode.startBroken(options, copyStored(stored), this.#nowMs, this.#bugs);
    if (!started.ok) {
      this.#lines.push(`${node.id} refuses to start: ${started.error}`);
      return;
    }
    node.cas = started.value;
    node.durableSeq = 0;
    this.#logIndex += 1;
    this.#feed(node, { kind: 'proposer', proposer: 100 + this.#logIndex });
  }

  #fsync(node: WorldNode): boolean {
    const last = node.unsynced.at(-1);
    if (last === undefined || node.cas === null) return false;
    for (const persist of node.unsynced) foldPersist(node.stored, persist);
    node.unsynced = [];
    node.durableSeq = last.seq;
    for (const { messages } of node.held) this.#network.push(...messages);
    node.held = [];
    this.#feed(node, { kind: 'persisted', seq: last.seq });
    return true;
  }

  #select({ named }: Command): readonly Message[] {
    const kinds = named.get('kind')?.split(',');
    const from = named.get('from')?.split(',').map(Number);
    const to = named.get('to')?.split(',').map(Number);
    return this.#network.filter(
      (message) =>
        (kinds?.includes(message.kind) ?? true) &&
        (from?.includes(message.from) ?? true) &&
        (to?.includes(message.to) ?? true),
    );
  }

  #remove(messages: readonly Message[]): void {
    this.#network = this.#network.filter((message) => !messages.includes(message));
  }

  #request(make: (id: number) => Input, word: string | undefined): void {
    this.#requests += 1;
    this.#feed(this.#node(word), make(this.#requests));
  }

  #commit(made: Result<Control, string>): void {
    if (made.ok) {
      this.#controls.push(made.value);
      this.#lines.push(describeControl(made.value));
    } else this.#lines.push(`refused: ${made.error}`);
  }

  get #control(): Control {
    const control = this.#controls.at(-1);
    assert(control !== undefined, 'the log has begun');
    return control;
  }

  readonly #commands: Readonly<Record<string, (command: Command) => void>> = {
    /** `cluster N acceptors=1,2,3 [open=3] [cache=8] [rounds=4] [keys=1]`: all nodes up and told. */
    cluster: ({ words, named }) => {
      const count = Number(words[0]);
      const acceptors = idsOf(named.get('acceptors') ?? '1,2,3').map(testAcceptor);
      this.#controls.push(firstControl(acceptors, Number(named.get('open') ?? 3), 1));
      for (let id = 1; id <= count; id += 1) {
        const options = casOptions({
          id,
          cluster: 'test',
          incarnation: testAcceptor(id).incarnation,
          prng: createPrng(id),
          cacheMax: Number(named.get('cache') ?? 8),
          roundsMax: Number(named.get('rounds') ?? 4),
          keysMax: Number(named.get('keys') ?? 8),
          scanKeysMax: 2,
        });
        const stored = emptyStored(options);
        const node: WorldNode = {
          id,
          options,
          stored,
          cas: null,
          unsynced: [],
          held: [],
          durableSeq: 0,
        };
        this.#nodes.set(id, node);
        this.#start(node);
        this.#feed(node, { kind: 'control', control: this.#control });
        this.#fsync(node);
      }
      this.#lines = [];
    },
    /** `change NODE KEY expect=V value=TEXT id=ID [retry=yes]`. */
    change: ({ words, named }) => {
      const change = {
        expect: Number(named.get('expect') ?? 0),
        value: encodeUtf8(named.get('value') ?? ''),
        requestId: named.get('id') ?? '',
        isRetry: named.get('retry') === 'yes',
      };
      this.#request((id) => ({ kind: 'change', id, key: keyOf(words[1]), change }), words[0]);
    },
    read: ({ words }) => {
      this.#request((id) => ({ kind: 'read', id, key: keyOf(words[1]) }), words[0]);
    },
    rescan: ({ words }) => this.#request((id) => ({ kind: 'rescan', id }), words[0]),
    /** `deliver [from=…] [to=…] [kind=…]`: what is on its way now, once each. */
    deliver: (command) => {
      const messages = this.#select(command);
      this.#remove(messages);
      for (const message of messages) {
        this.#feed(this.#node(String(message.to)), { kind: 'message', message });
      }
    },
    /** The same, and the messages stay on their way. */
    copy: (command) => {
      for (const message of this.#select(command)) {
        this.#feed(this.#node(String(message.to)), { kind: 'message', message });
      }
    },
    drop: (command) => this.#remove(this.#select(command)),
    fsync: ({ words }) => {
      for (const word of words) this.#fsync(this.#node(word));
    },
    /** Delivers and makes durable until nothing moves. */
    stabilize: ({ named }) => {
      const only = named.has('only') ? idsOf(named.get('only') ?? '') : [...this.#nodes.keys()];
      for (let turn = 0; turn < 100; turn += 1) {
        const moving = this.#network.filter(
          ({ from, to }) => only.includes(from) && only.includes(to),
        );
        this.#remove(moving);
        for (const message of moving) {
          this.#feed(this.#node(String(message.to)), { kind: 'message', message });
        }
        let count = moving.length;
        for (const id of only) if (this.#fsync(this.#node(String(id)))) count += 1;
        if (count === 0) return;
      }
    },
    /** `pass ms=1000`: time passes and every node ticks. */
    pass: ({ named }) => {
      this.#nowMs += Number(named.get('ms') ?? 1_000);
      for (const node of this.#nodes.values()) this.#feed(node, { kind: 'tick' });
    },
    crash: ({ words }) => {
      const node = this.#node(words[0]);
      Object.assign(node, { cas: null, unsynced: [], held: [] });
    },
    start: ({ words }) => this.#start(this.#node(words[0])),
    disk: ({ words, named }) => {
      const states = { ok: 'ok', full: 'full', failed: 'failed' } as const;
      const state = states[named.get('state') as keyof typeof states];
      this.#feed(this.#node(words[0]), { kind: 'disk', state });
    },
    /** `log begin 1,2,4`, `log finish epoch=2`, `log close 1`, `log open 9`: commits an entry. */
    log: ({ words, named }) => {
      const [what, argument = ''] = words;
      this.#logIndex += 1;
      const at = [this.#control, this.#logIndex] as const;
      if (what === 'begin') {
        this.#commit(beginChange(at[0], idsOf(argument).map(testAcceptor), at[1]));
      } else if (what === 'finish') {
        this.#commit(finishChange(at[0], Number(named.get('epoch')), at[1]));
      } else if (what === 'close') this.#commit(closeBucket(at[0], Number(argument), at[1]));
      else this.#commit(openBuckets(at[0], Number(argument), at[1]));
    },
    /** `hear 1 2 3`: these nodes learn of the log's newest entry. */
    hear: ({ words }) => {
      const control = this.#control;
      for (const word of words) this.#feed(this.#node(word), { kind: 'control', control });
    },
    /** `forge from=2 to=1 incarnation=7`: a query of somebody who is not that acceptor's disk. */
    forge: ({ named }) => {
      const of = (name: string): number => Number(named.get(name));
      const head = { cluster: 'test', from: of('from'), to: of('to'), epoch: 1 };
      const message: Message = {
        ...head,
        incarnation: of('incarnation'),
        kind: 'query',
        key: keyOf(),
        ballot: { epoch: 1, counter: 1, proposer: 1 },
      };
      this.#feed(this.#node(named.get('to')), { kind: 'message', message });
    },
    /** `slots KEY`: what each node keeps. */
    slots: ({ words }) => {
      for (const { id, cas } of this.#nodes.values()) {
        if (cas === null) continue;
        const { promised, accepted, register } = cas.slot(keyOf(words[0]));
        const what = `accepted=${describeBallot(accepted)} ${describeRegister(register)}`;
        this.#lines.push(`${id} promised=${describeBallot(promised)} ${what}`);
      }
    },
    status: () => {
      for (const { cas } of this.#nodes.values()) {
        if (cas === null) continue;
        const { id, proposer, epoch, control, keys, requests, cached, disk } = cas.status();
        const known = control === null ? '-' : describeControl(control);
        const counts = `keys=${keys} requests=${requests} cached=${cached}`;
        this.#lines.push(`${id} proposer=${proposer} epoch=${epoch} ${counts} ${disk} ${known}`);
      }
    },
  };
}

function idsOf(text: string): readonly number[] {
  return text.split(',').map(Number);
}

/** `k` of bucket 1, or `2/k`. */
function keyOf(word = 'k'): Key {
  const [first = '', second] = word.split('/');
  return second === undefined
    ? { bucket: 1, name: first }
    : { bucket: Number(first), name: second };
}
