/**
 * The answering half of a gRPC call: head, messages, and a status in the trailers. gRPC-Web is the same with the trailers as a last
 * message, because a browser sees no others. Whatever happens, a status is sent once.
 */
import type { ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { acceptedEncodings, headBytes } from './grpc-messages.ts';
import type { GrpcStatus } from './grpc-status.ts';

const gzip = promisify(process.getBuiltinModule('node:zlib').gzip) as (bytes: Buffer) => Promise<Buffer>;

/** Smaller ones do not get smaller. */
const compressedBytesMin = 1024;
/** Marks a message as the trailers of gRPC-Web. */
const trailersFlag = 0x80;

export interface AnswerForm {
  /** As the client wrote it; the answer's is the same. */
  readonly contentType: string;
  readonly web: boolean;
  /** Large messages are compressed: the client compresses too. */
  readonly gzip: boolean;
}

export class GrpcAnswer {
  readonly response: ServerResponse;
  readonly #form: AnswerForm;
  readonly #head: () => Record<string, string>;
  #isDone = false;

  constructor(response: ServerResponse, form: AnswerForm, head: () => Record<string, string>) {
    this.response = response;
    this.#form = form;
    this.#head = head;
    // An answer of HTTP/2 does not say so itself.
    response.once('close', () => {
      this.#isDone = true;
    });
  }

  /** It has been ended, or the client is gone. */
  get isDone(): boolean {
    return this.#isDone;
  }

  begin(): void {
    if (this.response.headersSent || this.isDone) return;
    this.#writeHead();
    this.response.flushHeaders();
  }

  #writeHead(): void {
    if (this.response.headersSent) return;
    this.response.writeHead(200, {
      'content-type': this.#form.contentType,
      'grpc-accept-encoding': acceptedEncodings,
      ...(this.#form.gzip && { 'grpc-encoding': 'gzip' }),
      ...this.#head(),
    });
  }

  /** A message whose first five bytes are free for its head. False when the client reads slower than this writes. */
  send(framed: Buffer): boolean | Promise<boolean> {
    if (this.isDone) return true;
    if (this.#form.gzip && framed.length >= compressedBytesMin) return this.#sendCompressed(framed);
    framed[0] = 0;
    framed.writeUInt32BE(framed.length - headBytes, 1);
    this.#writeHead();
    return this.response.write(framed);
  }

  async #sendCompressed(framed: Buffer): Promise<boolean> {
    const packed = await gzip(framed.subarray(headBytes));
    if (this.isDone) return true;
    this.#writeHead();
    return this.response.write(Buffer.concat([messageHead(1, packed.length), packed]));
  }

  /** False when the client is gone. */
  drained(): Promise<boolean> {
    const { response } = this;
    if (this.#isDone) return Promise.resolve(false);
    return new Promise(resolve => {
      const done = (): void => {
        response.off('drain', done).off('close', done);
        resolve(!this.#isDone);
      };
      response.on('drain', done).on('close', done);
    });
  }

  end(code: number, status: GrpcStatus | undefined, extra: Readonly<Record<string, string>>): void {
    if (this.isDone) return;
    this.#isDone = true;
    const trailers: Record<string, string> = { 'grpc-status': String(code), ...extra };
    if (status) {
      trailers['grpc-message'] = encodeURI(status.message.toWellFormed());
      trailers['grpc-status-details-bin'] = status.details.toString('base64').replaceAll('=', '');
    }
    const { response } = this;
    this.#writeHead();
    if (this.#form.web) {
      const text = Object.entries(trailers).map(([name, value]) => `${name}: ${value}\r\n`);
      const bytes = Buffer.from(text.join(''));
      response.end(Buffer.concat([messageHead(trailersFlag, bytes.length), bytes]));
    } else {
      response.addTrailers(trailers);
      response.end();
    }
  }
}

function messageHead(flag: number, length: number): Buffer {
  const head = Buffer.allocUnsafe(headBytes);
  head[0] = flag;
  head.writeUInt32BE(length, 1);
  return head;
}
