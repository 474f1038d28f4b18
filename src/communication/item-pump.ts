/**
 * The sending end of a stream: takes items from their source only while the other end has granted credit and the
 * connection has room, so a slow reader slows the source and nothing piles up between.
 */
import { streamWindowBytes } from './frame.ts';

export interface ItemSink {
  /** Sends one item; gives its size in bytes. */
  send(value: unknown): number;
  /** A promise to wait for when the connection is full. */
  room(): Promise<void> | undefined;
}

export class ItemPump {
  readonly #iterator: AsyncIterator<unknown>;
  readonly #sink: ItemSink;
  #creditBytes = streamWindowBytes;
  #wake: (() => void) | undefined;
  #stopped = false;

  constructor(source: AsyncIterable<unknown>, sink: ItemSink) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#sink = sink;
  }

  /** True when the source came to its end, false when `stop` came first. @throws what the source throws. */
  async run(): Promise<boolean> {
    while (!this.#stopped) {
      // Before the source makes an item: of many streams none may add to a connection that is full.
      await this.#sink.room();
      if (this.#stopped) return false;
      const { done, value } = await this.#iterator.next();
      if (this.#stopped) return false;
      if (done) return true;
      try {
        this.#creditBytes -= this.#sink.send(value);
        if (this.#creditBytes <= 0) await new Promise<void>(resolve => this.#sleep(resolve));
      } catch (error) {
        this.stop();
        throw error;
      }
    }
    return false;
  }

  credit(bytes: number): void {
    this.#creditBytes += bytes;
    if (this.#creditBytes > 0) this.#wakeUp();
  }

  /** Ends the source too; never throws. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#wakeUp();
    // The source may be in the middle of a wait; its end is its own affair, and so is a failure there.
    this.#iterator.return?.().then(undefined, () => {});
  }

  #sleep(resolve: () => void): void {
    if (this.#creditBytes > 0 || this.#stopped) resolve();
    else this.#wake = resolve;
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
