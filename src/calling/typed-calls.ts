/**
 * The `call` and `try` that handlers and tests use: any contract or service name, any of its methods, as functions.
 * With a parent (the call that is being handled) nested calls inherit its deadline, session, signal and trace, and
 * derive their request ids from it; without one each call is an outermost one with an id of its own.
 */
import type { Answer, AnswerMeta, AnyContract, CallOptions, Calls } from '../contract/call.ts';
import { keyOf } from '../contract/key.ts';
import type { MethodSpec, Stream } from '../contract/method.ts';
import type { Priority } from '../core/channel.ts';
import { durationMs } from '../core/duration.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import type { CallMeta } from '../core/meta.ts';
import type { Called, Caller, OutgoingCall } from './outgoing.ts';
import { derivedRequestId } from './request-id.ts';
import type { Session } from './session.ts';

/** What nested calls take over from the call that makes them. */
export interface CallParent {
  readonly requestId?: string | undefined;
  readonly born?: number | undefined;
  readonly deadline?: number | undefined;
  readonly session?: Session | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly priority?: Priority | undefined;
  readonly traceparent?: string | undefined;
  readonly caller?: CallMeta['caller'] | undefined;
}

export function typedCalls(caller: Pick<Caller, 'call' | 'stream' | 'registry'>, parent: CallParent = {}): Calls {
  const ordinals = new Map<string, number>();
  const calls = new Map<string, object>();
  const tries = new Map<string, object>();

  const outgoing = (
    target: AnyContract | string,
    method: string,
    input: unknown,
    options: CallOptions<unknown>,
  ): OutgoingCall => {
    const { idempotencyKey } = options;
    const service = nameOf(target);
    let requestId = idempotencyKey;
    if (requestId === undefined && parent.requestId !== undefined) {
      const name = `${service}.${method}`;
      const key = placingKey(caller, target, method, input);
      const equals = `${name} ${key}`;
      const ordinal = ordinals.get(equals) ?? 0;
      ordinals.set(equals, ordinal + 1);
      requestId = derivedRequestId(parent.requestId, name, key, ordinal);
    }
    return {
      deadline: parent.deadline,
      timeoutMs: options.timeout === undefined ? undefined : durationMs(options.timeout),
      consistency: options.consistency,
      requestId,
      born: idempotencyKey === undefined ? parent.born : undefined,
      session: parent.session,
      signal: joined(parent.signal, options.signal),
      priority: parent.priority,
      fallback: options.fallback,
      hedgeMs: options.hedge === undefined ? undefined : durationMs(options.hedge),
      traceparent: parent.traceparent,
      caller: parent.caller,
    };
  };

  const callOf = (target: AnyContract | string): object =>
    methodsOf(calls, target, (service, method, streams) => (input: unknown, options: CallOptions<unknown> = {}) => {
      const asked = outgoing(target, method, input, options);
      if (streams()) return caller.stream(service, method, input, asked);
      return caller.call(service, method, input, asked).then(({ value }) => value);
    });
  const tryOf = (target: AnyContract | string): object =>
    methodsOf(
      tries,
      target,
      (service, method) =>
        (input: unknown, options: CallOptions<unknown> = {}) =>
          answerOf(caller, service, method, input, outgoing(target, method, input, options)),
    );

  /** Methods as cached functions; what is no method name (`then`, symbols) stays undefined, so that it can be awaited and printed. */
  const methodsOf = (
    cache: Map<string, object>,
    target: AnyContract | string,
    make: (service: string, method: string, streams: () => boolean) => unknown,
  ): object => {
    const service = nameOf(target);
    const known = cache.get(service);
    if (known) return known;
    const specs = typeof target === 'string' ? undefined : (target.methods as Record<string, MethodSpec>);
    const functions: Record<string, unknown> = {};
    const streams = (method: string) => (): boolean => {
      if (specs) return isStream(specs[method]?.output);
      const form = caller.registry.descriptor(service)?.methods.find(({ name }) => name === method);
      return form?.output?.stream ?? false;
    };
    const proxy = new Proxy(functions, {
      get(cached, method) {
        if (typeof method !== 'string' || method === 'then' || method === 'toJSON') return undefined;
        cached[method] ??= make(service, method, streams(method));
        return cached[method];
      },
    });
    cache.set(service, proxy);
    return proxy;
  };

  return { call: callOf, try: tryOf } as Calls;
}

async function answerOf(
  caller: Pick<Caller, 'call'>,
  service: string,
  method: string,
  input: unknown,
  asked: OutgoingCall,
): Promise<Answer<unknown, { code: string; message: string; data: unknown }>> {
  try {
    const { value, meta }: Called = await caller.call(service, method, input, asked);
    return { ok: true, value, meta };
  } catch (cause) {
    const meta: AnswerMeta = {
      level: undefined,
      degraded: false,
      staleness: undefined,
      instance: undefined,
      requestId: asked.requestId ?? '',
    };
    if (cause instanceof DeclaredError) {
      const { code, message, data, outcome } = cause;
      return { ok: false, error: { code, message, data }, outcome, meta };
    }
    const { code, message, outcome } = TandemError.from(cause);
    return { ok: false, error: { code, message }, outcome, meta };
  }
}

function nameOf(target: AnyContract | string): string {
  return typeof target === 'string' ? target : (target.name as string);
}

/** From the contract where there is one, so that it does not depend on what this process has heard so far. */
function placingKey(
  caller: Pick<Caller, 'registry'>,
  target: AnyContract | string,
  method: string,
  input: unknown,
): string {
  let fields: readonly string[] = [];
  if (typeof target === 'string') {
    fields = caller.registry.descriptor(target)?.methods.find(({ name }) => name === method)?.key ?? [];
  } else {
    const { key } = (target.methods as Record<string, MethodSpec>)[method] ?? {};
    if (key !== undefined) fields = typeof key === 'string' ? [key] : key;
  }
  if (fields.length === 0) return '';
  try {
    return keyOf(fields, input);
  } catch {
    return ''; // the call itself will say what is wrong with the input
  }
}

function joined(a: AbortSignal | undefined, b: AbortSignal | undefined): AbortSignal | undefined {
  return a && b ? AbortSignal.any([a, b]) : (a ?? b);
}

function isStream(shape: MethodSpec['output']): shape is Stream {
  return shape !== undefined && 'kind' in shape && shape.kind === 'stream';
}
