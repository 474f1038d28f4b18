/** Builds what a handler is given: data through the call's scope, callees with this call as their parent. */

import type { Caller } from '../calling/outgoing.ts';
import type { Session } from '../calling/session.ts';
import { typedCalls } from '../calling/typed-calls.ts';
import type { BaseContext, CallerInfo, PublishOptions, Transacts } from '../contract/context.ts';
import type { ErrorSpec, MethodSpec } from '../contract/method.ts';
import type { Topic } from '../contract/topic.ts';
import type { Priority } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { durationMs } from '../core/duration.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Publisher } from '../events/publisher.ts';
import type { Scope } from '../state/keyspace.ts';

// biome-ignore lint/suspicious/noExplicitAny: the handler's own types were checked where it was written
type AnyContext = BaseContext<any, any, any> & Transacts<any>;

/** What all calls of a service share. */
export interface ContextShare {
  readonly instance: string;
  readonly config: unknown;
  readonly resources: unknown;
  readonly caller: Caller;
  readonly service: string;
  readonly publisher: Publisher;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Whose time and patience a call has: what came over the link, or the delivery of an event. */
export interface ContextLife {
  readonly deadline: number;
  readonly signal: AbortSignal;
  readonly priority?: Priority | undefined;
}

export interface ContextCall {
  /** Who calls this handler. */
  readonly calledBy: CallerInfo;
  readonly life: ContextLife;
  readonly scope: Scope | undefined;
  readonly session: Session;
  readonly requestId: string;
  readonly traceparent: string;
}

export type Fail = Readonly<Record<string, (data?: unknown) => DeclaredError>>;

/** One object per call; the parts that few handlers use are made when first asked for. */
class Context {
  /** One maker of errors for each that the method declares. */
  readonly fail: Fail | undefined;
  readonly #share: ContextShare;
  readonly #call: ContextCall;
  #calls: ReturnType<typeof typedCalls> | undefined;

  constructor(share: ContextShare, call: ContextCall, fail: Fail | undefined) {
    this.fail = fail;
    this.#share = share;
    this.#call = call;
  }

  get tables(): AnyContext['tables'] {
    return this.#scope.tables;
  }
  get resources(): unknown {
    return this.#share.resources;
  }
  get config(): unknown {
    return this.#share.config;
  }
  get logger(): Logger {
    const { requestId, traceparent } = this.#call;
    return this.#share.logger.with({ requestId, trace: traceparent });
  }
  get signal(): AbortSignal {
    return this.#call.life.signal;
  }
  get deadline(): { readonly remainingMs: number } {
    return { remainingMs: Math.max(0, this.#call.life.deadline - this.#share.clock.monotonic()) };
  }
  get requestId(): string {
    return this.#call.requestId;
  }
  get caller(): CallerInfo {
    return this.#call.calledBy;
  }
  get trace(): string {
    return this.#call.traceparent;
  }
  get instance(): string {
    return this.#share.instance;
  }
  get call(): AnyContext['call'] {
    return this.#made.call;
  }
  get try(): AnyContext['try'] {
    return this.#made.try;
  }

  /** Made when asked for, and bound: handlers take it out of the context. */
  get transact(): AnyContext['transact'] {
    const scope = this.#scope;
    return (body, options) => scope.transact(body as never, options) as never;
  }
  get publish(): (topic: Topic, event: unknown, options?: PublishOptions) => Promise<void> {
    return (topic, event, options) => this.#publish(topic, event, options);
  }

  async #publish(topic: Topic, event: unknown, options: PublishOptions = {}): Promise<void> {
    const { clock, publisher } = this.#share;
    const { life, traceparent } = this.#call;
    const timeoutMs = options.timeout ? durationMs(options.timeout) : limits.callTimeoutMs;
    const deadline = Math.min(life.deadline, clock.monotonic() + timeoutMs);
    await publisher.publish(topic, event, deadline, traceparent, options);
  }

  get #scope(): Scope {
    if (this.#call.scope) return this.#call.scope;
    throw new TandemError(
      'UNSUPPORTED',
      `service '${this.#share.service}' has no tables; give its definition \`tables: { … }\``,
    );
  }

  /** Nested calls derive their request ids from this one's, so a repeat of the whole is recognised at each part. */
  get #made(): ReturnType<typeof typedCalls> {
    const { caller, service, instance } = this.#share;
    const { requestId, session, traceparent, life } = this.#call;
    const { deadline, signal, priority } = life;
    this.#calls ??= typedCalls(caller, {
      requestId,
      deadline,
      session,
      signal,
      priority,
      traceparent,
      caller: { service, instance },
    });
    return this.#calls;
  }
}

export function openContext(share: ContextShare, call: ContextCall, fail?: Fail): AnyContext {
  return new Context(share, call, fail) as unknown as AnyContext;
}

/** `ctx.fail` of a method. */
export function failOf(spec: MethodSpec): Fail {
  const fail: Record<string, (data?: unknown) => DeclaredError> = {};
  for (const [code, error] of Object.entries<ErrorSpec>(spec.errors ?? {}))
    fail[code] = data => new DeclaredError(code, error.status, data);
  return fail;
}
