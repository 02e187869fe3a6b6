/**
 * The world of scenario files: one state machine, its log and its watchers. Each command answers
 * with what came of it. Commands stand in `COMMANDS`; each file of testdata/ says what it shows.
 */

import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { decodeReply, encodeCommand } from './codec.ts';
import { ControlMachine } from './machine.ts';
import {
  keyOf,
  NUMBER_FIELDS,
  type Change,
  type Compare,
  type ControlCommand,
  type ControlEvent,
  type ControlReply,
  type KeyValue,
  type Operation,
  type OperationResult,
} from './types.ts';
import { WatchHub, type WatchTake } from './watch.ts';

type Words = readonly string[];

export class ControlWorld {
  #machine = new ControlMachine();
  #hub = new WatchHub(this.#machine);
  readonly #watches = new Map<string, number>();
  #saved: Uint8Array = new Uint8Array(0);
  #savedIndex = 0;
  #index = 0;
  #timeMs = 0;

  /** Runs one command (the lines after the first belong to it) and gives what it printed. */
  run(text: string): string {
    const [first = '', ...rest] = text.split('\n').map((line) => line.trim());
    const [name = '', ...words] = first.split(/\s+/);
    const lines = rest.map((line) => line.split(/\s+/));
    return COMMANDS[name]?.(this, words, lines) ?? `unknown command: ${name}`;
  }

  propose(command: ControlCommand): string {
    return this.proposeBytes(encodeCommand(command));
  }

  proposeBytes(bytes: Uint8Array): string {
    this.#index += 1;
    this.#timeMs += 10;
    const reply = decodeReply(this.#machine.apply(this.#index, this.#timeMs, bytes));
    return reply === null ? 'no reply' : describeReply(reply);
  }

  get machine(): ControlMachine {
    return this.#machine;
  }

  watch(name: string, prefix: string, from: number | null): string {
    const opened = this.#hub.open(prefix, from);
    if (!opened.ok) {
      const { error } = opened;
      return error.kind === 'compacted' ? `compacted: oldest=${error.oldest}` : error.kind;
    }
    this.#watches.set(name, opened.value);
    return 'ok';
  }

  take(name: string, wantsBookmark: boolean): string {
    return describeTake(this.#hub.take(this.#watches.get(name) ?? 0, wantsBookmark));
  }

  due(): string {
    const due = new Set(this.#hub.due());
    const names = [...this.#watches].filter(([, id]) => due.has(id)).map(([name]) => name);
    return names.length === 0 ? 'nobody' : names.join(' ');
  }

  save(): string {
    this.#saved = this.#machine.snapshot();
    this.#savedIndex = this.#index;
    return 'ok';
  }

  /** A lagging member: its watchers stay, its state begins anew and then takes the snapshot. */
  restore(): string {
    const isTaken = this.#machine.restore(this.#saved);
    this.#index = this.#savedIndex;
    return isTaken ? `revision=${this.#machine.revision}` : 'refused';
  }
}

const COMMANDS: Readonly<
  Record<string, (world: ControlWorld, words: Words, lines: readonly Words[]) => string>
> = {
  /** put KEY VALUE [TYPE] */
  put: (world, [key = '', value = '', type = 'text']) =>
    world.propose(transaction('put', [], [put(key, type, value)], [])),
  /** delete KEY */
  delete: (world, [key = '']) =>
    world.propose(transaction('delete', [], [{ kind: 'delete', key }], [])),
  /** transaction [why]; lines: if …, then …, else … */
  transaction(world, [why = ''], lines) {
    const of = (word: string): readonly Words[] =>
      lines.filter(([first]) => first === word).map(([, ...rest]) => rest);
    const success = of('then').map(operationOf);
    const command = transaction(why, of('if').map(compareOf), success, of('else').map(operationOf));
    return world.propose(command);
  },
  /** bytes HEX */
  bytes: (world, [hex = '']) =>
    world.proposeBytes(
      Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
    ),
  compact: (world, [revision = '0']) =>
    world.propose({ kind: 'compact', revision: Number(revision) }),
  get(world, [key = '']) {
    const item = world.machine.get(key);
    return item === null ? 'absent' : describeItem(item);
  },
  /** range PREFIX COUNT [AFTER] */
  range(world, [prefix = '', count = '10', after = '']) {
    const page = world.machine.range({ prefix, after, keysMax: Number(count) });
    const lines = page.items.map(describeItem);
    return [...lines, `revision=${page.revision} next=${page.next ?? '-'}`].join('\n');
  },
  /** audit FROM COUNT */
  audit(world, [from = '1', count = '10']) {
    const records = world.machine.audit(Number(from), Number(count)).map((record) => {
      const changes = record.changes.map(({ kind, key }) => `${kind} ${key}`).join(', ');
      const { revision, timeMs, who, from: place, what, why } = record;
      return `${revision} at ${timeMs} ms: ${who} from ${place}: ${what} (${why}): ${changes}`;
    });
    return records.length === 0 ? 'none' : records.join('\n');
  },
  state: ({ machine }) => `revision=${machine.revision} compacted=${machine.compactedTo}`,
  /** watch NAME PREFIX [FROM] */
  watch: (world, [name = '', prefix = '', from]) =>
    world.watch(name, prefix, from === undefined ? null : Number(from)),
  /** take NAME [bookmark] */
  take: (world, [name = '', bookmark]) => world.take(name, bookmark === 'bookmark'),
  due: (world) => world.due(),
  save: (world) => world.save(),
  restore: (world) => world.restore(),
};

function transaction(
  why: string,
  compares: readonly Compare[],
  success: readonly Operation[],
  failure: readonly Operation[],
): ControlCommand {
  const audit = { who: 'ann', from: 'eu-central-1', what: 'test', why };
  return { kind: 'transaction', audit, compares, success, failure };
}

function put(key: string, type: string, value: string): Operation {
  return { kind: 'put', key, type, value: encodeUtf8(value) };
}

/** put KEY VALUE [TYPE] | delete KEY | range PREFIX COUNT */
function operationOf([kind = '', key = '', value = '', type = 'text']: Words): Operation {
  if (kind === 'put') return put(key, type, value);
  if (kind === 'delete') return { kind: 'delete', key };
  return { kind: 'range', prefix: key, after: '', keysMax: Number(value) };
}

/** KEY absent | KEY value TEXT | KEY version|createRevision|modRevision =|!=|<|> NUMBER */
function compareOf([key = '', what = '', second = '', number = '0']: Words): Compare {
  if (what === 'absent') return { kind: 'absent', key };
  if (what === 'value') return { kind: 'value', key, value: encodeUtf8(second) };
  const field = NUMBER_FIELDS.find((each) => each === what) ?? 'version';
  const relations = { '=': 'equal', '!=': 'notEqual', '<': 'less', '>': 'greater' } as const;
  const [, relation] = Object.entries(relations).find(([sign]) => sign === second) ?? ['', 'equal'];
  return { kind: 'number', key, field, relation, number: Number(number) };
}

function describeReply(reply: ControlReply): string {
  if (reply.kind === 'refused') return `refused: ${reply.error}`;
  if (reply.kind === 'compacted') return `oldest=${reply.oldest}`;
  const branch = reply.isSuccess ? 'success' : 'failure';
  return [`${branch} revision=${reply.revision}`, ...reply.results.map(describeResult)].join('\n');
}

function describeResult(result: OperationResult): string {
  if (result.kind === 'put') return `  put version=${result.version}`;
  if (result.kind === 'delete') return `  delete ${result.isFound ? 'found' : 'not found'}`;
  const items = result.items.map((item) => `    ${describeItem(item)}`);
  return [`  range next=${result.next ?? '-'}`, ...items].join('\n');
}

function describeItem(item: KeyValue): string {
  const { key, type, value, createRevision, modRevision, version } = item;
  const numbers = `create=${createRevision} mod=${modRevision} version=${version}`;
  return `${key} = ${decodeUtf8(value)} (${type}) ${numbers}`;
}

function describeTake(take: WatchTake): string {
  if (take.kind === 'nothing') return 'nothing';
  if (take.kind === 'compacted') return `compacted: oldest=${take.oldest}`;
  return [...take.changes.map(describeChange), `bookmark=${take.bookmark}`].join('\n');
}

function describeChange(change: Change): string {
  const text = (event: ControlEvent): string =>
    event.kind === 'put'
      ? `put ${event.item.key} = ${decodeUtf8(event.item.value)}`
      : `delete ${keyOf(event)}`;
  return `${change.revision}: ${change.events.map(text).join(', ')}`;
}
