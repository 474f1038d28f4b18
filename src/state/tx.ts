/** What a transaction body holds: typed tables for users (data core, rules 3 and 11), plain ones for the platform's own. */
import type { Tx, TxTable } from '../contract/context.ts';
import type { Tables } from '../contract/table.ts';
import type { Topic } from '../contract/topic.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { partitionOf } from '../partitioning/hash.ts';
import { pack, unpack } from '../replication/codec.ts';
import type { SystemTx } from './keyspace.ts';
import { encodeEvent, type TableCodec } from './table-codec.ts';
import type { RawTx } from './transaction.ts';

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
    emit: (topic: Topic, event: unknown) => raw.emit(encodeEvent(topic, event, context.traceparent)),
  };
  for (const [name, codec] of context.codecs) tx[name] = new UserTable(codec, raw, context);
  return tx as Tx<T>;
}

class UserTable implements TxTable<unknown> {
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
    return bytes && this.#codec.decode(bytes);
  }

  put(key: string, value: unknown): void {
    this.#check(key);
    this.#raw.rows.set(this.#codec.name, key, this.#codec.encode(value));
  }

  delete(key: string): void {
    this.#check(key);
    if (this.#raw.rows.get(this.#codec.name, key)) this.#raw.rows.set(this.#codec.name, key, undefined);
  }

  *scan(prefix: string, options?: { readonly limit?: number }): IterableIterator<readonly [string, unknown]> {
    if (prefix.includes('/')) this.#check(prefix);
    for (const [key, bytes] of this.#raw.rows.scan(this.#codec.name, prefix, options))
      yield [key, this.#codec.decode(bytes)];
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

const keyBytesMax = 1024;

/** @throws INVALID, TOO_LARGE: what no store could keep. */
export function checkKey(key: string, table: string): void {
  if (typeof key !== 'string' || key === '')
    throw new TandemError('INVALID', `a key of table '${table}' must be a non-empty string`);
  if (key.length > keyBytesMax / 3 && Buffer.byteLength(key) > keyBytesMax) {
    throw new TandemError('TOO_LARGE', `a key of table '${table}' is longer than ${keyBytesMax} bytes`);
  }
}

export function systemTx(raw: RawTx, traceparent: string | undefined): SystemTx {
  return {
    now: raw.now,
    get: (table, key) => {
      const bytes = raw.rows.get(system(table), key);
      return bytes && unpack(bytes);
    },
    put: (table, key, value) => raw.rows.set(system(table), key, pack(value)),
    delete: (table, key) => {
      if (raw.rows.get(system(table), key)) raw.rows.set(table, key, undefined);
    },
    *scan(table, prefix, options) {
      for (const [key, bytes] of raw.rows.scan(system(table), prefix, options)) yield [key, unpack(bytes)] as const;
    },
    emit: (topic, key, event) =>
      raw.emit({ topic: topic.name, partitions: topic.partitions, key, body: pack(event), traceparent }),
  };
}

/** System tables cannot meet a user's: no table name begins with `$`. */
export function system(table: string): string {
  if (!table.startsWith('$'))
    throw new TandemError('INVALID', `'${table}' is not a system table: its name must begin with $`);
  return table;
}
