/**
 * A body that is passed on while it comes: a piece is read when the service wants one, so nothing gathers here. Its time runs only while a
 * piece is waited for, and it may be sent to another instance as long as none was taken.
 */
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { late, tooLarge } from './body.ts';

export interface UploadOptions {
  readonly bytesMax: number;
  readonly clock: Clock;
  /** Between two pieces. */
  readonly idleMs: number;
  readonly onBytes: (bytes: number) => void;
  readonly onEnd: () => void;
}

export class Upload implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array> {
  readonly #request: IncomingMessage;
  readonly #options: UploadOptions;
  /** What ended it too early, as the client is to be told. */
  failure: unknown;
  #chunks: AsyncIterator<Buffer> | undefined;
  #bytes = 0;

  constructor(request: IncomingMessage, options: UploadOptions) {
    this.#request = request;
    this.#options = options;
  }

  get isStarted(): boolean {
    return this.#chunks !== undefined;
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    const { clock, idleMs, bytesMax, onBytes, onEnd } = this.#options;
    // Leaving it does not end the request: its answer has yet to be sent.
    this.#chunks ??= this.#request.iterator({ destroyOnReturn: false });
    const { promise: over, reject } = Promise.withResolvers<never>();
    const timer = clock.after(idleMs, () => reject(late()));
    try {
      const { done, value } = await Promise.race([this.#chunks.next(), over]);
      if (done) {
        onEnd();
        return { done, value };
      }
      this.#bytes += value.length;
      if (this.#bytes > bytesMax) throw tooLarge(bytesMax);
      onBytes(value.length);
      return { done: false, value };
    } catch (cause) {
      this.failure =
        cause instanceof TandemError
          ? cause
          : new TandemError('CANCELED', 'the client went away before its body was complete', { cause });
      throw this.failure;
    } finally {
      timer.cancel();
    }
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    return Promise.resolve({ done: true, value: undefined });
  }
}
