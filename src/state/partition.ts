/** One partition held here: its replica, its write path, and what looks at both. */
import { TandemError } from '../core/errors.ts';
import type { Gauge } from '../core/meter.ts';
import { unpack } from '../replication/codec.ts';
import { labelAt, labelOf } from '../replication/incarnation.ts';
import type { LargeEntries } from '../replication/large-entries.ts';
import type { Origin } from '../replication/origin.ts';
import type { Applied } from '../replication/replica.ts';
import { Replica } from '../replication/replica.ts';
import { snapshotPositions, writeSnapshot } from '../replication/snapshot.ts';
import type { ReplicaStore } from '../replication/store.ts';
import { waitFor } from '../replication/waiters.ts';
import { Barrier } from './barrier.ts';
import { type Due, doDue, eventGoesOut, nextDue, rowExpires } from './due.ts';
import { EmittedRing } from './emitted-ring.ts';
import type { KeyspaceOptions, RequestKey, StateSettings, SystemOptions, SystemPart } from './keyspace.ts';
import type { RawTx } from './overlay.ts';
import { Pipeline } from './pipeline.ts';
import { raiseFloor } from './request-ids.ts';
import { type ScheduleDefinition, Schedules } from './schedules.ts';
import { system, systemTx } from './tx.ts';
import { Watches } from './watch.ts';

export interface PartitionContext {
  readonly options: KeyspaceOptions;
  readonly settings: StateSettings;
  readonly partition: number;
  /** Slices of the keyspace when this was one of them. */
  readonly partitions: number;
  /** Those whose key lies in this one. */
  readonly schedules: readonly ScheduleDefinition[];
  readonly origin: Origin | undefined;
  readonly isDivided: () => Promise<boolean>;
  readonly store: ReplicaStore;
  readonly large: LargeEntries;
  /** The entry format that every replica of the service reads. */
  readonly formatRead: () => number;
  readonly knownElsewhere: () => boolean;
  /** Positions that living replicas of others report. */
  readonly followers: () => readonly number[];
  /** The ready replica of best rank other than this one; empty when there is none. */
  readonly heir: () => string;
  /** Asks the writer, another instance, for a barrier; undefined when none is known. */
  readonly askWriter: (deadline: number) => Promise<number> | undefined;
  readonly onWriting: (writing: boolean) => void;
  /** The log named another writer, or none: succession may have work at once. */
  readonly onEpoch: () => void;
  /** It goes on from its origin, whose log is sealed then. */
  readonly onBegun: () => void;
  /** Its log was sealed. */
  readonly onSealed: () => void;
  /** It has one snapshot more. */
  readonly onSnapshot: () => Promise<void>;
}

export interface Committed {
  readonly value: unknown;
  readonly position: number;
}

/** Large entries since the last snapshot, in bytes, after which the next is due. */
const largeBytesMax = 268_435_456;
/** A follower further behind than this installs a snapshot instead of holding the log. */
const followerEntriesMax = 100_000;
/** Writes of a partition stand still at most so long for a seal that then does not come about: twice, for what is on its way and for the relay. */
const sealPauseMsMax = 150;

export class Partition {
  readonly number: number;
  readonly replica: Replica;
  readonly pipeline: Pipeline;
  readonly barrier: Barrier;
  readonly emitted: EmittedRing;
  readonly watches: Watches = new Watches();
  readonly #c: PartitionContext;
  readonly #position: Gauge;
  readonly #digest: Gauge;
  readonly #schedules: Schedules;
  readonly #dueKinds: ReadonlyMap<string, Due>;
  /** The epoch in which this instance has put its schedules on the due list. */
  #armedIn = -1;
  #writing = false;
  #trimFloor: number | undefined;
  #lastSnapshot: number | undefined;
  #largeBytesSnapshotted = 0;
  #snapshotting: Promise<void> | undefined;
  #doingDue: Promise<unknown> | undefined;
  /** What it emitted up to here is in the topics; undefined while nobody relays. */
  #relayed: number | undefined;
  #onRelayed: (() => void) | undefined;
  #isBegun = false;
  #isClosing = false;
  /** Since when a better-ranked replica is ready (monotonic ms). */
  betterSince: number | undefined;
  /** Where this replica was when it was no longer placed here; undefined while it is. */
  leavingFrom: number | undefined;
  /** Claims in a row that did not last, and when the next may go out (monotonic ms). */
  claims = 0;
  claimAgainAt = 0;

  constructor(context: PartitionContext) {
    this.#c = context;
    this.number = context.partition;
    const { options, settings } = context;
    const { engine, clock, meter } = options;
    const attributes = { service: options.service, partition: String(context.partition) };
    this.#position = meter.gauge('tandem.replica.position', attributes);
    this.#digest = meter.gauge('tandem.replica.digest', attributes);
    this.#schedules = new Schedules(context.schedules);
    this.#dueKinds = new Map([
      ['row', rowExpires],
      ['event', eventGoesOut],
      ['schedule', this.#schedules.fallsDue],
    ]);
    this.replica = new Replica({
      ...options,
      partition: context.partition,
      partitions: context.partitions,
      origin: context.origin,
      isDivided: context.isDivided,
      onFit: () => this.#begun(),
      store: context.store,
      engineTimeoutMs: settings.engineTimeoutMs,
      large: context.large,
      knownElsewhere: context.knownElsewhere,
    });
    const { large, formatRead } = context;
    this.pipeline = new Pipeline({ ...options, replica: this.replica, settings, large, formatRead });
    this.barrier = new Barrier(this.replica, deadline => this.#tail(deadline), clock, settings.engineTimeoutMs);
    this.emitted = new EmittedRing(this.replica, engine, large, clock, settings.engineTimeoutMs);
    this.replica.onApplied(batch => this.#applied(batch));
    this.replica.onReplaced(() => this.#replaced());
    this.replica.open();
  }

  get writing(): boolean {
    return this.#writing;
  }
  /** As sessions carry it. */
  get label(): string {
    return labelOf(this.replica.log, this.replica.head);
  }
  /** That of an entry when it was written. */
  labelAt(position: number): string {
    return labelAt(this.replica.log, this.replica.head, position);
  }

  /** Rule 9: where a barrier is a read the engine answers it, elsewhere the writer's next entry does, or at worst one of our own. */
  async #tail(deadline: number): Promise<number> {
    const { log, capabilities } = this.#c.options.engine;
    if (capabilities.barrierAppends) {
      if (this.#writing) return this.barrierAsWriter(deadline);
      const asked = await this.#c.askWriter(deadline)?.catch(() => undefined);
      if (asked !== undefined && asked >= this.replica.head.position) return asked;
    }
    return log.barrier(this.replica.log, { deadline });
  }

  /** A position that covers all that was acknowledged before this call: that of an entry sent after it. */
  async barrierAsWriter(deadline: number): Promise<number> {
    return (await this.transact(undefined, () => undefined, deadline, undefined)).position;
  }

  monotonic(): number {
    return this.#c.options.clock.monotonic();
  }

  withDeadline<T>(shared: Promise<T>, deadline: number, signal: AbortSignal | undefined): Promise<T> {
    return waitFor(this.#c.options.clock, shared, deadline, signal);
  }

  transact(
    request: RequestKey | undefined,
    body: (tx: RawTx) => unknown,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<Committed> {
    return new Promise((resolve, reject) => {
      this.pipeline.submit({
        request,
        body,
        deadline,
        signal,
        resolve: (value, position) => resolve({ value, position }),
        reject,
        runs: 0,
        settled: false,
      });
    });
  }

  systemPart(): SystemPart {
    const { store } = this.replica;
    const scan: SystemPart['scan'] = (table, prefix, options) =>
      [...store.scan(system(table), prefix, options)].map(([key, bytes]) => [key, unpack(bytes)] as const);
    return {
      get: (table, key) => {
        const bytes = store.get(system(table), key);
        return bytes && unpack(bytes);
      },
      scan,
      transact: async <R>(
        request: RequestKey | undefined,
        body: (tx: ReturnType<typeof systemTx>) => R,
        options: SystemOptions,
      ) => {
        const run = (raw: RawTx): R => body(systemTx(raw, options.traceparent, this.#c.options.random));
        return (await this.transact(request, run, options.deadline, options.signal)).value as R;
      },
      raiseFloor: async (source, number, options) => {
        await this.transact(undefined, raw => raiseFloor(raw.rows, source, number), options.deadline, options.signal);
      },
    };
  }

  /** Position and digest of this copy, for whoever compares copies: at one position all digests are one. */
  show(): void {
    const { position, digest } = this.replica.head;
    this.#position.set(position);
    this.#digest.set(Number.parseInt(digest.slice(0, 12), 16));
  }

  setTrimFloor(position: number): void {
    this.#trimFloor = Math.max(this.#trimFloor ?? 0, position);
  }

  relayed(position: number): void {
    this.#relayed = Math.max(this.#relayed ?? 0, position);
    this.#onRelayed?.();
  }

  /** Entries whose events may not be in the topics yet; none when nobody relays. */
  get unrelayed(): number {
    return Math.max(0, this.replica.head.position - (this.#relayed ?? 0));
  }

  /**
   * Ends this partition's log: nothing new is run, what is on its way lands, what was emitted is relayed to the last, then
   * the seal is appended right behind. So its successors' events need not wait for anyone. What takes too long is broken off:
   * false, and writes go on.
   */
  async seal(incarnations: readonly [string, string]): Promise<boolean> {
    const { pipeline, replica } = this;
    try {
      const quiet = await pipeline.hold(sealPauseMsMax);
      const { position } = replica.head;
      if (quiet && (await this.#untilRelayed(position))) await pipeline.seal({ incarnations }, position);
    } finally {
      pipeline.release();
    }
    return replica.state === 'sealed';
  }

  async #untilRelayed(position: number): Promise<boolean> {
    const isRelayed = (): boolean => (this.#relayed ?? 0) >= position;
    if (isRelayed()) return true;
    await new Promise<void>(resolve => {
      const timer = this.#c.options.clock.after(sealPauseMsMax, resolve);
      this.#onRelayed = () => {
        if (!isRelayed()) return;
        timer.cancel();
        resolve();
      };
    });
    this.#onRelayed = undefined;
    return isRelayed();
  }

  /** Called by the keyspace's tick: the writer snapshots what has grown and trims behind it. */
  housekeep(): void {
    if (!this.#writing || !this.replica.ready) return;
    this.#doDue();
    if (this.#snapshotting) return;
    if (
      this.replica.head.position - (this.#lastSnapshot ?? 0) < this.#c.settings.snapshotEntries &&
      !this.#muchIsLarge()
    )
      return;
    this.#snapshotting = this.#snapshot()
      .catch(thrown => {
        this.#c.options.logger.warn('a snapshot failed', {
          log: this.replica.log,
          message: TandemError.from(thrown).message,
        });
      })
      .finally(() => {
        this.#snapshotting = undefined;
      });
  }

  /** One transaction at a time; a failed one is tried again by the next tick. */
  #doDue(): void {
    const { clock, logger } = this.#c.options;
    if (this.#doingDue) return;
    const { epoch } = this.replica.head;
    const arms = this.#armedIn !== epoch && this.#schedules.size > 0;
    const dueAtMs = nextDue(this.replica.store);
    if (!arms && (dueAtMs === undefined || dueAtMs > Math.max(clock.now(), this.replica.head.time))) return;
    const deadline = clock.monotonic() + this.#c.settings.engineTimeoutMs;
    const work = (tx: RawTx): void => {
      if (arms) this.#schedules.arm(tx);
      doDue(tx, this.#dueKinds);
    };
    this.#doingDue = this.transact(undefined, work, deadline, undefined)
      .then(() => {
        if (arms) this.#armedIn = epoch;
      })
      .catch(thrown => {
        const { message } = TandemError.from(thrown);
        logger.warn('what fell due waits for the next try', { log: this.replica.log, message });
      })
      .finally(() => {
        this.#doingDue = undefined;
      });
  }

  async #snapshot(): Promise<void> {
    const { options, settings, partition } = this.#c;
    const context = { ...options, engineTimeoutMs: settings.engineTimeoutMs };
    if (this.#lastSnapshot === undefined) {
      this.#lastSnapshot = (await snapshotPositions(context, options.service, partition)).at(-1) ?? 0;
      if (this.replica.head.position - this.#lastSnapshot < settings.snapshotEntries && !this.#muchIsLarge()) return;
    }
    const { largeBytes } = this.pipeline;
    const capture = this.replica.store.capture();
    await writeSnapshot(context, options.service, partition, capture);
    this.#lastSnapshot = capture.head.position;
    this.#largeBytesSnapshotted = largeBytes;
    await this.#trim(await snapshotPositions(context, options.service, partition));
    await this.#c.onSnapshot();
  }

  /** Behind the older of two verified snapshots, the relay, and every follower within reach (rule 22). */
  async #trim(snapshots: readonly number[]): Promise<void> {
    if (snapshots.length < 2 || this.#trimFloor === undefined) return;
    const tail = this.replica.head.position;
    const near = this.#c.followers().filter(position => position >= tail - followerEntriesMax);
    const before = Math.min(snapshots.at(-2)!, this.#trimFloor, ...near);
    if (before <= 1) return;
    const { engine, clock } = this.#c.options;
    const at = (): { deadline: number } => ({ deadline: clock.monotonic() + this.#c.settings.engineTimeoutMs });
    const { log } = this.replica;
    await this.#c.large.collect(log, (await engine.log.info(log, at())).first);
    await engine.log.trim(log, before, at());
  }

  #muchIsLarge(): boolean {
    return this.pipeline.largeBytes - this.#largeBytesSnapshotted >= largeBytesMax;
  }

  /** For the second half of the grace before it resigns to a better-ranked replica. */
  isHandingOver(): boolean {
    const { options, settings } = this.#c;
    const { betterSince } = this;
    return betterSince !== undefined && options.clock.monotonic() - betterSince >= settings.resignGraceMs / 2;
  }

  /** Finishes what it took on and steps down. */
  async drain(deadline: number): Promise<void> {
    const { clock, logger } = this.#c.options;
    this.pipeline.stop(new TandemError('MOVED', 'this instance hands its partitions over; repeat at another'));
    const next = (): Promise<void> => new Promise(resolve => clock.after(5, resolve));
    while (this.pipeline.pending > 0 && clock.monotonic() < deadline) await next();
    while (this.#writing && this.replica.ready && clock.monotonic() < deadline) {
      this.pipeline.resign(this.#c.heir());
      await next();
    }
    if (this.#writing) logger.warn('a partition was left without resigning', { log: this.replica.log });
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.pipeline.close(new TandemError('CLOSED', 'this instance is stopping'));
    await this.#snapshotting;
    const closed = this.replica.close();
    this.watches.reset();
    await closed;
    this.#position.set(Number.NaN);
    this.#digest.set(Number.NaN);
    this.#setWriting(false);
  }

  #applied(batch: readonly Applied[]): void {
    this.emitted.applied(batch);
    this.watches.applied(batch);
    this.#begun();
    this.#setWriting(this.replica.head.writer === this.#c.options.instance && !this.replica.head.sealed);
    if (batch.some(({ entry }) => entry.claims || entry.resignsTo !== undefined)) this.#c.onEpoch();
  }

  /** All rows at once, by a snapshot or because this copy was wrong; or the replica stopped. */
  #replaced(): void {
    this.watches.reset();
    this.#begun();
    this.#setWriting(!this.replica.ended && this.replica.head.writer === this.#c.options.instance);
    if (this.replica.state === 'sealed') this.#c.onSealed();
  }

  /** Told once, and before anything is done in it. */
  #begun(): void {
    if (this.#isBegun || this.replica.head.hash === '') return;
    this.#isBegun = true;
    if (this.#c.origin) this.#c.onBegun();
  }

  #setWriting(writing: boolean): void {
    // What lands while it closes makes it no writer: nobody holds it any more.
    if (writing === this.#writing || (writing && this.#isClosing)) return;
    this.#writing = writing;
    this.betterSince = undefined;
    this.#c.onWriting(writing);
  }
}
