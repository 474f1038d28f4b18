/**
 * Doubling the partition count, as one instance takes part in it (data core, rules 23 and 24; ADR 0017). The catalog says
 * whose turn it is. Who holds that partition begins copies of its two successors beside it; its writer seals it when they
 * are near; who writes a successor then tells the catalog. Each step looks at what is, does what is missing, and is safe to
 * do late or twice, so that whoever is there after a crash goes on.
 */
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { dividing, heirsOf, predecessorOf, sliceOf, successorsOf } from '../partitioning/partition-map.ts';
import { sealFormat } from '../replication/entry.ts';
import { says } from '../replication/genesis.ts';
import type { LargeEntries } from '../replication/large-entries.ts';
import type { Origin } from '../replication/origin.ts';
import { logName } from '../replication/replica.ts';
import { deleteSnapshots, snapshotPositions } from '../replication/snapshot.ts';
import { emptyHead } from '../replication/store.ts';
import type { Catalog } from './catalog.ts';
import { keptBy } from './division.ts';
import type { Holders } from './holders.ts';
import type { KeyspaceOptions } from './keyspace.ts';
import type { Partition } from './partition.ts';

export interface DividerOptions extends Pick<KeyspaceOptions, 'engine' | 'registry' | 'clock' | 'random' | 'logger'> {
  readonly service: string;
  readonly catalog: Catalog;
  readonly holders: Holders;
  /** Partitions held here, by number. */
  readonly held: ReadonlyMap<number, Partition>;
  readonly drop: (partition: Partition) => void;
  readonly large: LargeEntries;
  readonly engineTimeoutMs: number;
}

/** A copy so near to the log's end has the rest in no time. */
const nearEntries = 64;
/** After a seal that did not come about. */
const sealAgainMs = 500;
const restMsMax = 2000;
/** Enough of a log to see whether it has begun. */
const beginningBytes = 65_536;

export class Divider {
  readonly #o: DividerOptions;
  #sealing: Promise<unknown> | undefined;
  #concluding: Promise<void> | undefined;
  /** Whose turn it is, as was last seen here, and when work on it begins (monotonic ms). */
  #turn: number | undefined;
  #restUntil = 0;
  /** Instances whose age holds a change up; said already. */
  #tooOld = false;

  constructor(options: DividerOptions) {
    this.#o = options;
  }

  /** How a partition begins that was divided off another. */
  originOf(number: number): Origin | undefined {
    const { catalog, holders } = this.#o;
    const { first } = catalog.map;
    const partition = predecessorOf(first, number);
    if (partition === undefined) return undefined;
    const { count } = sliceOf(first, partition);
    const side = successorsOf(first, partition)[0] === number ? 0 : 1;
    return {
      ...{ partition, partitions: count, side },
      keeps: keptBy(side, count),
      knownElsewhere: () => holders.lines(partition).some(line => line.position > 0),
      origin: this.originOf(partition),
    };
  }

  /** One look. Answers the successors that are to be opened here. */
  look(): readonly number[] {
    this.#conclude();
    this.#retire();
    const { catalog, held } = this.#o;
    const number = dividing(catalog.map);
    const partition = number === undefined ? undefined : held.get(number);
    if (!partition?.replica.ready || this.#isResting(partition.number)) return [];
    const successors = successorsOf(catalog.map.first, partition.number);
    if (partition.writing) this.#seal(partition, successors);
    return successors.filter(next => !held.has(next));
  }

  /** A change is in no hurry: after each turn those who use the data have the machine to themselves for as long. */
  #isResting(turn: number): boolean {
    const now = this.#o.clock.monotonic();
    if (turn !== this.#turn) {
      const tookMs = this.#turn === undefined ? 0 : now - this.#restUntil;
      this.#turn = turn;
      this.#restUntil = now + Math.min(restMsMax, Math.max(0, tookMs));
    }
    return now < this.#restUntil;
  }

  #seal(partition: Partition, successors: readonly number[]): void {
    const { held, random, clock, logger } = this.#o;
    if (this.#sealing || this.#isHeldUp()) return;
    const nearFrom = partition.replica.head.position - nearEntries;
    const isNear = successors.every(next => (held.get(next)?.replica.beginning?.position ?? -1) >= nearFrom);
    if (!isNear || partition.unrelayed > nearEntries) return;
    const heldAt = clock.monotonic();
    const divide = async (): Promise<void> => {
      // One that does not come about made writers wait: not again at once.
      if (!(await partition.seal([random.id(), random.id()]))) return sleep(clock, sealAgainMs);
      const { deadline } = this.#at();
      await Promise.all(successors.map(next => held.get(next)?.replica.untilReady(deadline)));
      const stoodStillMs = Math.round((clock.monotonic() - heldAt) * 10) / 10;
      logger.info('a partition was divided', { partition: partition.number, into: successors.join(), stoodStillMs });
    };
    this.#sealing = divide()
      .catch(thrown => logger.warn('a partition was not divided yet', { message: TandemError.from(thrown).message }))
      .finally(() => {
        this.#sealing = undefined;
      });
  }

  /** Rule 25: while an instance lives that cannot read a seal, none is written. */
  #isHeldUp(): boolean {
    const { registry, service, logger } = this.#o;
    const old = registry.instances(service).filter(({ beat }) => beat.entryFormat < sealFormat);
    const instances = old.map(({ beat }) => beat.id).join(', ');
    if (old.length > 0 && !this.#tooOld)
      logger.error('resharding waits for instances of an older version: update them', { instances });
    this.#tooOld = old.length > 0;
    return this.#tooOld;
  }

  /** The writer of a successor tells the catalog that its origin is divided, when both have begun. */
  #conclude(): void {
    const { catalog, held, logger } = this.#o;
    const number = dividing(catalog.written);
    if (number === undefined || this.#concluding) return;
    const successors = successorsOf(catalog.written.first, number);
    if (!successors.some(next => held.get(next)?.writing)) return;
    const conclude = async (): Promise<void> => {
      for (const next of successors) if (!(await this.#isBegun(next))) return;
      await catalog.divided(number);
    };
    this.#concluding = conclude()
      .catch(thrown => logger.warn('the partition map is as it was', { message: TandemError.from(thrown).message }))
      .finally(() => {
        this.#concluding = undefined;
      });
  }

  async #isBegun(number: number): Promise<boolean> {
    const { engine, service, held } = this.#o;
    if (held.get(number)?.replica.ready) return true;
    try {
      return (await engine.log.read(logName(service, number), 1, beginningBytes, this.#at())).some(says);
    } catch (thrown) {
      if (TandemError.from(thrown).code === 'NOT_FOUND') return true; // trimmed: it has begun long ago
      throw thrown;
    }
  }

  /** What was divided goes from here, when its heirs are ready as far as they are held, and nobody waits for it. */
  #retire(): void {
    const { catalog, held, drop, logger } = this.#o;
    for (const [number, partition] of held) {
      const heirs = heirsOf(catalog.map, number);
      if (heirs.length === 1 || !partition.pipeline.idle) continue;
      if (heirs.some(heir => held.get(heir)?.replica.ready === false)) continue;
      try {
        partition.replica.store.replace([], emptyHead);
      } catch (thrown) {
        logger.warn('rows of a divided partition stay on the disk', { message: TandemError.from(thrown).message });
      }
      drop(partition);
    }
  }

  /**
   * Rule 22, over the seal: a sealed log and its snapshots go when both successors have two snapshots of their own. The seal
   * stays, for whoever comes with an old map. To be called after a snapshot of one of them.
   */
  async forget(number: number, sealedAt: number): Promise<void> {
    const { catalog, engine, service, large } = this.#o;
    for (const next of successorsOf(catalog.map.first, number))
      if ((await snapshotPositions(this.#o, service, next)).length < 2) return;
    const log = logName(service, number);
    const { first } = await engine.log.info(log, this.#at());
    if (first >= sealedAt) return;
    await deleteSnapshots(this.#o, service, number);
    await engine.log.trim(log, sealedAt, this.#at());
    await large.collect(log, sealedAt);
  }

  #at(): { deadline: number } {
    return { deadline: this.#o.clock.monotonic() + this.#o.engineTimeoutMs };
  }
}
