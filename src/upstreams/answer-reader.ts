/** Reads one answer from the bytes of an upstream's connection: what is said before it (1xx), its head, its body. */
import { ChunkedBody } from './chunked.ts';
import { type AnswerHead, readAnswerHead } from './heads.ts';
import { Malformed } from './malformed.ts';

/** How the end of an answer's body is known. */
export type Framing = 'none' | 'length' | 'chunked' | 'until close';

export interface AnswerListener {
  onInformation(head: AnswerHead): void;
  /** The whole answer at once. Its bytes may be kept. */
  onWhole(head: AnswerHead, body: Buffer): void;
  onHead(head: AnswerHead, framing: Framing): void;
  onData(data: Buffer): void;
  onEnd(trailers: string): void;
  /** 101: what follows is of another protocol. */
  onSwitch(head: AnswerHead, rest: Buffer): void;
}

const headBytesMax = 65_536;
/** Early hints, progress: a few; a thousand are an attack. */
const informationsMax = 32;
/** Answers up to this size are passed on in one piece when they come in one. */
const wholeBytesMax = 65_536;
const empty = Buffer.alloc(0);

export class AnswerReader {
  readonly #listener: AnswerListener;
  readonly #toHead: boolean;
  readonly #upgrade: string | undefined;
  #held: Buffer | undefined;
  #chunked: ChunkedBody | undefined;
  #framing: Framing | undefined;
  #left = 0;
  #informations = 0;
  /** Any byte came. */
  begun = false;
  /** The final head came. */
  answering = false;
  done = false;
  /** More came than the answer: nobody asked for it, and the connection is not to be used again. */
  surplus = false;

  /** @param toHead The request was HEAD: its answer has no body. @param upgrade What was asked for. */
  constructor(listener: AnswerListener, toHead: boolean, upgrade: string | undefined) {
    this.#listener = listener;
    this.#toHead = toHead;
    this.#upgrade = upgrade;
  }

  get framing(): Framing | undefined {
    return this.#framing;
  }

  /** @throws Malformed. */
  push(chunk: Buffer): void {
    this.begun = true;
    if (!this.answering) this.#readHead(chunk);
    else this.#readBody(chunk);
  }

  /** The upstream closed in good order. Gives whether that ends the answer. */
  end(): boolean {
    if (this.#framing !== 'until close') return false;
    this.done = true;
    this.#listener.onEnd('');
    return true;
  }

  #readHead(chunk: Buffer): void {
    let bytes = this.#held ? Buffer.concat([this.#held, chunk]) : chunk;
    this.#held = undefined;
    for (;;) {
      const text = bytes.toString('latin1', 0, Math.min(bytes.length, headBytesMax));
      const blank = text.indexOf('\r\n\r\n');
      if (blank < 0) {
        if (bytes.length >= headBytesMax) throw new Malformed(`the head is over ${headBytesMax} bytes`);
        if (!'HTTP/1.'.startsWith(text.slice(0, 7))) throw new Malformed('no status line of HTTP/1.1');
        this.#held = bytes;
        return;
      }
      const end = blank + 4;
      const head = readAnswerHead(text, end);
      if (head.status >= 200) return void this.#begin(head, bytes, text, end);
      bytes = bytes.subarray(end);
      if (head.status === 101) return void this.#switch(head, bytes);
      if (head.fields.length >= 0 || head.fields.chunked) throw new Malformed('an interim answer with a body');
      if (++this.#informations > informationsMax) throw new Malformed('too many interim answers');
      this.#listener.onInformation(head);
      if (bytes.length === 0) return;
    }
  }

  #switch(head: AnswerHead, rest: Buffer): void {
    if (this.#upgrade === undefined || head.fields.upgrade?.toLowerCase() !== this.#upgrade.toLowerCase())
      throw new Malformed('it changes to a protocol that nobody asked for');
    this.answering = this.done = true;
    this.#listener.onSwitch(head, rest);
  }

  #begin(head: AnswerHead, bytes: Buffer, text: string, end: number): void {
    const { status, fields } = head;
    const { length, chunked } = fields;
    const rest = bytes.length - end;
    if (status === 204 && (chunked || length > 0)) throw new Malformed('a 204 with a body');
    this.answering = true;
    const bodiless = this.#toHead || status === 204 || status === 304;
    if (bodiless || (length >= 0 && length <= rest && text.length >= end + length && length <= wholeBytesMax)) {
      const size = bodiless ? 0 : length;
      this.#framing = bodiless ? 'none' : 'length';
      this.done = true;
      this.surplus = rest > size;
      this.#listener.onWhole(head, size === 0 ? empty : bytes.subarray(end, end + size));
      return;
    }
    this.#framing = chunked ? 'chunked' : length >= 0 ? 'length' : 'until close';
    this.#left = length;
    if (chunked) this.#chunked = new ChunkedBody();
    this.#listener.onHead(head, this.#framing);
    if (rest > 0) this.#readBody(bytes.subarray(end));
  }

  #readBody(bytes: Buffer): void {
    if (this.done) {
      this.surplus = true;
      return;
    }
    if (this.#framing === 'until close') return void this.#listener.onData(bytes);
    if (this.#framing === 'length') {
      const data = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
      this.#left -= data.length;
      this.surplus = data.length < bytes.length;
      this.done = this.#left === 0;
      this.#listener.onData(data);
      if (this.done) this.#listener.onEnd('');
      return;
    }
    const taken = this.#chunked!.push(bytes, data => this.#listener.onData(data));
    if (!this.#chunked!.done) return;
    this.done = true;
    this.surplus = taken < bytes.length;
    this.#listener.onEnd(this.#chunked!.trailers);
  }
}
