/** How a call looks to the one who makes it, inferred from the contract. */
import type { Duration } from '../core/duration.ts';
import type { Outcome, SystemCode } from '../core/errors.ts';
import type { AnySchema, In, Out } from '../core/schema.ts';
import type { Consistency, ErrorSpec, Stream } from './method.ts';

export interface CallOptions<O = unknown> {
  /** The level of the reads behind this call. Default: the method's, else sequential. */
  readonly consistency?: Consistency;
  /** Default: the method's, else 5s; never more than what is left of the caller's own. */
  readonly timeout?: Duration;
  /** Makes repeats of this call one request. Default: one made per call and kept through retries. */
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
  /** What to answer when the call cannot be answered; the answer's meta then says degraded. */
  readonly fallback?: () => O | Promise<O>;
  /** Sends a second try elsewhere when the first takes longer than this. Reads and idempotent methods only. */
  readonly hedge?: Duration;
}

/** Where an answer came from and how fresh it is. */
export interface AnswerMeta {
  readonly level: Consistency | undefined;
  /** True when a fallback, a cache or a lower level than asked answered. */
  readonly degraded: boolean;
  /** Entries and ms that the answering replica knew itself to be behind; undefined where no replica was read. */
  readonly staleness: { readonly entries: number; readonly ms: number } | undefined;
  readonly instance: string | undefined;
  readonly requestId: string;
}

export interface SystemFailure {
  readonly code: SystemCode;
  readonly message: string;
  readonly data?: undefined;
}
export type Answer<O, E> =
  | { readonly ok: true; readonly value: O; readonly meta: AnswerMeta }
  | { readonly ok: false; readonly error: E | SystemFailure; readonly outcome: Outcome; readonly meta: AnswerMeta };

/** What a caller needs of a contract. */
export interface AnyContract {
  readonly kind: 'contract';
  readonly name: string;
  readonly methods: object;
}
export type MethodsOf<C> = C extends { readonly methods: infer M } ? M : never;
type Input<S> = S extends { input: Stream<infer I> }
  ? AsyncIterable<In<I>>
  : S extends { input: infer I extends AnySchema }
    ? In<I>
    : void;
type Output<S> = S extends { output: infer O extends AnySchema } ? Out<O> : void;
export type Failures<S> = S extends { errors: infer E }
  ? {
      [K in keyof E & string]: {
        readonly code: K;
        readonly message: string;
        readonly data: E[K] extends ErrorSpec<infer D> ? Out<D> : never;
      };
    }[keyof E & string]
  : never;

type CallOne<S> = S extends { output: Stream<infer O> }
  ? (input: Input<S>, options?: CallOptions<never>) => AsyncIterable<Out<O>>
  : (input: Input<S>, options?: CallOptions<Output<S>>) => Promise<Output<S>>;
/** Answers or throws (DeclaredError for the contract's errors, TandemError for the system's). */
export type MethodCalls<C> = {
  readonly [K in keyof MethodsOf<C> as MethodsOf<C>[K] extends { raw: true } ? never : K]: CallOne<MethodsOf<C>[K]>;
};
/** Never throws for an answer: `ok`, or a typed error with its outcome. */
export type MethodTries<C> = {
  readonly [K in keyof MethodsOf<C> as MethodsOf<C>[K] extends { raw: true } | { output: Stream } ? never : K]: (
    input: Input<MethodsOf<C>[K]>,
    options?: CallOptions<Output<MethodsOf<C>[K]>>,
  ) => Promise<Answer<Output<MethodsOf<C>[K]>, Failures<MethodsOf<C>[K]>>>;
};

export interface Calls {
  call<C extends AnyContract>(contract: C): MethodCalls<C>;
  /** With the type import alone: `call<typeof inventory>('inventory')`. */
  call<C extends AnyContract>(name: C['name'] & string): MethodCalls<C>;
  try<C extends AnyContract>(contract: C): MethodTries<C>;
  try<C extends AnyContract>(name: C['name'] & string): MethodTries<C>;
}
