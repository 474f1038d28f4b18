/**
 * gRPC and gRPC-Web at the gateway: a call's path finds the method, its messages become the values that instances know, and what they answer goes
 * back as messages and a status. Admission, sessions, ids, traces and limits are those of HTTP. Unary and all streams share one way.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Session } from '../calling/session.ts';
import type { AnswerMeta } from '../contract/call.ts';
import type { MethodForm } from '../contract/descriptor.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import { sleep } from '../core/clock.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import type { Histogram } from '../core/meter.ts';
import { timedId } from '../core/random.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import type { Registry } from '../naming/registry.ts';
import type { ExchangeParts } from './exchange.ts';
import { GrpcAnswer } from './grpc-answer.ts';
import { healthFile, healthHandlers } from './grpc-health.ts';
import { headBytes, Messages } from './grpc-messages.ts';
import { reflectionFile, reflectionHandlers } from './grpc-reflection.ts';
import { grpcCodes, grpcStatusOf } from './grpc-status.ts';
import { GrpcTable, type GrpcTarget } from './grpc-table.ts';
import * as headers from './headers.ts';
import type { OutgoingCall } from './outgoing.ts';
import { decode, encode } from './proto-codec.ts';

export interface GrpcParts extends Omit<ExchangeParts, 'table'> {
  readonly registry: Registry;
}

const contentType = /^application\/grpc(-web)?(?:\+(\w+))?(?:;.*)?$/i;
/** What HTTP answers with 5xx. */
const ourFaults = new Set(['UNKNOWN', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'DEADLINE_EXCEEDED']);
const learnPollMs = 20;
/** How long a client may go on sending what nobody reads. */
const lingerMs = 2000;

/** For whoever still reads: one for all, since an error costs as much as a small call. */
const over = new TandemError('CLOSED', 'the call is over');

/** One call on its way. */
interface Call {
  readonly request: IncomingMessage;
  /** Asked for at once: the connection may be gone later. */
  readonly address: string | undefined;
  readonly answer: GrpcAnswer;
  /** Of the call, and of the answer's head where it is the client's own. */
  requestId: string;
  traceparent: string;
  target: GrpcTarget | undefined;
  readonly trailers: Record<string, string>;
}

export class GrpcDoor {
  readonly #parts: GrpcParts;
  readonly #table: GrpcTable;
  readonly #durations = new Map<string, Histogram>();

  constructor(parts: GrpcParts) {
    this.#parts = parts;
    const { registry, logger, ready } = parts;
    this.#table = new GrpcTable(registry, logger);
    const contractOf = (name: string): string | undefined => this.#table.contractOf(name);
    this.#table.add(healthFile, healthHandlers({ registry, ready, contractOf }));
    const reflection = reflectionHandlers(() => this.#table.files());
    for (const version of ['v1', 'v1alpha'] as const) this.#table.add(reflectionFile(version), reflection);
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { clock, random, admission, tracer, cors } = this.#parts;
    // It may have waited for this door to be loaded, and nobody hears a second time that it is over.
    if (isOver(request)) return;
    const written = request.headers['content-type']!;
    const [, web, codec = 'proto'] = contentType.exec(written) ?? [undefined, undefined, 'none'];
    const refusal = refusalOf(request, web !== undefined, codec);
    if (refusal) {
      refuse(request, response, refusal);
      return;
    }
    const started = clock.monotonic();
    const correlation = headers.correlationId(request.headers);
    const made = correlation === undefined ? timedId(random, clock.now()) : `${correlation}.${random.id()}`;
    const call: Call = {
      request,
      address: this.#parts.clientOf(request).address,
      requestId: made,
      traceparent: '',
      target: undefined,
      trailers: {},
      answer: new GrpcAnswer(
        response,
        { contentType: written, web: web !== undefined, gzip: request.headers['grpc-encoding'] === 'gzip' },
        () => ({
          'x-request-id': correlation ?? made,
          ...(call.traceparent && { traceparent: call.traceparent }),
          ...corsFields(cors, request),
        }),
      ),
    };
    const path = (request.url ?? '').split('?', 1)[0]!;
    let entered = false;
    let status = 'OK';
    try {
      const target = await this.#find(path);
      call.target = target;
      const { method } = target;
      // A health check is what tells others that there is no room.
      if (typeof method !== 'function' || target.proto.outputStream) {
        admission.enter(typeof method === 'function' ? 'optional' : method.priority);
        entered = true;
      }
      const span = tracer.start(path, 'server', headers.traceparentOf(request.headers));
      call.traceparent = span.traceparent;
      try {
        await this.#serve(call, target);
        span.end();
      } catch (thrown) {
        span.end(thrown);
        throw thrown;
      }
    } catch (thrown) {
      status = this.#fail(call, thrown);
    } finally {
      if (entered) admission.leave(0);
      this.#dropRest(request);
      this.#account(call, path, status, clock.monotonic() - started);
    }
  }

  /** @throws NOT_FOUND, or UNAVAILABLE while it may only not be known yet. */
  async #find(path: string): Promise<GrpcTarget> {
    const { clock, learning, learnMs, ending } = this.#parts;
    const end = clock.monotonic() + learnMs;
    for (;;) {
      const target = this.#table.find(path);
      if (target) return target;
      if (!learning()) break;
      if (clock.monotonic() >= end || ending.aborted)
        throw new TandemError(
          'UNAVAILABLE',
          `this gateway has not yet heard of everybody and does not know '${path.slice(0, 200)}'; try again`,
          {
            details: { retryAfterMs: learnMs },
          },
        );
      await sleep(clock, learnPollMs, ending);
    }
    const near = didYouMean(path, this.#table.paths());
    const hint = near.length > 0 ? `; did you mean ${near.join(', ')}?` : '';
    throw new TandemError('NOT_FOUND', `there is no public method ${path.slice(0, 200)}${hint}`, {
      details: { didYouMean: near },
    });
  }

  async #serve(call: Call, target: GrpcTarget): Promise<void> {
    const { answer, request } = call;
    if (answer.isDone) throw new TandemError('CANCELED', 'the client went away', { outcome: 'not-done' });
    const { proto, method } = target;
    const { clock, admission, bodyBytesMax, ending } = this.#parts;
    const timeoutMs = this.#timeoutOf(target, request);
    const gone = new AbortController();
    const onClose = (): void => gone.abort(new TandemError('CANCELED', 'the client went away'));
    const onEnding = (): void => gone.abort(new TandemError('CLOSED', 'the gateway is closing'));
    const priority = typeof method === 'function' ? 'optional' : method.priority;
    const messages = new Messages(request, headers.one(request.headers, 'grpc-encoding'), {
      bytesMax: bodyBytesMax,
      take: bytes => admission.takeBody(bytes, priority),
      give: bytes => admission.giveBody(bytes),
    });
    const late = (): void =>
      messages.fail(
        new TandemError('DEADLINE_EXCEEDED', 'the request did not arrive in time', { outcome: 'not-done' }),
      );
    const streams = proto.inputStream || proto.outputStream;
    if (streams && ending.aborted) onEnding();
    answer.response.once('close', onClose);
    if (streams) ending.addEventListener('abort', onEnding, { once: true });
    let timer = clock.after(timeoutMs, late);
    try {
      let input: unknown;
      if (proto.inputStream) input = itemsOf(messages, target);
      else {
        input = await onlyMessage(messages, target);
        timer.cancel();
        if (typeof method === 'function') timer = clock.after(timeoutMs, () => gone.abort(deadline(timeoutMs)));
      }
      if (typeof method === 'function') {
        const items = proto.inputStream ? (input as AsyncIterable<unknown>) : one(input);
        await this.#answerStream(call, target, method(items, gone.signal), gone.signal);
      } else await this.#call(call, target, method, input, this.#options(call, method, timeoutMs, gone.signal));
    } finally {
      timer.cancel();
      ending.removeEventListener('abort', onEnding);
      answer.response.off('close', onClose);
      messages.fail(over);
    }
  }

  async #call(
    call: Call,
    target: GrpcTarget,
    method: MethodForm,
    input: unknown,
    options: OutgoingCall,
  ): Promise<void> {
    const { caller } = this.#parts;
    const service = target.file.contract!;
    if (headers.one(call.request.headers, headers.headerNames.repeat) !== undefined && !method.idempotent)
      throw new TandemError(
        'INTERRUPTED',
        `the first try may have run, and ${service}.${method.name} is not idempotent`,
      );
    if (target.proto.outputStream) {
      await this.#answerStream(call, target, caller.stream(service, method.name, input, options), options.signal);
      return;
    }
    const { version } = options.session;
    const { value, meta } = await caller.call(service, method.name, input, options);
    const framed = encode(target.proto.output, value, headBytes);
    this.#note(call, meta, options.session, version);
    const sent = call.answer.send(framed);
    if (sent instanceof Promise) await sent;
    call.answer.end(grpcCodes.OK, undefined, call.trailers);
  }

  async #answerStream(
    call: Call,
    target: GrpcTarget,
    items: AsyncIterable<unknown>,
    signal: AbortSignal,
  ): Promise<void> {
    const { answer } = call;
    const iterator = items[Symbol.asyncIterator]();
    if (target.proto.outputStream) answer.begin();
    try {
      for (;;) {
        const step = await iterator.next();
        if (step.done) break;
        const sent = answer.send(encode(target.proto.output, step.value, headBytes));
        const isTaken = sent instanceof Promise ? await sent : sent;
        if (!isTaken && !(await answer.drained())) throw signal.reason;
      }
    } finally {
      await iterator.return?.();
    }
    if (signal.aborted) throw signal.reason;
    answer.end(grpcCodes.OK, undefined, call.trailers);
  }

  #timeoutOf({ method, proto }: GrpcTarget, request: IncomingMessage): number {
    const asked = grpcTimeoutMs(request) ?? headers.durationOf(request.headers, headers.headerNames.timeout);
    const isStream = typeof method === 'function' || proto.inputStream || proto.outputStream;
    const mostMs = isStream ? this.#parts.streamMsMax : method.timeoutMs;
    return Math.min(mostMs, asked ?? mostMs);
  }

  #options(call: Call, method: MethodForm, timeoutMs: number, signal: AbortSignal): OutgoingCall {
    const { clock } = this.#parts;
    const given = call.request.headers;
    const key = headers.idempotencyKey(given);
    if (key !== undefined) call.requestId = key;
    const consistency = headers.consistencyOf(given);
    const hedgeMs =
      method.reads || method.idempotent ? headers.durationOf(given, headers.headerNames.hedge) : undefined;
    const seen = headers.visibleHeaders(given);
    const { address } = call;
    return {
      deadline: clock.monotonic() + timeoutMs,
      timeoutMs,
      requestId: call.requestId,
      ...(key === undefined && { born: clock.now() }),
      session: this.#session(call.request),
      signal,
      priority: method.priority,
      caller: { ...(address !== undefined && { address }), ...(seen && { headers: seen }) },
      ...(consistency && { consistency }),
      ...(hedgeMs !== undefined && { hedgeMs }),
      ...(call.traceparent && { traceparent: call.traceparent }),
    };
  }

  #session(request: IncomingMessage): Session {
    const session = new Session();
    const { header } = headers.sessionToken(request.headers);
    if (header !== undefined) for (const token of header.split(', ')) session.merge(this.#parts.tokens.read(token));
    return session;
  }

  /** What HTTP says in headers stands in the trailers, which are the only place that a client is sure to look at. */
  #note(call: Call, meta: AnswerMeta, session: Session, knownVersion: number): void {
    const { headerNames } = headers;
    const { trailers } = call;
    if (meta.level) trailers[headerNames.level] = meta.level;
    if (meta.instance !== undefined) trailers[headerNames.instance] = meta.instance;
    if (meta.degraded) trailers[headerNames.degraded] = 'true';
    if (meta.staleness)
      trailers[headerNames.staleness] = `entries=${meta.staleness.entries}, ms=${Math.round(meta.staleness.ms)}`;
    const form = session.version === knownVersion ? undefined : session.toForm();
    if (form) trailers[headerNames.session] = this.#parts.tokens.write(form);
  }

  /** The name of the status that was sent. */
  #fail(call: Call, thrown: unknown): string {
    const { target, requestId, answer } = call;
    const status = grpcStatusOf(thrown, target?.file, target?.proto.method ?? '', requestId);
    const error = thrown instanceof DeclaredError ? undefined : TandemError.from(thrown);
    if (error?.code === 'INTERNAL')
      this.#parts.logger.error(`a gRPC call failed: ${error.message}`, {
        requestId,
        path: call.request.url,
        error: thrown,
      });
    if (error?.code === 'LOG_LOST' && error.details?.session === 'over')
      call.trailers[headers.headerNames.session] = '';
    answer.end(grpcCodes[status.code], status, call.trailers);
    return status.code;
  }

  /** What a client still sends after its answer is dropped, for a while. */
  #dropRest(request: IncomingMessage): void {
    if (request.complete || request.destroyed) return;
    const timer = this.#parts.clock.after(lingerMs, () => request.destroy());
    request.once('close', () => timer.cancel());
    request.resume();
  }

  #account(call: Call, path: string, status: string, ms: number): void {
    const { meter, access } = this.#parts;
    const { target } = call;
    const service = target ? (target.file.contract ?? target.file.serviceName) : 'none';
    const method = target?.proto.method ?? 'none';
    const series = `${service}/${method} ${status}`;
    let duration = this.#durations.get(series);
    if (!duration) {
      duration = meter.histogram(metricNames.grpc, { service, method, status });
      this.#durations.set(series, duration);
    }
    duration.record(ms);
    if (!access.wants(ourFaults.has(status) ? 500 : 200)) return;
    const { requestId, address: client, request } = call;
    const fields = { verb: 'POST', route: `/${service}/${method}`, path, status: 200, code: status, ms, requestId };
    const trace = call.traceparent.split('-')[1];
    access.note(fields, { client, http: request.httpVersion, ...(trace && { trace }) });
  }
}

function isOver(request: IncomingMessage & { readonly stream?: { readonly destroyed: boolean } }): boolean {
  return request.destroyed || request.stream?.destroyed === true;
}

/** The one message of a call that takes one. @throws INVALID for none or several. */
async function onlyMessage(messages: Messages, { proto }: GrpcTarget): Promise<unknown> {
  const bytes = await messages.next();
  if (!bytes) throw new TandemError('INVALID', `${proto.name} takes one message, and none came`);
  const value = decode(proto.input, bytes);
  if (await messages.next()) throw new TandemError('INVALID', `${proto.name} takes one message, and several came`);
  return value;
}

async function* itemsOf(messages: Messages, { proto }: GrpcTarget): AsyncGenerator<unknown> {
  for (;;) {
    const bytes = await messages.next();
    if (!bytes) return;
    const value = decode(proto.input, bytes);
    messages.letGo();
    yield value;
  }
}

function corsFields(cors: GrpcParts['cors'], request: IncomingMessage): Record<string, string> {
  const fields: Record<string, string> = {};
  const flat = cors?.fields(request) ?? [];
  for (let i = 0; i + 1 < flat.length; i += 2) fields[flat[i]!] = flat[i + 1]!;
  return fields;
}

async function* one(value: unknown): AsyncGenerator<unknown> {
  yield value;
}

function deadline(timeoutMs: number): TandemError {
  return new TandemError('DEADLINE_EXCEEDED', `the call had ${timeoutMs} ms`);
}

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 };

/** @throws INVALID when it is not up to eight digits and a unit. */
function grpcTimeoutMs(request: IncomingMessage): number | undefined {
  const text = headers.one(request.headers, 'grpc-timeout');
  if (text === undefined) return undefined;
  const match = /^(\d{1,8})([HMSmun])$/.exec(text);
  if (match) return Number(match[1]) * unitMs[match[2]!]!;
  throw new TandemError(
    'INVALID',
    `grpc-timeout '${text.slice(0, 20)}' is not up to eight digits and one of H M S m u n`,
  );
}

interface Refusal {
  readonly status: number;
  readonly message: string;
  readonly allow?: string;
}

/** What is not gRPC at all is answered as HTTP. */
function refusalOf(request: IncomingMessage, web: boolean, codec: string): Refusal | undefined {
  if (codec !== 'proto')
    return {
      status: 415,
      message:
        'only gRPC is taken here (content-type application/grpc+proto or application/grpc-web+proto); for JSON use HTTP/1.1',
    };
  if (request.method !== 'POST') return { status: 405, message: 'gRPC calls are POST', allow: 'POST' };
  if (!web && request.httpVersionMajor < 2)
    return { status: 505, message: 'gRPC needs HTTP/2; over HTTP/1.1 use gRPC-Web (application/grpc-web+proto)' };
  return undefined;
}

function refuse(request: IncomingMessage, response: ServerResponse, { status, message, allow }: Refusal): void {
  request.resume();
  const problem = {
    type: 'urn:tandem:error:UNSUPPORTED',
    status,
    detail: message,
    code: 'UNSUPPORTED',
    outcome: 'not-done',
  };
  response.writeHead(status, { 'content-type': 'application/problem+json', ...(allow && { allow }) });
  response.end(JSON.stringify(problem));
}
