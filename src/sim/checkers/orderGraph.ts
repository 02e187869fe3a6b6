/** Which transaction must come before which, why, and a short cycle if that cannot be. */

/** Why one transaction comes before another. */
export type Reason =
  /** The same session ran it earlier. */
  | { readonly kind: 'session' }
  /** The later one read `key` of it. */
  | { readonly kind: 'read'; readonly key: string }
  /** Both wrote `key`; `reader` knew of the earlier one and still read the later one's. */
  | { readonly kind: 'replaced'; readonly key: string; readonly reader: number };

export interface Edge {
  readonly from: number;
  readonly to: number;
  readonly reason: Reason;
}

/** How many starts are tried to make a cycle shorter. */
const SHORTEN_STARTS_MAX = 32;

export class OrderGraph {
  readonly #edges: Edge[][];

  constructor(nodeCount: number) {
    this.#edges = Array.from({ length: nodeCount }, () => []);
  }

  add(from: number, to: number, reason: Reason): void {
    this.#edges[from]?.push({ from, to, reason });
  }

  /** Nodes, each behind all that must come before it; null if there is a cycle. */
  sorted(): readonly number[] | null {
    const order = this.#freed();
    return order.length === this.#edges.length ? order : null;
  }

  /** Nodes that are on no cycle and behind none, each behind all that must come before it. */
  #freed(): readonly number[] {
    const before = new Uint32Array(this.#edges.length);
    for (const edges of this.#edges) for (const { to } of edges) before[to] = (before[to] ?? 0) + 1;
    const order: number[] = [];
    before.forEach((count, node) => {
      if (count === 0) order.push(node);
    });
    for (let at = 0; at < order.length; at += 1) {
      for (const { to } of this.#edges[order[at] ?? 0] ?? []) {
        before[to] = (before[to] ?? 0) - 1;
        if (before[to] === 0) order.push(to);
      }
    }
    return order;
  }

  /** A cycle, short but not always the shortest; null if there is none. */
  cycle(): readonly Edge[] | null {
    const left = new Set<number>(this.#edges.keys());
    for (const node of this.#freed()) left.delete(node);
    if (left.size === 0) return null;
    let best: readonly Edge[] | null = null;
    for (const start of this.#nodesOfOne(left).slice(0, SHORTEN_STARTS_MAX)) {
      const found = this.#shortestFrom(start);
      if (found !== null && (best === null || found.length < best.length)) best = found;
    }
    return best;
  }

  /** One cycle's nodes: from a node that is left over, backwards until one comes again. */
  #nodesOfOne(left: ReadonlySet<number>): readonly number[] {
    const reverse = new Map<number, number>();
    this.#edges.forEach((edges, from) => {
      if (!left.has(from)) return;
      for (const { to } of edges) if (left.has(to)) reverse.set(to, from);
    });
    // Every node that is left over has one before it that is left over too.
    const seenAt = new Map<number, number>();
    const walk: number[] = [];
    let node = left.values().next().value ?? 0;
    while (!seenAt.has(node)) {
      seenAt.set(node, walk.length);
      walk.push(node);
      node = reverse.get(node) ?? node;
    }
    return walk.slice(seenAt.get(node));
  }

  /** The shortest way from `start` back to it, breadth first. */
  #shortestFrom(start: number): readonly Edge[] | null {
    const cameBy = new Map<number, Edge>();
    const queue = [start];
    for (let at = 0; at < queue.length; at += 1) {
      for (const edge of this.#edges[queue[at] ?? 0] ?? []) {
        if (cameBy.has(edge.to)) continue;
        cameBy.set(edge.to, edge);
        if (edge.to === start) return this.#pathTo(start, cameBy);
        queue.push(edge.to);
      }
    }
    return null;
  }

  #pathTo(start: number, cameBy: ReadonlyMap<number, Edge>): readonly Edge[] {
    const path: Edge[] = [];
    let node = start;
    do {
      const edge = cameBy.get(node);
      if (edge === undefined) break;
      path.push(edge);
      node = edge.from;
    } while (node !== start);
    return path.toReversed();
  }
}
