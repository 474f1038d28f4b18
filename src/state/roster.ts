/**
 * Who counts for placement (data core, rule 8): every instance heard of lately, with a grace, so that a restart or a
 * short silence moves no data. A new life of the same slot replaces the old one at once.
 */
import type { Clock } from '../core/clock.ts';
import type { Registry } from '../naming/registry.ts';
import { ranking, slotOf } from '../partitioning/placement.ts';

export class Roster {
  /** Rankings of the ids last given, by partition: the same at each look until somebody comes or goes. */
  readonly #ranked = new Map<number, readonly string[]>();
  #rankedIds = '';
  readonly #registry: Registry;
  readonly #service: string;
  readonly #self: string;
  readonly #clock: Clock;
  readonly #graceMs: number;
  readonly #lastHeard = new Map<string, number>();

  constructor(registry: Registry, service: string, self: string, clock: Clock, graceMs: number) {
    this.#registry = registry;
    this.#service = service;
    this.#self = self;
    this.#clock = clock;
    this.#graceMs = graceMs;
  }

  /** `ids` in order of rank for a partition. */
  ranking(partition: number, ids: readonly string[], joined: string): readonly string[] {
    if (joined !== this.#rankedIds) {
      this.#rankedIds = joined;
      this.#ranked.clear();
    }
    let ranked = this.#ranked.get(partition);
    if (!ranked) {
      ranked = ranking(this.#service, partition, ids);
      this.#ranked.set(partition, ranked);
    }
    return ranked;
  }

  /** Ids that take part in placement, self included. */
  ids(): string[] {
    const now = this.#clock.monotonic();
    for (const member of this.#registry.instances(this.#service)) this.#lastHeard.set(member.beat.id, now);
    this.#lastHeard.set(this.#self, now);
    const newest = new Map<string, string>();
    for (const [id, at] of this.#lastHeard) {
      if (now - at > this.#graceMs) {
        this.#lastHeard.delete(id);
        continue;
      }
      const rival = newest.get(slotOf(id));
      if (rival === undefined || this.#lastHeard.get(rival)! < at) newest.set(slotOf(id), id);
    }
    // A slot counts once while its former life fades; two living members of one slot both count.
    return [...this.#lastHeard.keys()].filter(id => newest.get(slotOf(id)) === id || this.#lastHeard.get(id) === now);
  }
}
