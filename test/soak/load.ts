/**
 * The clients of the soak: questions with a text of their own, answers judged to the letter, and a
 * count of everything that was sent and seen.
 */

import { connect } from 'node:net';

import type { Prng } from '../../src/base/prng.ts';
import {
  answerText,
  ask,
  errorOf,
  hasDialectEnd,
  type ClientDialect,
  type Question,
  type Reply,
} from '../support/client.ts';
import { BODY_BYTES_MAX, KINDS, LIMITED_KEY, REGIONS, type Region } from './world.ts';

/** What clients do, and how often in a thousand. */
const HABITS = {
  plain: 880,
  'leaves-before-answer': 20,
  'leaves-mid-stream': 30,
  'slow-reader': 10,
  'large-body': 10,
  'oversized-body': 5,
  'malformed-json': 10,
  'malformed-http': 5,
  'bad-key': 10,
  'limited-key': 10,
  'unknown-model': 5,
  'sometimes-model': 5,
} as const;
export type Habit = keyof typeof HABITS;

/** How one request ended for its client. `transport`: refused before the gateway saw it. */
export type Outcome = 'answered' | 'error' | 'broken' | 'left' | 'transport';

/** What the clients of one node have seen. */
export class Tally {
  sent = 0;
  readonly byOutcome: Record<Outcome, number> = {
    answered: 0,
    error: 0,
    broken: 0,
    left: 0,
    transport: 0,
  };
}

const LETTERS = ['a', 'Z', ' ', '\n', '"', '\\', 'é', '好', '🌳', '{', '}', 'data: ', '</x>'];
const WRONG_KEPT = 20;

/** Sends requests and keeps the books. */
export class Load {
  readonly tallies: Readonly<Record<Region, Tally>> = {
    'near-1': new Tally(),
    'far-1': new Tally(),
  };
  /** Answers that are not what they must be: how many, and the first of them. */
  wrongCount = 0;
  readonly wrong: string[] = [];
  /** How often a habit was acted out, and which statuses were seen. */
  readonly habits = new Map<Habit, number>();
  readonly statuses = new Map<string, number>();
  underWay = 0;
  readonly #prng: Prng;
  readonly #urls: Readonly<Record<Region, string>>;
  readonly #waiting = new Map<number, () => void>();
  #next = 0;

  constructor(prng: Prng, urls: Readonly<Record<Region, string>>) {
    this.#prng = prng;
    this.#urls = urls;
  }

  /** A model server has the request with this body. */
  arrived(body: string): void {
    if (this.#waiting.size === 0) return;
    const number = /say: #(\d+) /.exec(body.slice(0, 4_096))?.[1];
    if (number !== undefined) this.#waiting.get(Number(number))?.();
  }

  /** One request of a random kind, to its end. Never rejects. */
  async one(habit: Habit = this.#habit()): Promise<void> {
    const region = this.#pick(REGIONS);
    const tally = this.tallies[region];
    tally.sent += 1;
    this.underWay += 1;
    this.habits.set(habit, (this.habits.get(habit) ?? 0) + 1);
    try {
      const outcome =
        habit === 'malformed-http'
          ? await this.#malformedHttp(region)
          : await this.#ask(habit, region);
      tally.byOutcome[outcome] += 1;
    } finally {
      this.underWay -= 1;
    }
  }

  async #ask(habit: Habit, region: Region): Promise<Outcome> {
    const number = this.#next;
    this.#next += 1;
    const dialect = this.#pick(KINDS);
    const leaving = new AbortController();
    const isStream =
      habit === 'leaves-mid-stream' || habit === 'slow-reader' || this.#prng.nextFloat() < 0.55;
    const text = this.#text(habit, number);
    const base: Question = {
      dialect,
      model: this.#model(habit),
      isStream,
      text: `say: ${text}`,
      headers: this.#headers(habit),
      more: this.#more(habit),
      signal: leaving.signal,
    };
    const question: Question = {
      ...base,
      ...(habit === 'leaves-mid-stream' ? { began: () => leaving.abort() } : {}),
      ...(habit === 'slow-reader' ? { readGapMs: 100 } : {}),
    };
    if (habit === 'leaves-before-answer') this.#waiting.set(number, () => leaving.abort());
    try {
      const reply = await ask(this.#urls[region], question);
      this.#count(String(reply.status));
      if (leaving.signal.aborted) return 'left';
      const sight = judge(habit, question, text, reply);
      if (sight.wrong !== null) this.#tellWrong(habit, question, reply, sight.wrong);
      return sight.outcome;
    } catch (cause) {
      if (leaving.signal.aborted) return 'left';
      this.#count(cause instanceof Error && 'code' in cause ? String(cause.code) : 'no answer');
      // The transport may close on a body that it refuses before its answer is read.
      if (habit === 'oversized-body') return 'transport';
      this.#tellWrong(habit, question, null, `no response: ${String(cause)}`);
      return 'broken';
    } finally {
      this.#waiting.delete(number);
    }
  }

  /** Bytes that are no HTTP: the connection is answered 400 and closed. */
  #malformedHttp(region: Region): Promise<Outcome> {
    const { port } = new URL(this.#urls[region]);
    const tricks = [
      'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n{}',
      'POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n',
      'GET /livez HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n',
      'POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
      '\u0000\u0001\u0002\r\n\r\n',
    ];
    return new Promise((resolve) => {
      let answer = '';
      const socket = connect({ host: '127.0.0.1', port: Number(port) });
      socket.setTimeout(15_000, () => socket.destroy());
      socket.on('data', (bytes: Buffer) => {
        answer += bytes.toString('latin1');
      });
      socket.on('error', () => {}); // `close` follows.
      socket.on('close', () => {
        this.#count(`malformed ${answer.slice(9, 12)}`);
        if (!answer.startsWith('HTTP/1.1 400 ')) {
          this.#tell(`malformed HTTP was answered ${JSON.stringify(answer.slice(0, 200))}`);
        }
        resolve('transport');
      });
      socket.write(this.#pick(tricks));
    });
  }

  #habit(): Habit {
    let left = this.#prng.nextFloat() * 1_000;
    for (const [habit, share] of Object.entries(HABITS)) {
      left -= share;
      if (left < 0) return habit as Habit;
    }
    return 'plain';
  }

  #text(habit: Habit, number: number): string {
    let text = `#${number} `;
    const most = habit === 'slow-reader' ? 8_000 : 200;
    const length = Math.floor(this.#prng.nextFloat() * most);
    for (let count = 0; count < length; count += 1) text += this.#pick(LETTERS);
    return `${text}.`;
  }

  #model(habit: Habit): string {
    if (habit === 'unknown-model') return 'nobody';
    if (habit === 'sometimes-model') return 'sometimes';
    const kind = this.#pick(KINDS);
    return this.#pick([`local-${kind}`, `local-${kind}`, `far-${kind}`, 'mixed']);
  }

  #headers(habit: Habit): Readonly<Record<string, string>> {
    if (habit === 'bad-key') return { authorization: 'Bearer sk-nobody' };
    if (habit === 'limited-key') return { authorization: `Bearer ${LIMITED_KEY}` };
    return {};
  }

  #more(habit: Habit): object {
    const more = { max_tokens: 100_000 };
    switch (habit) {
      case 'malformed-json':
        return { ...more, messages: 'none' };
      case 'large-body':
        return { ...more, metadata: { user_id: 'x'.repeat(200_000) } };
      case 'oversized-body':
        return { ...more, metadata: { user_id: 'x'.repeat(BODY_BYTES_MAX) } };
      default:
        return more;
    }
  }

  #pick<T>(from: readonly T[]): T {
    const found = from[this.#prng.nextBelow(from.length)];
    if (found === undefined) throw new Error('nothing to pick from');
    return found;
  }

  #count(status: string): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
  }

  #tellWrong(habit: Habit, question: Question, reply: Reply | null, why: string): void {
    const { dialect, model, isStream } = question;
    const mode = isStream ? 'streamed' : 'whole';
    const seen =
      reply === null
        ? ''
        : `: ${reply.status} ${reply.end} ${JSON.stringify(reply.headers)} ${reply.body.slice(-600)}`;
    this.#tell(`${habit}, ${dialect}, ${model}, ${mode}: ${why}${seen}`);
  }

  #tell(what: string): void {
    this.wrongCount += 1;
    if (this.wrong.length < WRONG_KEPT) this.wrong.push(what);
  }
}

/** The only statuses that these may be answered with; all others may fail in any honest way. */
const STATUSES: Partial<Record<Habit, readonly number[]>> = {
  'oversized-body': [413],
  'malformed-json': [400],
  'bad-key': [401],
  'unknown-model': [404],
};

/** What a reply is to its client, and what is wrong with it. */
export function judge(
  habit: Habit,
  question: Question,
  text: string,
  reply: Reply,
): { readonly outcome: Outcome; readonly wrong: string | null } {
  const allowed = STATUSES[habit];
  // A node that has too much to do says so before it looks at anything else.
  const isShed = reply.status === 503;
  if (allowed !== undefined && !isShed && !allowed.includes(reply.status)) {
    return { outcome: outcomeOf(reply), wrong: `the status must be ${allowed.join(' or ')}` };
  }
  if (reply.status === 413) return { outcome: 'transport', wrong: wrongError(reply) };
  const outcome = outcomeOf(reply);
  switch (outcome) {
    case 'answered':
      return { outcome, wrong: wrongAnswer(question, text, reply) };
    case 'broken':
      return { outcome, wrong: wrongBreak(question.dialect, question.isStream, text, reply) };
    default:
      return { outcome, wrong: wrongError(reply) };
  }
}

function outcomeOf(reply: Reply): Outcome {
  if (reply.status !== 200) return 'error';
  return reply.end === 'clean' ? 'answered' : 'broken';
}

function wrongAnswer({ dialect, isStream }: Question, text: string, reply: Reply): string | null {
  if (answerText(dialect, isStream, reply.body) !== text) return 'the text is another';
  if (isStream && !hasDialectEnd(dialect, reply.body)) return 'the dialect has no end';
  return null;
}

function wrongBreak(
  dialect: ClientDialect,
  isStream: boolean,
  text: string,
  reply: Reply,
): string | null {
  if (!isStream) return 'a whole answer broke off after its head';
  if (hasDialectEnd(dialect, reply.body)) return 'a broken stream has an end';
  if (!text.startsWith(answerText(dialect, true, reply.body))) return 'the beginning is another';
  if (errorOf(reply.body) === null) return 'a broken stream tells no error';
  return null;
}

function wrongError(reply: Reply): string | null {
  if (reply.end !== 'clean') return 'an error broke off';
  return errorOf(reply.body) === null ? 'an error without its body' : null;
}
