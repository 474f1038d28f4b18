/**
 * Rows as bytes: the table's version beside the value, so that an old row is migrated when it is read, and behind both, for
 * a row with a life, when it ends on the partition's clock. Whether it has ended is judged by that clock, at the position read.
 */
import type { IndexOf, Table } from '../contract/table.ts';
import type { Topic } from '../contract/topic.ts';
import { TandemError } from '../core/errors.ts';
import { type AnySchema, validate } from '../core/schema.ts';
import { pack, unpack } from '../replication/codec.ts';
import type { Emitted } from '../replication/entry.ts';

/** What reads need of a table. */
export interface RowCodec<V = unknown> {
  decode(bytes: Uint8Array, timeMs: number): V | undefined;
  /** Undefined where only the asker knows them. */
  readonly indexes?: TableCodec['indexes'];
}

export class TableCodec {
  readonly name: string;
  readonly #table: Table<unknown, string>;

  constructor(name: string, table: Table<unknown, string>) {
    this.name = name;
    this.#table = table;
  }

  get ttlMs(): number | undefined {
    return this.#table.ttlMs;
  }
  get indexes(): Readonly<Record<string, IndexOf<never>>> {
    return this.#table.indexes;
  }

  /** @throws INVALID when the value breaks the table's schema. */
  encode(value: unknown, expiresAtMs?: number): Uint8Array {
    const valid = validateNow(this.#table.schema, value, `a row of table '${this.name}'`);
    const { version } = this.#table;
    return pack(expiresAtMs === undefined ? [version, valid] : [version, valid, expiresAtMs]);
  }

  /** A fresh copy each time; undefined when its life is over. @throws UNSUPPORTED for a row of a newer version than this code knows. */
  decode(bytes: Uint8Array, timeMs: number): unknown {
    const [version, value, expiresAtMs] = unpack(bytes) as [number, unknown, number?];
    if (expiresAtMs !== undefined && expiresAtMs <= timeMs) return undefined;
    if (version === this.#table.version) return value;
    if (version > this.#table.version) {
      throw new TandemError(
        'UNSUPPORTED',
        `table '${this.name}' has a row of version ${version}, this code knows ${this.#table.version}`,
      );
    }
    return this.#table.migrate ? this.#table.migrate(value, version) : value;
  }
}

/** When a row's life ends (ms of the partition's clock); Infinity for one that stays. */
export function expiryOf(bytes: Uint8Array): number {
  return bytes[0] === arrayOfThree ? (unpack(bytes) as [number, unknown, number])[2] : Number.POSITIVE_INFINITY;
}
/** First byte of an array of three in MessagePack. */
const arrayOfThree = 0x93;

export function encodeEvent(topic: Topic, event: unknown, traceparent: string | undefined): Emitted {
  const valid = validateNow(topic.schema, event, `an event of topic '${topic.name}'`);
  const key = (valid as Record<string, unknown>)[topic.key];
  return { topic: topic.name, partitions: topic.partitions, key: String(key), body: pack(valid), traceparent };
}

function validateNow(schema: AnySchema, value: unknown, what: string): unknown {
  const valid = validate(schema, value, what);
  if (valid instanceof Promise) {
    valid.catch(() => {});
    throw new TandemError('INVALID', `${what} has an asynchronous schema; transactions are synchronous`);
  }
  return valid;
}
