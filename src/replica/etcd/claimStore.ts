/**
 * Strict claims in an etcd cluster: of transactions that put a key only where there is none, one
 * succeeds. A claim goes with the etcd lease of its generation: one lease for all claims that a node
 * makes within the time to live, granted for about twice that time.
 *
 * EC1: a claim stands for the time to live at least. It stands longer than about twice that time
 *      only where etcd changed its leader, which begins the time of all leases anew.
 * EC2: what an owner wrote is known as its own however often the call was made. It is written anew
 *      then: what an earlier call of it still gives back is of an older revision.
 */

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { err, ok } from '../../base/result.ts';
import { PageBuilder, type Page, type PageAsk } from '../registers/page.ts';
import type { ClaimAnswer, ClaimStore, ClaimView, StoreDone, WonClaim } from '../registers/port.ts';
import type { EtcdAsker } from './asker.ts';
import type { RegisterMirror } from './mirror.ts';
import {
  decodeClaimValue,
  encodeClaimValue,
  isRegisterName,
  type RegisterLayout,
} from './registerLayout.ts';
import { KEEP_LEASE, type EtcdItem, type EtcdTransaction } from './store.ts';

/** A lease that is gone is granted anew; more often than this is no chance. */
const GRANTS_MAX = 3;
/** Times to live that a generation lasts: one to be used, one behind its last claim, and what clocks
 * may differ in rate. */
const GENERATION_SPAN = 2.1;

interface ClaimAsk {
  readonly key: string;
  readonly owner: string;
  readonly about: string;
  readonly done: StoreDone<ClaimAnswer>;
}

export class EtcdClaims implements ClaimStore {
  readonly #asker: EtcdAsker;
  readonly #layout: RegisterLayout;
  readonly #mirror: RegisterMirror;
  readonly #claimMs: number;
  #generation: { readonly id: string; readonly untilMs: number } | null = null;
  #waiting: ((id: string | null, detail: string) => void)[] = [];

  constructor(asker: EtcdAsker, layout: RegisterLayout, mirror: RegisterMirror, claimMs: number) {
    this.#asker = asker;
    this.#layout = layout;
    this.#mirror = mirror;
    this.#claimMs = claimMs;
  }

  claim(key: string, owner: string, about: string, done: StoreDone<ClaimAnswer>): void {
    assert(isRegisterName(key), 'a claim has a key of fitting length');
    this.#claim(key, owner, about, 1, done);
  }

  #claim(
    key: string,
    owner: string,
    about: string,
    grants: number,
    done: StoreDone<ClaimAnswer>,
  ): void {
    this.#lease((id, detail) => {
      if (id === null) return done(err({ kind: 'unavailable', detail }));
      const at = this.#layout.claims + key;
      const value = encodeClaimValue({ owner, about, result: null });
      this.#asker.transact(
        {
          compares: [{ key: at, field: 'create', equals: 0 }],
          success: [{ kind: 'put', key: at, value, lease: id }],
          failure: [{ kind: 'range', key: at, end: null }],
        },
        (asked) => {
          if (asked.kind === 'failed') {
            const isAgain = asked.isLeaseGone && asked.failure.kind === 'unavailable';
            if (asked.isLeaseGone && this.#generation?.id === id) this.#generation = null;
            if (!isAgain || grants === GRANTS_MAX) return done(err(asked.failure));
            return this.#claim(key, owner, about, grants + 1, done);
          }
          if (asked.isSuccess) return done(ok(won(key, owner, about, asked.revision)));
          this.#found({ key, owner, about, done }, asked.item);
        },
      );
    });
  }

  #found(ask: ClaimAsk, item: EtcdItem | null): void {
    const { key, owner, done } = ask;
    const claim = item === null ? null : viewOf(key, item);
    if (item === null || claim === null) {
      const detail = 'The key holds no claim of this version.';
      return done(err({ kind: 'unavailable', detail }));
    }
    if (claim.owner !== owner || claim.result !== null) return done(ok({ kind: 'taken', claim }));
    this.#renew(ask, item);
  }

  /** EC2. */
  #renew(ask: ClaimAsk, { value, modRevision }: EtcdItem): void {
    const { key, owner, about, done } = ask;
    const at = this.#layout.claims + key;
    this.#asker.transact(
      {
        compares: [{ key: at, field: 'mod', equals: modRevision }],
        success: [{ kind: 'put', key: at, value, lease: KEEP_LEASE }],
        failure: [{ kind: 'range', key: at, end: null }],
      },
      (asked) => {
        // It stands, by this owner: asking again finds it.
        if (asked.kind === 'failed') {
          return done(err({ kind: 'unknown', detail: asked.failure.detail }));
        }
        if (asked.isSuccess) return done(ok(won(key, owner, about, asked.revision)));
        // Given back by its owner in this very moment.
        if (asked.item === null) return this.#claim(key, owner, about, 1, done);
        this.#found(ask, asked.item);
      },
    );
  }

  abandon(key: string, owner: string, about: string, done: StoreDone<null>): void {
    this.claim(key, owner, about, (answer) => {
      if (!answer.ok) return done(answer);
      if (answer.value.kind === 'taken') return done(ok(null));
      this.release(answer.value.claim, (told) => {
        done(told.ok || told.error.kind === 'not-yours' ? ok(null) : told);
      });
    });
  }

  settle(claim: WonClaim, result: string, done: StoreDone<null>): void {
    assert(
      encodeUtf8(result).length <= REGISTER_LIMITS.resultBytesMax,
      'what a claim came to is short',
    );
    const key = this.#layout.claims + claim.key;
    const { owner, about } = claim;
    const value = encodeClaimValue({ owner, about, result });
    const put = { kind: 'put' as const, key, value, lease: KEEP_LEASE };
    this.#asker.transact(changeOf(claim, key, put), (asked) => {
      if (asked.kind === 'failed') return done(err(asked.failure));
      const found = asked.item === null ? null : viewOf(claim.key, asked.item);
      const isEarlier = found?.owner === owner && found.result === result;
      // Its owner has asked again since.
      const laterRevision = asked.item?.modRevision ?? 0;
      const isLater = found?.owner === owner && found.result === null;
      if (!asked.isSuccess && isLater && laterRevision > (claim.place[0] ?? 0)) {
        return this.settle({ ...claim, place: [laterRevision] }, result, done);
      }
      done(asked.isSuccess || isEarlier ? ok(null) : notYours());
    });
  }

  release(claim: WonClaim, done: StoreDone<null>): void {
    const key = this.#layout.claims + claim.key;
    const remove = { kind: 'delete' as const, key, end: null };
    this.#asker.transact(changeOf(claim, key, remove), (asked) => {
      if (asked.kind === 'failed') return done(err(asked.failure));
      const found = asked.item === null ? null : viewOf(claim.key, asked.item);
      const isLater = found?.owner === claim.owner && found.result === null;
      // A copy whose answer got lost may have removed it, and somebody else claimed it since.
      const isGone = asked.wasUncertain && !isLater;
      done(asked.isSuccess || isGone ? ok(null) : notYours());
    });
  }

  lookup(key: string, done: StoreDone<ClaimView | null>): void {
    assert(isRegisterName(key), 'a claim has a key of fitting length');
    this.#asker.read(this.#layout.claims + key, (asked) => {
      if (asked.kind === 'failed') return done(err(asked.failure));
      done(ok(asked.item === null ? null : viewOf(key, asked.item)));
    });
  }

  list(asked: PageAsk): Page<ClaimView> {
    const rows = new PageBuilder<ClaimView>(asked);
    for (const item of this.#mirror.claims) {
      const key = item.key.slice(this.#layout.claims.length);
      rows.add(key, () => viewOf(key, item));
    }
    return rows.page();
  }

  /** EC1. The etcd lease of claims that are made now; null: none can be had. */
  #lease(done: (id: string | null, detail: string) => void): void {
    const nowMs = this.#asker.clock.nowMs();
    const generation = this.#generation;
    if (generation !== null && nowMs < generation.untilMs) return done(generation.id, '');
    this.#waiting.push(done);
    if (this.#waiting.length > 1) return;
    this.#grant(nowMs + REGISTER_LIMITS.answerMs);
  }

  #grant(untilMs: number): void {
    const { store, clock } = this.#asker;
    const sentMs = clock.nowMs();
    const ttlSeconds = Math.ceil((this.#claimMs * GENERATION_SPAN) / 1_000);
    store.grant(ttlSeconds, (granted) => {
      if (!granted.ok && clock.nowMs() < untilMs) {
        this.#asker.later(REGISTER_LIMITS.retryMs, () => this.#grant(untilMs));
        return;
      }
      const waiting = this.#waiting;
      this.#waiting = [];
      if (granted.ok) this.#generation = { id: granted.value.id, untilMs: sentMs + this.#claimMs };
      for (const each of waiting) {
        if (granted.ok) each(granted.value.id, '');
        else each(null, granted.error.detail);
      }
    });
  }
}

function changeOf(
  claim: WonClaim,
  key: string,
  operation: EtcdTransaction['success'][number],
): EtcdTransaction {
  return {
    compares: [{ key, field: 'mod', equals: claim.place[0] ?? 0 }],
    success: [operation],
    failure: [{ kind: 'range', key, end: null }],
  };
}

function won(key: string, owner: string, about: string, revision: number): ClaimAnswer {
  return { kind: 'won', claim: { key, owner, about, place: [revision] } };
}

function notYours() {
  const detail = 'There is no such claim of this owner any more.';
  return err({ kind: 'not-yours' as const, detail });
}

function viewOf(key: string, item: EtcdItem): ClaimView | null {
  const value = decodeClaimValue(item.value);
  return value === null ? null : { key, ...value };
}
