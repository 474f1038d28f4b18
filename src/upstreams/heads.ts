/** Start lines: of a client's request and of an upstream's answer (RFC 9112, 3 and 4), each with its fields. */
import { type Fields, isToken, readFields, says } from './fields.ts';
import { Malformed } from './malformed.ts';

export interface RequestHead {
  readonly verb: string;
  /** Path and query, as they came. */
  readonly target: string;
  readonly host: string;
  /** The minor version: HTTP/1.0 or 1.1. */
  readonly minor: 0 | 1;
  readonly fields: Fields;
  /** The connection goes on after the answer. */
  readonly keepAlive: boolean;
  readonly hasBody: boolean;
  /** The protocol that the client wants to change to; its bytes are then passed on unread. */
  readonly upgrade: string | undefined;
  readonly expectsContinue: boolean;
}

export interface AnswerHead {
  readonly status: number;
  readonly reason: string;
  readonly fields: Fields;
  /** The upstream keeps the connection open. */
  readonly keepAlive: boolean;
}

export const targetBytesMax = 8192;

/** @param text A request up to and with the empty line, as latin1. @throws Malformed. */
export function readRequestHead(text: string, from: number, end: number): RequestHead {
  const lineEnd = text.indexOf('\r\n', from);
  const verbEnd = text.indexOf(' ', from);
  if (verbEnd < 0 || verbEnd > lineEnd || !isToken(text, from, verbEnd)) throw new Malformed('no request line');
  const targetEnd = lineEnd - 9;
  const minor = text.charCodeAt(lineEnd - 1) - 48;
  if (targetEnd <= verbEnd || text.slice(targetEnd, lineEnd - 1) !== ' HTTP/1.' || (minor !== 0 && minor !== 1))
    throw new Malformed('no request line of HTTP/1.1', /HTTP\/[2-9]/.test(text.slice(from, lineEnd)) ? 505 : 400);
  if (targetEnd - verbEnd - 1 > targetBytesMax) throw new Malformed(`the target is over ${targetBytesMax} bytes`, 414);
  const verb = text.slice(from, verbEnd);
  const fields = readFields(text, lineEnd + 2, end - 2, 'request');
  const { connection, chunked, length, upgrade } = fields;
  if (chunked && minor === 0) throw new Malformed('HTTP/1.0 knows no chunked');
  if (verb === 'CONNECT') throw new Malformed('this is no forward proxy', 405);
  if (fields.host === undefined && minor === 1) throw new Malformed('no Host');
  const host = fields.host ?? '';
  if (!isHost(host)) throw new Malformed('Host is not a name with or without a port');
  const target = targetOf(text, verbEnd + 1, targetEnd, host);
  const { expect } = fields;
  if (expect !== undefined && expect !== '100-continue')
    throw new Malformed('an expectation that nobody can meet', 417);
  const hasBody = chunked || length > 0;
  const wanted = upgrade !== undefined && minor === 1 && says(connection, 'upgrade') ? upgrade : undefined;
  return {
    verb,
    target,
    host,
    minor,
    fields,
    keepAlive: minor === 1 ? !says(connection, 'close') : says(connection, 'keep-alive'),
    hasBody,
    // An upstream that is led to speak HTTP/2 would hear requests that nobody here has looked at.
    upgrade:
      wanted !== undefined &&
      !hasBody &&
      verb === 'GET' &&
      /^[a-z][\w.-]*$/i.test(wanted) &&
      !/^(?:h2|http|tls)/i.test(wanted)
        ? wanted
        : undefined,
    expectsContinue: expect !== undefined && minor === 1 && hasBody,
  };
}

/** In origin form; one in absolute form must name the same host. */
function targetOf(text: string, from: number, to: number, host: string): string {
  for (let i = from; i < to; i++) {
    const code = text.charCodeAt(i);
    if (code <= 32 || code >= 127 || code === 35)
      throw new Malformed('the target holds a character that must be encoded');
  }
  if (text.charCodeAt(from) === 47) return text.slice(from, to);
  const [, authority, rest] = /^https?:\/\/([^/?]+)(.*)$/i.exec(text.slice(from, to)) ?? [];
  if (authority === undefined) throw new Malformed('the target is not a path');
  if (authority.toLowerCase() !== host.toLowerCase()) throw new Malformed('the target names another host than Host');
  return rest!.startsWith('/') ? rest! : `/${rest}`;
}

const hostPattern = /^(?:[a-z0-9._~!$&'()*+;=%-]*|\[[0-9a-f:.]+\])(?::\d{0,5})?$/i;
/** A DNS name and a port have 261 at most. It is told several times over to an upstream, so it must not be long. */
const hostBytesMax = 300;
let lastHost = '';

function isHost(host: string): boolean {
  if (host === lastHost) return true;
  if (host.length > hostBytesMax || !hostPattern.test(host)) return false;
  lastHost = host;
  return true;
}

/** @param end After the empty line. @throws Malformed. */
export function readAnswerHead(text: string, end: number): AnswerHead {
  const lineEnd = text.indexOf('\r\n');
  const minor = text.charCodeAt(7) - 48;
  if (!text.startsWith('HTTP/1.') || (minor !== 0 && minor !== 1) || text.charCodeAt(8) !== 32)
    throw new Malformed('no status line of HTTP/1.1');
  const status = Number(text.slice(9, 12));
  const after = text.charCodeAt(12);
  if (!(status >= 100 && status <= 599) || !Number.isInteger(status) || (after !== 32 && lineEnd !== 12))
    throw new Malformed('no status of three digits');
  const reason = lineEnd === 12 ? '' : text.slice(13, lineEnd);
  for (let i = 0; i < reason.length; i++) {
    const code = reason.charCodeAt(i);
    if ((code < 32 && code !== 9) || code === 127) throw new Malformed('the reason holds a control character');
  }
  const fields = readFields(text, lineEnd + 2, end - 2, 'answer');
  if (fields.chunked && minor === 0) throw new Malformed('HTTP/1.0 knows no chunked');
  const { connection } = fields;
  return {
    status,
    reason,
    fields,
    keepAlive: minor === 1 ? !says(connection, 'close') : says(connection, 'keep-alive'),
  };
}
