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
import { dividing, heirsOf, livingNumbers, numberOfKey, sliceOf, successorsOf } from '../partitioning/partition-map.ts';
import type { ReplicaStore } from '../replication/store.ts';
import type { Catalog } from './catalog.ts';
import { hasIndex } from './indexes.ts';
import type { Scope, ScopeOptions } from './keyspace.ts';
import type { RawTx } from './overlay.ts';
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
  readonly catalog: Catalog;
  /** All keys are of this partition, as who asked for them found. */
  readonly pinned?: number;
  /** The partition, when it is held here and caught up. */
  readonly local: (partition: number) => Partition | undefined;
  /** The partition, when it was divided off here a moment ago and is about to be ready. */
  readonly arriving: (partition: number) => Partition | undefined;
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
    const { partition: home, request, deadline, signal, traceparent } = this.#options;
    if (home === undefined)
      throw new TandemError('UNSUPPORTED', 'only a method with a `key` may transact: the key says which partition');
    const step = options?.step ?? '';
    if (this.#steps.has(step)) {
      throw new TandemError(
        'INVALID',
        `a handler's second transact needs a name of its own: ctx.transact(body, { step: 'name' })${step ? ` ('${step}' was used)` : ''}`,
      );
    }
    this.#steps.add(step);
    const once = step ? { ...request, id: `${request.id}/${step}` } : request;
    checkRequestId(once.id);
    for (;;) {
      const number = this.#home(home);
      try {
        const partition = this.#context.local(number) ?? (await this.#arrived(number));
        const { tables: codecs, random, catalog } = this.#context;
        const { index, count } = sliceOf(catalog.map.first, number);
        const context = { codecs, partition: index, partitions: count, random, traceparent };
        const run = (raw: RawTx): R => body(userTx<T>(raw, context));
        const { value, position } = await partition.transact(once, run, deadline, signal);
        this.#advance(partition.label, position);
        this.#note('strong', { entries: 0, ms: 0 });
        return value as R;
      } catch (thrown) {
        if (!isMoved(thrown) || this.#home(home) === number) throw thrown;
      }
    }
  }

  /** The partition of the call's key now; it may have been divided since the call came. */
  #home(partition: number): number {
    const { key } = this.#options;
    return key === undefined ? partition : this.#partitionOfKey(key);
  }

  #partitionOfKey(key: string): number {
    return this.#context.pinned ?? numberOfKey(this.#context.catalog.map, key);
  }

  /** @throws MOVED when it is not about to be ready here. */
  async #arrived(number: number): Promise<Partition> {
    const partition = this.#context.arriving(number);
    if (!partition) throw this.#context.moved(number);
    await partition.replica.untilReady(this.#options.deadline, this.#options.signal);
    return partition;
  }

  /** Where the count of partitions changes, a session also carries how far the map was: who knows less must not serve it. */
  #advance(label: string, position: number): void {
    const { session } = this.#options;
    const { catalog } = this.#context;
    session.advance(label, position);
    if (catalog.changes) session.advance(catalog.log, catalog.map.version);
  }

  /** Waits until the map is as new as the session's; undefined when it is. */
  #mapOfSession(): Promise<void> | undefined {
    const { session, level, deadline } = this.#options;
    if (session.size === 0 || level === 'eventual') return undefined;
    const { catalog } = this.#context;
    return catalog.until(session.position(catalog.log), deadline);
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
        for (;;) {
          const behind = this.#mapOfSession();
          if (behind) await behind;
          const number = this.#partitionOfKey(key);
          const partition = this.#context.local(number) ?? this.#context.arriving(number);
          try {
            if (!partition) return this.#decoded(codec, key, await this.#remote(table, key), 0);
            const wait = this.#fresh(partition);
            const level = wait ? await wait : this.#options.level;
            const store = this.#reading(partition, level);
            return this.#decoded(codec, key, store.get(table, key), store.head.time);
          } catch (thrown) {
            if (!isMoved(thrown) || this.#partitionOfKey(key) === number) throw thrown;
          }
        }
      },
      scan: (prefix, options) => this.#rows(codec, { table, prefix }, this.#placeOf(prefix), options),
      find: (index, value, options) => {
        if (codec.indexes) checkIndex({ name: table, indexes: codec.indexes }, index);
        return this.#rows(codec, { table, prefix: value, index }, this.#placeOf(''), options);
      },
      watch: key => this.#watch(table, codec, key),
    };
  }

  /** The partition of a scan: its prefix says, or the call's key; undefined means all. */
  #placeOf(prefix: string): number | undefined {
    if (prefix.includes('/')) return this.#partitionOfKey(prefix);
    const { partition } = this.#options;
    return partition === undefined ? undefined : this.#home(partition);
  }

  async *#rows<V>(
    codec: RowCodec<V>,
    range: Omit<Range, 'limit'>,
    partition: number | undefined,
    options: PageOptions = {},
  ): AsyncGenerator<RowOf<V>> {
    const behind = this.#mapOfSession();
    if (behind) await behind;
    if (partition !== undefined) return yield* this.#rowsOf(codec, range, partition, options);
    const all = livingNumbers(this.#context.catalog.map).map(number => this.#rowsOf(codec, range, number, options));
    yield* merged(all, options.limit);
  }

  /** Rows of one partition; when it is divided meanwhile, the rest comes from its heirs. */
  async *#rowsOf<V>(
    codec: RowCodec<V>,
    range: Omit<Range, 'limit'>,
    number: number,
    options: PageOptions,
  ): AsyncGenerator<RowOf<V>> {
    let { after, limit = Number.POSITIVE_INFINITY } = options;
    let first = true;
    const next = async (from: string | undefined, most: number): Promise<PageOf<V>> => {
      const page = await this.#page(number, codec, { ...range, after: from, limit: most }, first);
      first = false;
      return page;
    };
    try {
      for await (const row of pages(next, options)) {
        after = row[0];
        limit--;
        yield row;
      }
    } catch (thrown) {
      const heirs = heirsOf(this.#context.catalog.map, number);
      if (!isMoved(thrown) || heirs.length === 1 || this.#context.pinned !== undefined) throw thrown;
      const rest = after === undefined ? { limit } : { limit, after };
      yield* merged(
        heirs.map(heir => this.#rowsOf(codec, range, heir, rest)),
        limit,
      );
    }
  }

  /** One page of one partition. Those after the first only need what the session has seen of it by then. */
  async #page<V>(number: number, codec: RowCodec<V>, range: Range, first: boolean): Promise<PageOf<V>> {
    const partition = this.#context.local(number) ?? this.#context.arriving(number);
    const { level } = this.#options;
    if (!partition) {
      const later = first || level === 'eventual' ? {} : { level: 'sequential' as const };
      const isDivided = (): boolean => heirsOf(this.#context.catalog.map, number).length > 1;
      const { value, meta } = await this.#context.remote.scan(number, range, { ...this.#options, ...later }, isDivided);
      this.#noteReply(first ? meta : { ...meta, level });
      const rows = value.rows.map(([key, bytes]) => [key, codec.decode(bytes, 0, key) as V] as const);
      return { rows, more: value.more };
    }
    const { store } = partition.replica;
    if (range.index !== undefined && !hasIndex(store, range.table, range.index)) throw this.#context.moved(number);
    const wait = first || !partition.replica.ready ? this.#fresh(partition) : undefined;
    const reached = wait ? await wait : level;
    return readPage(this.#reading(partition, reached), codec, range);
  }

  async *#watch(table: string, codec: RowCodec, key: string): AsyncGenerator<unknown> {
    for (;;) {
      const behind = this.#mapOfSession();
      if (behind) await behind;
      const number = this.#partitionOfKey(key);
      try {
        return yield* this.#watchAt(number, table, codec, key);
      } catch (thrown) {
        // It goes on with its key, and begins with what the row is then.
        if (this.#partitionOfKey(key) === number) throw thrown;
      }
    }
  }

  async *#watchAt(number: number, table: string, codec: RowCodec, key: string): AsyncGenerator<unknown> {
    const { signal } = this.#options;
    const partition = this.#context.local(number) ?? this.#context.arriving(number);
    if (!partition) {
      const place = (): number => this.#partitionOfKey(key);
      for await (const { value, meta } of this.#context.remote.watch(place, { table, key }, this.#options)) {
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
    return untilFresh(partition, level, session, until, signal, this.#successors(partition))?.then(
      () => level,
      thrown => {
        const { code } = TandemError.from(thrown);
        if (!degrade || (code !== 'DEADLINE_EXCEEDED' && code !== 'UNAVAILABLE')) throw thrown;
        this.#degraded = true;
        return 'eventual';
      },
    );
  }

  /** Numbers of what this partition is being divided into, or may be already; undefined when it is not. */
  #successors({ number }: Partition): readonly number[] | undefined {
    const { map } = this.#context.catalog;
    return dividing(map) === number ? successorsOf(map.first, number) : undefined;
  }

  /** Call it in the very step that reads: what the session notes must be the position that was read. */
  #reading(partition: Partition, level: Consistency): ReplicaStore {
    const { replica, label } = partition;
    if (!replica.ready) throw this.#context.moved(partition.number); // it found out meanwhile that its copy is wrong
    if (level !== 'eventual') this.#advance(label, replica.head.position);
    this.#note(level, replica.staleness());
    return replica.store;
  }

  /** The answer is as good as its weakest read. */
  #note(level: Consistency, staleness: { entries: number; ms: number }): void {
    if (this.#level === undefined || order[level] < order[this.#level]) this.#level = level;
    const worst = this.#staleness;
    if (!worst || staleness.entries > worst.entries || staleness.ms > worst.ms) this.#staleness = staleness;
  }

  async #remote(table: string, key: string): Promise<Uint8Array | undefined> {
    const place = (): number => this.#partitionOfKey(key);
    const { value, meta } = await this.#context.remote.get(place, { table, key }, this.#options);
    this.#noteReply(meta);
    return value;
  }

  #noteReply(meta: ReplyMeta): void {
    this.#options.session.merge(meta.session);
    if (meta.degraded) this.#degraded = true;
    if (meta.level) this.#note(meta.level, meta.staleness ?? { entries: 0, ms: 0 });
  }
}

/** The partition is not here, or no more: nothing was done. */
function isMoved(thrown: unknown): boolean {
  return thrown instanceof TandemError && thrown.code === 'MOVED';
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
