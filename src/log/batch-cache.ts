/**
 * The newest batches in memory, as they were written, so that followers, which are nearly always at the tail, do not read
 * the disk. Whole batches rather than entries: one copy and one slot for many entries, found again by where they lie.
 */
import { type Location, offsetOf, segmentOf } from './log-index.ts';

const bytesMax = 16 * 1024 * 1024;
/** A power of two. With small batches this comes before the bytes. */
const batchesMax = 8192;

export class BatchCache {
  /** A ring; batches lie in the order of their locations. */
  readonly #starts = new Float64Array(batchesMax);
  readonly #batches: (Buffer | undefined)[] = new Array(batchesMax).fill(undefined);
  #oldest = 0;
  #count = 0;
  #bytes = 0;

  /** Keeps a copy of what was written at `start`. */
  add(start: Location, written: Uint8Array): void {
    if (written.length > bytesMax / 4) return;
    while (this.#count === batchesMax || (this.#count > 0 && this.#bytes + written.length > bytesMax)) this.#drop();
    const at = (this.#oldest + this.#count) & (batchesMax - 1);
    const copy = Buffer.allocUnsafeSlow(written.length);
    copy.set(written);
    this.#starts[at] = start;
    this.#batches[at] = copy;
    this.#count++;
    this.#bytes += copy.length;
  }

  /** `length` bytes at `location`; undefined when they are not here. */
  get(location: Location, length: number): Uint8Array | undefined {
    let low = 0;
    let high = this.#count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[this.#slot(middle)]! <= location) low = middle + 1;
      else high = middle - 1;
    }
    if (high < 0) return undefined;
    const start = this.#starts[this.#slot(high)]!;
    const batch = this.#batches[this.#slot(high)]!;
    if (segmentOf(start) !== segmentOf(location)) return undefined;
    const at = offsetOf(location) - offsetOf(start);
    return at + length <= batch.length ? batch.subarray(at, at + length) : undefined;
  }

  #slot(index: number): number {
    return (this.#oldest + index) & (batchesMax - 1);
  }

  #drop(): void {
    this.#bytes -= this.#batches[this.#oldest]!.length;
    this.#batches[this.#oldest] = undefined;
    this.#oldest = (this.#oldest + 1) & (batchesMax - 1);
    this.#count--;
  }
}
