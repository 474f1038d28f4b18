/**
 * Rows as bytes: the table's version beside the value, so that an old row is migrated when it is read, and behind both, for
 * a row with a life, when it ends on the partition's clock. Whether it has ended is judged by that clock, at the position read.
 */
import type { IndexOf, Table } from '../contract/table.ts';
import type { Topic } from '../contract/topic.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { checkPlain } from '../core/plain-data.ts';
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

  /** @throws INVALID when the value breaks the table's schema or is no plain data, TOO_LARGE. */
  encode(key: string, value: unknown, expiresAtMs?: number): Uint8Array {
    const what = `row '${key}' of table '${this.name}'`;
    const valid = validateNow(this.#table.schema, value, what);
    if (valid === undefined) throw new TandemError('INVALID', `${what} is undefined; use delete, or null`);
    checkPlain(valid, what);
    const { version } = this.#table;
    const bytes = pack(expiresAtMs === undefined ? [version, valid] : [version, valid, expiresAtMs]);
    const { rowBytesMax: bytesMax } = limits;
    if (bytes.length <= bytesMax) return bytes;
    throw new TandemError(
      'TOO_LARGE',
      `${what} has ${bytes.length} bytes, more than ${bytesMax}: cut it into several rows ('${key}/1', '${key}/2', …)`,
      { details: { bytes: bytes.length, bytesMax } },
    );
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
  const { key, body } = packEvent(topic.name, keyOf(topic, valid), valid);
  return { topic: topic.name, partitions: topic.partitions, key, body, traceparent };
}

/** The text that orders an event. @throws INVALID when it has none. */
export function keyOf(topic: Topic, event: unknown): string {
  const key = (event as Record<string, unknown> | null | undefined)?.[topic.key];
  if ((typeof key === 'string' && key !== '') || typeof key === 'number' || typeof key === 'boolean')
    return String(key);
  throw new TandemError(
    'INVALID',
    `an event of topic '${topic.name}' needs a text or number in '${topic.key}', its key`,
    {
      details: { issues: [{ path: topic.key, message: 'required: it orders the events of the topic' }] },
    },
  );
}

/** @throws INVALID, TOO_LARGE: what no topic could carry. */
export function packEvent(
  topic: string,
  key: string,
  event: unknown,
): { readonly key: string; readonly body: Uint8Array } {
  const what = `an event of topic '${topic}'`;
  checkPlain(event, what);
  if (Buffer.byteLength(key) > limits.keyBytesMax)
    throw new TandemError('TOO_LARGE', `${what} has a key of more than ${limits.keyBytesMax} bytes`);
  const body = pack(event);
  const { eventBytesMax: bytesMax } = limits;
  if (body.length <= bytesMax) return { key, body };
  throw new TandemError(
    'TOO_LARGE',
    `${what} has ${body.length} bytes, more than ${bytesMax}: store it as a row, and let the event carry its key`,
    { details: { bytes: body.length, bytesMax } },
  );
}

function validateNow(schema: AnySchema, value: unknown, what: string): unknown {
  const valid = validate(schema, value, what);
  if (valid instanceof Promise) {
    valid.catch(() => {});
    throw new TandemError('INVALID', `${what} has an asynchronous schema; transactions are synchronous`);
  }
  return valid;
}
