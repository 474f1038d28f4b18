/** A table holds values of one shape by string key; all tables of a service share one partitioned keyspace. */
import { type Duration, durationMs } from '../core/duration.ts';
import type { AnySchema, Out } from '../core/schema.ts';

/** The text, or texts, that a row is found by; undefined leaves it out of the index. Pure: it sees the row and nothing else. */
export type IndexOf<V> = (row: V) => string | readonly string[] | undefined;

export interface Table<V, I extends string = never> {
  readonly kind: 'table';
  readonly schema: AnySchema;
  readonly version: number;
  readonly migrate: ((old: unknown, version: number) => unknown) | undefined;
  /** Life of a row after its last `put`; undefined keeps rows until they are deleted. */
  readonly ttlMs: number | undefined;
  readonly indexes: Readonly<Record<string, IndexOf<never>>>;
  /** Carries the types only; never set. */
  readonly __value?: V;
  readonly __index?: readonly [I];
}
export interface Tables {
  // biome-ignore lint/suspicious/noExplicitAny: each table has its own value type and index names
  readonly [name: string]: Table<any, any>;
}
export interface TableOptions<V, I extends string> {
  /** Counts up when the shape changes; rows say which version they have. Default 1. */
  readonly version?: number;
  /** Turns a row of an older version into today's shape, when it is read; the next `put` stores that. Pure; must know every version that is still there. */
  readonly migrate?: (old: unknown, version: number) => unknown;
  /**
   * Rows vanish this long after their last `put`, by the partition's clock, on all replicas at one position of the log;
   * `put` may say otherwise for one row. Default: rows stay.
   */
  readonly ttl?: Duration;
  /**
   * What rows are found by beside their key: `{ byCustomer: order => order.customer }`, then `tables.orders.find('byCustomer', 'C1')`.
   * Each replica keeps them beside its rows, in the same commit, and builds them anew when their code changes.
   */
  readonly indexes?: { readonly [K in I]: IndexOf<V> };
}

export function table<S extends AnySchema, I extends string = never>(
  schema: S,
  options: TableOptions<Out<S>, I> = {},
  // NoInfer: what the table is given to must not decide which indexes it has.
): Table<Out<S>, NoInfer<I>> {
  return {
    kind: 'table',
    schema,
    version: options.version ?? 1,
    migrate: options.migrate,
    ttlMs: options.ttl === undefined ? undefined : durationMs(options.ttl),
    indexes: (options.indexes ?? {}) as Readonly<Record<string, IndexOf<never>>>,
  };
}
