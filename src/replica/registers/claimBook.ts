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
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { err, ok } from '../../base/result.ts';
import { attachResult, claim, claimOf, freeClaim, type ClaimOf } from '../../caspaxos/claims.ts';
import { PERMANENT_BUCKET } from '../../caspaxos/control.ts';
import type { Change } from '../../caspaxos/types.ts';
import type { Asker } from './asker.ts';
import {
  checkOf,
  CLAIM_PREFIX,
  foundOf,
  generations,
  isClaim,
  isKey,
  keyOf,
  placesOf,
  viewOf,
  type Found,
} from './claimPlaces.ts';
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

/** Generations become older while they are asked, calls of one owner displace each other: so often. */
const ROUNDS_MAX = 16;

const WRONG_PLACE =
  'It is not the place that this claim was won at, or of an older program: ask again with its owner.';
const ASKED_AGAIN = 'Its owner has asked for it again since.';

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
    const { control } = this.#asker;
    if (control === null) return null;
    if (this.#full?.floor !== control.floor) this.#full = null;
    if (this.#full === null) return null;
    const nowMs = this.#asker.nowMs();
    if (nowMs >= this.#full.probeMs) {
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
      renewed: { bucket: 0, version: 0 },
      hasChanged: false,
      unsure: new Map(),
      untilMs,
      isAbandoned: false,
      done,
    };
  }

  #round(asked: ClaimAsk, round: number): void {
    const control = this.#asker.control;
    const newest = control === null ? 0 : control.openTo;
    const isOver = round > 1 && this.#asker.nowMs() >= asked.untilMs;
    if (control === null || newest === PERMANENT_BUCKET || isOver || round > ROUNDS_MAX) {
      const detail =
        control === null
          ? 'The registers are not open here yet.'
          : 'Generations move, or others ask for the same owner.';
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
    if (this.#asker.control?.openTo !== newest) return this.#round(asked, round + 1);
    if (asked.isAbandoned) return this.#freeOwn(asked, newest, found);
    const { key, of, done } = asked;
    const { owner } = of;
    const place: number[] = [];
    for (const bucket of [...found.keys()].toSorted((a, b) => a - b)) {
      const one = found.get(bucket);
      if (one === undefined || one.kind === 'free') continue;
      if (one.kind === 'failed' && one.failure.kind === 'full') this.#noteFull();
      if (one.kind === 'failed') {
        // What stands of its owner is found when it is asked for again.
        if (place.length > 0) return done(err(unsure(one.failure)));
        return done(err(failureOf(one.failure, asked, found.get(newest))));
      }
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
    const own = found.get(newest);
    assert(own?.kind === 'won' || own?.kind === 'made', 'what is not won is told or failed');
    const { bucket, version } = asked.renewed;
    const isRenewed = bucket === newest && version === own.version;
    if (own.kind === 'won' && asked.made.get(newest) !== own.version && !isRenewed) {
      return this.#renew(asked, round, newest, own.version);
    }
    // A first version is a key that was new.
    if (own.kind === 'made' && own.version === 1) this.#full = null;
    place.push(checkOf(key, owner, place));
    done(ok({ kind: 'won', claim: { key, owner, about: of.about, place } }));
  }

  /** G4. What an earlier call of this owner has put, and may have won by, is no more than kept. */
  #renew(asked: ClaimAsk, round: number, newest: number, version: number): void {
    const { key, of, done } = asked;
    const change = { ...claim(of, version, false), requestId: this.#asker.uniqueName() };
    this.#asker.change(keyOf(newest, key), change, (told) => {
      if (told.kind === 'failed') return done(err(unsure(told.failure)));
      if (told.kind === 'changed') asked.renewed = { bucket: newest, version: told.version };
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
  #freeOwn(
    asked: ClaimAsk,
    newest: number,
    found: ReadonlyMap<number, Found>,
    isLooked = false,
  ): void {
    const { key, of, done } = asked;
    const there = found.get(newest);
    if (!isLooked && there?.kind === 'failed' && there.failure.kind === 'full') {
      // Whoever has no room for a new key may have been asked for one that stands with others.
      return this.#read(newest, key, of.owner, (one) => {
        const looked: Found = one === 'closed' ? { kind: 'free', version: 0 } : one;
        this.#freeOwn(asked, newest, new Map([...found, [newest, looked]]), true);
      });
    }
    const failures = [...found.values()].flatMap((one) =>
      one.kind === 'failed' ? [one.failure] : [],
    );
    const left = [...found].flatMap(([bucket, one]) =>
      one.kind === 'won' || one.kind === 'made' ? [{ bucket, version: one.version }] : [],
    );
    const next = (): void => {
      const place = left.pop();
      if (place === undefined) {
        const [failed] = failures;
        const nothing = { key, owner: of.owner, about: of.about, result: null };
        if (failed === undefined) return done(ok({ kind: 'taken', claim: nothing }));
        return done(err(hasPut(asked) ? unsure(failed) : failed));
      }
      const change = freeClaim(of, place.version, false);
      this.#asker.change(keyOf(place.bucket, key), change, (told) => {
        if (told.kind === 'failed') failures.push(unsure(told.failure));
        next();
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
    const came = (found: Found | 'closed'): void => {
      const isFreed = found !== 'closed' && found.kind === 'free' && found.version !== version;
      if (isFreed) this.#claimIn(bucket, ask, found.version, done);
      else done(found);
    };
    this.#asker.change(keyOf(bucket, key), change, (asked) => {
      // Its answer was lost until others had gone on from it: what stands now counts.
      if (asked.kind === 'changed' && !asked.isStanding) {
        ask.hasChanged = true;
        return this.#read(bucket, key, of.owner, came);
      }
      const found = foundOf(of.owner, asked);
      if (found === 'closed') return done(found);
      if (found.kind === 'made') made.set(bucket, found.version);
      if (found.kind === 'failed' && found.failure.kind === 'unknown') notKnown.set(bucket, change);
      came(found);
    });
  }

  settle(won: WonClaim, result: string, done: StoreDone<null>): void {
    const bytes = encodeUtf8(result);
    assert(bytes.length <= REGISTER_LIMITS.resultBytesMax, 'what a claim came to is short');
    const changeAt = (version: number): Change => ({
      ...attachResult(won, version, bytes, false),
      requestId: this.#asker.uniqueName(),
    });
    this.#end(won, changeAt, result, done);
  }

  release(won: WonClaim, done: StoreDone<null>): void {
    this.#end(won, (version) => freeClaim(won, version, false), null, done);
  }

  /**
   * The oldest generation last: until then it tells what the others do not say any more. With a
   * `result` (null: it is given back) also where the owner has asked again since.
   */
  #end(
    won: WonClaim,
    changeAt: (version: number) => Change,
    result: string | null,
    done: StoreDone<null>,
  ): void {
    const notYours = (detail: string): void => done(err({ kind: 'not-yours', detail }));
    const { control, timers, host } = this.#asker;
    const places = placesOf(won);
    if (places === null || control === null || host === null) {
      const failure: StoreFailure =
        places === null
          ? { kind: 'not-yours', detail: WRONG_PLACE }
          : { kind: 'unavailable', detail: 'The registers are not open here yet.' };
      return void timers.after(0, () => done(err(failure)));
    }
    let isChanged = false;
    const next = (): void => {
      const place = places.pop();
      if (place === undefined) {
        if (isChanged) return done(ok(null));
        return notYours('There is no such claim of this owner any more.');
      }
      this.#asker.change(keyOf(place.bucket, won.key), changeAt(place.version), (asked) => {
        if (asked.kind === 'failed') {
          return done(err(isChanged ? unsure(asked.failure) : asked.failure));
        }
        const own = asked.kind === 'register' ? claimOf(won.owner, asked.register) : null;
        const isSettled = own?.kind === 'done' && own.owner === won.owner;
        const isSame = isSettled && decodeUtf8(own.result) === result;
        if (asked.kind === 'changed' || isSame) isChanged = true;
        const isLater = own?.kind === 'won' && own.version > place.version;
        if (isLater && result === null) return notYours(ASKED_AGAIN);
        if (isLater) places.push({ bucket: place.bucket, version: own.version });
        // Gone with its generation, or given back there: what another one says counts.
        next();
      });
    };
    // It may stand in newer ones, too.
    const last = places.at(-1)?.bucket ?? 0;
    const newer = generations(control).filter((bucket) => bucket > last);
    if (newer.length === 0) return next();
    const found = new Map<number, Found | 'closed'>();
    for (const bucket of newer) {
      this.#read(bucket, won.key, won.owner, (one) => {
        found.set(bucket, one);
        if (found.size < newer.length) return;
        for (const each of newer) {
          const standing = found.get(each);
          if (standing === undefined || standing === 'closed') continue;
          if (standing.kind === 'failed') return done(err(standing.failure));
          if (standing.kind !== 'won') continue;
          if (result === null) return notYours(ASKED_AGAIN);
          places.push({ bucket: each, version: standing.version });
        }
        next();
      });
    }
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
    if (control === null) {
      const detail = 'The registers are not open here yet.';
      return void this.#asker.timers.after(0, () => done(err({ kind: 'unavailable', detail })));
    }
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
      for (const [name, { register }] of kept.get(bucket)?.after(CLAIM_PREFIX + asked.after) ??
        []) {
        if (!name.startsWith(CLAIM_PREFIX)) break;
        const key = name.slice(CLAIM_PREFIX.length);
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
function hasPut({ made, renewed, hasChanged, unsure: notKnown }: ClaimAsk): boolean {
  return hasChanged || made.size > 0 || renewed.version > 0 || notKnown.size > 0;
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
  /** What it has put over its owner's own, in the newest generation; version 0: nothing. */
  renewed: { readonly bucket: number; readonly version: number };
  /** Something that it has put stands no more. */
  hasChanged: boolean;
  /** What it may have put, by generation. */
  readonly unsure: Map<number, Change>;
  /** Until then it is waited for others to give theirs back, ms. */
  readonly untilMs: number;
  /** Whatever stands of this owner is to be freed. */
  readonly isAbandoned: boolean;
  readonly done: StoreDone<ClaimAnswer>;
}
