/**
 * One request on its way through the gateway: found, admitted, read, called, answered. Failures of every step end in one place (`#fail`), as a
 * problem; whatever happens the exchange leaves admission, its span and its metrics exactly once.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Session } from '../calling/session.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import { sleep } from '../core/clock.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Histogram, Meter } from '../core/meter.ts';
import { type Random, timedId } from '../core/random.ts';
import type { Tracer } from '../core/tracer.ts';
import type { AccessRecorder } from './access-records.ts';
import { Answer, type AnswerParts, jsonType } from './answer.ts';
import { type BodyBounds, checkMediaType, parseJson, readBody } from './body.ts';
import { isPreflight } from './cors.ts';
import type { Fallback } from './fallback.ts';
import * as headers from './headers.ts';
import { endStalled, hasBody, isAnswered } from './http-version.ts';
import type { GatewayCaller, OutgoingCall } from './outgoing.ts';
import { serveRaw } from './raw.ts';
import { inputOf } from './request-input.ts';
import type { RouteTable } from './route-table.ts';
import type { Match, Routes, Target } from './router.ts';
import { splitTarget } from './split-target.ts';
import { answerStream } from './stream-answer.ts';

export interface ExchangeParts extends AnswerParts {
  readonly table: RouteTable;
  readonly caller: GatewayCaller;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly tracer: Tracer;
  readonly access: AccessRecorder;
  readonly bodyBytesMax: number;
  readonly requestTimeoutMs: number;
  readonly streamMsMax: number;
  readonly heartbeatMs: number;
  /** While this holds an unknown route may only be one that was not heard of yet; it waits for at most `learnMs`. */
  readonly learning: () => boolean;
  readonly learnMs: number;
  readonly fallback?: Fallback;
  readonly ready: () => boolean;
  /** Aborts when open streams must end. */
  readonly ending: AbortSignal;
}

const callPrefix = '/call/';
const learnPollMs = 20;
const none: readonly string[] = [];

export class Exchanges {
  readonly #parts: ExchangeParts;
  readonly #durations = new Map<string, Histogram>();

  constructor(parts: ExchangeParts) {
    this.#parts = parts;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { clock, random, admission, table, tracer } = this.#parts;
    const started = clock.monotonic();
    const verb = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET');
    const { path, query } = splitTarget(request.url ?? '/');
    const correlation = headers.correlationId(request.headers);
    // Clients reuse X-Request-Id for several requests, so alone it must not make two of them one.
    const made = correlation === undefined ? timedId(random, clock.now()) : `${correlation}.${random.id()}`;
    const answer = new Answer(request, response, made, correlation ?? made, this.#parts);
    let target: Target | undefined;
    let entered = false;
    let failure: unknown;
    let passedOn = false;
    try {
      headers.checkHost(request);
      if (path.startsWith('/-/') && this.#health(verb, path, answer)) return;
      if (this.#preflight(path, request, answer)) return;
      if (this.#parts.learning()) await this.#learn(verb, path);
      if (this.#parts.fallback && !this.#has(verb, path) && this.#parts.fallback.request(request, response)) {
        passedOn = true;
        endStalled(request, this.#parts.requestTimeoutMs);
        return;
      }
      const match = find(table.routes, verb, path, request.method === 'OPTIONS', answer);
      if (!match) return;
      target = match.target;
      admission.enter(target.method.priority);
      entered = true;
      const span = tracer.start(`${verb} ${target.route}`, 'server', headers.traceparentOf(request.headers));
      answer.traceparent = span.traceparent;
      try {
        await this.#serve(match, query, request, answer);
        span.set('http.response.status_code', response.statusCode);
        span.end();
      } catch (thrown) {
        span.end(thrown);
        throw thrown;
      }
    } catch (thrown) {
      failure = thrown;
      answer.fail(thrown);
    } finally {
      if (answer.sending) await answer.sending.catch(thrown => answer.fail(thrown));
      if (entered) admission.leave(answer.bodyBytes);
      if (passedOn) this.#accountPassed(verb, path, answer, started);
      else this.#account(verb, target, path, answer, clock.monotonic() - started, failure);
    }
  }

  /** Whether a request is one of the gateway's own paths or of a service's. */
  isOwn(request: IncomingMessage): boolean {
    const { path } = splitTarget(request.url ?? '/');
    return path.startsWith('/-/') || this.#has(request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET'), path);
  }

  /** Largest body that a request may have. */
  bodyBytesMax(request: IncomingMessage): number {
    const { path } = splitTarget(request.url ?? '/');
    const match = this.#parts.table.routes.match(request.method ?? '', path);
    return match?.target.method.bodyBytesMax ?? this.#parts.bodyBytesMax;
  }

  #has(verb: string, path: string): boolean {
    return path.startsWith(callPrefix) || isKnown(this.#parts.table.routes, verb, path);
  }

  /** What a browser asks before a page of another origin may call. Of paths that are not ours, their servers know. */
  #preflight(path: string, request: IncomingMessage, answer: Answer): boolean {
    const { cors, fallback } = this.#parts;
    if (!cors || !isPreflight(request)) return false;
    if (fallback && !this.#has(headers.one(request.headers, 'access-control-request-method') ?? '', path)) return false;
    answer.send(204, undefined, undefined, cors.preflight(request));
    return true;
  }

  /** Waits until the route is known, or must be unknown. @throws UNAVAILABLE when it cannot be said in time. */
  async #learn(verb: string, path: string): Promise<void> {
    const { clock, table, learnMs, learning, ending } = this.#parts;
    const end = clock.monotonic() + learnMs;
    while (!isKnown(table.routes, verb, path) && learning()) {
      if (clock.monotonic() >= end || ending.aborted) {
        throw new TandemError(
          'UNAVAILABLE',
          `this gateway has not yet heard of everybody and does not know '${path}'; try again`,
          {
            details: { retryAfterMs: learnMs },
          },
        );
      }
      await sleep(clock, learnPollMs, ending);
    }
  }

  #health(verb: string, path: string, answer: Answer): boolean {
    if (path !== '/-/health' && path !== '/-/ready') return false;
    if (verb !== 'GET') answer.send(405, jsonType, '{}', ['allow', 'GET, HEAD']);
    else if (path === '/-/health') answer.send(200, jsonType, '{"status":"live"}');
    else if (this.#parts.ready()) answer.send(200, jsonType, '{"status":"ready"}');
    else answer.send(503, jsonType, '{"status":"not ready"}', ['retry-after', '1']);
    return true;
  }

  async #serve(match: Match, query: string, request: IncomingMessage, answer: Answer): Promise<void> {
    const { target } = match;
    const { method, service } = target;
    if (method.input?.stream)
      throw new TandemError(
        'UNSUPPORTED',
        `${service}.${method.name} takes a stream of items; call it over gRPC, or from a service`,
      );
    const gone = new AbortController();
    const onClose = (): void => {
      if (!isAnswered(answer.response)) gone.abort(new TandemError('CANCELED', 'the client went away'));
    };
    answer.response.once('close', onClose);
    const options = this.#options(target, request, answer, gone.signal);
    if (headers.one(request.headers, headers.headerNames.repeat) !== undefined && !method.idempotent)
      throw new TandemError(
        'INTERRUPTED',
        `the first try may have run, and ${service}.${method.name} is not idempotent`,
      );
    const bounds = this.#bodyBounds(target, answer);
    if (method.raw) {
      await serveRaw(this.#parts, target, request, answer, options, bounds, gone);
      return;
    }
    let body: unknown;
    if (hasBody(request)) {
      checkMediaType(request);
      body = parseJson(await readBody(request, bounds));
    }
    const input = inputOf(match, query, body);
    if (method.output?.stream) await this.#stream(target, input, options, request, answer, gone);
    else {
      const { value, meta } = await this.#parts.caller.call(service, method.name, input, options);
      answer.session = options.session;
      answer.value(value, meta, isRead(request) && meta.level === 'eventual');
    }
  }

  #options(target: Target, request: IncomingMessage, answer: Answer, signal: AbortSignal): OutgoingCall {
    const { clock } = this.#parts;
    const { method } = target;
    const given = request.headers;
    const key = headers.idempotencyKey(given);
    if (key !== undefined) answer.requestId = key;
    const consistency = headers.consistencyOf(given);
    const asked = headers.durationOf(given, headers.headerNames.timeout);
    const timeoutMs = method.output?.stream
      ? this.#parts.streamMsMax
      : Math.min(method.timeoutMs, asked ?? method.timeoutMs);
    const hedgeMs =
      method.reads || method.idempotent ? headers.durationOf(given, headers.headerNames.hedge) : undefined;
    const seen = headers.visibleHeaders(given);
    const { address } = answer.client;
    return {
      deadline: clock.monotonic() + timeoutMs,
      timeoutMs,
      requestId: answer.requestId,
      ...(key === undefined && { born: clock.now() }),
      session: this.#session(request, answer),
      signal,
      priority: method.priority,
      caller: { ...(address !== undefined && { address }), ...(seen && { headers: seen }) },
      ...(consistency && { consistency }),
      ...(hedgeMs !== undefined && { hedgeMs }),
      ...(answer.traceparent && { traceparent: answer.traceparent }),
    };
  }

  /** Header and cookie may both be there (a browser's script beside the browser): what either has seen counts. */
  #session(request: IncomingMessage, answer: Answer): Session {
    const session = new Session();
    const { header, cookie } = headers.sessionToken(request.headers);
    answer.cookies = header === undefined;
    const { tokens } = this.#parts;
    if (cookie !== undefined) session.merge(tokens.read(cookie));
    if (header !== undefined) for (const token of header.split(', ')) session.merge(tokens.read(token));
    answer.known = header ?? cookie;
    const single = header === undefined ? cookie !== undefined : cookie === undefined && !header.includes(', ');
    answer.knownVersion = single ? session.version : -1;
    return session;
  }

  /** What has come is held until the exchange ends: its input lives as long, for tries again. */
  #bodyBounds({ method }: Target, answer: Answer): BodyBounds {
    const { admission, bodyBytesMax, clock, requestTimeoutMs } = this.#parts;
    return {
      clock,
      timeoutMs: requestTimeoutMs,
      bytesMax: bodyBytesMax,
      check: bytes => admission.checkBody(bytes, method.priority),
      take: bytes => {
        admission.takeBody(bytes, method.priority);
        answer.bodyBytes += bytes;
        answer.bytesIn += bytes;
      },
    };
  }

  async #stream(
    { service, method }: Target,
    input: unknown,
    options: OutgoingCall,
    request: IncomingMessage,
    answer: Answer,
    gone: AbortController,
  ): Promise<void> {
    const { clock, heartbeatMs, ending, caller } = this.#parts;
    if (request.method === 'HEAD') {
      answer.headOnly('text/event-stream');
      return;
    }
    const end = (): void => gone.abort(new TandemError('CLOSED', 'the gateway is closing'));
    if (ending.aborted) end();
    ending.addEventListener('abort', end, { once: true });
    try {
      const ndjson = request.headers.accept?.includes('application/x-ndjson') ?? false;
      const items = caller.stream(service, method.name, input, options);
      const problem = await answerStream(answer.response, items, {
        clock,
        ndjson,
        heartbeatMs,
        requestId: answer.requestId,
        headers: () => answer.common(),
      });
      answer.code = problem?.code ?? 'ok';
    } finally {
      ending.removeEventListener('abort', end);
    }
  }

  /** Their own room counts them; a record is written when they are answered. */
  #accountPassed(verb: string, path: string, answer: Answer, started: number): void {
    const { access, clock } = this.#parts;
    const { response, requestId } = answer;
    response.once('close', () => {
      const status = response.statusCode;
      if (!access.wants(status)) return;
      const ms = clock.monotonic() - started;
      const sizes = { bytesIn: answer.bytesIn, bytesOut: answer.bytesOut };
      access.note({ verb, route: 'upstream', path, status, code: 'ok', ms, ...sizes, requestId }, answer.who());
    });
  }

  #account(verb: string, target: Target | undefined, path: string, answer: Answer, ms: number, failure: unknown): void {
    const { meter, logger } = this.#parts;
    const route = target?.route ?? (path.startsWith('/-/') ? '/-/' : 'none');
    const status = String(answer.response.statusCode);
    const series = `${verb} ${route} ${status}`;
    let duration = this.#durations.get(series);
    if (!duration) {
      duration = meter.histogram('tandem.http.duration', {
        method: knownVerbs.has(verb) ? verb : 'other',
        route,
        status,
      });
      if (knownVerbs.has(verb)) this.#durations.set(series, duration);
    }
    duration.record(ms);
    const broken = failure !== undefined && !(failure instanceof DeclaredError) && TandemError.from(failure);
    const access = this.#parts.access.wants(answer.response.statusCode);
    const isInternal = broken && broken.code === 'INTERNAL';
    if (!access && !isInternal) return;
    const { requestId, code, bytesIn, bytesOut, response } = answer;
    const fields = { verb, route, path, status: response.statusCode, code, ms, bytesIn, bytesOut, requestId };
    if (isInternal) logger.error(`request failed: ${broken.message}`, { ...fields, error: failure });
    if (access) this.#parts.access.note(fields, answer.who());
  }
}

const knownVerbs = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

const isRead = ({ method }: IncomingMessage): boolean => method === 'GET' || method === 'HEAD';

/** Undefined when it has been answered already (OPTIONS, 405). @throws NOT_FOUND. */
function find(routes: Routes, verb: string, path: string, options: boolean, answer: Answer): Match | undefined {
  if (path.startsWith(callPrefix)) {
    const [service = '', method = '', ...rest] = path.slice(callPrefix.length).split('/');
    const target = rest.length === 0 ? routes.call(service, method) : undefined;
    if (target && verb === 'POST') return { target, names: none, values: none };
    if (target) return answer.refuseVerb(options, ['POST'], path);
    const near = didYouMean(`${service}/${method}`, routes.callNames()).map(name => callPrefix + name);
    throw notFound(`there is no public method '${service}.${method}'`, near);
  }
  const match = routes.match(verb, path);
  if (match) return match;
  const allowed = routes.allowed(path);
  if (allowed.length > 0) return answer.refuseVerb(options, allowed, path);
  throw notFound(`there is no route ${verb} ${path.slice(0, 200)}`, didYouMean(`${verb} ${path}`, routes.patterns));
}

function isKnown(routes: Routes, verb: string, path: string): boolean {
  if (!path.startsWith(callPrefix)) return routes.match(verb, path) !== undefined || routes.allowed(path).length > 0;
  const [service = '', method = ''] = path.slice(callPrefix.length).split('/');
  return routes.call(service, method) !== undefined;
}

function notFound(message: string, near: readonly string[]): TandemError {
  const hint = near.length > 0 ? `; did you mean ${near.join(', ')}?` : '';
  return new TandemError('NOT_FOUND', message + hint, near.length > 0 ? { details: { didYouMean: near } } : {});
}
