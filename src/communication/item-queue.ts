/**
 * The receiving end of a stream: items wait here until the reader takes them, and what was taken is granted to the sender
 * as new credit. So at most one window (and the item that passed it) is ever held, however slow the reader.
 */
import { streamWindowBytes } from './frame.ts';

export interface ItemQueueEvents {
  /** The reader took items of so many bytes: the sender may send as many more. */
  grant(bytes: number): void;
  /** The reader left before the end. */
  leave(): void;
}

export class ItemQueue implements AsyncIterable<unknown>, AsyncIterator<unknown> {
  readonly #events: ItemQueueEvents;
  #items: { value: unknown; bytes: number }[] = [];
  #head = 0;
  #heldBytes = 0;
  #takenBytes = 0;
  #ended = false;
  #error: unknown;
  #waiting: { resolve: (result: IteratorResult<unknown>) => void; reject: (error: unknown) => void }[] = [];

  constructor(events: ItemQueueEvents) {
    this.#events = events;
  }

  /** False when the sender ignored its credit. */
  push(value: unknown, bytes: number): boolean {
    if (this.#ended) return true;
    // A sender with any credit left may send one item, whatever its size.
    if (this.#heldBytes + this.#takenBytes > streamWindowBytes + bytes) return false;
    const reader = this.#waiting.shift();
    if (reader) {
      reader.resolve({ done: false, value });
      this.#took(bytes);
    } else {
      this.#items.push({ value, bytes });
      this.#heldBytes += bytes;
    }
    return true;
  }

  /** No more items: what waits can still be read, then the reader sees the end or the error. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const [first, ...others] = this.#waiting;
    this.#waiting = [];
    if (first) {
      if (error === undefined) first.resolve({ done: true, value: undefined });
      else first.reject(this.#takeError());
    }
    for (const reader of others) reader.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): AsyncIterator<unknown> {
    return this;
  }

  next(): Promise<IteratorResult<unknown>> {
    if (this.#head < this.#items.length) {
      const { value, bytes } = this.#items[this.#head++]!;
      if (this.#head > 64 && this.#head * 2 > this.#items.length) {
        this.#items = this.#items.slice(this.#head);
        this.#head = 0;
      }
      this.#heldBytes -= bytes;
      this.#took(bytes);
      return Promise.resolve({ done: false, value });
    }
    if (this.#ended) {
      const error = this.#takeError();
      return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<unknown>> {
    const wasOpen = !this.#ended;
    this.end();
    this.#error = undefined;
    this.#items = [];
    this.#head = 0;
    if (wasOpen) this.#events.leave();
    return Promise.resolve({ done: true, value: undefined });
  }

  #takeError(): unknown {
    const error = this.#error;
    this.#error = undefined;
    return error;
  }

  #took(bytes: number): void {
    this.#takenBytes += bytes;
    if (this.#ended || this.#takenBytes < streamWindowBytes / 2) return;
    this.#events.grant(this.#takenBytes);
    this.#takenBytes = 0;
  }
}
