/** A table holds values of one shape by string key; all tables of a service share one partitioned keyspace. */
import type { AnySchema, Out } from '../core/schema.ts';

export interface Table<V> {
  readonly kind: 'table';
  readonly schema: AnySchema;
  readonly version: number;
  readonly migrate: ((old: unknown, version: number) => unknown) | undefined;
  /** Carries the type only; never set. */
  readonly __value?: V;
}
export interface Tables {
  // biome-ignore lint/suspicious/noExplicitAny: each table has its own value type
  readonly [name: string]: Table<any>;
}
export interface TableOptions {
  /** Counts up when the shape changes; rows say which version they have. Default 1. */
  readonly version?: number;
  /** Turns a row of an older version into today's shape, when it is read. */
  readonly migrate?: (old: unknown, version: number) => unknown;
}

export function table<S extends AnySchema>(schema: S, options: TableOptions = {}): Table<Out<S>> {
  return { kind: 'table', schema, version: options.version ?? 1, migrate: options.migrate };
}
