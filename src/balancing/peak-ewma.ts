/**
 * How long a target takes to answer: a moving average that jumps up at once and comes down slowly (Finagle's Peak EWMA), so
 * that a target which gets stuck is avoided after its first slow answer, and is tried again as its bad days fade.
 */

/** After so long a time without news an old value counts for a third (1/e). */
const fadeMs = 10_000;

export class PeakEwma {
  #value = 0;
  #atMs = 0;

  /** @param latencyMs Of one call. @param nowMs Monotonic. */
  observe(latencyMs: number, nowMs: number): void {
    const kept = this.#kept(nowMs);
    this.#value = latencyMs > this.#value ? latencyMs : this.#value * kept + latencyMs * (1 - kept);
    this.#atMs = nowMs;
  }

  /** A failed call: it says that answers are no faster than they were, however soon it failed. */
  failed(elapsedMs: number, nowMs: number): void {
    this.observe(Math.max(elapsedMs, this.#value), nowMs);
  }

  /** In ms; 0 when nothing was observed. */
  value(nowMs: number): number {
    return this.#value * this.#kept(nowMs);
  }

  #kept(nowMs: number): number {
    const elapsed = nowMs - this.#atMs;
    return elapsed > 0 ? Math.exp(-elapsed / fadeMs) : 1;
  }
}
