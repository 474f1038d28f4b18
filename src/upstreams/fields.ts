/**
 * The header section of an HTTP/1.1 message, read once and strictly (RFC 9110, 5; RFC 9112, 5 and 6): what two parsers could read
 * in two ways is refused, not repaired, since that is what request smuggling and response splitting live on. No bare CR or LF, no
 * folded line, no space before a colon, no control byte, one length or one `chunked`, never both. Fields that end at this hop
 * (RFC 9110, 7.6.1) are left out of `lines`, which travel on byte for byte.
 *
 * A parser of our own, because node:http's objects cost more than all else that a proxy does (docs/performance.md);
 * its strictness is held by the tables of `requests.test.ts` and `answers.test.ts`, and by `npm run fuzz -- http`.
 */
import { Malformed } from './malformed.ts';

export interface Fields {
  /** Of what travels on, each line with its CRLF. */
  lines: string;
  /** Of the body; -1 when none is given. */
  length: number;
  chunked: boolean;
  /** Values of `Connection` in lower case. */
  connection: string;
  /** Undefined unless there is one. */
  host: string | undefined;
  upgrade: string | undefined;
  expect: string | undefined;
  /** `te: trailers` was said. */
  trailers: boolean;
  /** What a proxy before us says of the client; for those who trust it. */
  forwardedFor: string | undefined;
  forwardedProto: string | undefined;
  forwardedHost: string | undefined;
  /** Of `Keep-Alive: timeout=…`, in seconds; -1 when nothing is said. */
  keepAliveSeconds: number;
}

/** Lines of one message; more is 431 (Node takes about 2000, Apache 100). */
const linesMax = 200;

const token = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
  token[char.charCodeAt(0)] = 1;
const underscore = 95;

export function isToken(text: string, from: number = 0, to: number = text.length): boolean {
  if (from >= to) return false;
  for (let i = from; i < to; i++) if (token[text.charCodeAt(i)] !== 1) return false;
  return true;
}

/** What the fields of a request or an answer are in, and what is only between us and the sender. */
type Kind = 'request' | 'answer';

/**
 * @param text Of a message, as latin1. @param at After the start line. @param end After the last field's CRLF.
 * @throws Malformed.
 */
export function readFields(text: string, at: number, end: number, kind: Kind): Fields {
  const fields: Fields = {
    lines: '',
    length: -1,
    chunked: false,
    connection: '',
    host: undefined,
    upgrade: undefined,
    expect: undefined,
    trailers: false,
    forwardedFor: undefined,
    forwardedProto: undefined,
    forwardedHost: undefined,
    keepAliveSeconds: -1,
  };
  let count = 0;
  /** Start of the run of lines that travel on. */
  let kept = at;
  while (at < end) {
    if (++count > linesMax) throw new Malformed(`more than ${linesMax} header fields`, 431);
    let colon = at;
    let code = text.charCodeAt(colon);
    let travels = true;
    while (token[code] === 1) {
      // `content_length` is content-length to a CGI program.
      if (code === underscore) travels = false;
      code = text.charCodeAt(++colon);
    }
    if (code !== 58 || colon === at) throw new Malformed('a header field is not a name and a colon');
    let i = colon + 1;
    for (code = text.charCodeAt(i); code >= 32 ? code !== 127 : code === 9; code = text.charCodeAt(++i));
    if (code !== 13 || text.charCodeAt(i + 1) !== 10) throw new Malformed('a header field holds a control character');
    if (travels) travels = take(fields, kind, text, at, colon, i);
    if (!travels) {
      if (kept < at) fields.lines += text.slice(kept, at);
      kept = i + 2;
    }
    at = i + 2;
  }
  if (kept < end) fields.lines += text.slice(kept, end);
  if (fields.chunked && fields.length >= 0) throw new Malformed('both a length and chunked');
  if (fields.connection !== '') dropNamed(fields);
  return fields;
}

/** Whether the field travels on. */
function take(fields: Fields, kind: Kind, text: string, at: number, colon: number, end: number): boolean {
  // Told apart by length and first letter, so that most names are never made into a string.
  const first = text.charCodeAt(at) | 32;
  switch (colon - at) {
    case 2: // te
      if (first !== 116 || named(text, at, colon) !== 'te') return true;
      if (/(?:^|,)\s*trailers\s*(?:,|$)/i.test(trimmed(text, colon, end))) fields.trailers = true;
      return false;
    case 4: // host
      if (first !== 104 || kind === 'answer' || named(text, at, colon) !== 'host') return true;
      if (fields.host !== undefined) throw new Malformed('more than one Host');
      fields.host = trimmed(text, colon, end);
      return false;
    case 6: // expect
      if (first !== 101 || kind === 'answer' || named(text, at, colon) !== 'expect') return true;
      fields.expect = trimmed(text, colon, end).toLowerCase();
      return false;
    case 7: // upgrade
      if (first !== 117 || named(text, at, colon) !== 'upgrade') return true;
      fields.upgrade = trimmed(text, colon, end);
      return false;
    case 9: // forwarded, x-real-ip
      if (kind === 'answer' || (first !== 102 && first !== 120)) return true;
      return !/^(?:forwarded|x-real-ip)$/.test(named(text, at, colon));
    case 10: // connection, keep-alive
      if (first !== 99 && first !== 107) return true;
      return takeConnection(fields, text, at, colon, end);
    case 14: // content-length, http2-settings
      if (first === 104) return named(text, at, colon) !== 'http2-settings';
      if (first !== 99 || named(text, at, colon) !== 'content-length') return true;
      takeLength(fields, trimmed(text, colon, end));
      return false;
    case 15: // x-forwarded-for
    case 16: // x-forwarded-host, proxy-connection
    case 17: // x-forwarded-proto, transfer-encoding
    case 18: // proxy-authenticate
    case 19: // proxy-authorization
      if (first !== 120 && first !== 112 && first !== 116) break;
      return takeLong(fields, kind, text, at, colon, end);
    default:
  }
  if (first !== 120 || kind === 'answer' || colon - at < 11) return true;
  return !named(text, at, colon).startsWith('x-forwarded');
}

function takeConnection(fields: Fields, text: string, at: number, colon: number, end: number): boolean {
  const name = named(text, at, colon);
  if (name === 'connection') {
    const value = trimmed(text, colon, end).toLowerCase();
    fields.connection = fields.connection === '' ? value : `${fields.connection}, ${value}`;
    return false;
  }
  if (name !== 'keep-alive') return true;
  const seconds = /(?:^|[,;\s])timeout=(\d{1,6})/.exec(trimmed(text, colon, end))?.[1];
  if (seconds !== undefined) fields.keepAliveSeconds = Number(seconds);
  return false;
}

function takeLength(fields: Fields, value: string): void {
  if (fields.length >= 0) throw new Malformed('more than one Content-Length');
  if (!/^\d{1,15}$/.test(value)) throw new Malformed('Content-Length is not a number');
  fields.length = Number(value);
}

function takeLong(fields: Fields, kind: Kind, text: string, at: number, colon: number, end: number): boolean {
  const name = named(text, at, colon);
  if (name === 'transfer-encoding') {
    if (fields.chunked) throw new Malformed('more than one Transfer-Encoding');
    if (trimmed(text, colon, end).toLowerCase() !== 'chunked')
      throw new Malformed('a Transfer-Encoding that is not chunked');
    fields.chunked = true;
    return false;
  }
  if (name === 'proxy-connection') return false;
  if (kind === 'answer') return name !== 'proxy-authenticate';
  if (name === 'proxy-authorization') return false;
  if (!name.startsWith('x-forwarded')) return true;
  const value = trimmed(text, colon, end);
  if (name === 'x-forwarded-for')
    fields.forwardedFor = fields.forwardedFor ? `${fields.forwardedFor}, ${value}` : value;
  else if (name === 'x-forwarded-proto') fields.forwardedProto = value;
  else if (name === 'x-forwarded-host') fields.forwardedHost = value;
  return false;
}

function named(text: string, at: number, colon: number): string {
  return text.slice(at, colon).toLowerCase();
}

function trimmed(text: string, colon: number, end: number): string {
  let from = colon + 1;
  while (from < end && isBlank(text.charCodeAt(from))) from++;
  while (end > from && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(from, end);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

const usual = /^(?:close|keep-alive|upgrade|te|,|\s)*$/;
/** Naming these as its own would let a sender strip what others rely on. */
const lasting = new Set(['authorization', 'cookie', 'set-cookie', 'content-type', 'content-encoding', 'cache-control']);

/** Fields that `Connection` names end here too. */
function dropNamed(fields: Fields): void {
  if (usual.test(fields.connection)) return;
  const names = new Set(fields.connection.split(/\s*,\s*/).filter(name => !lasting.has(name)));
  fields.lines = fields.lines
    .split(/(?<=\r\n)/)
    .filter(line => !names.has(line.slice(0, line.indexOf(':')).toLowerCase()))
    .join('');
}

/** Whether `Connection` holds the word. */
export function says(connection: string, word: string): boolean {
  if (connection === '' || connection === word) return connection === word;
  return connection.includes(word) && connection.split(/\s*,\s*/).includes(word);
}
