/**
 * The answering half of an exchange: one value, one web Response, or one problem, with the headers that every answer has. Both
 * versions of HTTP are answered here; what must not be said in HTTP/2 (RFC 9113, 8.2.2) is not.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Session } from '../calling/session.ts';
import type { AnswerMeta } from '../contract/call.ts';
import type { RawResponseForm } from '../contract/raw.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Admission } from './admission.ts';
import { StatusError } from './body.ts';
import type { Client } from './client-address.ts';
import { type CompressionOptions, codingOf, compress, isCompressible } from './compression.ts';
import type { CorsPolicy } from './cors.ts';
import { isKnownTag, tagOf } from './etag.ts';
import * as headers from './headers.ts';
import { breakOff, cutOff, isGone, isHttp2, outOf } from './http-version.ts';
import { problemOf, retryAfterSeconds } from './problem.ts';
import { sendBody, taken } from './send-body.ts';
import type { SessionTokens } from './session-token.ts';

export interface AnswerParts extends CompressionOptions {
  readonly clientOf: (request: IncomingMessage) => Client;
  /** Absent: no page of another origin may read answers. */
  readonly cors?: CorsPolicy | undefined;
  readonly admission: Admission;
  /** A client that takes nothing for so long is given up. */
  readonly answerIdleTimeoutMs: number;
  readonly clock: Clock;
  readonly tokens: SessionTokens;
  readonly closing: () => boolean;
}

const problemType = 'application/problem+json';
export const jsonType = 'application/json; charset=utf-8';
/** How long the rest of a refused body is read and dropped. */
const lingerMs = 2000;
/** What is written at once, without an eye on whether it is taken: a connection has room for as much. */
const smallBytes = 16_384;
const none: readonly string[] = [];

/** The answering half of an exchange. */
export class Answer {
  readonly response: ServerResponse;
  requestId: string;
  code = 'ok';
  /** Held in memory of this request's body. */
  bodyBytes = 0;
  traceparent = '';
  /** Of the request's body. */
  bytesIn = 0;
  /** Of the answer's body, as far as they were handed over. */
  bytesOut = 0;
  /** Until a large body is out. */
  sending: Promise<void> | undefined;
  session: Session | undefined;
  /** The token that the client has, so that an unchanged one is not sent again. */
  known: string | undefined;
  /** The session's version when it held just what one token says; -1 when several were put together. */
  knownVersion = -1;
  cookies = true;
  /** Asked for at once: the connection may be gone later. */
  readonly client: Client;
  readonly #request: IncomingMessage;
  readonly #shownId: string;
  readonly #parts: AnswerParts;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    requestId: string,
    shownId: string,
    parts: AnswerParts,
  ) {
    this.client = parts.clientOf(request);
    this.#request = request;
    this.response = response;
    this.requestId = requestId;
    this.#shownId = shownId;
    this.#parts = parts;
  }

  /** What a record of the request says of its client. */
  who(): Readonly<Record<string, unknown>> {
    const { headers: given, httpVersion } = this.#request;
    const trace = this.traceparent.split('-')[1];
    return {
      client: this.client.address,
      http: httpVersion,
      ...(trace && { trace }),
      ...(given['user-agent'] !== undefined && { agent: given['user-agent'].slice(0, 200) }),
    };
  }

  /** `tagged`: the client may keep it, and ask whether it is still so. */
  value(value: unknown, meta: AnswerMeta, tagged = false): void {
    // `undefined` and functions have no JSON; a method without output answers undefined.
    const text = value === undefined ? undefined : JSON.stringify(value);
    const extra = this.#metaHeaders(meta);
    if (text === undefined) {
      this.send(204, undefined, undefined, extra);
      return;
    }
    if (tagged) {
      const tag = tagOf(text);
      extra.push('etag', tag, 'cache-control', 'private, no-cache');
      if (isKnownTag(headers.one(this.#request.headers, 'if-none-match'), tag)) {
        this.send(304, undefined, undefined, extra);
        return;
      }
    }
    this.#pack(200, jsonType, text, ['content-type', jsonType, ...extra]);
  }

  raw(form: RawResponseForm, meta: AnswerMeta): void {
    const extra: string[] = this.#metaHeaders(meta);
    let type: string | undefined;
    let isFinal = form.status === 206;
    for (const [name, value] of headers.endToEnd(form.headers)) {
      extra.push(name, value);
      if (name === 'content-type') type = value;
      else if (name === 'content-encoding' || (name === 'cache-control' && /no-transform/i.test(value))) isFinal = true;
    }
    if (isFinal) this.send(form.status, undefined, form.body, extra);
    else this.#pack(form.status, type, form.body, extra);
  }

  /** A body of which the end is not known yet, or that is large. A stream that breaks is cut, so that it cannot pass for a whole one. */
  async rawStream(
    form: Omit<RawResponseForm, 'body'>,
    meta: AnswerMeta,
    pieces: AsyncIterator<Uint8Array>,
  ): Promise<void> {
    const { response } = this;
    if (isGone(response)) return;
    const head = [...this.common(), ...this.#metaHeaders(meta)];
    for (const [name, value] of headers.endToEnd(form.headers)) head.push(name, value);
    const written = form.headers.find(([name]) => name.toLowerCase() === 'content-length')?.[1];
    const promised = written === undefined ? undefined : Number(written);
    if (promised !== undefined) head.push('content-length', String(promised));
    response.writeHead(form.status, head);
    if (this.#request.method === 'HEAD') {
      response.end();
      return;
    }
    // What is read later is not held back by what comes first.
    response.flushHeaders();
    const { clock, answerIdleTimeoutMs } = this.#parts;
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) break;
      this.bytesOut += value.length;
      if (promised !== undefined && this.bytesOut > promised) break;
      if (!response.write(value) && !(await taken(response, 'drain', clock, answerIdleTimeoutMs))) return;
    }
    if (promised !== undefined && this.bytesOut !== promised)
      throw new TandemError('INTERNAL', `a raw answer promised ${promised} bytes, and its body has others`);
    const finished = taken(response, 'finish', clock, answerIdleTimeoutMs);
    response.end();
    await finished;
    if (!this.#request.complete) this.#discard(lingerMs);
  }

  /** Sends it compressed where that is worth it and wanted. */
  #pack(status: number, type: string | undefined, body: string | Uint8Array, extra: string[]): void {
    const parts = this.#parts;
    if (!isCompressible(type, body.length, parts)) {
      this.send(status, undefined, body, extra);
      return;
    }
    extra.push('vary', 'accept-encoding');
    const coding = this.#request.method === 'HEAD' ? undefined : codingOf(this.#request, parts);
    if (coding === undefined) {
      this.send(status, undefined, body, extra);
      return;
    }
    extra.push('content-encoding', coding);
    // The bytes are others, so a tag that promises equal bytes must promise less.
    const tag = extra.indexOf('etag') + 1;
    if (tag > 0 && !extra[tag]!.startsWith('W/')) extra[tag] = `W/${extra[tag]}`;
    const packed = compress(coding, typeof body === 'string' ? Buffer.from(body) : asBuffer(body));
    if ('then' in packed) this.sending = packed.then(bytes => this.send(status, undefined, bytes, extra));
    else this.send(status, undefined, packed, extra);
  }

  /** A promise where the body is large. */
  send(
    status: number,
    type: string | undefined,
    body: string | Uint8Array | undefined,
    extra: readonly string[] = none,
  ): Promise<void> | undefined {
    const { response } = this;
    if (response.headersSent || isGone(response)) return undefined;
    const head = this.common();
    if (type !== undefined) head.push('content-type', type);
    for (const part of extra) head.push(part);
    const empty = status === 204 || status === 304 || body === undefined;
    const bytes = empty ? 0 : typeof body === 'string' ? Buffer.byteLength(body) : body.length;
    if (!empty) head.push('content-length', String(bytes));
    else if (status !== 204 && status !== 304) head.push('content-length', '0');
    response.writeHead(status, head);
    if (empty || this.#request.method === 'HEAD') response.end();
    else if (bytes > smallBytes) this.sending = this.#sendLarge(body, bytes);
    // As many bytes as characters: plain ASCII, which is written in one piece with the head, and faster, as latin1.
    else if (typeof body === 'string') response.end(body, bytes === body.length ? 'latin1' : 'utf8');
    else response.end(body);
    this.bytesOut = bytes;
    if (!this.#request.complete) this.#discard(status === 408 ? 0 : lingerMs);
    return this.sending;
  }

  /** Of an answer that has no length. */
  headOnly(type: string): void {
    this.response.writeHead(200, ['content-type', type, ...this.common()]);
    this.response.end();
  }

  /** What the client has not taken yet is memory: it counts until it has. */
  async #sendLarge(body: string | Uint8Array, bytes: number): Promise<void> {
    const { admission, clock, answerIdleTimeoutMs } = this.#parts;
    const buffer = typeof body === 'string' ? Buffer.from(body) : asBuffer(body);
    admission.hold(bytes);
    try {
      await sendBody(this.response, buffer, clock, answerIdleTimeoutMs);
    } finally {
      admission.giveBody(bytes);
    }
  }

  /** A body that was refused still comes. Closing at once would reset the connection, often before the client has read why. */
  #discard(waitMs: number): void {
    const request = this.#request;
    if (isHttp2(request) || waitMs === 0) {
      outOf(this.response).once('finish', () => cutOff(request));
      return;
    }
    const timer = this.#parts.clock.after(waitMs, () => request.destroy());
    request.once('close', () => timer.cancel());
    request.resume();
  }

  fail(thrown: unknown): void {
    const problem = problemOf(thrown, this.requestId, thrown instanceof StatusError ? { status: thrown.status } : {});
    this.code = problem.code;
    if (this.response.headersSent) {
      breakOff(this.response);
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
    const { cors } = this.#parts;
    if (cors) head.push(...cors.fields(this.#request));
    if (this.#parts.closing() && !isHttp2(this.#request)) head.push('connection', 'close');
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

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
