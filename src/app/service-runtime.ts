/**
 * Runs the methods of one service in one instance: validates the input, places keyed calls, builds the context, calls
 * the handler, strips the output. One request's way through an instance can be read here from top to bottom.
 */
import type { Caller } from '../calling/outgoing.ts';
import { isSilence } from '../calling/retry-rule.ts';
import { Session } from '../calling/session.ts';
import type { CallerInfo } from '../contract/context.ts';
import type { Service } from '../contract/contract.ts';
import type { Descriptor, MethodForm } from '../contract/descriptor.ts';
import { keyOf } from '../contract/key.ts';
import type { ErrorSpec, MethodSpec, Stream } from '../contract/method.ts';
import type { RawRequestForm } from '../contract/raw.ts';
import type { Fire } from '../contract/schedule.ts';
import type { Answerer, Incoming, Reply } from '../core/channel.ts';
import { type Clock, isoTime } from '../core/clock.ts';
import { DeclaredError, isNotDone, TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { CallMeta, ReplyMeta } from '../core/meta.ts';
import type { Counter, Histogram, Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import { type AnySchema, validate } from '../core/schema.ts';
import type { Tracer } from '../core/tracer.ts';
import { type Bulkhead, openBulkhead } from '../degradation/bulkhead.ts';
import { Deadlines } from '../degradation/deadline.ts';
import type { Delivery } from '../events/events.ts';
import type { Publisher } from '../events/publisher.ts';
import { hashText } from '../partitioning/hash.ts';
import type { Keyspace, Scope, ScopeOptions } from '../state/keyspace.ts';
import { type ContextShare, type Fail, failOf, openContext } from './context.ts';
import { answerRaw, RawItems, wholeForm } from './raw.ts';

export interface ServiceRuntimeOptions {
  readonly service: Service;
  readonly descriptor: Descriptor;
  readonly instance: string;
  readonly config: unknown;
  readonly resources: unknown;
  /** Undefined when the service keeps no data. */
  readonly keyspace: Keyspace | undefined;
  readonly caller: Caller;
  readonly publisher: Publisher;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly tracer: Tracer;
}

export interface ServiceRuntime {
  readonly answer: Answerer;
  handles(method: string): boolean;
  /** Handles one event for a subscription. */
  deliver(delivery: Delivery): Promise<unknown>;
  /** Calls being handled now. */
  readonly inflight: () => number;
  /** Refuses new calls with CLOSED and resolves when the running ones have ended, or at the deadline. */
  drain(deadline: number): Promise<void>;
}

type AnyHandler = (input: unknown, ctx: unknown) => unknown;

interface Method {
  readonly form: MethodForm;
  readonly spec: MethodSpec;
  readonly handler: AnyHandler;
  readonly fallback: ((input: unknown) => unknown) | undefined;
  readonly bulkhead: Bulkhead | undefined;
  readonly duration: Histogram;
  readonly failures: Map<string, Counter>;
  readonly fail: Fail;
  /** For messages. */
  readonly inputName: string;
  readonly outputName: string;
}

export function openServiceRuntime(options: ServiceRuntimeOptions): ServiceRuntime {
  const { service, descriptor, keyspace, clock, meter, tracer, random, instance } = options;
  const name = service.contract.name as string;
  const methods = new Map<string, Method>();
  for (const form of descriptor.methods) methods.set(`${name}.${form.name}`, methodOf(options, form));
  const share: ContextShare = { ...options, service: name };
  const deadlines = new Deadlines(clock);
  const parts = { ...options, deadlines };
  let inflight = 0;
  let draining = false;
  let idle: (() => void) | undefined;

  const enter = (): void => {
    if (draining) throw new TandemError('CLOSED', `${instance} is draining`);
    inflight++;
  };
  const leave = (): void => {
    inflight--;
    if (inflight === 0) idle?.();
  };

  const answer: Answerer = incoming => {
    const method = methods.get(incoming.method);
    if (!method) throw new TandemError('NOT_FOUND', `${instance} has no method '${incoming.method}'`);
    const meta = (incoming.meta ?? noMeta) as CallMeta;
    if (method.form.key.length === 0 || !keyspace) return run(method, incoming, meta, undefined, undefined);
    const key = keyOf(method.form.key, incoming.body);
    const partition = keyspace.partitionOf(key);
    const route = keyspace.route(partition, method.form.reads);
    if (route.here) return run(method, incoming, meta, partition, key);
    return forward(options, incoming, meta, route.member.beat.id).catch(cause => {
      // That one is gone, and did nothing: if it is this instance's turn now, the caller need not come again.
      const isGone = cause instanceof TandemError && cause.code === 'UNAVAILABLE' && isNotDone(cause);
      if (!isGone || !keyspace.route(partition, method.form.reads).here) throw cause;
      return run(method, incoming, meta, partition, key);
    });
  };

  /** Answers at once what the handler answers at once: a promise costs more than the rest of a small call. */
  const run = (
    method: Method,
    incoming: Incoming,
    meta: CallMeta,
    partition: number | undefined,
    key: string | undefined,
  ): ReturnType<Answerer> => {
    enter();
    const startedAt = clock.monotonic();
    const span = tracer.start(incoming.method, 'server', meta.traceparent);
    let scope: Scope | undefined;
    const over = (): void => {
      method.duration.record(clock.monotonic() - startedAt);
      leave();
    };
    const succeeded = (result: unknown): Reply | AsyncIterable<unknown> => {
      if (result instanceof Response) {
        method.duration.record(clock.monotonic() - startedAt);
        const { meta: replied } = replyOf(null, scope, instance);
        return new RawItems(result, replied as ReplyMeta, clock, () => {
          span.end();
          leave();
        });
      }
      if (method.form.output?.stream && isIterable(result)) {
        method.duration.record(clock.monotonic() - startedAt);
        return checkedItems(result, method, () => {
          span.end();
          leave();
        });
      }
      const reply = replyOf(result, scope, instance);
      span.end();
      over();
      return reply;
    };
    const failed = (cause: unknown): never => {
      const error = checkedFailure(cause, method, options.logger, incoming.method);
      count(method, error.code, meter, name);
      span.end(error);
      over();
      throw error;
    };
    let result: unknown;
    try {
      const session = meta.session ? Session.fromForm(meta.session) : new Session();
      const requestId = meta.requestId ?? random.id();
      const { traceparent } = span;
      scope = keyspace?.scope(scopeOf(method, incoming, meta, { partition, key, session, requestId, traceparent }));
      const call = { scope, session, requestId, traceparent, life: incoming, calledBy: meta.caller ?? noCaller };
      result = handled(parts, method, incoming, openContext(share, call, method.fail));
    } catch (cause) {
      return failed(cause);
    }
    if (!(result instanceof Promise)) return succeeded(result);
    // With a fallback the wait has ended at the deadline already, and this is what stands in.
    if (method.fallback) return result.then(succeeded, failed);
    return deadlines.run(result, headDeadline(incoming, clock), () => lateError(incoming.method), succeeded, failed);
  };

  return {
    answer,
    handles: method => methods.has(method),
    deliver: async delivery => {
      const { subscriptions, schedules } = service.definition;
      const schedule = schedules?.[delivery.subscription];
      const handler = (schedule?.run ?? subscriptions?.[delivery.subscription]?.handler) as AnyHandler | undefined;
      if (!handler) throw new TandemError('MOVED', `${instance} has no subscription '${delivery.subscription}'`);
      enter();
      const span = tracer.start(`${name}.${delivery.subscription}`, 'consumer', delivery.traceparent);
      try {
        const ctx = openContext(share, {
          ...delivery,
          life: delivery,
          // The same for every try of one due time, also when its dead letter is sent again.
          ...(schedule && { requestId: dueId(name, delivery.subscription, delivery.event as Fire) }),
          traceparent: span.traceparent,
          calledBy: { service: name },
        });
        const done = Promise.resolve(handler(delivery.event, ctx));
        const what = `${name}.${delivery.subscription}`;
        const result = await deadlines.run(done, delivery.deadline, () => lateError(what), itself, rethrown);
        span.end();
        return result;
      } catch (cause) {
        span.end(cause);
        throw cause;
      } finally {
        leave();
      }
    },
    inflight: () => inflight,
    drain: async deadline => {
      draining = true;
      if (inflight === 0) return;
      await new Promise<void>(resolve => {
        const timer = clock.after(deadline - clock.monotonic(), resolve);
        idle = () => {
          timer.cancel();
          resolve();
        };
      });
    },
  };
}

function dueId(service: string, schedule: string, { dueAt }: Fire): string {
  return `${service}.${schedule}@${isoTime(dueAt)}`;
}

/** Tells a repeat of a request from another request under the same id: 64 bits are enough for that. */
function inputHash({ method, body }: Incoming): string {
  const text = `${method}\0${JSON.stringify(body)}`;
  return `${hashText(text, 1).toString(36)}.${hashText(text, 2).toString(36)}`;
}

function methodOf(options: ServiceRuntimeOptions, form: MethodForm): Method {
  const { service, meter, clock } = options;
  const spec = (service.contract.methods as Record<string, MethodSpec>)[form.name]!;
  const given = (service.definition.methods as Record<string, unknown>)[form.name] as
    | AnyHandler
    | { handler: AnyHandler; fallback?: (input: unknown) => unknown; concurrency?: number };
  const parts = typeof given === 'function' ? { handler: given } : given;
  const attributes = { service: descriptorName(service), method: form.name };
  return {
    form,
    spec,
    handler: parts.handler,
    fallback: 'fallback' in parts ? parts.fallback : undefined,
    bulkhead:
      'concurrency' in parts && parts.concurrency
        ? openBulkhead({ concurrencyMax: parts.concurrency, clock })
        : undefined,
    duration: meter.histogram('tandem.server.duration', attributes),
    failures: new Map(),
    fail: failOf(spec),
    inputName: `input of ${descriptorName(service)}.${form.name}`,
    outputName: `output of ${descriptorName(service)}.${form.name}`,
  };
}

function descriptorName(service: Service): string {
  return service.contract.name as string;
}

/** Data of the call: what few methods need of it is made when it is asked for. */
function scopeOf(
  { form }: Method,
  incoming: Incoming,
  meta: CallMeta,
  at: Pick<ScopeOptions, 'partition' | 'key' | 'session' | 'traceparent'> & { readonly requestId: string },
): ScopeOptions {
  return {
    partition: at.partition,
    key: at.key,
    level: meta.consistency ?? form.consistency ?? 'sequential',
    degrade: form.degrade,
    session: at.session,
    deadline: incoming.deadline,
    get signal() {
      return incoming.signal;
    },
    request: {
      id: at.requestId,
      born: meta.born,
      // At once, since a handler may change what it was given. What only reads stores none.
      inputHash: form.reads ? undefined : inputHash(incoming),
      // Of an id from outside nobody knows how often it was sent.
      repeated: !form.reads && (meta.repeated === true || meta.born === undefined),
    },
    traceparent: at.traceparent,
  };
}

type Parts = ServiceRuntimeOptions & { readonly deadlines: Deadlines };
type Context = ReturnType<typeof openContext>;

/** A value that stands in for the method's own. */
class Degraded {
  readonly value: unknown;
  constructor(value: unknown) {
    this.value = value;
  }
}

/** The handler with validation around it; a fallback answers for it when the system, not the contract, failed. A value, or a promise of one. */
function handled(parts: Parts, method: Method, incoming: Incoming, ctx: Context): unknown {
  const input = method.form.raw ? undefined : inputOf(method, incoming);
  if (input instanceof Promise) return input.then(checked => worked(parts, method, incoming, checked, ctx));
  return worked(parts, method, incoming, input, ctx);
}

function worked(parts: Parts, method: Method, incoming: Incoming, input: unknown, ctx: Context): unknown {
  const { bulkhead, fallback } = method;
  const work = (): unknown => called(parts, method, incoming, input, ctx);
  if (!bulkhead && !fallback) return work();
  const bounded = async (): Promise<unknown> =>
    bulkhead ? bulkhead.run(async () => work(), incoming.deadline, incoming.priority) : work();
  if (!fallback) return bounded();
  const rescued = async (cause: unknown): Promise<unknown> => {
    if (cause instanceof DeclaredError || isCallersFault(cause)) throw cause;
    parts.logger.warn('a fallback answers', { method: incoming.method, message: TandemError.from(cause).message });
    return new Degraded(await output(method, await fallback(input)));
  };
  const deadline = headDeadline(incoming, parts.clock);
  return parts.deadlines.run(bounded(), deadline, () => lateError(incoming.method), itself, rescued);
}

/** An upload may take as long as it likes, so no deadline frees the place of one that was given up. */
function untilLeft<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const left = (): void => reject(signal.reason);
    signal.addEventListener('abort', left, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', left));
  });
}

/** A streamed answer lives long; that it begins does not take so. While a body comes, the caller knows how long. */
function headDeadline({ body, deadline, items }: Incoming, clock: Clock): number {
  const streams = (body as Partial<RawRequestForm> | null | undefined)?.streams;
  return streams && !items ? Math.min(deadline, clock.monotonic() + streams.headTimeoutMs) : deadline;
}

const itself = (value: unknown): unknown => value;
const rethrown = (cause: unknown): never => {
  throw cause;
};
const noMeta: CallMeta = {};
const noCaller: CallerInfo = {};

function called(parts: Parts, method: Method, incoming: Incoming, input: unknown, ctx: Context): unknown {
  const { service } = parts;
  if (method.form.raw) {
    const form = incoming.body as RawRequestForm;
    const { items, signal } = incoming;
    const answered = answerRaw(method.handler, { form, items, signal }, ctx);
    const raw: Promise<unknown> = form.streams ? answered : answered.then(wholeForm);
    return items ? untilLeft(raw, signal) : raw;
  }
  const { around } = service.definition;
  const result = around
    ? around({ service: descriptorName(service), method: method.form.name, input }, ctx as never, async () =>
        method.handler(input, ctx),
      )
    : method.handler(input, ctx);
  return result instanceof Promise ? result.then(settled => output(method, settled)) : output(method, result);
}

function inputOf(method: Method, incoming: Incoming): unknown {
  const { input } = method.spec;
  if (!input) return undefined;
  if (isStream(input)) return checkedStream(incoming.items ?? empty(), input.item, method.inputName);
  return validate(input, incoming.body, method.inputName);
}

/** An answer that breaks its own contract is the service's fault, never the caller's. A value, or a promise of one. */
function output(method: Method, value: unknown): unknown {
  const { output: schema } = method.spec;
  if (!schema || isStream(schema)) return schema ? value : undefined;
  try {
    const checked = validate(schema, value, method.outputName);
    return checked instanceof Promise ? checked.catch(brokenBy) : checked;
  } catch (cause) {
    return brokenBy(cause);
  }
}

function brokenBy(cause: unknown): never {
  throw new TandemError('INTERNAL', TandemError.from(cause).message, { cause });
}

function replyOf(result: unknown, scope: Scope | undefined, instance: string): Reply {
  const degraded = result instanceof Degraded;
  const value = degraded ? result.value : result;
  const meta: ReplyMeta =
    scope || degraded ? { ...scope?.replyMeta(), instance, ...(degraded && { degraded }) } : { instance };
  return { body: value ?? null, meta };
}

async function forward(
  options: ServiceRuntimeOptions,
  incoming: Incoming,
  meta: CallMeta,
  target: string,
): Promise<Reply> {
  const hops = meta.hops ?? 0;
  const member = options.caller.registry.member(target);
  if (hops >= limits.hopsMax || !member || incoming.items) {
    throw new TandemError('MOVED', 'this partition is served by another instance', { details: { instance: target } });
  }
  const { deadline, signal, priority } = incoming;
  try {
    const forwarded = { deadline, signal, priority, meta: { ...meta, hops: hops + 1 } };
    return await options.caller.send(member, incoming.method, incoming.body, forwarded);
  } catch (cause) {
    throw failedAt(target, cause);
  }
}

/** Names the instance that was not reached, so that the caller does not hold it against the one that sent the call on. */
function failedAt(instance: string, cause: unknown): unknown {
  if (!(cause instanceof TandemError) || !isSilence(cause)) return cause;
  const { code, message, outcome, details } = cause;
  return new TandemError(code, message, { outcome, details: { ...details, instance }, cause });
}

/** Declared errors keep to their schema; anything else becomes a system error, and what nobody expected is recorded. */
function checkedFailure(cause: unknown, method: Method, logger: Logger, where: string): TandemError | DeclaredError {
  if (cause instanceof DeclaredError) {
    const declared = (method.spec.errors as Record<string, ErrorSpec> | undefined)?.[cause.code];
    if (declared) return cause;
    return new TandemError('INTERNAL', `${where} failed with '${cause.code}', which its contract does not declare`, {
      cause,
    });
  }
  const error = TandemError.from(cause);
  if (error.code === 'INTERNAL')
    logger.error('a method failed', {
      method: where,
      message: error.message,
      stack: (error.cause as Error | undefined)?.stack,
    });
  return error;
}

function count(method: Method, code: string, meter: Meter, service: string): void {
  let counter = method.failures.get(code);
  if (!counter) {
    counter = meter.counter('tandem.server.errors', { service, method: method.form.name, code });
    method.failures.set(code, counter);
  }
  counter.add(1);
}

function isCallersFault(cause: unknown): boolean {
  const { code } = TandemError.from(cause);
  return code === 'INVALID' || code === 'CANCELED' || code === 'MOVED' || code === 'CONFLICT' || code === 'EXPIRED';
}

/** A handler that never returns must not hold its caller, nor its place, past the deadline. */
function lateError(what: string): TandemError {
  return new TandemError('DEADLINE_EXCEEDED', `${what} did not answer in time; look at what its handler waits for`);
}

async function* checkedItems(
  items: AsyncIterable<unknown>,
  method: Method,
  ended: () => void,
): AsyncGenerator<unknown> {
  try {
    const item = (method.spec.output as Stream).item;
    for await (const value of items) yield await validate(item, value, `an item of ${method.form.name}`);
  } finally {
    ended();
  }
}

async function* checkedStream(items: AsyncIterable<unknown>, item: AnySchema, what: string): AsyncGenerator<unknown> {
  for await (const value of items) yield await validate(item, value, what);
}

async function* empty(): AsyncGenerator<never> {}

function isStream(shape: AnySchema | Stream): shape is Stream {
  return (shape as { kind?: unknown }).kind === 'stream';
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}
