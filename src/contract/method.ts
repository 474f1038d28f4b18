/** What one method promises: shapes, place in HTTP, key, read level, time. Data only, safe in a browser. */
import type { Priority } from '../core/channel.ts';
import type { Duration } from '../core/duration.ts';
import type { AnySchema, In, Out } from '../core/schema.ts';

/** `strong`: sees every write acknowledged before it began. `sequential`: one order, never back, own writes. `eventual`: now, maybe stale. */
export type Consistency = 'strong' | 'sequential' | 'eventual';
export type Verb = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface Stream<S extends AnySchema = AnySchema> {
  readonly kind: 'stream';
  readonly item: S;
}
/** Many items over time instead of one value: an async iterable in a handler and at a caller, SSE over HTTP. */
export function stream<S extends AnySchema>(item: S): Stream<S> {
  return { kind: 'stream', item };
}

export interface ErrorSpec<S extends AnySchema | undefined = AnySchema | undefined> {
  readonly kind: 'error';
  readonly status: number;
  readonly data: S;
}
/** An error that a method may answer with: its HTTP status and, if any, its data. */
export function error(status: number): ErrorSpec<undefined>;
export function error<S extends AnySchema>(status: number, data: S): ErrorSpec<S>;
export function error(status: number, data?: AnySchema): ErrorSpec {
  return { kind: 'error', status, data };
}

export interface MethodSpec {
  readonly input?: AnySchema | Stream;
  readonly output?: AnySchema | Stream;
  readonly errors?: { readonly [code: string]: ErrorSpec };
  /**
   * `'GET /stock/:sku'`. Makes the method public at this route; `:fields` come from the path, the rest from query or body. Raw methods may take a
   * whole tree, `'GET /files/*path'`, and any verb, `'ANY /app/*rest'`; a more exact route wins.
   */
  readonly http?: `${Verb | 'ANY'} /${string}`;
  /** Reachable from outside at `POST /call/<service>/<method>`. Default: true with `http`, else false. */
  readonly public?: boolean;
  /** The input field (or fields) whose value places the call: it runs at a replica of that key's partition and may `transact`. */
  readonly key?: string | readonly string[];
  /** The level of this method's reads. Also says that it only reads, so any replica may run it. Default for reads: sequential. */
  readonly consistency?: Consistency;
  /** Answer at this level when the asked one cannot be had in time; the answer says so. Default: an error. */
  readonly degrade?: 'eventual';
  /** Default: 5s. */
  readonly timeout?: Duration;
  /** Under overload `optional` is shed first and `critical` last. Default: default. */
  readonly priority?: Priority;
  /** May be repeated when its fate is unknown. Default: true for keyed methods (request ids make their transactions happen once), GET, and those that only read. */
  readonly idempotent?: boolean;
  /** A raw method takes a web Request and answers a web Response: webhooks, uploads and downloads, redirects, a mounted app. Needs `http`. */
  readonly raw?: true;
  /** Largest body that a raw method takes, in bytes. Default 1 MiB; beyond that bodies come as a stream, which is never held whole. */
  readonly bodyBytesMax?: number;
}

/** Names of fields with scalar values. */
export type Scalar<T> = { [K in keyof T & string]: T[K] extends string | number ? K : never }[keyof T & string];
type Params<P> = P extends `${string}:${infer N}/${infer R}`
  ? N | Params<`/${R}`>
  : P extends `${string}:${infer N}`
    ? N
    : never;
type InputOf<S> = S extends { input: infer I extends AnySchema } ? I : never;
type KeyOk<S> = S extends { input: infer I extends AnySchema } ? Scalar<Out<I>> | ReadonlyArray<Scalar<Out<I>>> : never;
type HttpOk<S> = S extends { raw: true }
  ? string
  : S extends { http: infer P extends string }
    ? [Params<P>] extends [keyof In<InputOf<S>>]
      ? P
      : `no input field for: ${Exclude<Params<P>, keyof In<InputOf<S>>> & string}`
    : unknown;
/** Refuses unknown options, keys that are no scalar input field, and path parameters that the input lacks. */
export type CheckedMethod<S> = { readonly [P in Exclude<keyof S, keyof MethodSpec>]: never } & {
  readonly key?: KeyOk<S>;
  readonly http?: HttpOk<S>;
};
