/**
 * The messages of one gRPC request as they come: each behind five bytes (compressed or not, length), bounded before it is gathered, and
 * read no faster than somebody takes them. What is not a message ends the request with an error that says so.
 */
import type { IncomingMessage } from 'node:http';
import type { InputType } from 'node:zlib';
import { TandemError } from '../core/errors.ts';

const { gunzip, inflate } = process.getBuiltinModule('node:zlib');

export const headBytes = 5;
/** Bytes that may wait for a reader; beyond it the client's window fills. */
const waitingBytesMax = 65_536;

export interface MessageBounds {
  /** Of one message, also once it is decompressed. */
  readonly bytesMax: number;
  /** Counts bytes that are held. @throws OVERLOADED. */
  take(bytes: number): void;
  give(bytes: number): void;
}

export class Messages {
  readonly #source: IncomingMessage;
  readonly #bounds: MessageBounds;
  readonly #encoding: string;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #held = 0;
  #ended = false;
  #failure: unknown;
  #wake: (() => void) | undefined;

  /** `encoding`: of messages that are marked as compressed. @throws UNSUPPORTED for one that nobody here knows. */
  constructor(source: IncomingMessage, encoding: string | undefined, bounds: MessageBounds) {
    this.#source = source;
    this.#bounds = bounds;
    this.#encoding = encoding ?? 'identity';
    if (!encodings.has(this.#encoding))
      throw new TandemError('UNSUPPORTED', `grpc-encoding '${this.#encoding.slice(0, 20)}' is not taken; use gzip`);
    source.on('data', this.#onData);
    source.on('end', this.#onEnd);
    source.on('close', this.#onClose);
    source.on('error', this.#onClose);
  }

  /** The next message; undefined at the end. Ask again only after it was answered. @throws INVALID, TOO_LARGE, OVERLOADED, CANCELED. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const message = this.#message();
      if (message) return message.compressed ? this.#decompressed(message.bytes) : message.bytes;
      if (this.#ended) {
        if (this.#bytes > 0)
          throw malformed(`the request ends in the middle of a message (${this.#bytes} bytes are left)`);
        return undefined;
      }
      this.#source.resume();
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
  }

  /** Gives back the room of messages that were taken; of a stream, before the next one. */
  letGo(): void {
    this.#bounds.give(this.#held - this.#bytes);
    this.#held = this.#bytes;
  }

  /** Ends whoever waits, and all that is still to come. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#chunks = [];
    this.#bytes = 0;
    this.letGo();
    this.#wakeUp();
  }

  #message(): { compressed: boolean; bytes: Buffer } | undefined {
    if (this.#bytes < headBytes) return undefined;
    if (this.#chunks[0]!.length < headBytes) this.#gather();
    const [first] = this.#chunks as [Buffer];
    const flag = first[0]!;
    if (flag > 1) throw malformed(`its first byte is ${flag}, which is neither 0 nor 1 (compressed)`);
    const length = first.readUInt32BE(1);
    if (length > this.#bounds.bytesMax) throw tooLarge(this.#bounds.bytesMax);
    const whole = headBytes + length;
    if (this.#bytes < whole) return undefined;
    if (first.length < whole) this.#gather();
    const [all] = this.#chunks as [Buffer];
    if (all.length === whole) this.#chunks.shift();
    else this.#chunks[0] = all.subarray(whole);
    this.#bytes -= whole;
    return { compressed: flag === 1, bytes: all.subarray(headBytes, whole) };
  }

  #gather(): void {
    this.#chunks = [Buffer.concat(this.#chunks, this.#bytes)];
  }

  async #decompressed(bytes: Buffer): Promise<Buffer> {
    if (this.#encoding === 'identity') throw malformed('it is marked as compressed, but no grpc-encoding is named');
    const { bytesMax } = this.#bounds;
    const unpack = this.#encoding === 'gzip' ? gunzip : inflate;
    const message = await unpacked(unpack, bytes, bytesMax);
    this.#bounds.take(message.length);
    this.#held += message.length;
    return message;
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#failure !== undefined) return;
    try {
      this.#bounds.take(chunk.length);
      this.#held += chunk.length;
    } catch (refused) {
      this.fail(refused);
      return;
    }
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (!this.#wake && this.#bytes > waitingBytesMax) this.#source.pause();
    this.#wakeUp();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wakeUp();
  };

  readonly #onClose = (): void => {
    if (!this.#ended) this.fail(new TandemError('CANCELED', 'the client went away', { outcome: 'not-done' }));
  };

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

const encodings: ReadonlySet<string> = new Set(['identity', 'gzip', 'deflate']);
export const acceptedEncodings = 'identity,gzip,deflate';

function unpacked(
  unpack: (
    bytes: InputType,
    options: { maxOutputLength: number },
    done: (error: Error | null, result: Buffer) => void,
  ) => void,
  bytes: Buffer,
  bytesMax: number,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    unpack(bytes, { maxOutputLength: bytesMax }, (error: NodeJS.ErrnoException | null, result) => {
      if (!error) resolve(result);
      else reject(error.code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge(bytesMax) : malformed('it cannot be decompressed'));
    });
  });
}

function tooLarge(bytesMax: number): TandemError {
  return new TandemError('TOO_LARGE', `a message is over ${bytesMax} bytes`, { details: { bytesMax } });
}

function malformed(reason: string): TandemError {
  return new TandemError('INVALID', `this is not a gRPC message: ${reason}`);
}
