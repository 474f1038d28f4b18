/**
 * A histogram with log-linear buckets (the idea of HdrHistogram, Gil Tene): every power of two is cut into 16 equal
 * parts, so that a quantile read from bucket middles is off by at most 1/32 (3.2 %) of its value, at any scale and without
 * choosing bounds beforehand. The bucket of a value is simply the upper bits of its IEEE 754 form: no logarithm, no search,
 * no allocation. Histograms of many processes add up exactly.
 */

const octaveMin = -10;
const octaveMax = 40;
const partsBits = 4;
const parts = 1 << partsBits;
const offset = (1023 + octaveMin) << partsBits;

/** Bucket 0 holds all below 2^-10 (a microsecond, in ms; zero and negatives too); the last one all from 2^40. */
export const bucketCount: number = ((octaveMax - octaveMin) << partsBits) + 2;

const cell = new Float64Array(1);
const words = new Uint32Array(cell.buffer);
const upper = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 1 : 0;

export function bucketOf(value: number): number {
  cell[0] = value;
  // A negative number has its sign bit set, NaN has the largest exponent: both are handled by the two bounds.
  if (!(value > 0)) return 0;
  const index = (words[upper]! >>> (20 - partsBits)) - offset + 1;
  return index < 0 ? 0 : index >= bucketCount ? bucketCount - 1 : index;
}

/** The least value that falls into the bucket. */
export function bucketFloor(index: number): number {
  if (index <= 0) return 0;
  const position = index - 1;
  return 2 ** (octaveMin + (position >> partsBits)) * (1 + (position % parts) / parts);
}

/** What stands for a bucket's values: its middle. */
export function bucketMiddle(index: number): number {
  return index <= 0 ? 0 : (bucketFloor(index) + bucketFloor(index + 1)) / 2;
}

export class LogLinearHistogram {
  readonly buckets: Float64Array = new Float64Array(bucketCount);
  count = 0;
  sum = 0;
  max = 0;

  /** NaN is ignored; Infinity counts as the largest value that can be told apart. */
  record(value: number): void {
    if (Number.isNaN(value)) return;
    if (value === Infinity) value = 2 ** octaveMax;
    this.buckets[bucketOf(value)]! += 1;
    this.count += 1;
    this.sum += value;
    if (value > this.max) this.max = value;
  }

  /** Pairs of bucket index and count, ascending, those that are empty left out. */
  sparse(): (readonly [index: number, count: number])[] {
    const filled: [number, number][] = [];
    for (let index = 0; index < bucketCount; index++) {
      const count = this.buckets[index]!;
      if (count > 0) filled.push([index, count]);
    }
    return filled;
  }
}
