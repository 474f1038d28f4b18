/** What a transaction body holds: typed tables for users (data core, rules 3 and 11), plain ones for the platform's own. */
import type { EmitOptions, Tx, TxTable } from '../contract/context.ts';
import type { Tables } from '../contract/table.ts';
import type { Topic } from '../contract/topic.ts';
import type { Duration } from '../core/duration.ts';
import { durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Random } from '../core/random.ts';
import { partitionOf } from '../partitioning/hash.ts';
import { pack, unpack } from '../replication/codec.ts';
import { compareKeys } from '../replication/memory-store.ts';
import { eventFallsDue, fallsDue, fallsDueNoMore } from './due.ts';
import { findKeys } from './indexes.ts';
import type { SystemTx } from './keyspace.ts';
import type { RawTx } from './overlay.ts';
import { encodeEvent, expiryOf, type TableCodec } from './table-codec.ts';

export interface TxContext {
  readonly codecs: ReadonlyMap<string, TableCodec>;
  readonly partition: number;
  readonly partitions: number;
  readonly random: Random;
  readonly traceparent: string | undefined;
}

export function userTx<T extends Tables>(raw: RawTx, context: TxContext): Tx<T> {
  const tx: Record<string, unknown> = {
    now: raw.now,
    random: () => context.random.next(),
    emit: (topic: Topic, event: unknown, { delay, at }: EmitOptions = {}) => {
      const emitted = encodeEvent(topic, event, context.traceparent);
      if (delay !== undefined && at !== undefined)
        throw new TandemError('INVALID', 'an event is emitted after a `delay` or `at` a time, not both');
      const dueAtMs = delay === undefined ? Number(at ?? raw.now) : raw.now + durationMs(delay);
      if (Number.isNaN(dueAtMs)) throw new TandemError('INVALID', '`at` is no time: give a Date or ms since 1970');
      if (delay === undefined && dueAtMs <= raw.now) raw.emit(emitted);
      else eventFallsDue(raw.rows, dueAtMs, context.random.id(), emitted);
    },
  };
  for (const [name, codec] of context.codecs) tx[name] = new UserTable(codec, raw, context);
  return tx as Tx<T>;
}

class UserTable implements TxTable<unknown, string> {
  readonly #codec: TableCodec;
  readonly #raw: RawTx;
  readonly #context: TxContext;

  constructor(codec: TableCodec, raw: RawTx, context: TxContext) {
    this.#codec = codec;
    this.#raw = raw;
    this.#context = context;
  }

  get(key: string): unknown {
    this.#check(key);
    const bytes = this.#raw.rows.get(this.#codec.name, key);
    return bytes && this.#codec.decode(bytes, this.#raw.now, key);
  }

  put(key: string, value: unknown, options?: { readonly ttl?: Duration }): void {
    this.#check(key);
    const { name, ttlMs } = this.#codec;
    const { rows, now } = this.#raw;
    const lifeMs = options?.ttl === undefined ? ttlMs : durationMs(options.ttl);
    const expiresAtMs = lifeMs === undefined ? undefined : now + lifeMs;
    const bytes = this.#codec.encode(key, value, expiresAtMs);
    this.#staysNoLonger(key);
    if (expiresAtMs !== undefined) fallsDue(rows, expiresAtMs, 'row', `${name}\n${key}`);
    rows.set(name, key, bytes);
  }

  delete(key: string): void {
    this.#check(key);
    if (!this.#raw.rows.get(this.#codec.name, key)) return;
    this.#staysNoLonger(key);
    this.#raw.rows.set(this.#codec.name, key, undefined);
  }

  /** The row is put anew or goes: its former end is off the list. */
  #staysNoLonger(key: string): void {
    const { rows } = this.#raw;
    const { name } = this.#codec;
    const before = rows.get(name, key);
    const expiresAtMs = before ? expiryOf(before) : Number.POSITIVE_INFINITY;
    if (expiresAtMs < Number.POSITIVE_INFINITY) fallsDueNoMore(rows, expiresAtMs, 'row', `${name}\n${key}`);
  }

  *scan(prefix: string, options?: { readonly limit?: number }): IterableIterator<readonly [string, unknown]> {
    if (prefix.includes('/')) this.#check(prefix);
    let left = options?.limit ?? Number.POSITIVE_INFINITY;
    if (left <= 0) return;
    for (const [key, bytes] of this.#raw.rows.scan(this.#codec.name, prefix)) {
      const value = this.#codec.decode(bytes, this.#raw.now, key);
      if (value === undefined) continue;
      yield [key, value];
      if (--left <= 0) return;
    }
  }

  *find(index: string, value: string): IterableIterator<readonly [string, unknown]> {
    for (const key of findKeys(this.#raw.rows, this.#codec, checkIndex(this.#codec, index), value).sort(compareKeys)) {
      const row = this.get(key);
      if (row !== undefined) yield [key, row];
    }
  }

  #check(key: string): void {
    const { partition, partitions } = this.#context;
    checkKey(key, this.#codec.name);
    if (partitionOf(key, partitions) === partition) return;
    throw new TandemError(
      'CROSS_PARTITION',
      `key '${key}' of table '${this.#codec.name}' lies in another partition than this call's key; rows that change together share the text before the first '/'`,
    );
  }
}

/** @throws NOT_FOUND for an index that the table does not have. */
export function checkIndex({ name, indexes }: Pick<TableCodec, 'name' | 'indexes'>, index: string): string {
  if (Object.hasOwn(indexes, index)) return index;
  const known = Object.keys(indexes).join(', ') || 'none';
  throw new TandemError('NOT_FOUND', `table '${name}' has no index '${index}'; it has: ${known}`);
}

const { keyBytesMax } = limits;

/** @throws INVALID, TOO_LARGE: what no store could keep. */
export function checkKey(key: string, table: string): void {
  if (typeof key !== 'string' || key === '')
    throw new TandemError(
      'INVALID',
      `a key of table '${table}' must be a non-empty string, not ${key === '' ? "''" : key === null ? 'null' : typeof key}`,
    );
  if (key.length > keyBytesMax / 3 && Buffer.byteLength(key) > keyBytesMax) {
    throw new TandemError('TOO_LARGE', `a key of table '${table}' is longer than ${keyBytesMax} bytes; use its hash`);
  }
  // Two texts with half characters would be one key as bytes.
  if (!key.isWellFormed())
    throw new TandemError(
      'INVALID',
      `a key of table '${table}' has half a character (a lone surrogate); use key.toWellFormed(), or encode it`,
    );
}

export function systemTx(raw: RawTx, traceparent: string | undefined, random: Random): SystemTx {
  return {
    now: raw.now,
    get: (table, key) => {
      const bytes = raw.rows.get(system(table), key);
      return bytes && unpack(bytes);
    },
    put: (table, key, value) => raw.rows.set(system(table), key, pack(value)),
    delete: (table, key) => {
      if (raw.rows.get(system(table), key)) raw.rows.set(system(table), key, undefined);
    },
    *scan(table, prefix, options) {
      for (const [key, bytes] of raw.rows.scan(system(table), prefix, options)) yield [key, unpack(bytes)] as const;
    },
    emit: (topic, key, event, atMs) => {
      const emitted = { topic: topic.name, partitions: topic.partitions, key, body: pack(event), traceparent };
      if (atMs === undefined || atMs <= raw.now) raw.emit(emitted);
      else eventFallsDue(raw.rows, atMs, random.id(), emitted);
    },
  };
}

/** System tables cannot meet a user's: no table name begins with `$`. */
export function system(table: string): string {
  if (!table.startsWith('$'))
    throw new TandemError('INVALID', `'${table}' is not a system table: its name must begin with $`);
  return table;
}
