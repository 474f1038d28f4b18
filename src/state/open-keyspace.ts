/**
 * The keyspace of one service at one instance: opens the partitions that placement gives it, keeps who writes them
 * (data core, rules 7 and 8), routes calls, and gives each call its scope. Looks at the world on a tick and whenever
 * the registry changes; everything it does there is safe to do late or twice.
 */
import { Session } from '../calling/session.ts';
import type { Tables } from '../contract/table.ts';
import type { Incoming, Reply } from '../core/channel.ts';
import { every, sleep, type Timer } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { CallMeta } from '../core/meta.ts';
import type { PartitionBeat } from '../failure-detection/beat.ts';
import {
  heirsOf,
  liesIn,
  livingNumbers,
  numberOfKey,
  type PartitionMap,
  sliceOf,
} from '../partitioning/partition-map.ts';
import { LargeEntries } from '../replication/large-entries.ts';
import { Catalog } from './catalog.ts';
import { Divider } from './divider.ts';
import { Holders } from './holders.ts';
import { indexedStore } from './indexes.ts';
import type {
  EmittedBatch,
  Keyspace,
  KeyspaceOptions,
  Route,
  Scope,
  ScopeOptions,
  StateSettings,
  SystemPart,
} from './keyspace.ts';
import { Partition } from './partition.ts';
import { answerRemote, type RemoteForm, RemoteReads } from './remote-reads.ts';
import { Roster } from './roster.ts';
import { Routing } from './routing.ts';
import { CallScope } from './scope.ts';
import { stateDefaults } from './state-defaults.ts';
import { dropRows, type StoredTables, storedTables, tellUndeclared } from './stored-tables.ts';
import { isReadyReplica } from './succession.ts';
import { expiryOf, type RowCodec, TableCodec } from './table-codec.ts';
import { Takeover } from './takeover.ts';
import { notInTime } from './task-errors.ts';

type WritingListener = (partition: number, writing: boolean) => void;

/** Opens at once; `ready` tells when its partitions are caught up. */
export async function openKeyspace(options: KeyspaceOptions): Promise<Keyspace> {
  const keyspace = new OpenKeyspace(options);
  await keyspace.look();
  return keyspace;
}

class OpenKeyspace implements Keyspace {
  readonly service: string;
  readonly #options: KeyspaceOptions;
  readonly #settings: StateSettings;
  readonly #codecs: ReadonlyMap<string, TableCodec>;
  readonly #held = new Map<number, Partition>();
  /** By partition: opening one again waits for the former replica's end, so that two never share a store. */
  readonly #closing = new Map<number, Promise<void>>();
  readonly #roster: Roster;
  readonly #takeover: Takeover;
  readonly #large: LargeEntries;
  readonly #remote: RemoteReads;
  readonly #listeners = new Set<WritingListener>();
  readonly isHandingOver = (partition: number): boolean => this.#held.get(partition)?.isHandingOver() ?? false;
  readonly #ticks: Timer;
  readonly #unsubscribe: () => void;
  readonly #catalog: Catalog;
  readonly #divider: Divider;
  readonly #holders: Holders;
  readonly #routing: Routing;
  /** Partitions that take writes, in order. */
  #living: readonly number[];
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #lookDue = false;
  /** Partitions placed here by the last look. */
  #placed: readonly number[] = [];
  #openFailure: unknown;
  #draining = false;
  #closed = false;

  constructor(options: KeyspaceOptions) {
    const { service, registry, instance, clock, random, caller } = options;
    this.service = service;
    this.#options = options;
    this.#settings = { ...stateDefaults, ...options.settings };
    const { engineTimeoutMs } = this.#settings;
    this.#catalog = new Catalog({ ...options, engineTimeoutMs, onChange: () => this.#mapChanged() });
    this.#living = livingNumbers(this.#catalog.map);
    this.#holders = new Holders(registry, service, instance);
    this.#large = new LargeEntries({ ...options, engineTimeoutMs });
    const parts = { ...options, catalog: this.#catalog, holders: this.#holders, held: this.#held, engineTimeoutMs };
    this.#routing = new Routing({ ...parts, isDraining: () => this.#draining });
    this.#divider = new Divider({ ...parts, large: this.#large, drop: partition => this.#drop(partition) });
    this.#codecs = new Map(Object.entries(options.tables).map(([name, table]) => [name, new TableCodec(name, table)]));
    this.#roster = new Roster(registry, service, instance, clock, this.#settings.placementGraceMs);
    this.#takeover = new Takeover({ ...options, settings: this.#settings });
    this.#remote = new RemoteReads({
      caller,
      holders: partition => this.#routing.near(partition),
      learn: () => this.#catalog.refresh(),
      clock,
      random,
    });
    this.#ticks = every(clock, this.#settings.tickMs, () => {
      this.#housekeep();
      return this.look();
    });
    this.#unsubscribe = registry.onChange(() => this.#lookSoon());
  }

  /** One look at placement and succession; a look asked for meanwhile follows at once. */
  look(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    try {
      this.#tend();
    } catch (thrown) {
      this.#failed(thrown);
    }
    if (this.#looking) {
      this.#lookAgain = true;
      return this.#looking;
    }
    this.#looking = this.#place()
      .catch(thrown => this.#failed(thrown))
      .finally(() => {
        this.#looking = undefined;
        if (this.#lookAgain && !this.#closed) {
          this.#lookAgain = false;
          void this.look();
        }
      });
    return this.#looking;
  }

  /** One look for all that this turn brings: a death changes the writers of many partitions at once. */
  #lookSoon(): void {
    if (this.#lookDue) return;
    this.#lookDue = true;
    this.#options.clock.defer(() => {
      this.#lookDue = false;
      void this.look();
    });
  }

  #failed(thrown: unknown): void {
    this.#openFailure = thrown;
    this.#options.logger.warn('placing partitions failed', { message: TandemError.from(thrown).message });
  }

  /** What is held here: who writes it, and whether it stays. Never waits, for partitions being opened least of all. */
  #tend(): void {
    if (this.#draining || !this.#catalog.known) return;
    this.#takeover.checkClock();
    this.#takeover.watchWriters(this.#held.values());
    const ids = this.#roster.ids();
    const joined = ids.join();
    for (const number of this.#living) {
      const partition = this.#held.get(number);
      if (!partition) continue;
      const ranked = this.#roster.ranking(number, ids, joined);
      const placed = this.#isPlaced(ranked);
      partition.leavingFrom = placed ? undefined : (partition.leavingFrom ?? partition.replica.head.position);
      this.#takeover.succeed(partition, ranked);
      if (!placed) this.#leave(partition);
    }
  }

  /** What can wait for the next tick. */
  #housekeep(): void {
    if (this.#draining || this.#closed || !this.#catalog.known) return;
    try {
      for (const partition of this.#held.values()) {
        partition.show();
        partition.housekeep();
      }
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  /** Opens what belongs here. */
  async #place(): Promise<void> {
    if (this.#draining) return;
    if (!this.#catalog.known) {
      await this.#catalog.open();
      this.#mapChanged();
      if (this.#draining || this.#closed) return;
    }
    const ids = this.#roster.ids();
    const joined = ids.join();
    const placed = this.#living.filter(number => this.#isPlaced(this.#roster.ranking(number, ids, joined)));
    const opening = placed.filter(number => !this.#held.has(number)).map(number => this.#open(number));
    for (const number of this.#divider.look()) opening.push(this.#open(number));
    this.#placed = placed;
    // All are awaited, so that no later look opens what is still opening.
    const failed = (await Promise.allSettled(opening)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
    this.#openFailure = undefined;
  }

  #isPlaced(ranked: readonly string[]): boolean {
    return ranked.slice(0, this.#options.replicas).includes(this.#options.instance);
  }

  #mapChanged(): void {
    this.#living = livingNumbers(this.#catalog.map);
    void this.look();
  }

  async #open(number: number): Promise<void> {
    await this.#closing.get(number);
    const store = indexedStore(await this.#options.openStore(number), this.#codecs);
    if (this.#closed) return store.close();
    const origin = this.#divider.originOf(number);
    const { first } = this.#catalog.map;
    const partition: Partition = new Partition({
      options: this.#options,
      settings: this.#settings,
      partition: number,
      partitions: sliceOf(first, number).count,
      schedules: (this.#options.schedules ?? []).filter(({ key }) => liesIn(first, number, key)),
      origin,
      isDivided: () => this.#catalog.isDivided(number),
      store,
      large: this.#large,
      formatRead: () => this.#holders.formatRead(),
      knownElsewhere: () => this.#holders.lines(number).some(line => line.position > 0),
      followers: () => this.#holders.lines(number).map(line => line.position),
      heir: () => this.#holders.ready(number)[0]?.beat.id ?? '',
      askWriter: deadline => this.#askWriter(number, deadline),
      onEpoch: () => this.#lookSoon(),
      onBegun: () => origin && this.#catalog.sealed(origin.partition),
      onSealed: () => this.#catalog.sealed(number),
      onSnapshot: async () => {
        if (origin) await this.#divider.forget(origin.partition, partition.replica.head.sealedAt ?? 0);
      },
      onWriting: writing => {
        for (const listener of this.#listeners) listener(number, writing);
      },
    });
    this.#held.set(number, partition);
  }

  /** Rule 8: data goes only when enough others have it, and never while this instance writes it. */
  #leave(partition: Partition): void {
    const { number, leavingFrom = 0 } = partition;
    // Beats lag behind a busy log: what counts is what this replica held when it was told to go; the log has the rest.
    const elsewhere = this.#holders.lines(number).filter(line => line.ready && line.position >= leavingFrom).length;
    const { writer } = partition.replica.head;
    if (elsewhere < this.#options.replicas || writer === this.#options.instance || !partition.pipeline.idle) return;
    this.#drop(partition);
  }

  #drop(partition: Partition): void {
    const { number } = partition;
    this.#held.delete(number);
    const closed = partition
      .close()
      .catch(thrown =>
        this.#options.logger.warn('closing a partition failed', { message: TandemError.from(thrown).message }),
      )
      .finally(() => this.#closing.delete(number));
    this.#closing.set(number, closed);
  }

  get map(): PartitionMap {
    return this.#catalog.map;
  }

  partitionOf(key: string): number {
    return numberOfKey(this.#catalog.map, key);
  }

  heirs(partition: number): readonly number[] {
    return heirsOf(this.#catalog.map, partition);
  }

  noteLog(label: string): Promise<void> {
    return this.#catalog.noteLog(label);
  }

  beats(): PartitionBeat[] {
    return [...this.#held.values()].map(({ number, replica, writing }) => ({
      partition: number,
      ready: replica.ready && !this.#draining,
      epoch: writing && replica.ready ? replica.head.epoch : 0,
      // Barriers alone are no data: who holds nothing else knows of no log that could be lost.
      position: replica.head.hash === '' ? 0 : replica.head.position,
    }));
  }

  route(partition: number, reads: boolean): Route {
    return this.#routing.route(partition, reads);
  }

  writerOf(partition: number): string | undefined {
    return this.#routing.writerOf(partition);
  }

  isWriter(partition: number): boolean {
    return this.#held.get(partition)?.writing ?? false;
  }

  held(): readonly number[] {
    return [...this.#held.keys()];
  }

  scope<T extends Tables = Tables>(options: ScopeOptions): Scope<T> {
    return new CallScope<T>(options, {
      codecs: this.#codecs,
      tables: this.#codecs,
      catalog: this.#catalog,
      local: number => this.#local(number),
      arriving: number => this.#arriving(number),
      moved: number => this.#moved(number),
      remote: this.#remote,
      clock: this.#options.clock,
      random: this.#options.random,
    });
  }

  #askWriter(number: number, deadline: number): Promise<number> | undefined {
    const { registry, caller } = this.#options;
    const member = registry.member(this.#routing.writerOf(number) ?? '');
    if (!member || !isReadyReplica(member, number)) return undefined;
    // Half of the time left stays for a barrier of our own.
    const now = this.#options.clock.monotonic();
    const options = { deadline: now + (deadline - now) / 2 };
    return caller.send(member, '$barrier', { partition: number }, options).then(({ body }) => Number(body));
  }

  /** Names an instance that has it, where one is known. */
  #moved(partition: number): TandemError {
    const instance = this.#holders.ready(partition)[0]?.beat.id;
    return new TandemError('MOVED', `partition ${partition} of '${this.service}' is not ready at this instance`, {
      details: instance === undefined ? { partition } : { partition, instance },
    });
  }

  /** One that is not ready yet and will be in a moment. */
  #arriving(number: number): Partition | undefined {
    return this.#routing.isArriving(number) ? this.#held.get(number) : undefined;
  }

  #local(number: number): Partition | undefined {
    const partition = this.#held.get(number);
    return partition?.replica.ready ? partition : undefined;
  }

  handles(method: string): boolean {
    return systemMethods.has(method);
  }

  /** Never sends the question on: who does not hold the partition says so. */
  answer = async (incoming: Incoming): Promise<Reply> => {
    if (incoming.method === '$stored-tables') return { body: this.#storedTables() };
    const form = incoming.body as RemoteForm;
    const { deadline } = incoming;
    // Asked by someone with an older map: a row has gone on with its key.
    const isDivided = this.heirs(form.partition).length > 1;
    const number = isDivided && form.key !== undefined ? this.partitionOf(form.key) : form.partition;
    await this.#arriving(number)?.replica.untilReady(deadline, incoming.signal);
    const partition = this.#local(number);
    if (!partition) throw this.#moved(number);
    const { consistency: level = 'sequential', session: past } = (incoming.meta ?? {}) as CallMeta;
    if (incoming.method === '$barrier' || incoming.method === '$drop-rows') {
      if (!partition.writing) throw this.#moved(form.partition);
      if (incoming.method === '$drop-rows') return dropRows(partition, form, this.#codecs.keys(), incoming);
      return { body: await partition.barrierAsWriter(deadline) };
    }
    const { degrade } = form;
    const answered = new AbortController();
    const signal = form.known === undefined ? incoming.signal : AbortSignal.any([incoming.signal, answered.signal]);
    const session = Session.fromForm(past);
    const scope = new CallScope(
      { partition: number, level, degrade, session, deadline, signal, request: { id: '' } },
      {
        codecs: new Map([[form.table, rawRows]]),
        tables: new Map(),
        catalog: this.#catalog,
        pinned: number,
        local: () => partition,
        arriving: () => undefined,
        moved: number => this.#moved(number),
        remote: this.#remote,
        clock: this.#options.clock,
        random: this.#options.random,
      },
    );
    try {
      return await answerRemote(form, scope, { clock: this.#options.clock, deadline, signal });
    } finally {
      answered.abort();
    }
  };

  async ready(deadline: number): Promise<void> {
    const { clock } = this.#options;
    for (;;) {
      await this.look();
      const why = this.#openFailure === undefined ? undefined : TandemError.from(this.#openFailure);
      if (why && (why.code === 'CONFIG' || why.code === 'UNSUPPORTED')) throw why;
      const awaited = [...this.#held.values()].filter(({ number }) => this.#living.includes(number));
      await Promise.all(awaited.map(partition => this.#caughtUp(partition, deadline)));
      if (this.#catalog.known && this.#placed.every(number => this.#held.get(number)?.replica.ready)) {
        tellUndeclared(this.#storedTables(), this.service, this.#options.logger);
        return;
      }
      if (clock.monotonic() >= deadline) throw notInTime(this.service, why);
      await sleep(clock, 10);
    }
  }

  #storedTables(): StoredTables {
    return storedTables(this.#held.values(), this.#codecs.keys());
  }

  /** A newcomer first places as if it were alone; what it then leaves to others need not catch up. */
  async #caughtUp(partition: Partition, deadline: number): Promise<void> {
    try {
      await partition.replica.untilReady(deadline);
    } catch (thrown) {
      if (this.#held.get(partition.number) !== partition) return;
      const error = TandemError.from(thrown);
      if (error.code === 'MOVED') return; // divided meanwhile: its heirs count
      throw error.code === 'DEADLINE_EXCEEDED' ? notInTime(this.service, error) : error;
    }
  }

  system(partition: number): SystemPart {
    return this.#mine(partition).systemPart();
  }

  emitted(partition: number, from: number, signal: AbortSignal): AsyncIterable<EmittedBatch> {
    return this.#mine(partition).emitted.follow(from, signal);
  }

  onWriting(listener: WritingListener): () => void {
    this.#listeners.add(listener);
    for (const { number, writing } of this.#held.values()) if (writing) listener(number, true);
    return () => this.#listeners.delete(listener);
  }
  setTrimFloor(partition: number, position: number): void {
    this.#held.get(partition)?.setTrimFloor(position);
  }

  relayed(partition: number, position: number): void {
    this.#held.get(partition)?.relayed(position);
  }

  logOf(partition: number, position: number = Number.POSITIVE_INFINITY): string {
    return this.#mine(partition).labelAt(position);
  }

  #mine(partition: number): Partition {
    const held = this.#held.get(partition);
    if (held) return held;
    throw new TandemError('MOVED', `partition ${partition} is not held here`);
  }

  async drain(deadline: number): Promise<void> {
    this.#draining = true;
    await Promise.all([...this.#held.values()].map(partition => partition.drain(deadline)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#ticks.cancel();
    this.#unsubscribe();
    await this.#looking;
    await this.#catalog.close();
    const open = [...this.#held.values()];
    this.#held.clear();
    await Promise.all([...open.map(partition => partition.close()), ...this.#closing.values()]);
  }
}

const systemMethods = new Set(['$read', '$scan', '$watch', '$barrier', '$stored-tables', '$drop-rows']);

/** Rows as they lie in the store: the asker decodes them, since it is the one who knows the table. */
const rawRows: RowCodec<Uint8Array> = { decode: (bytes, timeMs) => (expiryOf(bytes) <= timeMs ? undefined : bytes) };
