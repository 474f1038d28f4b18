/**
 * How suspicious a silence is, as a number that grows without bound: phi = -log10(P(a beat comes even later)), where P
 * is judged from the gaps seen so far. phi 1 is wrong about 1 time in 10, phi 8 about 1 in 100 million, if gaps are
 * normally distributed. Hayashibara et al., "The phi accrual failure detector", SRDS 2004; the logistic approximation
 * of the normal tail is the one of Akka and Cassandra.
 */
export interface PhiOptions {
  /** Gap that is expected before any was seen, ms. */
  readonly expectedMs: number;
  /** Least standard deviation, ms. Lower detects faster and takes a busy machine for a dead one more often. */
  readonly deviationMsMin: number;
  /** Gaps remembered. */
  readonly samples: number;
}

export class PhiDetector {
  readonly #options: PhiOptions;
  readonly #gaps: Float64Array;
  #count = 0;
  #next = 0;
  #sum = 0;
  #squares = 0;
  #lastMs: number;

  constructor(options: PhiOptions, nowMs: number) {
    this.#options = options;
    this.#gaps = new Float64Array(options.samples);
    this.#lastMs = nowMs;
  }

  heard(nowMs: number): void {
    const gap = Math.max(0, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    if (this.#count === this.#gaps.length) {
      const old = this.#gaps[this.#next]!;
      this.#sum -= old;
      this.#squares -= old * old;
    } else {
      this.#count++;
    }
    this.#gaps[this.#next] = gap;
    this.#next = (this.#next + 1) % this.#gaps.length;
    this.#sum += gap;
    this.#squares += gap * gap;
  }

  /** Time in which nobody could have heard anything does not count as silence. */
  excuse(ms: number, nowMs: number): void {
    this.#lastMs = Math.min(nowMs, this.#lastMs + ms);
  }

  silentMs(nowMs: number): number {
    return Math.max(0, nowMs - this.#lastMs);
  }

  phi(nowMs: number): number {
    const { expectedMs, deviationMsMin } = this.#options;
    // A few expected gaps as prior, so that the first beats do not make it jumpy.
    const count = this.#count + 4;
    const mean = (this.#sum + 4 * expectedMs) / count;
    const variance = (this.#squares + 4 * expectedMs * expectedMs) / count - mean * mean;
    const deviation = Math.max(deviationMsMin, Math.sqrt(Math.max(0, variance)));
    const y = (this.silentMs(nowMs) - mean) / deviation;
    const e = Math.exp(-y * (1.5976 + 0.070566 * y * y));
    // Far out, 1 - 1/(1+e) loses all digits; e/(1+e) does not.
    return y > 0 ? -Math.log10(Math.max(e / (1 + e), Number.MIN_VALUE)) : -Math.log10(1 - 1 / (1 + e));
  }
}
