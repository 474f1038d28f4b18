/**
 * Rows as bytes: the table's version, the value, a print of the schema that it was stored under, so that a row of other code is
 * migrated and checked when it is read and one of the same code is not, and for a row with a life when that ends on the
 * partition's clock. Whether it has ended is judged by that clock, at the position read.
 */
import type { IndexOf, Table } from '../contract/table.ts';
import type { Topic } from '../contract/topic.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { checkPlain } from '../core/plain-data.ts';
import { type AnySchema, jsonSchema, validate } from '../core/schema.ts';
import { hashText } from '../partitioning/hash.ts';
import { pack, unpack } from '../replication/codec.ts';
import type { Emitted } from '../replication/entry.ts';

/** What reads need of a table. */
export interface RowCodec<V = unknown> {
  decode(bytes: Uint8Array, timeMs: number, key?: string): V | undefined;
  /** Undefined where only the asker knows them. */
  readonly indexes?: TableCodec['indexes'];
}

export class TableCodec {
  readonly name: string;
  readonly #table: Table<unknown, string>;
  /** Of today's schema. */
  readonly #print: number | undefined;

  constructor(name: string, table: Table<unknown, string>) {
    this.name = name;
    this.#table = table;
    this.#print = printOf(table.schema, name);
  }

  /** Changes with everything that decides what a stored row comes to. */
  get shape(): string {
    const { version, migrate } = this.#table;
    return `${version} ${this.#print} ${migrate}`;
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
    const print = this.#print;
    const short = print === undefined ? [version, valid] : [version, valid, print];
    const bytes = pack(expiresAtMs === undefined ? short : [version, valid, print ?? null, expiresAtMs]);
    const { rowBytesMax: bytesMax } = limits;
    if (bytes.length <= bytesMax) return bytes;
    throw new TandemError(
      'TOO_LARGE',
      `${what} has ${bytes.length} bytes, more than ${bytesMax}: cut it into several rows ('${key}/1', '${key}/2', …)`,
      { details: { bytes: bytes.length, bytesMax } },
    );
  }

  /**
   * A fresh copy each time; undefined when its life is over. What was stored under today's schema is taken as it is, anything
   * else must fit it, after `migrate` where its version is older. @throws UNSUPPORTED for a row that this code does not understand.
   */
  decode(bytes: Uint8Array, timeMs: number, key?: string): unknown {
    const [version, value, print, expiresAtMs] = unpack(bytes) as [number, unknown, (number | null)?, number?];
    if (expiresAtMs !== undefined && expiresAtMs <= timeMs) return undefined;
    if (version === this.#table.version && (print ?? undefined) === this.#print) return value;
    return this.#understood(version, value, key);
  }

  #understood(version: number, value: unknown, key: string | undefined): unknown {
    const { schema, version: known } = this.#table;
    const what = `${key === undefined ? 'a row' : `row '${key}'`} of table '${this.name}'`;
    if (version > known) {
      const message = `${what} has version ${version}, this code knows ${known}: roll forward to the code that wrote it`;
      throw new TandemError('UNSUPPORTED', message);
    }
    const today = version < known ? this.#migrated(version, value, what) : value;
    if (this.#print === undefined) return today;
    try {
      return validateNow(schema, today, what);
    } catch (cause) {
      const { message, details } = TandemError.from(cause);
      throw new TandemError(
        'UNSUPPORTED',
        `${message}: it was stored by code with another schema; give the table a higher version and a migrate that knows it, or roll back. The row is as it was`,
        { details: details ?? {}, cause },
      );
    }
  }

  #migrated(version: number, value: unknown, what: string): unknown {
    const { migrate } = this.#table;
    if (!migrate) return value;
    let reason = 'it gave nothing';
    try {
      const today = migrate(value, version);
      if (today !== undefined) return today;
    } catch (cause) {
      reason = cause instanceof Error ? cause.message : String(cause);
    }
    throw new TandemError(
      'UNSUPPORTED',
      `${what} has version ${version}, and the table's migrate cannot turn it into version ${this.#table.version} (${reason}): mend it, or roll back. The row is as it was`,
    );
  }
}

/** When a row's life ends (ms of the partition's clock); Infinity for one that stays. */
export function expiryOf(bytes: Uint8Array): number {
  return bytes[0] === arrayOfFour ? (unpack(bytes) as [number, unknown, unknown, number])[3] : Number.POSITIVE_INFINITY;
}
/** First byte of an array of four in MessagePack. */
const arrayOfFour = 0x94;

/** Tells one schema from another; undefined for one that JSON cannot describe, which is then not looked at again. */
function printOf(schema: AnySchema, name: string): number | undefined {
  try {
    return hashText(JSON.stringify(jsonSchema(schema, 'output', name)), 1);
  } catch {
    return undefined;
  }
}

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
