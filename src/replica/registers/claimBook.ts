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
 * G4: a claim is won by what the call itself has put into the newest generation, also where the owner
 *     has asked before: what an earlier call of it still gives back is of an older version then.
 * G5: where there is no room new keys are not tried one by one: each would leave a promise with every
 *     acceptor that has room still, until what the others keep no longer fits in there.
 */

import { assert } from '../../base/assert.ts';
import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { hashText } from '../../base/prng.ts';
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
import { isJoint, isOpen, PERMANENT_BUCKET } from '../../caspaxos/control.ts';
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
  #full: Full | null = null;

  constructor(asker: Asker) {
    this.#asker = asker;
  }

  claim(key: string, owner: string, about: string, done: StoreDone<ClaimAnswer>): void {
    assert(isKey(key), 'a claim has a key of fitting length');
    const asked = this.#askOf(key, { owner, about }, done);
    const full = this.#refusesNew();
    if (full === null) return this.#round(asked, 1);
    this.#look(key, asked.untilMs, (told) => {
      if (!told.ok) return done(told);
      const { value } = told;
      if (value === null) return done(err(full));
      if (value.owner === owner && value.result === null) this.#round(asked, 1);
      else done(ok({ kind: 'taken', claim: value }));
    });
  }

  /** G5. Null: a key may be tried. */
  #refusesNew(): StoreFailure | null {
    const { control, host } = this.#asker;
    if (control === null || host === null) return null;
    const isChanging = isJoint(control);
    if (this.#full?.floor !== control.floor) this.#full = null;
    if (this.#full === null) {
      // There is room above the limit, which is not for new keys.
      return isChanging && host.status().fill >= 1 ? this.#asker.fullFailure() : null;
    }
    const nowMs = this.#asker.nowMs();
    if (!isChanging && nowMs >= this.#full.probeMs) {
      this.#full = { ...this.#full, probeMs: nowMs + REGISTER_LIMITS.fullProbeMs };
      return null;
    }
    return this.#asker.fullFailure();
  }

  abandon(key: string, owner: string, about: string, done: StoreDone<null>): void {
    assert(isKey(key), 'a claim has a key of fitting length');
    const told: ClaimAsk['done'] = (answer) => done(answer.ok ? ok(null) : answer);
    this.#round({ ...this.#askOf(key, { owner, about }, told), isAbandoned: true }, 1);
  }

  #askOf(key: string, of: ClaimOf, done: ClaimAsk['done']): ClaimAsk {
    const untilMs = this.#asker.nowMs() + REGISTER_LIMITS.answerMs;
    return {
      key,
      of,
      made: new Map(),
      renewed: 0,
      unsure: new Map(),
      untilMs,
      isAbandoned: false,
      done,
    };
  }

  #round(asked: ClaimAsk, round: number): void {
    const control = this.#asker.control;
    const newest = control === null ? 0 : control.openTo;
    if (control === null || newest === PERMANENT_BUCKET || round > ROUNDS_MAX) {
      const detail =
        control === null ? 'The registers are not open here yet.' : 'Generations move.';
      // What an earlier round has put there may be found by others.
      const kind = hasPut(asked) ? 'unknown' : 'unavailable';
      this.#asker.timers.after(0, () => asked.done(err({ kind, detail })));
      return;
    }
    const { key, of } = asked;
    const older = generations(control).filter((bucket) => bucket < newest);
    const found = new Map<number, Found>();
    const came = (bucket: number, one: Found | 'closed'): void => {
      // It went meanwhile: it was the oldest and its time was over, or we knew of too little.
      if (one === 'closed' && bucket === newest) return this.#round(asked, round + 1);
      found.set(bucket, one === 'closed' ? { kind: 'free', version: 0 } : one);
      if (found.size === older.length + 1) this.#judge(asked, round, newest, found);
    };
    for (const bucket of older) this.#read(bucket, key, of.owner, (one) => came(bucket, one));
    this.#claimIn(newest, asked, 0, (one) => came(newest, one));
  }

  /** G1, G4. */
  #judge(asked: ClaimAsk, round: number, newest: number, found: ReadonlyMap<number, Found>): void {
    if (asked.isAbandoned) return this.#freeOwn(asked, found);
    const { key, of, done } = asked;
    const { owner } = of;
    const place: number[] = [];
    for (const bucket of [...found.keys()].toSorted((a, b) => a - b)) {
      const one = found.get(bucket);
      if (one === undefined || one.kind === 'free') continue;
      if (one.kind === 'failed' && one.failure.kind === 'full') this.#noteFull();
      if (one.kind === 'failed') return done(err(failureOf(one.failure, asked, found.get(newest))));
      if (one.kind === 'won' || one.kind === 'made') {
        place.push(bucket, one.version);
        continue;
      }
      // Older than what stands of another, and not of this call: ours may have won. The other gives
      // its own back then.
      const isOwnOlder = place[0] !== undefined && !asked.made.has(place[0]);
      if (one.kind === 'pending' && isOwnOlder && this.#asker.nowMs() < asked.untilMs) {
        return void this.#asker.timers.after(REGISTER_LIMITS.retryMs, () => this.#round(asked, 1));
      }
      this.#giveBack(asked);
      const settled = [...found.values()].find(({ kind }) => kind === 'done');
      const winner = settled?.kind === 'done' ? settled : one;
      return done(ok({ kind: 'taken', claim: viewOf(key, winner) }));
    }
    if (this.#asker.control?.openTo !== newest) return this.#round(asked, round + 1);
    const own = found.get(newest);
    assert(own?.kind === 'won' || own?.kind === 'made', 'what is not won is told or failed');
    if (own.kind === 'won' && ![asked.made.get(newest), asked.renewed].includes(own.version)) {
      return this.#renew(asked, round, newest, own.version);
    }
    this.#full = null;
    place.push(checkOf(key, owner, place));
    done(ok({ kind: 'won', claim: { key, owner, about: of.about, place } }));
  }

  /** G4. What an earlier call of this owner has put, and may have won by, is no more than kept. */
  #renew(asked: ClaimAsk, round: number, newest: number, version: number): void {
    const { key, of, done } = asked;
    const change = { ...claim(of, version, false), requestId: this.#asker.uniqueName() };
    this.#asker.change(keyOf(newest, key), change, (told) => {
      if (told.kind === 'failed') return done(err(unsure(told.failure)));
      if (told.kind === 'changed') asked.renewed = told.version;
      // Whatever it is, it is looked at anew, with the older generations.
      this.#round(asked, round + 1);
    });
  }

  #noteFull(): void {
    const floor = this.#asker.control?.floor ?? 0;
    const probeMs = this.#asker.nowMs() + REGISTER_LIMITS.fullProbeMs;
    if (this.#full?.floor !== floor) this.#full = { floor, probeMs };
  }

  /** G3. */
  #giveBack({ key, of, made, unsure: notKnown }: ClaimAsk): void {
    const free = (bucket: number, version: number): void => {
      this.#asker.change(keyOf(bucket, key), freeClaim(of, version, false), () => {});
    };
    for (const [bucket, version] of made) free(bucket, version);
    // Asked for again as the same request, it has taken effect or never will.
    for (const [bucket, change] of notKnown) {
      this.#asker.change(keyOf(bucket, key), { ...change, isRetry: true }, (asked) => {
        if (asked.kind === 'changed') free(bucket, asked.version);
      });
    }
  }

  /** All that stands of an owner that has given up. */
  #freeOwn({ key, of, done }: ClaimAsk, found: ReadonlyMap<number, Found>): void {
    const failed = [...found.values()].find((one) => one.kind === 'failed');
    if (failed?.kind === 'failed') return done(err(failed.failure));
    const left = [...found].flatMap(([bucket, one]) =>
      one.kind === 'won' || one.kind === 'made' ? [{ bucket, version: one.version }] : [],
    );
    const next = (): void => {
      const place = left.pop();
      const nothing = { key, owner: of.owner, about: of.about, result: null };
      if (place === undefined) return done(ok({ kind: 'taken', claim: nothing }));
      const change = freeClaim(of, place.version, false);
      this.#asker.change(keyOf(place.bucket, key), change, (asked) => {
        if (asked.kind === 'failed') done(err(asked.failure));
        else next();
      });
    };
    next();
  }

  #read(bucket: number, key: string, owner: string, done: (found: Found | 'closed') => void): void {
    this.#asker.read(keyOf(bucket, key), (asked) => done(foundOf(owner, asked)));
  }

  #claimIn(
    bucket: number,
    ask: ClaimAsk,
    version: number,
    done: (found: Found | 'closed') => void,
  ): void {
    const { key, of, made, unsure: notKnown } = ask;
    // Each call has an id of its own: that an earlier one has won, and what became of it, is no
    // answer to this one.
    const change = { ...claim(of, version, false), requestId: this.#asker.uniqueName() };
    this.#asker.change(keyOf(bucket, key), change, (asked) => {
      const found = foundOf(of.owner, asked);
      if (found === 'closed') return done(found);
      if (found.kind === 'made') made.set(bucket, found.version);
      if (found.kind === 'failed' && found.failure.kind === 'unknown') notKnown.set(bucket, change);
      const isFreed = found.kind === 'free';
      if (isFreed && found.version !== version) {
        return this.#claimIn(bucket, ask, found.version, done);
      }
      done(found);
    });
  }

  settle(won: WonClaim, result: string, done: StoreDone<null>): void {
    const bytes = encodeUtf8(result);
    assert(bytes.length <= REGISTER_LIMITS.resultBytesMax, 'what a claim came to is short');
    this.#end(won, (version) => attachResult(won, version, bytes, false), true, done);
  }

  release(won: WonClaim, done: StoreDone<null>): void {
    this.#end(won, (version) => freeClaim(won, version, false), false, done);
  }

  /**
   * The oldest generation last: until then it tells what the others do not say any more. `follows`:
   * also where the owner has asked again since, and has it as a later version.
   */
  #end(
    won: WonClaim,
    changeAt: (version: number) => Change,
    follows: boolean,
    done: StoreDone<null>,
  ): void {
    const places = placesOf(won);
    let isChanged = false;
    const notYours = (detail: string): void => done(err({ kind: 'not-yours', detail }));
    const next = (): void => {
      const place = places?.pop();
      if (place === undefined) {
        if (isChanged) return done(ok(null));
        return notYours('There is no such claim of this owner any more.');
      }
      this.#asker.change(keyOf(place.bucket, won.key), changeAt(place.version), (asked) => {
        if (asked.kind === 'failed') {
          return done(err(isChanged ? unsure(asked.failure) : asked.failure));
        }
        if (asked.kind === 'changed') isChanged = true;
        const own = asked.kind === 'register' ? claimOf(won.owner, asked.register) : null;
        const isLater = own?.kind === 'won' && own.version > place.version;
        if (isLater && follows) places?.push({ bucket: place.bucket, version: own.version });
        else if (isLater) return notYours('Its owner has asked for it again since.');
        // Gone with its generation, or given back there: what another one says counts.
        next();
      });
    };
    if (places !== null) return next();
    this.#asker.timers.after(0, () => notYours('It is not the place that this claim was won at.'));
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

/** RP3. Something was changed, or may have been. */
function unsure({ detail }: StoreFailure): StoreFailure {
  return { kind: 'unknown', detail };
}

/** The generations and versions that a claim stands at; null: they are another claim's. */
function placesOf({ key, owner, place }: WonClaim): { bucket: number; version: number }[] | null {
  const numbers = place.slice(0, -1);
  const isWhole = numbers.length > 0 && numbers.length % 2 === 0;
  if (!isWhole || place.at(-1) !== checkOf(key, owner, numbers)) return null;
  const places: { bucket: number; version: number }[] = [];
  for (let at = 0; at < numbers.length; at += 2) {
    places.push({ bucket: numbers[at] ?? 0, version: numbers[at + 1] ?? 0 });
  }
  return places;
}

/** Tells a place that was mixed up with another claim's. It guards against nobody who means harm. */
function checkOf(key: string, owner: string, numbers: readonly number[]): number {
  return hashText(`${numbers.join(' ')} ${owner} ${key}`);
}

/** RP3. The claim itself may stand though an older generation could not be read. */
function failureOf(
  failure: StoreFailure,
  asked: ClaimAsk,
  newest: Found | undefined,
): StoreFailure {
  const isSure = !hasPut(asked) && newest?.kind === 'failed';
  return isSure ? newest.failure : unsure(failure);
}

/** This call has put something, or may have. */
function hasPut({ made, renewed, unsure: notKnown }: ClaimAsk): boolean {
  return made.size > 0 || renewed > 0 || notKnown.size > 0;
}

/** There was no room for a new key; there may be once a generation is closed. */
interface Full {
  readonly floor: number;
  /** When one is tried again, monotonic ms. */
  readonly probeMs: number;
}

interface ClaimAsk {
  readonly key: string;
  readonly of: ClaimOf;
  /** What this call has put, by generation: its version. */
  readonly made: Map<number, number>;
  /** The version of the newest generation that it has put over its owner's own; 0: none. */
  renewed: number;
  /** What it may have put, by generation. */
  readonly unsure: Map<number, Change>;
  /** Until then it is waited for others to give theirs back, ms. */
  readonly untilMs: number;
  /** Whatever stands of this owner is to be freed. */
  readonly isAbandoned: boolean;
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
