/**
 * Which transaction must come before which, and the circles in that: a circle means that no order of the transactions
 * explains what they saw. Circles are named after Adya ("Weak Consistency", 1999) by the weakest kinds of arrow that make
 * one: G0 (writes only), G1c (writes and reads of writes), G-single (exactly one read that missed a write), G2 (several).
 * With arrows of real time in it the name ends in `-realtime`: there is an order, but not one that clients could accept.
 */
export type Dependency =
  /** Overwrote or followed its write. */
  | 'ww'
  /** Read its write. */
  | 'wr'
  /** Wrote what the other, reading, did not see. */
  | 'rw'
  /** Began after the other was answered. */
  | 'rt';

export interface Arrow {
  readonly from: number;
  readonly to: number;
  readonly kind: Dependency;
  /** For people. */
  readonly why: string;
}

export type CycleKind = `${'G0' | 'G1c' | 'G-single' | 'G2'}${'' | '-realtime'}`;

export interface Cycle {
  readonly kind: CycleKind;
  /** Each begins where the one before it ends; the last ends where the first begins. */
  readonly arrows: readonly Arrow[];
}

interface CycleClass {
  readonly kind: CycleKind;
  readonly kinds: ReadonlySet<Dependency>;
  /** Each circle must hold one arrow that misses a write, taken besides those of `kinds`. */
  readonly missing: boolean;
}

const classes: readonly CycleClass[] = (['', '-realtime'] as const).flatMap(suffix => {
  const time: Dependency[] = suffix === '' ? [] : ['rt'];
  return [
    { kind: `G0${suffix}`, kinds: new Set(['ww', ...time]), missing: false },
    { kind: `G1c${suffix}`, kinds: new Set(['ww', 'wr', ...time]), missing: false },
    { kind: `G-single${suffix}`, kinds: new Set(['ww', 'wr', ...time]), missing: true },
    { kind: `G2${suffix}`, kinds: new Set(['ww', 'wr', 'rw', ...time]), missing: true },
  ] satisfies CycleClass[];
});

export class DependencyGraph {
  readonly #from = new Map<number, Arrow[]>();

  add(arrow: Arrow): void {
    if (arrow.from === arrow.to) return;
    const arrows = this.#from.get(arrow.from);
    if (arrows) arrows.push(arrow);
    else this.#from.set(arrow.from, [arrow]);
  }

  /** One circle of each knot, of the first class that has one. None means that there is an order. */
  cycles(): Cycle[] {
    const all = (arrow: Arrow): boolean => arrow.kind !== undefined;
    return this.#knots(this.#from.keys(), all).map(knot => this.#name(knot));
  }

  #name(knot: ReadonlySet<number>): Cycle {
    for (const { kind, kinds, missing } of classes) {
      const allowed = (arrow: Arrow): boolean => kinds.has(arrow.kind) && knot.has(arrow.to);
      if (missing) {
        for (const node of knot) {
          for (const first of this.#from.get(node) ?? []) {
            if (first.kind !== 'rw' || !knot.has(first.to)) continue;
            const rest = this.#path(first.to, node, allowed);
            if (rest) return { kind, arrows: [first, ...rest] };
          }
        }
        continue;
      }
      const node = this.#knots(knot, allowed)[0]?.values().next().value;
      if (node !== undefined) return { kind, arrows: this.#path(node, node, allowed)! };
    }
    throw new Error('a knot without a circle');
  }

  /** The shortest way of at least one arrow. */
  #path(from: number, to: number, allowed: (arrow: Arrow) => boolean): Arrow[] | undefined {
    const reachedBy = new Map<number, Arrow>();
    let edge = [from];
    while (edge.length > 0 && !reachedBy.has(to)) {
      const next: number[] = [];
      for (const node of edge) {
        for (const arrow of this.#from.get(node) ?? []) {
          if (!allowed(arrow) || reachedBy.has(arrow.to)) continue;
          reachedBy.set(arrow.to, arrow);
          next.push(arrow.to);
        }
      }
      edge = next;
    }
    const path: Arrow[] = [];
    for (let at = reachedBy.get(to); at; at = at.from === from ? undefined : reachedBy.get(at.from)) path.unshift(at);
    return path.length > 0 ? path : undefined;
  }

  /** Strongly connected sets of two nodes or more (Tarjan, 1972; without recursion, since chains are long). */
  #knots(nodes: Iterable<number>, allowed: (arrow: Arrow) => boolean): Set<number>[] {
    const index = new Map<number, number>();
    const low = new Map<number, number>();
    const onStack = new Set<number>();
    const stack: number[] = [];
    const knots: Set<number>[] = [];
    for (const root of nodes) {
      if (index.has(root)) continue;
      const path: { node: number; next: number }[] = [{ node: root, next: 0 }];
      while (path.length > 0) {
        const here = path[path.length - 1]!;
        const { node } = here;
        if (here.next === 0) {
          index.set(node, index.size);
          low.set(node, index.get(node)!);
          stack.push(node);
          onStack.add(node);
        }
        const arrow = (this.#from.get(node) ?? [])[here.next++];
        if (arrow) {
          if (!allowed(arrow)) continue;
          if (!index.has(arrow.to)) path.push({ node: arrow.to, next: 0 });
          else if (onStack.has(arrow.to)) low.set(node, Math.min(low.get(node)!, index.get(arrow.to)!));
          continue;
        }
        path.pop();
        const parent = path.at(-1)?.node;
        if (parent !== undefined) low.set(parent, Math.min(low.get(parent)!, low.get(node)!));
        if (low.get(node) !== index.get(node)) continue;
        const knot = new Set<number>();
        for (let last: number | undefined; last !== node; ) {
          last = stack.pop()!;
          onStack.delete(last);
          knot.add(last);
        }
        if (knot.size > 1) knots.push(knot);
      }
    }
    return knots;
  }
}
