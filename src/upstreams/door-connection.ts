/**
 * A client's connection: reads one request after the other, strictly, and writes the answers. The next request is read when the
 * one before it is answered, also when a client sends several at once. What is wrong is answered once, and the connection ends,
 * since nobody can say where the next request would begin.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { hashText } from '../partitioning/hash.ts';
import type { Framing } from './answer-reader.ts';
import { ChunkedBody } from './chunked.ts';
import { type Client, type Failure, problemText, reasons } from './client.ts';
import type { DoorParts } from './door.ts';
import { type Exchange, writeChunk } from './exchange.ts';
import { forwardedLines } from './forwarded.ts';
import { type AnswerHead, type RequestHead, readRequestHead } from './heads.ts';
import { Malformed } from './malformed.ts';

/** How long the rest of a refused request is read and dropped: an answer followed by a reset is often not read. */
const lingerMs = 2000;
/** Of requests sent ahead, kept while one is answered; then the client is not read from. */
const aheadBytesMax = 65_536;

type Reading = 'head' | 'body' | 'nothing';

export class DoorConnection implements Client {
  readonly #socket: Socket;
  readonly #parts: DoorParts;
  readonly #address: string;
  #hash = 0;
  #reading: Reading = 'head';
  /** Bytes that came and were not looked at. */
  #held: Buffer | undefined;
  #head: RequestHead | undefined;
  #exchange: Exchange | undefined;
  #bodyWanted = false;
  #bodyLeft = 0;
  #chunked: ChunkedBody | undefined;
  /** The answer's framing, while one is under way. */
  #framing: Framing | undefined;
  #last = false;
  #closing = false;
  #forHost = '';
  #forwarded = '';
  /** Monotonic; the door looks at it. */
  deadlineMs: number;

  constructor(socket: Socket, parts: DoorParts) {
    this.#socket = socket;
    this.#parts = parts;
    this.#address = (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
    this.deadlineMs = parts.clock.monotonic() + parts.headersTimeoutMs;
    socket.on('data', (bytes: Buffer) => {
      try {
        this.#onData(bytes);
      } catch (cause) {
        // A fault of ours ends one connection, not the gateway.
        parts.broken(cause);
        socket.destroy();
      }
    });
    socket.on('drain', () => this.#exchange?.onClientDrain());
    socket.on('end', () => this.#onGone());
    socket.on('error', () => {});
    socket.on('close', () => this.#onGone());
  }

  get hash(): number {
    this.#hash ||= hashText(this.#address, 0);
    return this.#hash;
  }

  get busy(): boolean {
    return this.#exchange !== undefined;
  }

  /** Between two requests: ends; else after the answer. */
  drain(): void {
    this.#parts.writes.flush();
    if (!this.#exchange && !this.#held) this.#socket.end();
    this.#last = true;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  onTimeout(): void {
    this.deadlineMs = Number.POSITIVE_INFINITY;
    if (this.#closing || (this.#reading === 'head' && !this.#held)) return void this.#socket.destroy();
    if (this.#reading === 'head') this.#refuse(new Malformed('the request did not arrive in time', 408));
    else if (this.#framing === undefined && this.#exchange) {
      const exchange = this.#exchange;
      this.#exchange = undefined;
      exchange.onGone();
      this.#refuse(new Malformed('the body did not arrive in time', 408));
    } else this.#socket.destroy();
  }

  #onGone(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.onGone();
    this.#socket.destroy();
    this.#parts.left(this);
  }

  #onData(bytes: Buffer): void {
    if (this.#closing) return;
    if (this.#reading === 'head') return void this.#readHead(this.#held ? Buffer.concat([this.#held, bytes]) : bytes);
    if (this.#reading === 'body' && this.#bodyWanted && !this.#held) return void this.#readBodyBytes(bytes);
    this.#held = this.#held ? Buffer.concat([this.#held, bytes]) : bytes;
    if (this.#held.length > aheadBytesMax || this.#reading === 'body') this.#socket.pause();
  }

  #readHead(bytes: Buffer): void {
    const { headerBytesMax, headersTimeoutMs, clock } = this.#parts;
    if (!this.#held) this.deadlineMs = clock.monotonic() + headersTimeoutMs;
    this.#held = undefined;
    const text = bytes.toString('latin1', 0, Math.min(bytes.length, headerBytesMax + 4));
    // Empty lines before a request are to be passed over (RFC 9112, 2.2); a few.
    let from = 0;
    while (from < 8 && text.startsWith('\r\n', from)) from += 2;
    const blank = text.indexOf('\r\n\r\n', from);
    if (blank < 0) {
      if (bytes.length > headerBytesMax) {
        const isTarget = text.indexOf('\r\n', from) < 0;
        return void this.#refuse(
          new Malformed('the head is over the limit; send fewer or shorter fields', isTarget ? 414 : 431),
        );
      }
      if (!/^(?:\r?$|[!#$%&'*+.^_`|~0-9a-z-]*(?: [^\n]*)?(?:\r\n|$))/i.test(text.slice(from)))
        return void this.#refuse(new Malformed('this is no HTTP/1.1'));
      if (bytes.length > 0) this.#held = bytes;
      return;
    }
    const end = blank + 4;
    let head: RequestHead;
    try {
      head = readRequestHead(text, from, end);
    } catch (cause) {
      return void this.#refuse(cause as Malformed);
    }
    this.#begin(head, end < bytes.length ? bytes.subarray(end) : undefined);
  }

  #begin(head: RequestHead, rest: Buffer | undefined): void {
    const { parts, fields, host } = { parts: this.#parts, fields: head.fields, host: head.host };
    this.#head = head;
    this.#held = rest;
    this.#last ||= !head.keepAlive;
    this.#framing = undefined;
    this.#bodyWanted = false;
    this.deadlineMs = Number.POSITIVE_INFINITY;
    this.#reading = head.hasBody ? 'body' : 'nothing';
    if (head.hasBody) {
      this.#bodyLeft = fields.length;
      this.#chunked = fields.chunked ? new ChunkedBody() : undefined;
    }
    if (rest) this.#socket.pause();
    if (host !== this.#forHost || this.#forwarded === '' || parts.trusts(this.#address)) {
      const said = { address: this.#address, proto: 'http', trusted: parts.trusts(this.#address) } as const;
      this.#forwarded = forwardedLines(said, host, fields);
      this.#forHost = host;
    }
    parts.handle(this, head, this.#forwarded);
  }

  /** The door found whose it is. */
  give(exchange: Exchange): void {
    this.#exchange = exchange;
    exchange.start();
  }

  readBody(): void {
    if (this.#reading !== 'body') return;
    this.#bodyWanted = true;
    this.#waitForBody();
    const held = this.#held;
    this.#held = undefined;
    if (held) this.#readBodyBytes(held);
    // Also when all of it is there: only who is read from can be heard leaving.
    if (!this.#held && (this.#bodyWanted || this.#reading !== 'body')) this.#socket.resume();
  }

  holdBody(): void {
    this.#bodyWanted = false;
  }

  #waitForBody(): void {
    const { clock, bodyTimeoutMs } = this.#parts;
    this.deadlineMs = clock.monotonic() + bodyTimeoutMs;
  }

  #readBodyBytes(bytes: Buffer): void {
    const exchange = this.#exchange;
    if (!exchange) return;
    this.#waitForBody();
    let more = true;
    let taken = bytes.length;
    let trailers = '';
    let ended = false;
    const chunked = this.#chunked;
    if (chunked) {
      try {
        taken = chunked.push(bytes, data => {
          more = exchange.onBody(data) && more;
        });
      } catch (cause) {
        this.#exchange = undefined;
        exchange.onGone();
        if (this.#framing !== undefined) return void this.#socket.destroy();
        return void this.#refuse(cause as Malformed);
      }
      ended = chunked.done;
      trailers = chunked.trailers;
    } else {
      taken = Math.min(bytes.length, this.#bodyLeft);
      this.#bodyLeft -= taken;
      more = exchange.onBody(taken < bytes.length ? bytes.subarray(0, taken) : bytes);
      ended = this.#bodyLeft === 0;
    }
    if (this.#exchange !== exchange) return;
    if (ended) {
      this.#reading = 'nothing';
      this.deadlineMs = Number.POSITIVE_INFINITY;
      if (taken < bytes.length) this.#held = bytes.subarray(taken);
      exchange.onBodyEnd(trailers);
    } else if (!more) {
      this.#bodyWanted = false;
      this.deadlineMs = Number.POSITIVE_INFINITY;
      this.#socket.pause();
    }
  }

  information({ status, reason, fields }: AnswerHead): void {
    if (this.#head!.minor === 0 || (status === 100 && !this.#head!.expectsContinue)) return;
    this.#write(`HTTP/1.1 ${status} ${reason}\r\n${fields.lines}\r\n`);
  }

  whole(head: AnswerHead, body: Buffer, last: boolean): void {
    this.#last ||= last;
    const text = this.#headText(head, 'length', body.length);
    if (body.length > wholeTextBytesMax) {
      this.#write(text);
      this.#socket.write(body);
    } else {
      const all = body.length === 0 ? text : text + body.toString('latin1');
      if (this.#last) this.#write(all);
      else this.#parts.writes.add(this.#socket, all);
    }
    this.#finish();
  }

  /** What waits to be written comes first. */
  #write(text: string): void {
    this.#parts.writes.flush();
    this.#socket.write(text, 'latin1');
  }

  begin(head: AnswerHead, framing: Framing, last: boolean): void {
    this.#last ||= last || (framing !== 'length' && this.#head!.minor === 0);
    this.#framing = framing === 'until close' ? 'chunked' : framing;
    if (this.#framing === 'chunked' && this.#head!.minor === 0) this.#framing = 'until close';
    this.#write(this.#headText(head, this.#framing, head.fields.length));
  }

  write(data: Buffer): boolean {
    if (this.#framing === 'chunked') return writeChunk(this.#socket, data);
    return this.#socket.write(data);
  }

  end(trailers: string): void {
    if (this.#framing === 'chunked') this.#socket.write(`0\r\n${trailers}\r\n`, 'latin1');
    this.#finish();
  }

  fail(failure: Failure): void {
    this.#exchange = undefined;
    const { status } = failure;
    const text = problemText(failure);
    const wait = status === 503 ? 'retry-after: 1\r\n' : '';
    this.#last ||= this.#reading === 'body';
    const end = this.#last ? 'connection: close\r\n' : this.#head?.minor === 0 ? 'connection: keep-alive\r\n' : '';
    this.#parts.writes.flush();
    this.#socket.write(
      `HTTP/1.1 ${status} ${reasons[status] ?? 'Error'}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n${wait}${end}\r\n${this.#head?.verb === 'HEAD' ? '' : text}`,
    );
    this.#finish();
  }

  /** Answered by the gateway itself. */
  answer(status: number, type: string, text: string): void {
    const end = this.#last || this.#reading === 'body' ? 'connection: close\r\n' : '';
    this.#last ||= this.#reading === 'body';
    this.#parts.writes.flush();
    this.#socket.write(
      `HTTP/1.1 ${status} ${reasons[status] ?? 'OK'}\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(text)}\r\n${end}\r\n${this.#head?.verb === 'HEAD' ? '' : text}`,
    );
    this.#finish();
  }

  abort(): void {
    this.#exchange = undefined;
    this.#socket.resetAndDestroy();
  }

  switch({ status, reason, fields }: AnswerHead): Duplex {
    const socket = this.#socket;
    this.#parts.writes.flush();
    this.#exchange = undefined;
    this.#closing = true;
    this.deadlineMs = Number.POSITIVE_INFINITY;
    socket.removeAllListeners('data').removeAllListeners('drain').removeAllListeners('end');
    socket.write(
      `HTTP/1.1 ${status} ${reason}\r\n${fields.lines}connection: upgrade\r\nupgrade: ${fields.upgrade}\r\n\r\n`,
      'latin1',
    );
    const held = this.#held;
    this.#held = undefined;
    // Sent ahead of the change; for the other side all the same.
    if (held) socket.unshift(held);
    return socket;
  }

  #headText({ status, reason, fields }: AnswerHead, framing: Framing, bodyBytes: number): string {
    let text = `HTTP/1.1 ${status} ${reason}\r\n${fields.lines}`;
    if (framing === 'chunked') text += 'transfer-encoding: chunked\r\n';
    else if (fields.length >= 0 && status !== 204) text += `content-length: ${fields.length}\r\n`;
    else if (framing === 'length' && status !== 204 && status !== 304 && this.#head!.verb !== 'HEAD')
      text += `content-length: ${bodyBytes}\r\n`;
    if (this.#last) text += 'connection: close\r\n';
    else if (this.#head!.minor === 0) text += 'connection: keep-alive\r\n';
    return `${text}\r\n`;
  }

  /** What there was to say is written: on to the next request, or out. */
  #finish(): void {
    this.#exchange = undefined;
    this.#framing = undefined;
    this.#chunked = undefined;
    const { clock, keepAliveTimeoutMs, closing } = this.#parts;
    if (this.#last || closing() || this.#reading === 'body') return void this.#leave();
    this.#reading = 'head';
    this.deadlineMs = clock.monotonic() + keepAliveTimeoutMs;
    const held = this.#held;
    if (held === undefined) {
      if (this.#socket.isPaused()) this.#socket.resume();
      return;
    }
    // Not at once: a thousand requests sent ahead must not make a thousand frames on the stack.
    clock.defer(() => {
      if (this.#socket.destroyed || this.#reading !== 'head' || this.#held !== held) return;
      this.#held = undefined;
      this.#readHead(held);
      if (this.#reading === 'head' || this.#reading === 'nothing') this.#socket.resume();
    });
  }

  #refuse({ message, status = 400 }: Malformed): void {
    const text = problemText({ status, code: 'INVALID', detail: message, outcome: 'not-done' });
    this.#parts.refused(status);
    this.#parts.writes.flush();
    this.#socket.write(
      `HTTP/1.1 ${status} ${reasons[status] ?? 'Bad Request'}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
    );
    this.#leave();
  }

  /** Ends our side, and reads what the other still sends for a moment. */
  #leave(): void {
    this.#closing = true;
    this.#held = undefined;
    this.#parts.writes.flush();
    this.#socket.end();
    this.#socket.resume();
    this.deadlineMs = this.#parts.clock.monotonic() + lingerMs;
  }
}

/** A small body is written in one piece with its head. */
const wholeTextBytesMax = 16_384;
