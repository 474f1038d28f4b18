/**
 * A request that node:http has read, as a client of an exchange: where services and upstreams share a gateway. Its head goes
 * through the same strict reading as one from the door of this room, so that what an upstream gets does not depend on the way in.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { hashText } from '../partitioning/hash.ts';
import type { Framing } from './answer-reader.ts';
import { type Client, type Failure, problemText } from './client.ts';
import type { Exchange } from './exchange.ts';
import { forwardedLines } from './forwarded.ts';
import { type AnswerHead, readRequestHead } from './heads.ts';
import { Malformed } from './malformed.ts';
import type { Upstreams } from './upstreams.ts';

export interface Passing {
  /** Whether the other side of the connection may say for whom a request is. */
  readonly trusts: (address: string) => boolean;
}

/** Takes a request to its upstream; false when no group has its path. For `upgrade` events the socket comes instead of a response. */
export function passOn(
  upstreams: Upstreams,
  request: IncomingMessage,
  response: ServerResponse | Duplex,
  first: Buffer | undefined,
  { trusts }: Passing,
): boolean {
  const client = new NodeClient(request, response, first);
  try {
    const head = readRequestHead(...headText(request));
    const group = upstreams.find(head.target);
    if (!group) return false;
    const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
    const proto = 'encrypted' in request.socket ? 'https' : 'http';
    const forwarded = forwardedLines({ address, proto, trusted: trusts(address) }, head.host, head.fields);
    client.give(upstreams.exchange(group, client, head, forwarded));
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause;
    client.fail({ status: cause.status, code: 'INVALID', detail: cause.message, outcome: 'not-done' });
  }
  return true;
}

/** As it stood on the wire; of HTTP/2, as it would stand there. */
function headText({
  method,
  url,
  rawHeaders,
  httpVersionMajor,
  httpVersionMinor,
  headers,
}: IncomingMessage): [string, number, number] {
  const minor = httpVersionMajor === 1 && httpVersionMinor === 0 ? 0 : 1;
  let text = `${method} ${url} HTTP/1.${minor}\r\n`;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (!rawHeaders[i]!.startsWith(':')) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  }
  if (httpVersionMajor === 2) {
    if (headers.host === undefined && typeof headers[':authority'] === 'string')
      text += `host: ${headers[':authority']}\r\n`;
    const mayHaveBody = method !== 'GET' && method !== 'HEAD' && method !== 'DELETE';
    if (mayHaveBody && headers['content-length'] === undefined) text += 'transfer-encoding: chunked\r\n';
  }
  text += '\r\n';
  return [text, 0, text.length];
}

class NodeClient implements Client {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse | undefined;
  readonly #socket: Duplex | undefined;
  readonly #first: Buffer | undefined;
  #exchange: Exchange | undefined;
  #wanted = false;

  constructor(request: IncomingMessage, response: ServerResponse | Duplex, first: Buffer | undefined) {
    this.#request = request;
    this.#first = first;
    if ('writeHead' in response) this.#response = response;
    else this.#socket = response;
  }

  get hash(): number {
    return hashText(this.#request.socket.remoteAddress ?? '', 0);
  }

  give(exchange: Exchange): void {
    this.#exchange = exchange;
    const gone = (): void => {
      const left = this.#exchange;
      this.#exchange = undefined;
      left?.onGone();
    };
    (this.#response ?? this.#socket)!.on('close', gone).on('drain', () => this.#exchange?.onClientDrain());
    this.#request.pause();
    this.#request.on('data', (data: Buffer) => {
      if (this.#exchange && !this.#exchange.onBody(data)) this.#request.pause();
    });
    this.#request.on('end', () => {
      if (this.#wanted) this.#exchange?.onBodyEnd(linesOf(this.#request.rawTrailers));
    });
    this.#request.on('error', gone);
    exchange.start();
  }

  readBody(): void {
    this.#wanted = true;
    this.#request.resume();
  }

  holdBody(): void {
    this.#request.pause();
  }

  information({ status, fields }: AnswerHead): void {
    const response = this.#response;
    if (!response || this.#request.httpVersion === '1.0') return;
    if (status === 100) response.writeContinue();
    else if (status === 102) response.writeProcessing();
    else if (status === 103) {
      const hints: Record<string, string | string[]> = {};
      for (const [name, value] of pairsOf(fields.lines)) {
        const lower = name.toLowerCase();
        hints[lower] = hints[lower] === undefined ? value : [hints[lower], value].flat();
      }
      if (hints['link'] !== undefined) response.writeEarlyHints(hints as { link: string });
    }
  }

  whole(head: AnswerHead, body: Buffer, last: boolean): void {
    const { status, fields } = head;
    const bodiless = status === 204 || status === 304 || this.#request.method === 'HEAD';
    const length = fields.length >= 0 ? fields.length : bodiless ? -1 : body.length;
    this.#writeHead(head, length < 0 || status === 204 ? [] : ['content-length', String(length)], last);
    this.end('', body);
  }

  begin(head: AnswerHead, framing: Framing, last: boolean): void {
    this.#writeHead(head, framing === 'length' ? ['content-length', String(head.fields.length)] : [], last);
  }

  #writeHead({ status, reason, fields }: AnswerHead, framing: readonly string[], last: boolean): void {
    const pairs = [...pairsOf(fields.lines)].flat();
    pairs.push(...framing);
    const isSecond = this.#request.httpVersionMajor === 2;
    if (last && !isSecond) pairs.push('connection', 'close');
    if (!this.#response) {
      this.#socket!.write(`HTTP/1.1 ${status} ${reason}\r\n${fields.lines}connection: close\r\n\r\n`, 'latin1');
    } else if (isSecond) this.#response.writeHead(status, pairs);
    else this.#response.writeHead(status, reason, pairs);
  }

  write(data: Buffer): boolean {
    return (this.#response ?? this.#socket!).write(data);
  }

  end(trailers: string, body?: Buffer): void {
    this.#exchange = undefined;
    if (trailers !== '') this.#response?.addTrailers([...pairsOf(trailers)]);
    const out = this.#response ?? this.#socket!;
    if (body && body.length > 0) out.end(body);
    else out.end();
  }

  fail(failure: Failure): void {
    this.#exchange = undefined;
    const text = problemText(failure);
    const response = this.#response;
    if (!response) {
      this.#socket!.end(
        `HTTP/1.1 ${failure.status} Error\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
      );
      return;
    }
    const wait = failure.status === 503 ? { 'retry-after': '1' } : {};
    const end = this.#request.complete || this.#request.httpVersionMajor === 2 ? {} : { connection: 'close' };
    response.writeHead(failure.status, {
      'content-type': 'application/problem+json',
      'content-length': Buffer.byteLength(text),
      ...wait,
      ...end,
    });
    response.end(text);
    if (!this.#request.complete) this.#request.resume();
  }

  abort(): void {
    this.#exchange = undefined;
    (this.#response ?? this.#socket!).destroy();
  }

  switch({ status, reason, fields }: AnswerHead): Duplex {
    this.#exchange = undefined;
    const socket = this.#socket!;
    socket.removeAllListeners('drain');
    socket.write(
      `HTTP/1.1 ${status} ${reason}\r\n${fields.lines}connection: upgrade\r\nupgrade: ${fields.upgrade}\r\n\r\n`,
      'latin1',
    );
    if (this.#first && this.#first.length > 0) socket.unshift(this.#first);
    return socket;
  }
}

function* pairsOf(lines: string): Iterable<[string, string]> {
  for (const line of lines.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) yield [line.slice(0, colon), line.slice(colon + 1).trim()];
  }
}

function linesOf(raw: readonly string[]): string {
  let lines = '';
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (!/^(?:authorization|cookie|set-cookie|content-|transfer-|host$|trailer$)/i.test(raw[i]!))
      lines += `${raw[i]}: ${raw[i + 1]}\r\n`;
  }
  return lines;
}
