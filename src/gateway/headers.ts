/**
 * Headers at the outside door. Nothing that a client sends may pose as something that only the inside says: identity
 * and forwarding headers are dropped, hop-by-hop ones (RFC 9110, 7.6.1) never travel, and handlers see a short list.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import type { CallMeta } from '../core/meta.ts';

export const headerNames = {
  session: 'tandem-session',
  consistency: 'tandem-consistency',
  timeout: 'tandem-timeout',
  hedge: 'tandem-hedge',
  /** Says that the client sent this request before and does not know its fate. */
  repeat: 'tandem-repeat',
  level: 'tandem-level',
  staleness: 'tandem-staleness',
  degraded: 'tandem-degraded',
  instance: 'tandem-instance',
} as const;

const hopByHop = new Set(
  'connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade expect'.split(
    ' ',
  ),
);
const internal = /^(?:tandem-|x-forwarded-|forwarded$|x-real-ip$|traceparent$|tracestate$|baggage$)|_/;
/** What handlers of methods that are not raw see in `ctx.caller.headers`. */
const visible = ['authorization', 'user-agent', 'accept-language', 'origin'] as const;

/** A raw method's headers, in both directions: no hop-by-hop ones, none that the connection names, none of ours. */
export function endToEnd(pairs: Iterable<readonly [string, string]>, connection = ''): [string, string][] {
  const named = new Set(connection.toLowerCase().split(/\s*,\s*/));
  const kept: [string, string][] = [];
  for (const [name, value] of pairs) {
    const lower = name.toLowerCase();
    if (hopByHop.has(lower) || internal.test(lower) || named.has(lower) || lower === 'content-length') continue;
    if (lower === 'cookie') {
      const others = value.split(/;\s*/).filter(pair => !pair.startsWith(`${headerNames.session}=`));
      if (others.length > 0) kept.push([lower, others.join('; ')]);
    } else kept.push([lower, value]);
  }
  return kept;
}

export function* headerPairs(request: IncomingMessage): Iterable<[string, string]> {
  const { rawHeaders } = request;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    // What the request line is in HTTP/1.1 stands among the fields of HTTP/2.
    if (!rawHeaders[i]!.startsWith(':')) yield [rawHeaders[i]!, rawHeaders[i + 1]!];
  }
}

/** Node keeps the first Host and drops others; a proxy before us may have looked at the last. @throws INVALID. */
export function checkHost({ rawHeaders, httpVersionMajor, url, headers }: IncomingMessage): void {
  if (httpVersionMajor < 1) throw new TandemError('INVALID', 'the request names no version of HTTP');
  const named = url?.startsWith('/') ? headers[':authority'] : /^[a-z]+:\/\/([^/?]*)/i.exec(url ?? '')?.[1];
  const authority = typeof named === 'string' ? named : undefined;
  if (authority !== undefined && authority.toLowerCase() !== headers.host?.toLowerCase())
    throw new TandemError('INVALID', 'the target names another host than the Host header');
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length === 4 && name.toLowerCase() === 'host' && ++hosts > 1)
      throw new TandemError('INVALID', 'the request has more than one Host header');
  }
}

export function visibleHeaders(headers: IncomingHttpHeaders): Readonly<Record<string, string>> | undefined {
  let seen: Record<string, string> | undefined;
  for (const name of visible) {
    const value = headers[name];
    if (typeof value !== 'string') continue;
    seen ??= {};
    seen[name] = value;
  }
  return seen;
}

export function one(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** The Idempotency-Key (its draft writes it as a quoted string). @throws INVALID when it is empty, long or not plain text. */
export function idempotencyKey(headers: IncomingHttpHeaders): string | undefined {
  const written = one(headers, 'idempotency-key');
  if (written === undefined) return undefined;
  const key = written.startsWith('"') && written.endsWith('"') ? written.slice(1, -1) : written;
  if (/^[\x21-\x7e]{1,200}$/.test(key)) return key;
  throw new TandemError('INVALID', 'the Idempotency-Key must be 1 to 200 printable characters without spaces');
}

/** A client's X-Request-Id, if it can safely stand in records. */
export function correlationId(headers: IncomingHttpHeaders): string | undefined {
  const id = one(headers, 'x-request-id');
  return id !== undefined && /^[\w.:/+=-]{1,100}$/.test(id) ? id : undefined;
}

/** @throws INVALID for an unknown level. */
export function consistencyOf(headers: IncomingHttpHeaders): CallMeta['consistency'] {
  const level = one(headers, headerNames.consistency);
  if (level === undefined || level === 'strong' || level === 'sequential' || level === 'eventual') return level;
  throw new TandemError(
    'INVALID',
    `${headerNames.consistency}: '${level.slice(0, 20)}' is not strong, sequential or eventual`,
  );
}

/** @throws INVALID when it is not a duration. */
export function durationOf(headers: IncomingHttpHeaders, name: string): number | undefined {
  const text = one(headers, name);
  return text === undefined ? undefined : durationMs(text);
}

export function traceparentOf(headers: IncomingHttpHeaders): string | undefined {
  const text = one(headers, 'traceparent');
  return text !== undefined && /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.test(text)
    ? text
    : undefined;
}

/** Tokens in the header (one, or several when a client made calls in parallel) and the one in the cookie. */
export function sessionToken(headers: IncomingHttpHeaders): { header?: string; cookie?: string } {
  const found: { header?: string; cookie?: string } = {};
  const header = one(headers, headerNames.session);
  if (header !== undefined) found.header = header;
  const cookies = headers.cookie;
  if (cookies?.includes(headerNames.session)) {
    const match = /(?:^|;\s*)tandem-session=([^;]*)/.exec(cookies);
    if (match?.[1]) found.cookie = match[1];
  }
  return found;
}
