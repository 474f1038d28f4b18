/**
 * One request on its way through the gateway: found, admitted, read, called, answered. Failures of every step end in one place (`#fail`), as a
 * problem; whatever happens the exchange leaves admission, its span and its metrics exactly once.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Session } from '../calling/session.ts';
import type { AnswerMeta } from '../contract/call.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import type { RawRequestForm, RawResponseForm } from '../contract/raw.ts';
import { type Clock, sleep } from '../core/clock.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Histogram, Meter } from '../core/meter.ts';
import { type Random, timedId } from '../core/random.ts';
import type { Tracer } from '../core/tracer.ts';
import type { Admission } from './admission.ts';
import { type BodyBounds, checkMediaType, hasBody, MediaTypeError, parseJson, readBody } from './body.ts';
import type { Fallback } from './fallback.ts';
import * as headers from './headers.ts';
import type { GatewayCaller, OutgoingCall } from './outgoing.ts';
import { problemOf, retryAfterSeconds } from './problem.ts';
import { inputOf } from './request-input.ts';
import type { RouteTable } from './route-table.ts';
import type { Match, Routes, Target } from './router.ts';
import type { SessionTokens } from './session-token.ts';
import { answerStream } from './stream-answer.ts';

export interface ExchangeParts {
  readonly table: RouteTable;
  readonly caller: GatewayCaller;
  readonly admission: Admission;
  readonly tokens: SessionTokens;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly tracer: Tracer;
  readonly bodyBytesMax: number;
  readonly streamMsMax: number;
  readonly heartbeatMs: number;
  /** While this holds an unknown route may only be one that was not heard of yet; it waits for at most `learnMs`. */
  readonly learning: () => boolean;
  readonly learnMs: number;
  readonly fallback?: Fallback;
  readonly ready: () => boolean;
  readonly closing: () => boolean;
  /** Aborts when open streams must end. */
  readonly ending: AbortSignal;
}

const problemType = 'application/problem+json';
const jsonType = 'application/json; charset=utf-8';
const callPrefix = '/call/';
/** How long the rest of a refused body is read and dropped. */
const lingerMs = 2000;
const learnPollMs = 20;
const none: readonly string[] = [];

/** The path and query of a request target, also of one in absolute form. */
export function splitTarget(url: string): { path: string; query: string } {
  const target = url.startsWith('/') ? url : url.replace(/^[a-z]+:\/\/[^/?]*/i, '');
  const mark = target.indexOf('?');
  const path = (mark < 0 ? target : target.slice(0, mark)) || '/';
  return { path, query: mark < 0 ? '' : target.slice(mark + 1) };
}

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
      if (this.#parts.learning()) await this.#learn(verb, path);
      if (this.#parts.fallback && !this.#has(verb, path) && this.#parts.fallback.request(request, response)) {
        passedOn = true;
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
      if (entered) admission.leave(answer.bodyBytes);
      if (!passedOn) this.#account(verb, target, path, answer, clock.monotonic() - started, failure);
    }
  }

  /** Whether a request is one of the gateway's own paths or of a service's. */
  isOwn(request: IncomingMessage): boolean {
    const { path } = splitTarget(request.url ?? '/');
    return path.startsWith('/-/') || this.#has(request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET'), path);
  }

  #has(verb: string, path: string): boolean {
    return path.startsWith(callPrefix) || isKnown(this.#parts.table.routes, verb, path);
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
      if (!answer.response.writableFinished) gone.abort(new TandemError('CANCELED', 'the client went away'));
    };
    answer.response.once('close', onClose);
    const options = this.#options(target, request, answer, gone.signal);
    if (headers.one(request.headers, headers.headerNames.repeat) !== undefined && !method.idempotent)
      throw new TandemError(
        'INTERRUPTED',
        `the first try may have run, and ${service}.${method.name} is not idempotent`,
      );
    let input: unknown;
    const bounds = this.#bodyBounds(target, answer);
    if (method.raw) input = await this.#rawInput(request, bounds);
    else {
      let body: unknown;
      if (hasBody(request)) {
        checkMediaType(request);
        body = parseJson(await readBody(request, bounds));
      }
      input = inputOf(match, query, body);
    }
    if (method.output?.stream) await this.#stream(target, input, options, request, answer, gone);
    else {
      const { value, meta } = await this.#parts.caller.call(service, method.name, input, options);
      answer.session = options.session;
      if (method.raw) answer.raw(value as RawResponseForm, meta);
      else answer.value(value, meta);
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
    const address = request.socket.remoteAddress;
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
    const { admission, bodyBytesMax } = this.#parts;
    return {
      bytesMax: bodyBytesMax,
      check: bytes => admission.checkBody(bytes, method.priority),
      take: bytes => {
        admission.takeBody(bytes, method.priority);
        answer.bodyBytes += bytes;
      },
    };
  }

  async #rawInput(request: IncomingMessage, bounds: BodyBounds): Promise<RawRequestForm> {
    const body = hasBody(request) ? await readBody(request, bounds) : null;
    const { path, query } = splitTarget(request.url ?? '/');
    const host = request.headers.host ?? 'localhost';
    return {
      method: request.method ?? 'GET',
      url: `http://${host}${path}${query === '' ? '' : `?${query}`}`,
      headers: headers.endToEnd(headers.headerPairs(request), request.headers.connection),
      body,
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
    const fields = {
      requestId: answer.requestId,
      verb,
      path,
      status: answer.response.statusCode,
      ms,
      code: answer.code,
    };
    const broken = failure !== undefined && !(failure instanceof DeclaredError) && TandemError.from(failure);
    if (broken && broken.code === 'INTERNAL')
      logger.error(`request failed: ${broken.message}`, { ...fields, error: failure });
    else logger.debug('request', fields);
  }
}

const knownVerbs = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

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

/** The answering half of an exchange. */
class Answer {
  readonly response: ServerResponse;
  requestId: string;
  code = 'ok';
  /** Held in memory of this request's body. */
  bodyBytes = 0;
  traceparent = '';
  session: Session | undefined;
  /** The token that the client has, so that an unchanged one is not sent again. */
  known: string | undefined;
  /** The session's version when it held just what one token says; -1 when several were put together. */
  knownVersion = -1;
  cookies = true;
  readonly #request: IncomingMessage;
  readonly #shownId: string;
  readonly #parts: ExchangeParts;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    requestId: string,
    shownId: string,
    parts: ExchangeParts,
  ) {
    this.#request = request;
    this.response = response;
    this.requestId = requestId;
    this.#shownId = shownId;
    this.#parts = parts;
  }

  value(value: unknown, meta: AnswerMeta): void {
    // `undefined` and functions have no JSON; a method without output answers undefined.
    const text = value === undefined ? undefined : JSON.stringify(value);
    const extra = this.#metaHeaders(meta);
    if (text === undefined) this.send(204, undefined, undefined, extra);
    else this.send(200, jsonType, text, extra);
  }

  raw(form: RawResponseForm, meta: AnswerMeta): void {
    const extra: string[] = this.#metaHeaders(meta);
    for (const [name, value] of headers.endToEnd(form.headers)) extra.push(name, value);
    this.send(form.status, undefined, form.body, extra);
  }

  send(
    status: number,
    type: string | undefined,
    body: string | Uint8Array | undefined,
    extra: readonly string[] = none,
  ): void {
    const { response } = this;
    if (response.headersSent || response.destroyed) return;
    const head = this.common();
    if (type !== undefined) head.push('content-type', type);
    for (const part of extra) head.push(part);
    const empty = status === 204 || status === 304 || body === undefined;
    const bytes = empty ? 0 : typeof body === 'string' ? Buffer.byteLength(body) : body.length;
    if (!empty) head.push('content-length', String(bytes));
    else if (status !== 204 && status !== 304) head.push('content-length', '0');
    response.writeHead(status, head);
    // As many bytes as characters: plain ASCII, which is written in one piece with the head, and faster, as latin1.
    if (typeof body === 'string' && !empty) response.end(body, bytes === body.length ? 'latin1' : 'utf8');
    else response.end(empty ? undefined : body);
    if (!this.#request.complete) this.#discard();
  }

  /** A body that was refused still comes. Closing at once would reset the connection, often before the client has read why. */
  #discard(): void {
    const timer = this.#parts.clock.after(lingerMs, () => this.#request.destroy());
    this.#request.once('close', () => timer.cancel());
    this.#request.resume();
  }

  fail(thrown: unknown): void {
    const problem = problemOf(thrown, this.requestId, thrown instanceof MediaTypeError ? { status: 415 } : {});
    this.code = problem.code;
    if (this.response.headersSent) {
      this.response.destroy();
      return;
    }
    const wait = retryAfterSeconds(thrown);
    this.send(problem.status, problemType, JSON.stringify(problem), [
      ...(wait === undefined ? none : ['retry-after', String(wait)]),
      ...this.#endOfSession(thrown),
    ]);
  }

  /** What it has seen is gone: its next request begins a new one, having been told. */
  #endOfSession(thrown: unknown): readonly string[] {
    const { code, details } = TandemError.from(thrown);
    if (code !== 'LOG_LOST' || details?.['session'] !== 'over') return none;
    const cookie = ['set-cookie', `${headers.headerNames.session}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0`];
    return [headers.headerNames.session, '', ...(this.cookies ? cookie : none)];
  }

  /** 204 for OPTIONS, else 405; both name the verbs that there are. */
  refuseVerb(options: boolean, verbs: readonly string[], path: string): undefined {
    const allow = [...verbs, ...(verbs.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
    if (options) {
      this.send(204, undefined, undefined, ['allow', allow]);
      return;
    }
    const error = new TandemError(
      'NOT_FOUND',
      `${this.#request.method} is not possible at ${path.slice(0, 200)}; use ${allow}`,
    );
    const problem = problemOf(error, this.requestId, { status: 405 });
    this.code = problem.code;
    this.send(405, problemType, JSON.stringify(problem), ['allow', allow]);
  }

  /** Headers of every answer. */
  common(): string[] {
    const head = ['x-request-id', this.#shownId];
    if (this.traceparent) head.push('traceparent', this.traceparent);
    if (this.#parts.closing()) head.push('connection', 'close');
    return head;
  }

  #metaHeaders(meta: AnswerMeta): string[] {
    const { headerNames } = headers;
    const head: string[] = [];
    if (meta.level) head.push(headerNames.level, meta.level);
    if (meta.instance !== undefined) head.push(headerNames.instance, meta.instance);
    if (meta.degraded) head.push(headerNames.degraded, 'true');
    if (meta.staleness) {
      head.push(headerNames.staleness, `entries=${meta.staleness.entries}, ms=${Math.round(meta.staleness.ms)}`);
    }
    if (this.session?.version === this.knownVersion) return head;
    const form = this.session?.toForm();
    if (!form) return head;
    const token = this.#parts.tokens.write(form);
    if (token === this.known) return head;
    head.push(headerNames.session, token);
    if (this.cookies) head.push('set-cookie', `${headerNames.session}=${token}; Path=/; HttpOnly; SameSite=Lax`);
    return head;
  }
}
