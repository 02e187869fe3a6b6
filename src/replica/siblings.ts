/**
 * The processes of one node, joined: each tells what it has under way and what it learned of targets;
 * each hears the sum of the others. `SiblingBoard` stands in the process that all the others know.
 *
 * Y1: what a process hears of others never includes its own. Y2: news of health reach every other
 * process once. Y3: what a process that is gone had under way leaves the sums at once. Y4: with sums
 * of one moment, the exchanges let in by all stay below the limit plus one for each process, whatever
 * comes before the next exchange: each counts what it let in since as if all others had done so too.
 * Held by `siblings.test.ts`.
 */

import { parseModelName, parseTargetName, type TargetName } from '../base/names.ts';
import type { NodeLoad } from '../routing/admission.ts';
import type { HealthNews } from '../routing/health.ts';
import type { LeaseDesk } from './policy.ts';
import type { Serving } from './serving.ts';

/** The other processes of a node that has several. */
export interface GatewayProcesses {
  /** Processes that take requests of clients. */
  readonly count: number;
  /** Null: no request of a client comes here, so that no key is counted. */
  readonly desk: LeaseDesk | null;
}

/** What is under way at one target for one model. */
export interface TargetLoad {
  readonly model: string;
  readonly target: string;
  readonly inFlight: number;
  readonly queuedTokens: number;
}

/** What was learned of one target for one model. */
export interface TargetNews {
  readonly model: string;
  readonly target: string;
  readonly news: HealthNews;
}

/** What one process tells, or hears as the sum of the others. */
export interface SiblingReport {
  readonly exchanges: number;
  readonly bodiesBytes: number;
  /** Those that changed since the last report. */
  readonly loads: readonly TargetLoad[];
  readonly news: readonly TargetNews[];
}

/** One process's side. */
export class Siblings implements NodeLoad {
  readonly #own: NodeLoad;
  /** Processes that take requests, this one included. */
  readonly #count: number;
  #elsewhere = { exchanges: 0, bodiesBytes: 0 };
  /** Let in since the last report, and between the two before: the others may not be told yet. */
  #admitted = { exchanges: 0, bodiesBytes: 0 };
  #before = { exchanges: 0, bodiesBytes: 0 };

  constructor(own: NodeLoad, count: number) {
    this.#own = own;
    this.#count = count;
  }

  /** Under way in the node, as admission should see it (Y4). */
  get exchanges(): number {
    const guessed = (this.#admitted.exchanges + this.#before.exchanges) * (this.#count - 1);
    return this.#own.exchanges + this.#elsewhere.exchanges + guessed;
  }

  get bodiesBytes(): number {
    const guessed = (this.#admitted.bodiesBytes + this.#before.bodiesBytes) * (this.#count - 1);
    return this.#own.bodiesBytes + this.#elsewhere.bodiesBytes + guessed;
  }

  /** Exchanges under way in the node's other processes, as they told last. */
  get exchangesElsewhere(): number {
    return this.#elsewhere.exchanges;
  }

  admitted(bodyBytes: number): void {
    this.#admitted.exchanges += 1;
    this.#admitted.bodiesBytes += bodyBytes;
  }

  /** What this process tells the others now. */
  report(serving: Serving, nowMs: number): SiblingReport {
    const loads: TargetLoad[] = [];
    const news: TargetNews[] = [];
    for (const { config, router } of serving.models.values()) {
      const model = config.name;
      router.eachNewLoad((target, inFlight, queuedTokens) => {
        loads.push({ model, target, inFlight, queuedTokens });
      });
      router.eachNews((target, each) => news.push({ model, target, news: each }), nowMs);
    }
    this.#before = this.#admitted;
    this.#admitted = { exchanges: 0, bodiesBytes: 0 };
    const { exchanges, bodiesBytes } = this.#own;
    return { exchanges, bodiesBytes, loads, news };
  }

  /** What a process that begins has to know of the targets. */
  standing(serving: Serving, nowMs: number): readonly TargetNews[] {
    const all: TargetNews[] = [];
    for (const { config, router } of serving.models.values()) {
      router.eachStanding((target, news) => all.push({ model: config.name, target, news }), nowMs);
    }
    return all;
  }

  /** Hears the sum of the others. Models and targets that a reload took away are passed over. */
  hear(report: SiblingReport, serving: Serving, nowMs: number): void {
    this.#elsewhere = { exchanges: report.exchanges, bodiesBytes: report.bodiesBytes };
    for (const { model, target, inFlight, queuedTokens } of report.loads) {
      const found = routeOf(serving, model, target);
      found?.router.setElsewhere(found.target, inFlight, queuedTokens);
    }
    for (const { model, target, news } of report.news) {
      const found = routeOf(serving, model, target);
      found?.router.hearNews(found.target, news, nowMs);
    }
  }
}

/** What all processes of a node told, and what each of them still has to hear. */
export class SiblingBoard {
  readonly #members = new Map<number, Member>();

  /** A process joins: it will hear everything, `standing` first. */
  join(id: number, standing: readonly TargetNews[]): void {
    const member = new Member();
    member.news.push(...standing);
    this.#members.set(id, member);
    for (const [other, { loads }] of this.#members) {
      if (other === id) continue;
      for (const key of loads.keys()) member.stale.add(key);
    }
  }

  /** A process is gone (Y3). */
  leave(id: number): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    this.#members.delete(id);
    for (const other of this.#members.values()) {
      for (const key of member.loads.keys()) other.stale.add(key);
      other.isStale = true;
    }
  }

  /** What `id` told last of its exchanges; 0: nothing, or no such process. */
  exchangesOf(id: number): number {
    return this.#members.get(id)?.exchanges ?? 0;
  }

  tell(id: number, report: SiblingReport): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    const isChanged =
      member.exchanges !== report.exchanges || member.bodiesBytes !== report.bodiesBytes;
    member.exchanges = report.exchanges;
    member.bodiesBytes = report.bodiesBytes;
    for (const load of report.loads) member.loads.set(keyOf(load.model, load.target), load);
    for (const [other, its] of this.#members) {
      if (other === id) continue;
      if (isChanged) its.isStale = true;
      for (const load of report.loads) its.stale.add(keyOf(load.model, load.target));
      its.news.push(...report.news);
    }
  }

  /** What `id` has not heard of the others; null: nothing. */
  take(id: number): SiblingReport | null {
    const member = this.#members.get(id);
    if (member === undefined) return null;
    if (!member.isStale && member.stale.size === 0 && member.news.length === 0) return null;
    let exchanges = 0;
    let bodiesBytes = 0;
    for (const [other, its] of this.#members) {
      if (other === id) continue;
      exchanges += its.exchanges;
      bodiesBytes += its.bodiesBytes;
    }
    const loads = [...member.stale].map((key) => this.#sumOf(key, id));
    const report = { exchanges, bodiesBytes, loads, news: member.news };
    member.stale.clear();
    member.news = [];
    member.isStale = false;
    return report;
  }

  #sumOf(key: string, except: number): TargetLoad {
    const [model = '', target = ''] = key.split('\n');
    let inFlight = 0;
    let queuedTokens = 0;
    for (const [id, { loads }] of this.#members) {
      const load = id === except ? undefined : loads.get(key);
      inFlight += load?.inFlight ?? 0;
      queuedTokens += load?.queuedTokens ?? 0;
    }
    return { model, target, inFlight, queuedTokens };
  }
}

/** One process on the board. */
class Member {
  exchanges = 0;
  bodiesBytes = 0;
  readonly loads = new Map<string, TargetLoad>();
  /** What it has to hear: loads that changed, news, the sums. */
  readonly stale = new Set<string>();
  news: TargetNews[] = [];
  isStale = true;
}

/** Neither name holds a line break. */
function keyOf(model: string, target: string): string {
  return `${model}\n${target}`;
}

function routeOf(serving: Serving, model: string, target: string) {
  const name = parseModelName(model);
  const parsed = parseTargetName(target);
  if (!name.ok || !parsed.ok) return null;
  const router = serving.models.get(name.value)?.router;
  if (router === undefined) return null;
  const found: { readonly router: typeof router; readonly target: TargetName } = {
    router,
    target: parsed.value,
  };
  return found;
}
