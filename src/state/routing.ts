/**
 * Where a call or read of a partition goes (data core, rules 7, 11, 24): here, or to a member. Goes by what heartbeats and the
 * log say now; who is sent to the wrong place is sent on, or told so, which is always safe to repeat.
 */
import { TandemError } from '../core/errors.ts';
import type { Member } from '../failure-detection/beat.ts';
import type { Registry } from '../naming/registry.ts';
import { predecessorOf } from '../partitioning/partition-map.ts';
import { ranking } from '../partitioning/placement.ts';
import type { Catalog } from './catalog.ts';
import { epochOf, type Holders } from './holders.ts';
import type { Route } from './keyspace.ts';
import type { Partition } from './partition.ts';
import { isReadyReplica } from './succession.ts';

export interface RoutingOptions {
  readonly service: string;
  readonly instance: string;
  readonly registry: Registry;
  readonly catalog: Catalog;
  readonly holders: Holders;
  /** Partitions held here, by number. */
  readonly held: ReadonlyMap<number, Partition>;
  readonly isDraining: () => boolean;
}

export class Routing {
  readonly #o: RoutingOptions;

  constructor(options: RoutingOptions) {
    this.#o = options;
  }

  /** Holders of a partition, or, while nobody has told of any, of the one that it was divided from. */
  near(partition: number): Member[] {
    const holders = this.#o.holders.ready(partition);
    if (holders.length > 0) return holders;
    const before = predecessorOf(this.#o.catalog.map.first, partition);
    return before === undefined ? holders : this.near(before);
  }

  route(partition: number, reads: boolean): Route {
    const held = this.#o.held.get(partition);
    const here = held?.replica.ready ? held : undefined;
    const arriving = here ? undefined : this.#arrivingAt(partition);
    if (arriving) return arriving;
    if (here && (reads || (here.writing && !this.#o.isDraining()))) return { here: true };
    const { registry, instance, service } = this.#o;
    const named = here && registry.member(here.replica.head.writer || here.replica.head.heir);
    if (named && named.beat.id !== instance && isReadyReplica(named, partition)) return { here: false, member: named };
    const holders = this.#o.holders.ready(partition);
    // A beat may still claim an epoch that the log, as it is known here, has ended.
    const ended = here?.replica.head.epoch ?? 0;
    const claimed = holders.filter(member => epochOf(member, partition) > ended);
    const best =
      claimed.sort((a, b) => epochOf(b, partition) - epochOf(a, partition))[0] ?? holders[0] ?? this.near(partition)[0];
    // Without a writer the better-ranked of the two takes it; safety needs no agreement on that.
    const mine =
      claimed.length === 0 && (!best || ranking(service, partition, [instance, best.beat.id])[0] === instance);
    if (here && !this.#o.isDraining() && mine) return { here: true };
    if (best) return { here: false, member: best };
    // Why it stopped here is what a caller must know: waiting would not help.
    if (held?.replica.state === 'failed') throw held.replica.failure!;
    throw new TandemError('UNAVAILABLE', `no replica of partition ${partition} of '${service}' is ready`, {
      details: { partition },
    });
  }

  /** A partition that was divided off a moment ago is where the other was: there the call waits until it has begun. */
  #arrivingAt(partition: number): Route | undefined {
    if (!this.isArriving(partition) || this.#o.holders.ready(partition).length > 0) return undefined;
    const before = predecessorOf(this.#o.catalog.map.first, partition)!;
    const { registry, instance } = this.#o;
    const { writer } = this.#o.held.get(before)!.replica.head;
    const member = registry.member(writer);
    return writer === instance || !isReadyReplica(member, before)
      ? { here: true, arriving: true }
      : { here: false, member: member! };
  }

  /** Held here and about to begin: its origin is sealed here. */
  isArriving(partition: number): boolean {
    const held = this.#o.held.get(partition);
    const before = predecessorOf(this.#o.catalog.map.first, partition);
    if (!held || held.replica.ended || before === undefined) return false;
    return this.#o.held.get(before)?.replica.state === 'sealed';
  }

  writerOf(partition: number): string | undefined {
    const held = this.#o.held.get(partition);
    if (held?.replica.ready && held.replica.head.writer !== '') return held.replica.head.writer;
    return this.#o.holders.ready(partition).find(member => epochOf(member, partition) > 0)?.beat.id;
  }
}
