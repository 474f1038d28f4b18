/**
 * Cross-origin requests of browsers (the Fetch standard, 3.2): the gateway answers what they ask beforehand, and says on each answer which pages may read it. A page that
 * is not allowed gets no answer it can read; other programs do not care, so this protects users, not services.
 */
import type { IncomingMessage } from 'node:http';
import type { CorsForm } from '../contract/gateway-config.ts';
import { TandemError } from '../core/errors.ts';
import { headerNames, one } from './headers.ts';

const { consistency, timeout, hedge, repeat, session, level, staleness, degraded, instance } = headerNames;
const alwaysSent = `accept content-type authorization idempotency-key if-none-match x-request-id traceparent ${session} ${consistency} ${timeout} ${hedge} ${repeat} x-grpc-web x-user-agent grpc-timeout`;
const alwaysRead = `etag retry-after x-request-id traceparent ${session} ${level} ${staleness} ${degraded} ${instance} grpc-status grpc-message grpc-status-details-bin`;
const none: readonly string[] = [];

export class CorsPolicy {
  readonly #form: CorsForm;
  readonly #patterns: readonly RegExp[];
  readonly #always: readonly string[];
  readonly #onAnswers: readonly string[];
  readonly #onPreflight: readonly string[];

  constructor(form: CorsForm) {
    this.#form = form;
    const { origins, credentials, methods, headers, exposeHeaders, maxAgeSeconds } = form;
    this.#patterns = origins === '*' ? [] : origins.map(patternOf);
    // What is answered depends on who asks, also for those who are not allowed: a cache must know.
    this.#always = origins === '*' ? none : ['vary', 'origin'];
    const allowed = credentials ? ['access-control-allow-credentials', 'true'] : none;
    this.#onAnswers = [
      ...allowed,
      'access-control-expose-headers',
      [...alwaysRead.split(' '), ...exposeHeaders].join(', '),
    ];
    this.#onPreflight = [
      'vary',
      'access-control-request-method, access-control-request-headers',
      'access-control-allow-methods',
      methods.join(', '),
      'access-control-allow-headers',
      [...alwaysSent.split(' '), ...headers].join(', '),
      'access-control-max-age',
      String(maxAgeSeconds),
    ];
  }

  /** Fields for an answer. */
  fields(request: IncomingMessage): readonly string[] {
    const origin = one(request.headers, 'origin');
    if (origin === undefined || !this.#allows(origin)) return this.#always;
    const named = this.#form.origins === '*' ? '*' : origin;
    return [...this.#always, 'access-control-allow-origin', named, ...this.#onAnswers];
  }

  /** More of them, for the answer to what a browser asks beforehand. @throws DENIED when the page may not. */
  preflight(request: IncomingMessage): readonly string[] {
    const origin = one(request.headers, 'origin') ?? '';
    if (!this.#allows(origin))
      throw new TandemError(
        'DENIED',
        `pages of ${origin.slice(0, 200)} may not call this; whoever runs the gateway can add the origin to gateway.cors.origins`,
      );
    return this.#onPreflight;
  }

  #allows(origin: string): boolean {
    return this.#form.origins === '*' || this.#patterns.some(pattern => pattern.test(origin));
  }
}

export function isPreflight(request: IncomingMessage): boolean {
  const { headers, method } = request;
  return method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined;
}

function patternOf(origin: string): RegExp {
  const escaped = origin.replace(/[.+?^${}()|[\]\\/]/g, '\\$&').replace('*\\.', '(?:[a-z\\d-]+\\.)+');
  return new RegExp(`^${escaped}$`, 'i');
}
