/**
 * Strict claims on registers. A claim stands in the newest bucket that is open, its generation; a
 * generation is closed when it is old, and takes its claims with it.
 *
 * G1: a claim is won only where every older generation that is open holds none, and the newest one
 *     was still the newest when the answer came. Opening a generation begins an epoch (K4 of
 *     src/caspaxos/SPEC.md): whoever has looked into the older ones in it has shut them for those
 *     that did not know of it. Of two that claim in neighbouring generations one at most wins.
 * G2: whoever looks is told of the winner: of claims in several generations of the one that has a
 *     result; where none has yet, once those who did not win have given theirs back (G3). Where one
 *     of them died before it could, nothing tells them apart, and that is said. What was looked at
 *     counts only where the newest generation was still the newest then.
 * G3: the older generations are read while the newest is asked, so that a claim costs one round.
 *     What that leaves behind where another's claim is found is given back, in whichever generation:
 *     else a key that is asked for again and again would never be free. Only what this very call has
 *     put there: an owner that asks twice may have won it before. Where that is lost it goes with
 *     its generation.
 */

import { assert } from '../../base/assert.ts';
import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { err, ok } from '../../base/result.ts';
import {
  attachResult,
  claim,
  claimOf,
  freeClaim,
  type ClaimOf,
  type ClaimOutcome,
} from '../../caspaxos/claims.ts';
import { isOpen, PERMANENT_BUCKET } from '../../caspaxos/control.ts';
import type { Change, Control, Key } from '../../caspaxos/types.ts';
import type { Asked, Asker } from './asker.ts';
import type { RegisterHost } from './host.ts';
import { PageBuilder, type Page, type PageAsk } from './page.ts';
import type {
  ClaimAnswer,
  ClaimStore,
  ClaimView,
  StoreDone,
  StoreFailure,
  WonClaim,
} from './port.ts';

const PREFIX = 'claim/';
/** A generation can become older while it is asked; more often than this is no chance. */
const ROUNDS_MAX = 4;

/** What one generation holds of a key. */
type Found = Exclude<ClaimOutcome, { readonly kind: 'foreign' | 'failed' }> | Made | Failed;
/** Ours, put there by this call. */
interface Made {
  readonly kind: 'made';
  readonly version: number;
}
interface Failed {
  readonly kind: 'failed';
  readonly failure: StoreFailure;
}

export class ClaimBook implements ClaimStore {
  readonly #asker: Asker;

  constructor(asker: Asker) {
    this.#asker = asker;
  }

  claim(key: string, owner: string, about: string, done: StoreDone<ClaimAnswer>): void {
    assert(isKey(key), 'a claim has a key of fitting length');
    this.#round({ key, of: { owner, about }, made: new Map(), done }, 1);
  }

  #round(asked: ClaimAsk, round: number): void {
    const control = this.#asker.control;
    const newest = control === null ? 0 : control.openTo;
    if (control === null || newest === PERMANENT_BUCKET || round > ROUNDS_MAX) {
      const detail =
        control === null ? 'The registers are not open here yet.' : 'Generations move.';
      // What an earlier round has put there may be found by others.
      const kind = round > 1 ? 'unknown' : 'unavailable';
      this.#asker.timers.after(0, () => asked.done(err({ kind, detail })));
      return;
    }
    const { key, of } = asked;
    const older = generations(control).filter((bucket) => bucket < newest);
    const found = new Map<number, Found>();
    const came = (bucket: number, one: Found | 'closed'): void => {
      // It went meanwhile: it was the oldest and its time was over, or we knew of too little.
      if (one === 'closed' && bucket === newest) return this.#round(asked, round + 1);
      if (one !== 'closed' && one.kind === 'made') asked.made.set(bucket, one.version);
      found.set(bucket, one === 'closed' ? { kind: 'free', version: 0 } : one);
      if (found.size === older.length + 1) this.#judge(asked, round, newest, found);
    };
    for (const bucket of older) this.#read(bucket, key, of.owner, (one) => came(bucket, one));
    this.#claimIn(newest, key, of, 0, (one) => came(newest, one));
  }

  /** G1. */
  #judge(asked: ClaimAsk, round: number, newest: number, found: ReadonlyMap<number, Found>): void {
    const { key, of, done } = asked;
    const { owner } = of;
    const place: number[] = [];
    for (const bucket of [...found.keys()].toSorted((a, b) => a - b)) {
      const one = found.get(bucket);
      if (one === undefined || one.kind === 'free') continue;
      if (one.kind === 'failed') return done(err(failureOf(one.failure, round, found.get(newest))));
      if (one.kind === 'won' || one.kind === 'made') {
        place.push(bucket, one.version);
        continue;
      }
      this.#giveBack(asked);
      const settled = [...found.values()].find(({ kind }) => kind === 'done');
      const winner = settled?.kind === 'done' ? settled : one;
      return done(ok({ kind: 'taken', claim: viewOf(key, winner) }));
    }
    if (this.#asker.control?.openTo !== newest) return this.#round(asked, round + 1);
    assert(place.length > 0, 'a claim that is not won is told or failed');
    done(ok({ kind: 'won', claim: { key, owner, about: of.about, place } }));
  }

  /** G3. */
  #giveBack({ key, of, made }: ClaimAsk): void {
    for (const [bucket, version] of made) {
      this.#asker.change(keyOf(bucket, key), freeClaim(of, version, false), () => {});
    }
  }

  #read(bucket: number, key: string, owner: string, done: (found: Found | 'closed') => void): void {
    this.#asker.read(keyOf(bucket, key), (asked) => done(foundOf(owner, asked)));
  }

  #claimIn(
    bucket: number,
    key: string,
    of: ClaimOf,
    version: number,
    done: (found: Found | 'closed') => void,
  ): void {
    this.#asker.change(keyOf(bucket, key), claim(of, version, false), (asked) => {
      const found = foundOf(of.owner, asked);
      const isFreed = found !== 'closed' && found.kind === 'free';
      if (isFreed && found.version !== version) {
        return this.#claimIn(bucket, key, of, found.version, done);
      }
      done(found);
    });
  }

  settle(won: WonClaim, result: string, done: StoreDone<null>): void {
    const bytes = encodeUtf8(result);
    assert(bytes.length <= REGISTER_LIMITS.resultBytesMax, 'what a claim came to is short');
    this.#end(won, (version) => attachResult(won, version, bytes, false), done);
  }

  release(won: WonClaim, done: StoreDone<null>): void {
    this.#end(won, (version) => freeClaim(won, version, false), done);
  }

  /** The oldest generation last: until then it tells what the others do not say any more. */
  #end(won: WonClaim, changeAt: (version: number) => Change, done: StoreDone<null>): void {
    const places: { readonly bucket: number; readonly version: number }[] = [];
    for (let at = 0; at + 1 < won.place.length; at += 2) {
      places.push({ bucket: won.place[at] ?? 0, version: won.place[at + 1] ?? 0 });
    }
    const next = (): void => {
      const place = places.pop();
      if (place === undefined) return done(ok(null));
      this.#asker.change(keyOf(place.bucket, won.key), changeAt(place.version), (asked) => {
        if (asked.kind === 'failed') return done(err(asked.failure));
        if (asked.kind === 'changed') return next();
        const detail = 'There is no such claim of this owner any more.';
        done(err({ kind: 'not-yours', detail }));
      });
    };
    next();
  }

  lookup(key: string, done: StoreDone<ClaimView | null>): void {
    assert(isKey(key), 'a claim has a key of fitting length');
    this.#look(key, this.#asker.nowMs() + REGISTER_LIMITS.answerMs, done);
  }

  /** G2. */
  #look(key: string, untilMs: number, done: StoreDone<ClaimView | null>): void {
    const control = this.#asker.control;
    const again = (detail: string): void => {
      const isOver = this.#asker.nowMs() >= untilMs;
      this.#asker.timers.after(isOver ? 0 : REGISTER_LIMITS.retryMs, () => {
        if (isOver) done(err({ kind: 'unavailable', detail }));
        else this.#look(key, untilMs, done);
      });
    };
    if (control === null) return again('The registers are not open here yet.');
    const open = generations(control);
    if (open.length === 0) return again('No generation is open yet.');
    const seen: (Found | 'closed')[] = [];
    const came = (one: Found | 'closed'): void => {
      seen.push(one);
      if (seen.length < open.length) return;
      for (const each of seen) {
        if (each !== 'closed' && each.kind === 'failed') return done(err(each.failure));
      }
      if (this.#asker.control?.openTo !== control.openTo) return again('Generations move.');
      const claims = seen.flatMap((each) => (isClaim(each) ? [each] : []));
      const winner = claims.find(({ kind }) => kind === 'done') ?? claims[0];
      if (winner === undefined) return done(ok(null));
      const owners = new Set(claims.map(({ owner }) => owner));
      if (winner.kind === 'done' || owners.size === 1) return done(ok(viewOf(key, winner)));
      again(`One of ${[...owners].join(' and ')} has it; the other died before it gave it back.`);
    };
    for (const bucket of open) this.#read(bucket, key, '', came);
  }

  /** G2: of a key in several generations the oldest comes first. */
  list(asked: PageAsk): Page<ClaimView> {
    const kept: RegisterHost['kept'] = this.#asker.host?.kept ?? new Map();
    const rows = new PageBuilder<ClaimView>(asked);
    for (const bucket of [...kept.keys()].toSorted((a, b) => a - b)) {
      if (bucket === PERMANENT_BUCKET) continue;
      for (const [name, { register }] of kept.get(bucket)?.after(PREFIX + asked.after) ?? []) {
        if (!name.startsWith(PREFIX)) break;
        const key = name.slice(PREFIX.length);
        const isInReach = rows.add(key, () => {
          const found = claimOf('', register);
          return found.kind === 'pending' || found.kind === 'done' ? viewOf(key, found) : null;
        });
        if (!isInReach) break;
      }
    }
    return rows.page();
  }
}

/** RP3. The claim itself may stand though an older generation could not be read. */
function failureOf(failure: StoreFailure, round: number, newest: Found | undefined): StoreFailure {
  const isSure = round === 1 && newest?.kind === 'failed' && newest.failure.kind !== 'unknown';
  return isSure ? newest.failure : { kind: 'unknown', detail: failure.detail };
}

interface ClaimAsk {
  readonly key: string;
  readonly of: ClaimOf;
  /** What this call has put, by generation: its version. */
  readonly made: Map<number, number>;
  readonly done: StoreDone<ClaimAnswer>;
}

/** Open ones, the oldest first. */
function generations(control: Control): readonly number[] {
  const open: number[] = [];
  for (let bucket = control.floor + 1; bucket <= control.openTo; bucket += 1) {
    if (isOpen(control, bucket)) open.push(bucket);
  }
  return open;
}

function keyOf(bucket: number, key: string): Key {
  return { bucket, name: PREFIX + key };
}

function isKey(key: string): boolean {
  const bytes = encodeUtf8(key).length;
  return bytes > 0 && bytes <= REGISTER_LIMITS.nameBytesMax;
}

/** Another's claim, as it stands in a generation. */
type Standing = Extract<ClaimOutcome, { readonly kind: 'pending' | 'done' }>;

function isClaim(found: Found | 'closed'): found is Standing {
  return found !== 'closed' && (found.kind === 'pending' || found.kind === 'done');
}

function viewOf(key: string, found: Standing): ClaimView {
  const { owner, about } = found;
  return { key, owner, about, result: found.kind === 'done' ? decodeUtf8(found.result) : null };
}

function foundOf(owner: string, asked: Asked): Found | 'closed' {
  if (asked.kind === 'failed') return asked;
  if (asked.kind === 'closed') return 'closed';
  if (asked.kind === 'changed') return { kind: 'made', version: asked.version };
  const outcome = claimOf(owner, asked.register);
  if (outcome.kind !== 'foreign' && outcome.kind !== 'failed') return outcome;
  const detail = 'The key holds no claim of this version.';
  return { kind: 'failed', failure: { kind: 'unavailable', detail } };
}
