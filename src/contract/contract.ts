/** A contract is what others may know of a service; `implement` says how it is done, and only instances load that. */
import { durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import type { AnySchema, Out } from '../core/schema.ts';
import type { Balance, Strategy } from './balance.ts';
import type { AnyContract } from './call.ts';
import type { AnyMethods, BaseContext, Handlers, Transacts } from './context.ts';
import type { CheckedMethod, MethodSpec } from './method.ts';
import { checkName } from './name.ts';
import type { ScheduleSpec } from './schedule.ts';
import type { Tables } from './table.ts';
import type { Topic } from './topic.ts';

/** What `resources` is given. */
export interface Env<F> {
  readonly config: F;
  readonly logger: import('../core/logger.ts').Logger;
  readonly signal: AbortSignal;
  /** Registers a clean-up; they run in reverse order when the instance stops. */
  onStop(close: () => unknown): void;
}

export interface SubscriptionSpec<E, T, R, F> {
  readonly topic: Topic<E>;
  /** The event field that orders and places the handler. Default: the topic's key. */
  readonly key?: keyof E & string;
  /** Tries before the event becomes a dead letter. Default 5. */
  readonly attempts?: number;
  /**
   * After a dead letter the key goes on (`skip`, default), or it waits with all its later events, in order, until it is
   * redriven or the event is discarded (`park`): for when a later event makes no sense without the one before.
   */
  readonly onDead?: 'skip' | 'park';
  /** Where a new subscription begins. Default `earliest`. */
  readonly from?: 'earliest' | 'latest';
  readonly handler: (event: E, ctx: BaseContext<T, R, F> & Transacts<T>) => unknown;
}

export interface AroundCall {
  readonly service: string;
  readonly method: string;
  readonly input: unknown;
}

/** Keep `config`, `resources` and `tables` before `methods`: TypeScript infers in that order. */
export interface Definition<C, F, T, R, P> {
  readonly config?: F;
  readonly resources?: (env: Env<Out<F>>) => R | Promise<R>;
  readonly tables?: T;
  /** Slices of the keyspace to begin with; later `tandem reshard` doubles them. Default 64. */
  readonly partitions?: number;
  /** Copies of each partition, or as many as there are instances. Default 3. */
  readonly replicas?: number;
  /** How callers pick among its instances: a strategy, or `{ strategy, inflightMax, slowStart, … }`. Default `least-connections`. */
  readonly balance?: Strategy | Balance;
  /** Cross-cutting code: runs around every method of this service. Return `next()`, or answer yourself. */
  readonly around?: (call: AroundCall, ctx: BaseContext<T, R, Out<F>>, next: () => Promise<unknown>) => unknown;
  readonly methods: Handlers<C, T, R, Out<F>>;
  readonly subscriptions?: { readonly [K in keyof P]: SubscriptionSpec<P[K], T, R, Out<F>> };
  /** Topics that it publishes to: named here, a change of their events is checked here too, not only where they are read. */
  readonly publishes?: readonly Topic[];
  /** What runs at certain times: `{ nightly: { cron: '0 3 * * *', timeZone: 'Europe/Berlin', run: (fire, ctx) => … } }`. */
  readonly schedules?: { readonly [name: string]: ScheduleSpec<T, R, Out<F>> };
}

export interface Service<C = AnyContract> {
  readonly kind: 'service';
  readonly contract: C;
  // biome-ignore lint/suspicious/noExplicitAny: the definition's types matter to its author only
  readonly definition: Definition<any, any, any, any, any>;
}

export interface Contract<N extends string = string, M = AnyMethods> {
  readonly kind: 'contract';
  readonly name: N;
  readonly methods: M;
  implement<
    R,
    F extends AnySchema = AnySchema,
    T extends Tables = Record<never, never>,
    P extends Record<string, unknown> = Record<never, never>,
  >(definition: Definition<Contract<N, M>, F, T, R, P>): Service<Contract<N, M>>;
}

/** @throws INVALID when a name, route, key or duration is wrong (what the types catch is also checked here, for JavaScript). */
export function contract<const N extends string, const M extends AnyMethods>(
  name: N,
  methods: M & { readonly [K in keyof M]: CheckedMethod<M[K]> },
): Contract<N, M> {
  checkName('service', name);
  for (const [method, spec] of Object.entries<MethodSpec>(methods)) checkMethod(`${name}.${method}`, method, spec);
  const self: Contract<N, M> = {
    kind: 'contract',
    name,
    methods,
    implement: definition => {
      const missing = Object.keys(methods).filter(method => !(method in definition.methods));
      if (missing.length > 0)
        throw new TandemError('INVALID', `service '${name}' does not implement: ${missing.join(', ')}`);
      const unknown = Object.keys(definition.methods).filter(method => !(method in methods));
      if (unknown.length > 0)
        throw new TandemError(
          'INVALID',
          `service '${name}' implements methods that its contract lacks: ${unknown.join(', ')}`,
        );
      for (const schedule of Object.keys(definition.schedules ?? {}))
        if (schedule in (definition.subscriptions ?? {}))
          throw new TandemError(
            'INVALID',
            `service '${name}' has a schedule and a subscription '${schedule}'; rename one`,
          );
      return { kind: 'service', contract: self, definition };
    },
  };
  return self;
}

const knownOptions = new Set([
  'input',
  'output',
  'errors',
  'http',
  'public',
  'key',
  'consistency',
  'degrade',
  'timeout',
  'priority',
  'idempotent',
  'raw',
  'bodyBytesMax',
]);

function checkMethod(where: string, method: string, spec: MethodSpec): void {
  const wrong = (message: string): never => {
    throw new TandemError('INVALID', `${where}: ${message}`);
  };
  if (!/^[a-z][a-zA-Z0-9]*$/.test(method)) wrong('a method name is camelCase letters and digits');
  for (const option of Object.keys(spec))
    if (!knownOptions.has(option)) wrong(`unknown option '${option}'; known: ${[...knownOptions].join(', ')}`);
  if (spec.http !== undefined && !/^(GET|POST|PUT|PATCH|DELETE|ANY) \/\S*$/.test(spec.http))
    wrong(`http: '${spec.http}' is not a route; write for example 'GET /stock/:sku'`);
  if (spec.raw && !spec.http) wrong('a raw method needs an http route');
  const star = spec.http?.indexOf('*') ?? -1;
  if (star >= 0 && !/^[^*]*\/\*[a-zA-Z]\w*$/.test(spec.http ?? ''))
    wrong(`http: '${spec.http}': a rest stands at the end and has a name; write for example 'ANY /app/*rest'`);
  if (!spec.raw && (star >= 0 || spec.http?.startsWith('ANY ')))
    wrong(`http: '${spec.http}' is for raw methods, whose input is a Request`);
  const { bodyBytesMax: most } = spec;
  if (most !== undefined && !(spec.raw && Number.isInteger(most) && most > 0))
    wrong('bodyBytesMax is a whole number of bytes, of a raw method');
  if (spec.timeout !== undefined) durationMs(spec.timeout);
  for (const code of Object.keys(spec.errors ?? {}))
    if (!/^[a-z][a-zA-Z0-9]*$/.test(code))
      wrong(`error '${code}' must be camelCase; UPPER_CASE codes are the system's`);
}
