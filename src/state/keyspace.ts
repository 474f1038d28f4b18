/**
 * The keyspace of one service as one instance sees it: the partitions that it holds a replica of, where the others are,
 * and the only door to both. Calls open a `Scope`; events use the system part. `open-keyspace.ts` makes one.
 * The rules behind it are those of the data core; each file of this room names the ones that it keeps.
 */
import type { Session } from '../calling/session.ts';
import type { TableReader, TransactOptions, Tx } from '../contract/context.ts';
import type { Consistency } from '../contract/method.ts';
import type { Tables } from '../contract/table.ts';
import type { Answerer, Reply, SendOptions } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import type { Closable } from '../core/lifecycle.ts';
import type { Logger } from '../core/logger.ts';
import type { ReplyMeta } from '../core/meta.ts';
import type { Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import type { Member, PartitionBeat } from '../failure-detection/beat.ts';
import type { Engine } from '../log/engine.ts';
import type { Registry } from '../naming/registry.ts';
import type { PartitionMap } from '../partitioning/partition-map.ts';
import type { ReplicaStore } from '../replication/store.ts';
import type { ScheduleDefinition } from './schedules.ts';

/** What this room needs of the caller. */
export interface Sender {
  /** One direct try at one member. */
  send(member: Member, method: string, body: unknown, options: SendOptions): Promise<Reply>;
  /** Keeps a link to it, so that the registry hears of its death at once. */
  watch(member: Member): void;
}

export interface KeyspaceOptions {
  readonly service: string;
  /** This process's id in beats and in the log's epochs; unique per process life. */
  readonly instance: string;
  readonly tables: Tables;
  /** Each lies in the partition of its key. */
  readonly schedules?: readonly ScheduleDefinition[];
  /** The count that data begins with; once there is data, its own count holds. */
  readonly partitions: number;
  readonly replicas: number;
  readonly engine: Engine;
  readonly registry: Registry;
  readonly caller: Sender;
  /** The local store of one partition (`openLmdbStores(...).open`, `memoryStores().open`). The keyspace closes what it opened. */
  readonly openStore: (partition: number) => Promise<ReplicaStore>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  /** Differences from `stateDefaults`, mostly for tests. */
  readonly settings?: Partial<StateSettings>;
}

export interface StateSettings {
  /** Entries between two snapshots of a partition. More means longer catch-up, fewer means more work. */
  readonly snapshotEntries: number;
  /** Transactions waiting for one partition; beyond it OVERLOADED. */
  readonly transactionsQueuedMax: number;
  /** Times that one transaction is run again because of foreign entries. */
  readonly rerunsMax: number;
  readonly requestIdWindowMs: number;
  readonly placementGraceMs: number;
  /** A better-ranked replica must be ready this long before the writer resigns to it. */
  readonly resignGraceMs: number;
  /** A writer that was never heard of counts as gone after this. */
  readonly unheardGraceMs: number;
  readonly engineTimeoutMs: number;
  /** Between two looks at placement and succession. */
  readonly tickMs: number;
}

/** Identity of a request inside a partition (data core, rule 15). */
export interface RequestKey {
  readonly id: string;
  /** Wall ms of its birth; absent for a foreign Idempotency-Key. */
  readonly born?: number | undefined;
  /** Of method and input: the same id with another hash is CONFLICT. */
  readonly inputHash?: string | undefined;
  /** An earlier try may still be on its way: an answer without effects must then shut it out (rule 4). */
  readonly repeated?: boolean | undefined;
  /**
   * Set for event deliveries (rule 17) instead of an expiry by time: the id is kept until a floor at or above `number`
   * was raised for `source`, and a delivery at or below the floor is answered as done (result undefined).
   */
  readonly delivery?: { readonly source: string; readonly number: number } | undefined;
}

export interface ScopeOptions {
  /** The partition of the call's key; undefined for a method without key (reads only). */
  readonly partition: number | undefined;
  /** The call's key: it says where the call goes on when its partition is divided meanwhile. */
  readonly key?: string | undefined;
  readonly level: Consistency;
  readonly degrade?: 'eventual' | undefined;
  readonly session: Session;
  /** Absolute, local monotonic ms. */
  readonly deadline: number;
  readonly signal?: AbortSignal | undefined;
  readonly request: RequestKey;
  readonly traceparent?: string | undefined;
}

/** The data side of one call: `ctx.tables` and `ctx.transact` come from here. */
export interface Scope<T extends Tables = Tables> {
  readonly tables: { readonly [K in keyof T]: TableReader<unknown> };
  transact<R>(body: (tx: Tx<T>) => R, options?: TransactOptions): Promise<R>;
  /** Level, staleness, degraded and session of everything this scope has done so far. */
  replyMeta(): ReplyMeta;
}

/** `arriving`: it will be ready in a moment, and a call waits for that; what looks at rows without waiting must not. */
export type Route =
  | { readonly here: true; readonly arriving?: true }
  | { readonly here: false; readonly member: Member };

/** An event that a transaction emitted, as the log holds it. Identity: (state log, position, index). */
export interface EmittedEvent {
  readonly position: number;
  readonly index: number;
  readonly topic: string;
  /** Partitions of the topic, as its contract said at the writer. */
  readonly partitions: number;
  readonly key: string;
  /** The event, packed with `pack` of replication/codec.ts. */
  readonly body: Uint8Array;
  /** The partition's clock at the commit. */
  readonly time: number;
  readonly traceparent: string | undefined;
}
export interface EmittedBatch {
  /** All entries up to and including this position have been looked through. */
  readonly through: number;
  readonly events: readonly EmittedEvent[];
}

/** A transaction over system tables: names begin with `$`, values are anything that msgpack carries. */
export interface SystemTx {
  get(table: string, key: string): unknown;
  put(table: string, key: string, value: unknown): void;
  delete(table: string, key: string): void;
  scan(
    table: string,
    prefix: string,
    options?: { readonly limit?: number },
  ): Iterable<readonly [key: string, value: unknown]>;
  /** With `atMs` (the partition's clock) it waits on the due list until then. */
  emit(topic: { readonly name: string; readonly partitions: number }, key: string, event: unknown, atMs?: number): void;
  readonly now: number;
}
export interface SystemOptions {
  readonly deadline: number;
  readonly signal?: AbortSignal;
  readonly traceparent?: string;
}
export interface SystemPart {
  /** The applied value at this replica (no wait). */
  get(table: string, key: string): unknown;
  scan(
    table: string,
    prefix: string,
    options?: { readonly limit?: number },
  ): readonly (readonly [key: string, value: unknown])[];
  /** As a user's transaction; with a request it happens once. Only at a replica: route first. */
  transact<R>(request: RequestKey | undefined, body: (tx: SystemTx) => R, options: SystemOptions): Promise<R>;
  /** Forgets stored deliveries of `source` up to `number`; a delivery at or below it is answered as done from then on. */
  raiseFloor(source: string, number: number, options: SystemOptions): Promise<void>;
}

export interface Keyspace extends Closable {
  readonly service: string;
  /** The partition map as far as it is known here; a newer one says more, never something else. */
  readonly map: PartitionMap;
  /** Number of the partition that holds a key's rows now. */
  partitionOf(key: string): number;
  /** What became of a partition: itself, or those that it was divided into. */
  heirs(partition: number): readonly number[];
  /** Takes notice that a log of this service exists, such as one that an event came from: a map that does not know it is read anew. */
  noteLog(label: string): Promise<void>;
  /** For the heartbeat: one line per partition held here. */
  beats(): PartitionBeat[];
  /** Where a keyed call runs: a read at any ready replica, a write at the writer. @throws UNAVAILABLE when no replica is ready. */
  route(partition: number, reads: boolean): Route;
  /** Instance id of the writer, as far as this instance knows. */
  writerOf(partition: number): string | undefined;
  /** True while this instance is the writer of the partition. */
  isWriter(partition: number): boolean;
  /** Partitions held here. */
  held(): readonly number[];
  scope<T extends Tables = Tables>(options: ScopeOptions): Scope<T>;
  /** Answers `$read`, `$scan`, `$watch` of instances that do not hold the partition. */
  readonly answer: Answerer;
  handles(method: string): boolean;
  /** Resolves when every partition placed here is caught up. @throws CONFIG, LOG_LOST, or UNAVAILABLE at the deadline. */
  ready(deadline: number): Promise<void>;

  /** For events. @throws MOVED when the partition is not held here. */
  system(partition: number): SystemPart;
  /** Emitted events from log position `from` on, in order, only durable ones; ends when `signal` aborts. */
  emitted(partition: number, from: number, signal: AbortSignal): AsyncIterable<EmittedBatch>;
  /** Called when this instance becomes or stops being the writer of a partition, and at once for those that it writes now. */
  onWriting(listener: (partition: number, writing: boolean) => void): () => void;
  /** Soon another writes this partition, unless that one goes: who works for the writer ends what it began, and begins nothing. */
  isHandingOver(partition: number): boolean;
  /** The log is never trimmed at or past this position (the relay's cursor). Without a call nothing with events is held back. */
  setTrimFloor(partition: number, position: number): void;
  /** All that the partition emitted up to here is in the topics: its log may be sealed behind it. */
  relayed(partition: number, position: number): void;
  /** Name of a partition's log with its identity, as sessions carry it; that of when a position was written is the source in outbox stamps. */
  logOf(partition: number, position?: number): string;

  /** Finishes what is queued and resigns every epoch; new transactions are refused with MOVED. */
  drain(deadline: number): Promise<void>;
  close(): Promise<void>;
}
