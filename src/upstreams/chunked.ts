/**
 * Reads a chunked body (RFC 9112, 7.1), strictly: sizes are plain hex, every line ends with CRLF. Extensions are dropped (bounded: a
 * flood of them is an attack), trailers are handed over as lines. What was read is framed anew for the other side.
 */
import { readFields } from './fields.ts';
import { Malformed } from './malformed.ts';

const lineBytesMax = 1024;
const trailerBytesMax = 8192;
/** Data may come in chunks of one byte each; their frames must not cost more than so much per byte of it, after a start for free. */
const overheadBytesFree = 65_536;
const overheadFactor = 16;

type State = 'size' | 'data' | 'data end' | 'trailers' | 'done';

export class ChunkedBody {
  #state: State = 'size';
  #line = '';
  /** Of the chunk, still to come. */
  #left = 0;
  #overhead = 0;
  #dataBytes = 0;
  /** Lines of trailer fields, each with its CRLF; known at the end. */
  trailers = '';

  get done(): boolean {
    return this.#state === 'done';
  }

  /** Hands over what is data; gives how many bytes belong to the body: less than all when it ends within. @throws Malformed. */
  push(bytes: Buffer, onData: (data: Buffer) => void): number {
    let at = 0;
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'data') {
        const data = bytes.subarray(at, at + this.#left);
        at += data.length;
        this.#left -= data.length;
        this.#dataBytes += data.length;
        if (this.#left === 0) this.#state = 'data end';
        onData(data);
        continue;
      }
      const end = bytes.indexOf(10, at);
      const to = end < 0 ? bytes.length : end + 1;
      this.#line += bytes.toString('latin1', at, to);
      this.#overhead += to - at;
      at = to;
      if (this.#overhead > overheadBytesFree + overheadFactor * this.#dataBytes)
        throw new Malformed('chunks of next to nothing');
      if (this.#line.length > (this.#state === 'trailers' ? trailerBytesMax : lineBytesMax))
        throw new Malformed('a chunk line is too long');
      if (end < 0) break;
      if (!this.#line.endsWith('\r\n')) throw new Malformed('a chunk line does not end with CRLF');
      this.#takeLine();
    }
    return at;
  }

  #takeLine(): void {
    if (this.#state === 'data end') {
      if (this.#line !== '\r\n') throw new Malformed('a chunk is longer than it says');
      this.#state = 'size';
    } else if (this.#state === 'size') {
      const size = /^([0-9a-f]{1,12})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n$/i.exec(this.#line)?.[1];
      if (size === undefined) throw new Malformed('a chunk has no size');
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? 'trailers' : 'data';
    } else {
      // Gathered until the empty line: fields are read as those of a head.
      if (!/(?:^|\r\n)\r\n$/.test(this.#line)) return;
      const { lines, length, chunked, host } = readFields(this.#line, 0, this.#line.length - 2, 'request');
      if (length >= 0 || chunked || host !== undefined) throw new Malformed('a trailer that frames or routes');
      this.trailers = lines
        .split(/(?<=\r\n)/)
        .filter(line => !forbidden.test(line))
        .join('');
      this.#state = 'done';
    }
    this.#line = '';
  }
}

/** What a receiver may have decided on already (RFC 9110, 6.5.1). */
const forbidden = /^(?:authorization|cookie|set-cookie|content-|cache-control|max-forwards|range|if-)/i;
