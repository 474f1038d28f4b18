/** Rows as bytes: the table's version beside the value, so that an old row is migrated when it is read. */
import type { Table } from '../contract/table.ts';
import type { Topic } from '../contract/topic.ts';
import { TandemError } from '../core/errors.ts';
import { type AnySchema, validate } from '../core/schema.ts';
import { pack, unpack } from '../replication/codec.ts';
import type { Emitted } from '../replication/entry.ts';

export class TableCodec {
  readonly name: string;
  readonly #table: Table<unknown>;

  constructor(name: string, table: Table<unknown>) {
    this.name = name;
    this.#table = table;
  }

  /** @throws INVALID when the value breaks the table's schema. */
  encode(value: unknown): Uint8Array {
    return pack([this.#table.version, validateNow(this.#table.schema, value, `a row of table '${this.name}'`)]);
  }

  /** A fresh copy each time. @throws UNSUPPORTED for a row of a newer version than this code knows. */
  decode(bytes: Uint8Array): unknown {
    const [version, value] = unpack(bytes) as [number, unknown];
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
