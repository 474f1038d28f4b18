/**
 * The data side of one call (data core, rule 11): reads at the call's level, local where this instance holds the key's
 * partition, else at an instance that does; transactions bound to the call's partition; and what the answer says about both.
 * Reads of one call never go back, but each sees what is newest here: a view of several rows at one moment is a
 * transaction without effects, which is answered like a strong read. (A snapshot kept open per call would need an end,
 * which a stream's handler does not have, and in LMDB an open one keeps old pages from being used again.)
 */
import type { PageOptions, TableReader, TransactOptions, Tx } from '../contract/context.ts';
import type { Consistency } from '../contract/method.ts';
import type { Tables } from '../contract/table.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { ReplyMeta } from '../core/meta.ts';
import type { Random } from '../core/random.ts';
import type { ReplicaStore } from '../replication/store.ts';
import { hasIndex } from './indexes.ts';
import type { Scope, ScopeOptions } from './keyspace.ts';
import type { Partition } from './partition.ts';
import { merged, type PageOf, pages, type Range, type RowOf, readPage } from './queries.ts';
import { untilFresh } from './reads.ts';
import type { RemoteReads } from './remote-reads.ts';
import { checkRequestId } from './request-ids.ts';
import type { RowCodec, TableCodec } from './table-codec.ts';
import { checkIndex, checkKey, userTx } from './tx.ts';
import { Bell } from './watch.ts';

export interface ScopeContext {
  readonly codecs: ReadonlyMap<string, RowCodec>;
  /** For transactions. */
  readonly tables: ReadonlyMap<string, TableCodec>;
  readonly partitions: number;
  readonly partitionOf: (key: string) => number;
  /** The partition, when it is held here and caught up. */
  readonly local: (partition: number) => Partition | undefined;
  /** The error for one that is not. */
  readonly moved: (partition: number) => TandemError;
  readonly remote: RemoteReads;
  readonly clock: Clock;
  readonly random: Random;
}

const order: Readonly<Record<Consistency, number>> = { eventual: 0, sequential: 1, strong: 2 };
/** With `degrade`, the asked level may use this share of the time that is left; the rest is for the lower one. */
const degradeShare = 0.7;

export class CallScope<T extends Tables> implements Scope<T> {
  readonly tables: Scope<T>['tables'];
  readonly #options: ScopeOptions;
  readonly #context: ScopeContext;
  readonly #steps = new Set<string>();
  #level: Consistency | undefined;
  #degraded = false;
  #staleness: { entries: number; ms: number } | undefined;

  constructor(options: ScopeOptions, context: ScopeContext) {
    this.#options = options;
    this.#context = context;
    const tables: Record<string, TableReader<unknown>> = {};
    for (const [name, codec] of context.codecs) tables[name] = this.#reader(name, codec);
    this.tables = tables as Scope<T>['tables'];
  }

  async transact<R>(body: (tx: Tx<T>) => R, options?: TransactOptions): Promise<R> {
    const { partition: number, request, session, deadline, signal, traceparent } = this.#options;
    if (number === undefined)
      throw new TandemError('UNSUPPORTED', 'only a method with a `key` may transact: the key says which partition');
    const step = options?.step ?? '';
    if (this.#steps.has(step)) {
      throw new TandemError(
        'INVALID',
        `a handler's second transact needs a name of its own: ctx.transact(body, { step: 'name' })${step ? ` ('${step}' was used)` : ''}`,
      );
    }
    this.#steps.add(step);
    const partition = this.#context.local(number);
    if (!partition) throw this.#context.moved(number);
    const { tables: codecs, partitions, random } = this.#context;
    const key = step ? { ...request, id: `${request.id}/${step}` } : request;
    checkRequestId(key.id);
    const context = { codecs, partition: number, partitions, random, traceparent };
    const { value, position } = await partition.transact(key, raw => body(userTx<T>(raw, context)), deadline, signal);
    session.advance(partition.label, position);
    this.#note('strong', { entries: 0, ms: 0 });
    return value as R;
  }

  replyMeta(): ReplyMeta {
    const session = this.#options.session.toForm();
    return {
      ...(this.#level ? { level: this.#level } : {}),
      ...(this.#degraded ? { degraded: true } : {}),
      ...(this.#staleness ? { staleness: this.#staleness } : {}),
      ...(session ? { session } : {}),
    };
  }

  /** The holder of a row has judged its life already: then `timeMs` is 0. */
  #decoded(codec: RowCodec, key: string, bytes: Uint8Array | undefined, timeMs: number): unknown {
    return bytes && codec.decode(bytes, timeMs, key);
  }

  #reader(table: string, codec: RowCodec): TableReader<unknown, string> {
    return {
      get: async key => {
        checkKey(key, table);
        const number = this.#context.partitionOf(key);
        const partition = this.#context.local(number);
        if (!partition) return this.#decoded(codec, key, await this.#remote(number, { table, key }), 0);
        const wait = this.#fresh(partition);
        const level = wait ? await wait : this.#options.level;
        const store = this.#reading(partition, level);
        return this.#decoded(codec, key, store.get(table, key), store.head.time);
      },
      scan: (prefix, options) => this.#rows(codec, { table, prefix }, this.#partitionOf(prefix), options),
      find: (index, value, options) => {
        if (codec.indexes) checkIndex({ name: table, indexes: codec.indexes }, index);
        return this.#rows(codec, { table, prefix: value, index }, this.#options.partition, options);
      },
      watch: key => this.#watch(table, codec, key),
    };
  }

  /** The partition of a scan: its prefix says, or the call's key; undefined means all. */
  #partitionOf(prefix: string): number | undefined {
    return prefix.includes('/') ? this.#context.partitionOf(prefix) : this.#options.partition;
  }

  #rows<V>(
    codec: RowCodec<V>,
    range: Omit<Range, 'limit'>,
    partition: number | undefined,
    options: PageOptions = {},
  ): AsyncGenerator<RowOf<V>> {
    const from = (number: number): AsyncGenerator<RowOf<V>> => {
      let first = true;
      return pages(async (after, limit) => {
        const page = await this.#page(number, codec, { ...range, after, limit }, first);
        first = false;
        return page;
      }, options);
    };
    if (partition !== undefined) return from(partition);
    const all = Array.from({ length: this.#context.partitions }, (_, number) => from(number));
    return merged(all, options.limit);
  }

  /** One page of one partition. Those after the first only need what the session has seen of it by then. */
  async #page<V>(number: number, codec: RowCodec<V>, range: Range, first: boolean): Promise<PageOf<V>> {
    const partition = this.#context.local(number);
    const { level } = this.#options;
    if (!partition) {
      const later = first || level === 'eventual' ? {} : { level: 'sequential' as const };
      const { value, meta } = await this.#context.remote.scan(number, range, { ...this.#options, ...later });
      this.#noteReply(first ? meta : { ...meta, level });
      const rows = value.rows.map(([key, bytes]) => [key, codec.decode(bytes, 0, key) as V] as const);
      return { rows, more: value.more };
    }
    const { store } = partition.replica;
    if (range.index !== undefined && !hasIndex(store, range.table, range.index)) throw this.#context.moved(number);
    const wait = first ? this.#fresh(partition) : undefined;
    const reached = wait ? await wait : level;
    return readPage(this.#reading(partition, reached), codec, range);
  }

  async *#watch(table: string, codec: RowCodec, key: string): AsyncGenerator<unknown> {
    const { signal } = this.#options;
    const number = this.#context.partitionOf(key);
    const partition = this.#context.local(number);
    if (!partition) {
      for await (const { value, meta } of this.#context.remote.watch(number, { table, key }, this.#options)) {
        this.#noteReply(meta);
        yield codec.decode(value, 0, key);
      }
      return;
    }
    const wait = this.#fresh(partition);
    const level = wait ? await wait : this.#options.level;
    for await (const bytes of watchRow(partition, table, key, signal)) {
      const value = codec.decode(bytes, this.#reading(partition, level).head.time, key);
      if (value !== undefined) yield value;
    }
  }

  /** Waits for the call's level and gives the level reached; undefined when there is nothing to wait for. */
  #fresh(partition: Partition): Promise<Consistency> | undefined {
    const { level, session, deadline, signal, degrade } = this.#options;
    const { clock } = this.#context;
    const until = degrade ? clock.monotonic() + (deadline - clock.monotonic()) * degradeShare : deadline;
    return untilFresh(partition, level, session, until, signal)?.then(
      () => level,
      thrown => {
        const { code } = TandemError.from(thrown);
        if (!degrade || (code !== 'DEADLINE_EXCEEDED' && code !== 'UNAVAILABLE')) throw thrown;
        this.#degraded = true;
        return 'eventual';
      },
    );
  }

  /** Call it in the very step that reads: what the session notes must be the position that was read. */
  #reading(partition: Partition, level: Consistency): ReplicaStore {
    const { replica, label } = partition;
    if (!replica.ready) throw this.#context.moved(partition.number); // it found out meanwhile that its copy is wrong
    if (level !== 'eventual') this.#options.session.advance(label, replica.head.position);
    this.#note(level, replica.staleness());
    return replica.store;
  }

  /** The answer is as good as its weakest read. */
  #note(level: Consistency, staleness: { entries: number; ms: number }): void {
    if (this.#level === undefined || order[level] < order[this.#level]) this.#level = level;
    const worst = this.#staleness;
    if (!worst || staleness.entries > worst.entries || staleness.ms > worst.ms) this.#staleness = staleness;
  }

  async #remote(partition: number, row: { table: string; key: string }): Promise<Uint8Array | undefined> {
    const { value, meta } = await this.#context.remote.get(partition, row, this.#options);
    this.#noteReply(meta);
    return value;
  }

  #noteReply(meta: ReplyMeta): void {
    this.#options.session.merge(meta.session);
    if (meta.degraded) this.#degraded = true;
    if (meta.level) this.#note(meta.level, meta.staleness ?? { entries: 0, ms: 0 });
  }
}

/** The row now and after each change; a slow reader sees the latest only. Ends when `signal` aborts. */
export async function* watchRow(
  partition: Partition,
  table: string,
  key: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const bell = new Bell();
  const remove = partition.watches.add(table, key, () => bell.ring());
  try {
    let last: Uint8Array | undefined;
    while (!signal?.aborted) {
      const { state, failure } = partition.replica;
      if (state === 'closed' || state === 'failed')
        throw failure ?? new TandemError('CLOSED', 'this instance no longer holds the row that is watched');
      const bytes = partition.replica.store.get(table, key);
      if (bytes && !(last && Buffer.compare(bytes, last) === 0)) {
        last = Uint8Array.from(bytes);
        yield last;
      }
      await bell.wait(signal);
    }
  } finally {
    remove();
  }
}
