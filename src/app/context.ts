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

export interface ContextOptions {
  readonly instance: string;
  readonly config: unknown;
  readonly resources: unknown;
  readonly caller: Caller;
  /** Who calls this handler. */
  readonly calledBy: CallerInfo;
  readonly service: string;
  readonly publisher: Publisher;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly scope: Scope | undefined;
  readonly session: Session;
  readonly requestId: string;
  readonly deadline: number;
  readonly signal: AbortSignal;
  readonly priority?: Priority | undefined;
  readonly traceparent: string;
}

/** One object per call; the parts that few handlers use are made when first asked for. */
class Context {
  readonly #options: ContextOptions;
  #calls: ReturnType<typeof typedCalls> | undefined;

  constructor(options: ContextOptions) {
    this.#options = options;
  }

  get tables(): AnyContext['tables'] {
    return this.#scope.tables;
  }
  get resources(): unknown {
    return this.#options.resources;
  }
  get config(): unknown {
    return this.#options.config;
  }
  get logger(): Logger {
    const { logger, requestId, traceparent } = this.#options;
    return logger.with({ requestId, trace: traceparent });
  }
  get signal(): AbortSignal {
    return this.#options.signal;
  }
  get deadline(): { readonly remainingMs: number } {
    const { clock, deadline } = this.#options;
    return { remainingMs: Math.max(0, deadline - clock.monotonic()) };
  }
  get requestId(): string {
    return this.#options.requestId;
  }
  get caller(): CallerInfo {
    return this.#options.calledBy;
  }
  get trace(): string {
    return this.#options.traceparent;
  }
  get instance(): string {
    return this.#options.instance;
  }
  get call(): AnyContext['call'] {
    return this.#made.call;
  }
  get try(): AnyContext['try'] {
    return this.#made.try;
  }

  transact: AnyContext['transact'] = (body, options) => this.#scope.transact(body as never, options) as never;

  publish = async (topic: Topic, event: unknown, options: PublishOptions = {}): Promise<void> => {
    const { clock, deadline, publisher, traceparent } = this.#options;
    const timeoutMs = options.timeout ? durationMs(options.timeout) : limits.callTimeoutMs;
    await publisher.publish(topic, event, Math.min(deadline, clock.monotonic() + timeoutMs), traceparent, options);
  };

  get #scope(): Scope {
    if (this.#options.scope) return this.#options.scope;
    throw new TandemError(
      'UNSUPPORTED',
      `service '${this.#options.service}' has no tables; give its definition \`tables: { … }\``,
    );
  }

  /** Nested calls derive their request ids from this one's, so a repeat of the whole is recognised at each part. */
  get #made(): ReturnType<typeof typedCalls> {
    const { caller, requestId, deadline, session, signal, priority, traceparent, service, instance } = this.#options;
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

export function openContext(options: ContextOptions): AnyContext {
  return new Context(options) as unknown as AnyContext;
}

/** Adds `ctx.fail`: one maker of errors for each that the method declares. */
export function withFail(ctx: AnyContext, spec: MethodSpec): AnyContext {
  const fail: Record<string, (data?: unknown) => DeclaredError> = {};
  for (const [code, error] of Object.entries<ErrorSpec>(spec.errors ?? {}))
    fail[code] = data => new DeclaredError(code, error.status, data);
  return Object.assign(ctx, { fail });
}
