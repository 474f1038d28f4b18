/** What a handler is given: its data, its callees, its identity and its deadline. */
import type { Duration } from '../core/duration.ts';
import type { DeclaredError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { AnySchema, In, Out } from '../core/schema.ts';
import type { Calls, MethodsOf } from './call.ts';
import type { ErrorSpec, MethodSpec, Stream } from './method.ts';
import type { Table } from './table.ts';
import type { Topic } from './topic.ts';

/** Reads outside a transaction, at the level of the call; served here when this instance has a replica, else by one that has. */
export interface TableReader<V, I extends string = never> {
  get(key: string): Promise<V | undefined>;
  /**
   * Rows whose key begins with `prefix`, in key order: of the partition of this call's key; of the prefix's own when it has
   * a `/`; in a method without key of all partitions, each at a position of its own (a `strong` barrier on each), which is no
   * snapshot. Rows come in pages, each as fresh as the call's level asks; a view at one moment is a transaction.
   */
  scan(prefix: string, options?: PageOptions): AsyncIterable<readonly [key: string, value: V]>;
  /** Rows that the index `name` files under `value`, by key, from the same partitions as `scan`. */
  find(name: I, value: string, options?: PageOptions): AsyncIterable<readonly [key: string, value: V]>;
  /** The key's value now and after each change (state, not history: a slow reader sees the latest). */
  watch(key: string): AsyncIterable<V>;
}
export interface PageOptions {
  /** Rows at most. Default: all. */
  readonly limit?: number;
  /** Begins behind this key: the last one of the page before. */
  readonly after?: string;
}
/** Reads see the transaction's own writes. Values are copies: changing one changes nothing until it is put. */
export interface TxTable<V, I extends string = never> {
  get(key: string): V | undefined;
  /** `ttl`: this row's life from now on, instead of the table's. */
  put(key: string, value: V, options?: { readonly ttl?: Duration }): void;
  delete(key: string): void;
  scan(prefix: string, options?: { readonly limit?: number }): Iterable<readonly [key: string, value: V]>;
  /** Rows of this partition that the index `name` files under `value`, by key. */
  find(name: I, value: string): Iterable<readonly [key: string, value: V]>;
}
export type Tx<T> = { readonly [K in keyof T]: T[K] extends Table<infer V, infer I> ? TxTable<V, I> : never } & {
  /**
   * Publishes in the same commit: both happen or neither. With `delay` or `at` it is kept with the data and published when the
   * partition's clock has come to that time, once, whoever writes the partition by then.
   */
  emit<E>(topic: Topic<E>, event: E, options?: EmitOptions): void;
  /** The partition's clock in ms: never goes back, the same for all replicas. */
  readonly now: number;
  /** [0, 1); fresh at each run. */
  random(): number;
};
type Synchronous<R> =
  R extends PromiseLike<unknown> ? 'a transaction body is synchronous: do I/O before or after it' : R;
/** When an event goes out. Default: at once. */
export interface EmitOptions {
  /** After so long. */
  readonly delay?: Duration;
  /** At a time (a Date, or ms since 1970); one that has passed means at once. */
  readonly at?: Date | number;
}
export interface PublishOptions extends EmitOptions {
  /** Default 5s. */
  readonly timeout?: Duration;
}
export interface TransactOptions {
  /** Names this transaction when one handler makes several, so that each has its own request id. */
  readonly step?: string;
}
export interface Transacts<T> {
  /** Runs `body` against the call's partition; resolves when its effects are durable. It may run several times; only the last counts. */
  transact<R>(body: (tx: Tx<T>) => Synchronous<R>, options?: TransactOptions): Promise<R>;
}

export interface CallerInfo {
  /** The calling service and instance, inside. */
  readonly service?: string;
  readonly instance?: string;
  /** The client's address, at the gateway. */
  readonly address?: string;
  readonly tenant?: string;
  /** Those headers that a handler may see. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface BaseContext<T, R, F> extends Calls {
  readonly tables: { readonly [K in keyof T]: T[K] extends Table<infer V, infer I> ? TableReader<V, I> : never };
  readonly resources: R;
  readonly config: F;
  readonly logger: Logger;
  /** Aborts when the caller gave up or the deadline passed. */
  readonly signal: AbortSignal;
  /** Ms left. */
  readonly deadline: { readonly remainingMs: number };
  readonly requestId: string;
  readonly caller: CallerInfo;
  /** The W3C traceparent of this call. */
  readonly trace: string;
  /** This instance's id. */
  readonly instance: string;
  /**
   * Publishes outside of a transaction; resolves when durable. May be repeated by the caller's retry: use `tx.emit` where it
   * matters. With `delay` or `at` the event waits in this service's data, or, when it keeps none, in that of a service that
   * subscribes to the topic; when none does, it is refused with UNSUPPORTED.
   */
  publish<E>(topic: Topic<E>, event: E, options?: PublishOptions): Promise<void>;
}
export type Fails<S> = S extends { errors: infer E }
  ? {
      readonly fail: {
        readonly [K in keyof E]: E[K] extends ErrorSpec<infer D>
          ? D extends AnySchema
            ? (data: In<D>) => DeclaredError
            : () => DeclaredError
          : never;
      };
    }
  : unknown;
export type MethodContext<S, T, R, F> = BaseContext<T, R, F> &
  Fails<S> &
  (S extends { key: unknown } ? Transacts<T> : unknown);

type HandlerInput<S> = S extends { raw: true }
  ? Request
  : S extends { input: Stream<infer I> }
    ? AsyncIterable<Out<I>>
    : S extends { input: infer I extends AnySchema }
      ? Out<I>
      : undefined;
type HandlerOutput<S> = S extends { raw: true }
  ? Response | Promise<Response>
  : S extends { output: Stream<infer O> }
    ? AsyncIterable<In<O>>
    : S extends { output: infer O extends AnySchema }
      ? In<O> | Promise<In<O>>
      : void | Promise<void>;
export type Handler<S, T, R, F> = (input: HandlerInput<S>, ctx: MethodContext<S, T, R, F>) => HandlerOutput<S>;
export type HandlerSpec<S, T, R, F> =
  | Handler<S, T, R, F>
  | {
      readonly handler: Handler<S, T, R, F>;
      /** What this method answers when it cannot: overloaded, or failed with a system error. The answer says that it is degraded. */
      readonly fallback?: (input: HandlerInput<S>) => HandlerOutput<S>;
      /** Calls that run at once in one instance; the rest wait, bounded. Default: no limit. */
      readonly concurrency?: number;
    };
export type Handlers<C, T, R, F> = { readonly [K in keyof MethodsOf<C>]: HandlerSpec<MethodsOf<C>[K], T, R, F> };
export type AnyMethods = { readonly [name: string]: MethodSpec };
