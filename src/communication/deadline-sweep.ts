/**
 * One timer for all open calls of a connection, set for the earliest deadline that was ever seen waiting. Answers come
 * long before deadlines, so nearly all calls cost a comparison; when the timer fires, a sweep over the slots ends what is
 * due and finds the next. (A timer per call costs more than the rest of the call.)
 */
import type { Clock, Timer } from '../core/clock.ts';

/** At most this often: the coarseness of deadlines under load. */
const sweepGapMs = 4;
const longestMs = 1_000_000_000;

export class DeadlineSweep {
  readonly #clock: Clock;
  readonly #sweep: (nowMs: number) => number;
  #timer: Timer | undefined;
  #atMs = Infinity;
  #closed = false;

  /** `sweep` ends what is due at `nowMs` and returns the earliest deadline that remains (Infinity: none). */
  constructor(clock: Clock, sweep: (nowMs: number) => number) {
    this.#clock = clock;
    this.#sweep = sweep;
  }

  watch(deadlineMs: number): void {
    if (deadlineMs < this.#atMs) this.#arm(deadlineMs, 0);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #arm(deadlineMs: number, leastMs: number): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    this.#atMs = deadlineMs;
    const delayMs = Math.min(longestMs, Math.max(leastMs, Math.ceil(deadlineMs - this.#clock.monotonic())));
    this.#timer = this.#clock.after(delayMs, () => {
      this.#atMs = Infinity;
      const next = this.#sweep(this.#clock.monotonic());
      if (next < this.#atMs) this.#arm(next, sweepGapMs);
    });
  }
}
