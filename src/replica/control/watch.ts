/**
 * Watches on the control state, of one node. A watcher is a place in the history, not a queue:
 * whoever serves it takes the next changes from there when it can send them. A slow watcher costs
 * nothing, holds nobody up, and is told where its place is gone.
 *
 * W1: changes come in order of their revisions, and all events of one revision at once.
 * W2: no event comes twice, and none is left out between two that come.
 * W3: a bookmark is said only when every event up to it has been given.
 * W4: a watch resumes at any revision whose changes are kept; else `compacted` says the oldest.
 * W5: nothing before the revision that was asked for is ever given, however far behind this node is.
 * W6: every watcher that has something to take is named until it takes it.
 * Source: the guarantees of etcd's watch API, and where they broke (SPEC.md, section 4).
 */

import { assert } from '../../base/assert.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { changeBytes } from './state.ts';
import { keyOf, type Change, type Revision } from './types.ts';

export type WatchId = number;

/** What watches read; `ControlMachine` is one. */
export interface WatchSource {
  readonly revision: Revision;
  readonly compactedTo: Revision;
  changeAt(revision: Revision): Change;
}

export type WatchRefusal =
  /** Take a fresh list, and watch from its revision + 1. */
  | { readonly kind: 'compacted'; readonly oldest: Revision }
  | { readonly kind: 'too-many-watchers' };

export type WatchTake =
  /** Nothing to tell now. */
  | { readonly kind: 'nothing' }
  /**
   * `changes` may be empty: then only the bookmark moved. A watch that begins again at
   * `bookmark + 1` misses nothing and gets nothing twice.
   */
  | { readonly kind: 'changes'; readonly changes: readonly Change[]; readonly bookmark: Revision }
  /** The watch has ended: changes that it had not taken are gone. */
  | { readonly kind: 'compacted'; readonly oldest: Revision };

interface Watcher {
  readonly prefix: string;
  /** The first revision that it has not been given. */
  next: Revision;
  /** The last bookmark that it was told. */
  bookmark: Revision;
}

export interface WatchLimits {
  readonly watchersMax: number;
  readonly watchEventsMax: number;
  readonly watchBytesMax: number;
  readonly bookmarkRevisions: number;
}

export class WatchHub {
  readonly #source: WatchSource;
  readonly #limits: WatchLimits;
  readonly #watchers = new Map<WatchId, Watcher>();
  #lastId: WatchId = 0;

  constructor(source: WatchSource, limits: WatchLimits = CONTROL_LIMITS) {
    this.#source = source;
    this.#limits = limits;
  }

  /** Watches keys with `prefix` from revision `from` (1 and up) on; null: from the next change. */
  open(prefix: string, from: Revision | null): Result<WatchId, WatchRefusal> {
    if (this.#watchers.size >= this.#limits.watchersMax) return err({ kind: 'too-many-watchers' });
    const next = from ?? this.#source.revision + 1;
    assert(next >= 1, 'the first revision is 1');
    if (next <= this.#source.compactedTo) return err(this.#compacted());
    this.#lastId += 1;
    this.#watchers.set(this.#lastId, { prefix, next, bookmark: next - 1 });
    return ok(this.#lastId);
  }

  close(id: WatchId): void {
    this.#watchers.delete(id);
  }

  /** Those for whom there are revisions that they have not been given. Ask again after each take. */
  due(): readonly WatchId[] {
    const { revision } = this.#source;
    const ids: WatchId[] = [];
    for (const [id, watcher] of this.#watchers) if (watcher.next <= revision) ids.push(id);
    return ids;
  }

  /** Takes what is next. `wantsBookmark`: an idle watcher is told how far it is, if that moved. */
  take(id: WatchId, wantsBookmark = false): WatchTake {
    const watcher = this.#watchers.get(id);
    if (watcher === undefined) return { kind: 'nothing' };
    // A snapshot from the leader may have taken this node's history past the watcher's place.
    if (watcher.next <= this.#source.compactedTo) {
      this.#watchers.delete(id);
      return this.#compacted();
    }
    const changes = this.#advance(watcher);
    const bookmark = watcher.next - 1;
    const moved = bookmark - watcher.bookmark;
    const isTold = wantsBookmark ? moved > 0 : moved >= this.#limits.bookmarkRevisions;
    if (changes.length === 0 && !isTold) return { kind: 'nothing' };
    watcher.bookmark = bookmark;
    return { kind: 'changes', changes, bookmark };
  }

  #advance(watcher: Watcher): readonly Change[] {
    const { revision } = this.#source;
    const taken: Change[] = [];
    let [events, bytes] = [0, 0];
    for (; watcher.next <= revision; watcher.next += 1) {
      const change = matching(this.#source.changeAt(watcher.next), watcher.prefix);
      if (change === null) continue;
      events += change.events.length;
      bytes += changeBytes(change);
      const isOver = events > this.#limits.watchEventsMax || bytes > this.#limits.watchBytesMax;
      if (taken.length > 0 && isOver) break;
      taken.push(change);
    }
    return taken;
  }

  #compacted(): { readonly kind: 'compacted'; readonly oldest: Revision } {
    return { kind: 'compacted', oldest: this.#source.compactedTo + 1 };
  }
}

/** The part of a change that has this prefix, or null. */
function matching(change: Change, prefix: string): Change | null {
  if (prefix === '') return change;
  const events = change.events.filter((event) => keyOf(event).startsWith(prefix));
  if (events.length === 0) return null;
  return { revision: change.revision, events };
}
