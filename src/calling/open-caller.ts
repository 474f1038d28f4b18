/**
 * The client side of a call: finds the method, picks an instance, sends, and repeats what may be repeated until an
 * answer, the deadline, or the retry budget ends it. All tries of a call carry the same request id (data core, rule 15).
 */
import type { MethodForm } from '../contract/descriptor.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import type { Dialer, Priority, Reply, SendOptions } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { CallMeta, ReplyMeta } from '../core/meta.ts';
import type { Histogram, Meter } from '../core/meter.ts';
import { backoffMs, type Random, timedId } from '../core/random.ts';
import type { Tracer } from '../core/tracer.ts';
import { earlierDeadline } from '../degradation/deadline.ts';
import { mayFallBack } from '../degradation/fallback.ts';
import { openRetryBudget, type RetryBudget } from '../degradation/retry-budget.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import type { Registry } from '../naming/registry.ts';
import { hashText } from '../partitioning/hash.ts';
import { hedged } from './hedge.ts';
import type { Caller, OutgoingCall } from './outgoing.ts';
import { isBroken, retryAfterMs, retryKind, worstOf } from './retry-rule.ts';
import { type MethodRoute, Routes } from './routes.ts';
import type { Target } from './target.ts';
import { Targets } from './targets.ts';

export interface CallerOptions {
  readonly registry: Registry;
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly tracer: Tracer;
  readonly self?: { readonly id: string; readonly service?: string | undefined; readonly zone?: string | undefined };
}

const none: ReadonlySet<Target> = new Set();

export const callingDefaults = {
  /** Tries that count (not those that were never taken on). Three is what the SRE book advises. */
  triesMax: 3,
  /** After its start a caller waits this long for a service that nobody has announced yet. */
  discoveryMs: 2000,
  backoffMs: 10,
  backoffMsMax: 250,
} as const;

/** One call on its way. */
interface Journey {
  readonly name: string;
  readonly service: string;
  readonly method: string;
  readonly input: unknown;
  readonly options: OutgoingCall;
  readonly deadline: number;
  meta: CallMeta;
  /** Instances that failed it. */
  readonly tried: Set<Target>;
  /** Hash of whom it is for: the client's address at a gateway, elsewhere this process. */
  readonly client: number;
  /** Where a MOVED said it should go. */
  hint: string | undefined;
}

export function openCaller(options: CallerOptions): Caller {
  const { registry, clock, random, meter, tracer, self } = options;
  const targets = new Targets({ ...options, zone: self?.zone });
  const routes = new Routes(registry, targets);
  const unwatch = registry.onChange(() => {
    targets.bury();
    targets.wakeWaiting();
  });
  const budgets = new Map<string, RetryBudget>();
  const durations = new Map<string, Histogram>();
  const discoveryEndsMs = clock.monotonic() + callingDefaults.discoveryMs;
  const selfCaller: CallMeta['caller'] = self && {
    ...(self.service !== undefined && { service: self.service }),
    instance: self.id,
  };
  const selfHash = hashText(self?.id ?? '', 0);
  let closed = false;

  const budgetOf = (service: string): RetryBudget => {
    let budget = budgets.get(service);
    if (!budget) {
      budget = openRetryBudget({ clock });
      budgets.set(service, budget);
    }
    return budget;
  };
  const record = (service: string, method: string, code: string, startedAt: number): void => {
    const name = `${service}.${method}.${code}`;
    let duration = durations.get(name);
    if (!duration) {
      duration = meter.histogram(metricNames.call, { service, method, code });
      durations.set(name, duration);
    }
    duration.record(clock.monotonic() - startedAt);
  };

  /** The route of a method, waiting where waiting can help. @throws NOT_FOUND with near names. */
  const find = async (service: string, method: string, options: OutgoingCall): Promise<MethodRoute> => {
    const limit = earlierDeadline(clock, options.timeoutMs ?? limits.callTimeoutMs, options.deadline);
    const announced = registry.instances(service).length > 0 && registry.descriptors(service).length === 0;
    if (!registry.descriptor(service) || announced) {
      const until = announced ? limit : Math.min(limit, discoveryEndsMs);
      if (until > clock.monotonic()) {
        const found = (): boolean => routes.of(service, method) !== undefined;
        await registry.until(found, `service '${service}'`, until).catch(cause => {
          if (TandemError.from(cause).code !== 'UNAVAILABLE' || registry.instances(service).length > 0) throw cause;
        });
      }
    }
    const route = routes.of(service, method);
    if (route) return route;
    const descriptor = registry.descriptor(service);
    const near = descriptor
      ? didYouMean(
          method,
          descriptor.methods.map(form => form.name),
        ).map(name => `${service}.${name}`)
      : didYouMean(service, registry.services());
    const what = descriptor ? `service '${service}' has no method '${method}'` : `there is no service '${service}'`;
    throw new TandemError('NOT_FOUND', near.length > 0 ? `${what}; did you mean ${near.join(' or ')}?` : what, {
      details: { didYouMean: near },
    });
  };

  /** `full`: those that may have it have no room. */
  const choose = (journey: Journey, route: MethodRoute): Target | 'full' | undefined => {
    if (journey.hint !== undefined) {
      const member = registry.member(journey.hint);
      journey.hint = undefined;
      if (member?.beat.ready && member.verdict !== 'dead') return targets.of(member);
    }
    const all = route.candidates(journey.input);
    if (all.length === 0) return undefined;
    if (route.ordered) {
      for (const target of all) if (!journey.tried.has(target) && target.breaker.wouldAllow()) return target;
      journey.tried.clear();
      for (const target of all) if (target.breaker.wouldAllow()) return target;
      return undefined;
    }
    return targets.balancer(journey.service).pick(all, journey.tried, journey.client);
  };

  /** One try, with its bookkeeping. */
  const attempt = async (
    journey: Journey,
    target: Target,
    form: MethodForm,
    signal: AbortSignal | undefined,
  ): Promise<Reply> => {
    if (!target.breaker.allows())
      throw new TandemError('UNAVAILABLE', `the circuit to ${target.member.beat.id} is open`);
    target.picked.add(1);
    target.inflight++;
    const startedAt = clock.monotonic();
    // A writer takes as long as a write takes; nobody picked it, and it is not compared with those who only read.
    const elapsed = (): number | undefined => (isWrite(form) ? undefined : clock.monotonic() - startedAt);
    const { deadline, meta, input, options: asked } = journey;
    const send: SendOptions = { deadline, signal, priority: priorityOf(asked.priority, form.priority), meta };
    try {
      const channel = targets.channel(target);
      const reply = form.input?.stream
        ? await channel.call(journey.name, undefined, send, input as AsyncIterable<unknown>)
        : await channel.call(journey.name, input, send);
      targets.succeeded(target, elapsed());
      return reply;
    } catch (cause) {
      targets.failed(target, cause, elapsed());
      if (!signal?.aborted) journey.tried.add(target);
      throw cause;
    } finally {
      left(target);
    }
  };
  const left = (target: Target): void => {
    target.inflight--;
    const { service } = target.member.beat;
    if (service !== undefined) targets.balancer(service).places.next(target);
  };
  /** Waits for a better moment: a change in the registry, or `waitMs`. */
  const pause = (waitMs: number, wakeOnChange: boolean, signal: AbortSignal | undefined): Promise<void> =>
    new Promise(resolve => {
      const done = (): void => {
        timer.cancel();
        off?.();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = clock.after(waitMs, done);
      const off = wakeOnChange ? registry.onChange(() => clock.defer(done)) : undefined;
      signal?.addEventListener('abort', done, { once: true });
      if (signal?.aborted) done();
    });

  const travel = async <T>(
    journey: Journey,
    once: (route: MethodRoute, target: Target) => Promise<T>,
    mayRepeat: () => boolean,
  ): Promise<T> => {
    const budget = budgetOf(journey.service);
    const { signal } = journey.options;
    budget.deposit();
    let counted = 0;
    let doubtful: TandemError | undefined;
    let last: unknown;
    for (let round = 0; ; round++) {
      if (closed) throw worstOf(new TandemError('CLOSED', 'this caller is closed'), doubtful);
      if (signal?.aborted) {
        throw new TandemError('CANCELED', `${journey.name} was cancelled`, {
          outcome: doubtful ? 'unknown' : 'not-done',
        });
      }
      const route = routes.of(journey.service, journey.method);
      const target = route && choose(journey, route);
      if (target === 'full') {
        const { places, queueMax } = targets.balancer(journey.service);
        try {
          const candidates = route?.candidates(journey.input) ?? [];
          await places.wait(journey.service, candidates, queueMax, journey.deadline, signal);
        } catch (cause) {
          throw worstOf(cause, doubtful);
        }
        continue;
      }
      let kind: ReturnType<typeof retryKind> = 'free';
      if (route && target) {
        try {
          return await once(route, target);
        } catch (cause) {
          last = cause;
          kind = mayRepeat() ? retryKind(cause, route.form.idempotent) : 'never';
          if (cause instanceof TandemError) {
            if (cause.outcome === 'unknown') {
              doubtful = cause;
              journey.meta = { ...journey.meta, repeated: true };
            }
            const moved = cause.code === 'MOVED' ? cause.details?.instance : undefined;
            journey.hint = typeof moved === 'string' && round < 2 ? moved : undefined;
          }
        }
      } else {
        last ??= new TandemError(
          'UNAVAILABLE',
          `no instance of '${journey.service}' is ready to answer ${journey.name}`,
        );
      }
      if (kind === 'never') throw worstOf(last, doubtful);
      if (kind === 'budget' && (++counted >= callingDefaults.triesMax || !budget.withdraw()))
        throw worstOf(last, doubtful);
      if (journey.hint !== undefined) continue;
      const left = journey.deadline - clock.monotonic();
      const waitMs =
        retryAfterMs(last) + backoffMs(random, round, callingDefaults.backoffMs, callingDefaults.backoffMsMax);
      if (left <= Math.max(1, retryAfterMs(last))) throw worstOf(last, doubtful);
      // The first repeat goes elsewhere at once, unless it is load that failed it; only when there is nowhere else it has to wait.
      const elsewhere = route
        ?.candidates(journey.input)
        .some(other => !journey.tried.has(other) && other.breaker.wouldAllow());
      if (round === 0 && elsewhere && (kind !== 'budget' || isBroken(last))) continue;
      await pause(Math.min(Math.max(1, waitMs), left), kind === 'free', signal);
    }
  };

  const begin = (
    service: string,
    method: string,
    input: unknown,
    asked: OutgoingCall,
    form: MethodForm,
    traceparent: string,
  ): Journey => {
    const born = asked.requestId === undefined ? clock.now() : asked.born;
    const consistency = asked.consistency ?? form.consistency;
    const session = asked.session?.toForm();
    const caller = asked.caller ?? selfCaller;
    return {
      name: `${service}.${method}`,
      service,
      method,
      input,
      options: asked,
      deadline: earlierDeadline(clock, asked.timeoutMs ?? form.timeoutMs, asked.deadline),
      meta: {
        requestId: asked.requestId ?? timedId(random, born ?? clock.now()),
        ...(born !== undefined && { born }),
        ...(traceparent !== '' && { traceparent }),
        ...(consistency && { consistency }),
        ...(session && { session }),
        ...(caller && { caller }),
      },
      tried: new Set(),
      client: caller?.address === undefined ? selfHash : hashText(caller.address, 0),
      hint: undefined,
    };
  };

  const call: Caller['call'] = async (service, method, input, asked = {}) => {
    const startedAt = clock.monotonic();
    const span = tracer.start(`${service}.${method}`, 'client', asked.traceparent);
    let requestId = asked.requestId ?? '';
    try {
      const { form } = routes.of(service, method) ?? (await find(service, method, asked));
      const journey = begin(service, method, input, asked, form, span.traceparent);
      requestId = journey.meta.requestId!;
      const hedgeMs = form.idempotent ? asked.hedgeMs : undefined;
      if (hedgeMs !== undefined) journey.meta = { ...journey.meta, repeated: true };
      const reply = await travel(
        journey,
        (route, target) => {
          if (hedgeMs === undefined) return attempt(journey, target, route.form, asked.signal);
          return hedged(
            clock,
            hedgeMs,
            asked.signal,
            signal => attempt(journey, target, route.form, signal),
            signal =>
              attempt({ ...journey, tried: new Set([target]) }, other(journey, route, target), route.form, signal),
          );
        },
        () => !form.input?.stream,
      );
      const meta = (reply.meta ?? {}) as ReplyMeta;
      asked.session?.merge(meta.session);
      span.end();
      record(service, method, 'ok', startedAt);
      return {
        value: reply.body,
        meta: {
          level: meta.level,
          degraded: meta.degraded ?? false,
          staleness: meta.staleness,
          instance: meta.instance,
          requestId,
        },
      };
    } catch (cause) {
      const error = cause instanceof DeclaredError ? cause : TandemError.from(cause);
      span.end(error);
      record(service, method, error.code, startedAt);
      if (!asked.fallback || !mayFallBack(error)) throw error;
      const value = await asked.fallback();
      meter.counter(metricNames.degraded, { service, method }).add(1);
      return {
        value,
        meta: { level: undefined, degraded: true, staleness: undefined, instance: undefined, requestId },
      };
    }
  };

  /** Where the second try of a hedge goes: another instance if there is one. */
  const other = (journey: Journey, route: MethodRoute, first: Target): Target => {
    const balancer = targets.balancer(journey.service);
    const others = route.candidates(journey.input).filter(target => target !== first && !balancer.avoid(target));
    if (others.length === 0) return first;
    const picked = route.ordered ? others[0]! : balancer.pick(others, none, journey.client);
    return picked === undefined || picked === 'full' ? first : picked;
  };

  const stream = async function* (
    service: string,
    method: string,
    input: unknown,
    asked: OutgoingCall = {},
  ): AsyncGenerator<unknown> {
    const span = tracer.start(`${service}.${method}`, 'client', asked.traceparent);
    const startedAt = clock.monotonic();
    let code = 'ok';
    try {
      const { form } = routes.of(service, method) ?? (await find(service, method, asked));
      const own = form.input?.stream ? (input as AsyncIterable<unknown>) : undefined;
      const incoming = own ?? asked.items;
      const journey = begin(service, method, input, asked, form, span.traceparent);
      // A stream lives as long as its reader wants it; only the wait for its first item has the method's timeout.
      const endless = asked.deadline ?? (asked.timeoutMs === undefined ? Number.MAX_SAFE_INTEGER : journey.deadline);
      const opened = await travel(
        journey,
        async (_, target) => {
          if (!target.breaker.allows()) throw new TandemError('UNAVAILABLE', 'the circuit is open');
          target.picked.add(1);
          const send: SendOptions = {
            deadline: endless,
            signal: asked.signal,
            priority: priorityOf(asked.priority, form.priority),
            meta: journey.meta,
          };
          const channel = targets.channel(target);
          const items = channel.stream(journey.name, own ? undefined : input, send, incoming)[Symbol.asyncIterator]();
          target.inflight++;
          try {
            const first = await items.next();
            targets.succeeded(target, undefined);
            return { items, first, target };
          } catch (cause) {
            left(target);
            targets.failed(target, cause, undefined);
            journey.tried.add(target);
            throw cause;
          }
        },
        () => own === undefined && !asked.items?.isStarted,
      );
      let ended = false;
      try {
        for (let item = opened.first; !item.done; item = await opened.items.next()) yield item.value;
        ended = true;
      } catch (cause) {
        ended = true;
        targets.failed(opened.target, cause, undefined);
        throw cause;
      } finally {
        left(opened.target);
        if (!ended) await opened.items.return?.();
      }
    } catch (cause) {
      code = cause instanceof DeclaredError ? cause.code : TandemError.from(cause).code;
      span.end(cause);
      throw cause;
    } finally {
      if (code === 'ok') span.end();
      record(service, method, code, startedAt);
    }
  };

  return {
    registry,
    call,
    stream,
    async send(member, method, body, send) {
      const target = targets.of(member);
      target.inflight++;
      const startedAt = clock.monotonic();
      try {
        return await targets.channel(target).call(method, body, send);
      } catch (cause) {
        if (cause instanceof TandemError && (cause.code === 'UNAVAILABLE' || cause.code === 'INTERRUPTED')) {
          targets.failed(target, cause, clock.monotonic() - startedAt);
        }
        throw cause;
      } finally {
        left(target);
      }
    },
    watch: member => void targets.channel(targets.of(member)),
    strategyOf: service => targets.balancer(service).chosen(),
    setStrategy: (service, strategy) => targets.balancer(service).override(strategy),
    close() {
      closed = true;
      unwatch();
      targets.close();
    },
  };
}

function priorityOf(asked: Priority | undefined, own: Priority): Priority {
  if (asked === undefined || asked === own) return own;
  if (asked === 'optional' || own === 'optional') return 'optional';
  return 'critical';
}

/** It goes to the writer of its key's partition. */
function isWrite({ key, reads }: MethodForm): boolean {
  return key.length > 0 && !reads;
}
