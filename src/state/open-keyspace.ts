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
import { limits } from '../core/limits.ts';
import type { CallMeta } from '../core/meta.ts';
import type { Member, PartitionBeat } from '../failure-detection/beat.ts';
import { partitionOf } from '../partitioning/hash.ts';
import { ranking } from '../partitioning/placement.ts';
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
import { answerRead, type RangeForm, RemoteReads, type RowForm } from './remote-reads.ts';
import { Roster } from './roster.ts';
import { CallScope, type RowCodec } from './scope.ts';
import { isReadyReplica, succession } from './succession.ts';
import { TableCodec } from './table-codec.ts';

export const stateDefaults: StateSettings = {
  snapshotEntries: 10_000,
  transactionsQueuedMax: limits.transactionsQueuedMax,
  rerunsMax: 64,
  requestIdWindowMs: limits.requestIdWindowMs,
  placementGraceMs: limits.placementGraceMs,
  resignGraceMs: 2000,
  unheardGraceMs: limits.beatIntervalMs * 4,
  engineTimeoutMs: limits.engineTimeoutMs,
  tickMs: 100,
};

type WritingListener = (partition: number, writing: boolean) => void;

/** Opens at once; `ready` tells when its partitions are caught up. */
export async function openKeyspace(options: KeyspaceOptions): Promise<Keyspace> {
  const keyspace = new OpenKeyspace(options);
  await keyspace.look();
  return keyspace;
}

class OpenKeyspace implements Keyspace {
  readonly service: string;
  readonly partitions: number;
  readonly #options: KeyspaceOptions;
  readonly #settings: StateSettings;
  readonly #codecs: ReadonlyMap<string, TableCodec>;
  readonly #held = new Map<number, Partition>();
  readonly #closing = new Set<Promise<void>>();
  readonly #roster: Roster;
  readonly #remote: RemoteReads;
  readonly #listeners = new Set<WritingListener>();
  readonly #ticks: Timer;
  readonly #unsubscribe: () => void;
  readonly #listeningSince: number;
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #draining = false;
  #closed = false;

  constructor(options: KeyspaceOptions) {
    const { service, registry, instance, clock, random, caller } = options;
    this.service = service;
    this.partitions = options.partitions;
    this.#options = options;
    this.#settings = { ...stateDefaults, ...options.settings };
    this.#codecs = new Map(Object.entries(options.tables).map(([name, table]) => [name, new TableCodec(name, table)]));
    this.#roster = new Roster(registry, service, instance, clock, this.#settings.placementGraceMs);
    this.#listeningSince = clock.monotonic();
    this.#remote = new RemoteReads({ caller, holders: partition => this.#holders(partition), clock, random });
    this.#ticks = every(clock, this.#settings.tickMs, () => this.look());
    this.#unsubscribe = registry.onChange(() => void this.look());
  }

  /** One look at placement and succession; a look asked for meanwhile follows at once. */
  look(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#looking) {
      this.#lookAgain = true;
      return this.#looking;
    }
    this.#looking = this.#place()
      .catch(thrown =>
        this.#options.logger.warn('placing partitions failed', { message: TandemError.from(thrown).message }),
      )
      .finally(() => {
        this.#looking = undefined;
        if (this.#lookAgain && !this.#closed) {
          this.#lookAgain = false;
          void this.look();
        }
      });
    return this.#looking;
  }

  async #place(): Promise<void> {
    if (this.#draining) return;
    const { service, instance } = this.#options;
    const ids = this.#roster.ids();
    const opening: Promise<void>[] = [];
    for (let number = 0; number < this.partitions; number++) {
      const ranked = ranking(service, number, ids);
      const placed = ranked.slice(0, this.#options.replicas).includes(instance);
      const partition = this.#held.get(number);
      if (partition) {
        partition.leaving = !placed;
        partition.show();
        this.#succeed(partition, ranked);
        if (!placed) this.#leave(partition);
      } else if (placed) opening.push(this.#open(number));
    }
    await Promise.all(opening);
  }

  async #open(number: number): Promise<void> {
    const store = await this.#options.openStore(number);
    if (this.#closed) return store.close();
    const partition: Partition = new Partition({
      options: this.#options,
      settings: this.#settings,
      partition: number,
      store,
      knownElsewhere: () => this.#others(number).some(line => line.position > 0),
      followers: () => this.#others(number).map(line => line.position),
      onWriting: writing => {
        for (const listener of this.#listeners) listener(number, writing);
      },
    });
    this.#held.set(number, partition);
  }

  /** Rule 7: take over, stay, or hand on to a better-ranked replica after a grace. */
  #succeed(partition: Partition, ranked: readonly string[]): void {
    if (!partition.replica.ready) return;
    const { instance, registry, clock } = this.#options;
    const now = clock.monotonic();
    const step = succession({
      self: instance,
      head: partition.replica.head,
      partition: partition.number,
      ranked: partition.leaving ? ranked.filter(id => id !== instance) : ranked,
      member: id => registry.member(id),
      listeningMs: now - this.#listeningSince,
      unheardGraceMs: this.#settings.unheardGraceMs,
    });
    if (step.kind === 'claim' && !partition.leaving) partition.pipeline.claim();
    if (step.kind !== 'better') partition.betterSince = undefined;
    else {
      partition.betterSince ??= now;
      if (now - partition.betterSince >= this.#settings.resignGraceMs) partition.pipeline.resign(step.member);
    }
    partition.housekeep();
  }

  /** Rule 8: data goes only when enough others have it, and never while this instance writes it. */
  #leave(partition: Partition): void {
    const { position, writer } = partition.replica.head;
    const elsewhere = this.#others(partition.number).filter(line => line.ready && line.position >= position).length;
    if (elsewhere < this.#options.replicas || writer === this.#options.instance || partition.pipeline.pending > 0)
      return;
    this.#held.delete(partition.number);
    const closed = partition
      .close()
      .catch(thrown =>
        this.#options.logger.warn('closing a partition failed', { message: TandemError.from(thrown).message }),
      )
      .finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }

  /** What the other living members say of a partition. */
  #others(partition: number): PartitionBeat[] {
    const lines: PartitionBeat[] = [];
    for (const { beat, verdict } of this.#options.registry.instances(this.service)) {
      if (beat.id === this.#options.instance || verdict === 'dead') continue;
      const line = beat.partitions.find(candidate => candidate.partition === partition);
      if (line) lines.push(line);
    }
    return lines;
  }

  /** Members other than this one with a ready replica, by rank. */
  #holders(partition: number): Member[] {
    const { registry, service, instance } = this.#options;
    const ready = registry
      .instances(service)
      .filter(member => member.beat.id !== instance && isReadyReplica(member, partition));
    const ranked = ranking(
      service,
      partition,
      ready.map(member => member.beat.id),
    );
    return ranked.map(id => ready.find(member => member.beat.id === id)!);
  }

  partitionOf(key: string): number {
    return partitionOf(key, this.partitions);
  }

  beats(): PartitionBeat[] {
    return [...this.#held.values()].map(({ number, replica, writing }) => ({
      partition: number,
      ready: replica.ready && !this.#draining,
      epoch: writing ? replica.head.epoch : 0,
      position: replica.head.position,
    }));
  }

  route(partition: number, reads: boolean): Route {
    const held = this.#held.get(partition);
    const here = held?.replica.ready ? held : undefined;
    if (here && (reads || here.writing)) return { here: true };
    const { registry, instance, service } = this.#options;
    if (here) {
      const writer = registry.member(here.replica.head.writer);
      if (writer && writer.beat.id !== instance && isReadyReplica(writer, partition))
        return { here: false, member: writer };
    }
    const holders = this.#holders(partition);
    const claimed = holders.filter(
      ({ beat }) => (beat.partitions.find(line => line.partition === partition)?.epoch ?? 0) > 0,
    );
    const best = claimed.sort((a, b) => epochOf(b, partition) - epochOf(a, partition))[0] ?? holders[0];
    if (here && !this.#draining) {
      const rank = best ? ranking(service, partition, [instance, best.beat.id]) : [instance];
      // Without a writer the better-ranked of the two takes it; safety needs no agreement on that.
      if (claimed.length === 0 && rank[0] === instance) return { here: true };
      if (!best) return { here: true };
    }
    if (best) return { here: false, member: best };
    throw new TandemError('UNAVAILABLE', `no replica of partition ${partition} of '${service}' is ready`, {
      details: { partition },
    });
  }

  writerOf(partition: number): string | undefined {
    const held = this.#held.get(partition);
    if (held?.replica.ready && held.replica.head.writer !== '') return held.replica.head.writer;
    return this.#holders(partition).find(member => epochOf(member, partition) > 0)?.beat.id;
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
      partitions: this.partitions,
      partitionOf: key => this.partitionOf(key),
      local: number => this.#local(number),
      remote: this.#remote,
      clock: this.#options.clock,
      random: this.#options.random,
    });
  }

  #local(number: number): Partition | undefined {
    const partition = this.#held.get(number);
    return partition?.replica.ready ? partition : undefined;
  }

  handles(method: string): boolean {
    return method === '$read' || method === '$scan';
  }

  answer = (incoming: Incoming): Promise<Reply> =>
    answerRead(incoming, (level, meta: CallMeta) => {
      const body = incoming.body as (RowForm | RangeForm) & { partition: number; degrade?: 'eventual' };
      const partition = this.#local(body.partition);
      if (!partition) throw new TandemError('MOVED', 'this instance does not hold that partition');
      const session = Session.fromForm(meta.session);
      const { deadline, signal } = incoming;
      const scope = new CallScope(
        { partition: body.partition, level, degrade: body.degrade, session, deadline, signal, request: { id: '' } },
        {
          codecs: new Map([[body.table, rawRows]]),
          tables: new Map(),
          partitions: this.partitions,
          partitionOf: () => body.partition,
          local: number => this.#local(number),
          remote: this.#remote,
          clock: this.#options.clock,
          random: this.#options.random,
        },
      );
      const reader = scope.tables[body.table]!;
      const value =
        'key' in body
          ? reader.get(body.key)
          : collect(reader.scan(body.prefix, body.limit === undefined ? {} : { limit: body.limit }));
      return { scope, value };
    });

  async ready(deadline: number): Promise<void> {
    const { clock } = this.#options;
    for (;;) {
      await this.look();
      await Promise.all([...this.#held.values()].map(partition => this.#caughtUp(partition, deadline)));
      if ([...this.#held.values()].every(({ replica }) => replica.ready)) return;
      if (clock.monotonic() >= deadline)
        throw new TandemError('UNAVAILABLE', `the partitions of '${this.service}' did not catch up in time`);
      await sleep(clock, 10);
    }
  }

  /** A newcomer first places as if it were alone; what it then leaves to others need not catch up. */
  async #caughtUp(partition: Partition, deadline: number): Promise<void> {
    try {
      await partition.replica.untilReady(deadline);
    } catch (thrown) {
      if (this.#held.get(partition.number) === partition) throw thrown;
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

  logOf(partition: number): string {
    return this.#mine(partition).label;
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
    const open = [...this.#held.values()];
    this.#held.clear();
    await Promise.all([...open.map(partition => partition.close()), ...this.#closing]);
  }
}

/** Rows as they lie in the store: the asker decodes them, since it is the one who knows the table. */
const rawRows: RowCodec = { decode: bytes => bytes };

async function collect(rows: AsyncIterable<readonly [string, unknown]>): Promise<(readonly [string, unknown])[]> {
  const all: (readonly [string, unknown])[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

function epochOf(member: Member, partition: number): number {
  return member.beat.partitions.find(line => line.partition === partition)?.epoch ?? 0;
}
