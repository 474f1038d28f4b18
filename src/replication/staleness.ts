/** How far a copy knows itself to be behind its log: the difference between tails that it heard of and where it is. */
import type { Clock } from '../core/clock.ts';

export class Staleness {
  readonly #clock: Clock;
  #tail = 0;
  #behindSince = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A tail that someone told of, while the copy is at `position`. */
  note(tail: number, position: number): void {
    if (tail <= this.#tail) return;
    if (this.#tail <= position) this.#behindSince = this.#clock.monotonic();
    this.#tail = tail;
  }

  at(position: number): { entries: number; ms: number } {
    const entries = Math.max(0, this.#tail - position);
    return { entries, ms: entries === 0 ? 0 : Math.round(this.#clock.monotonic() - this.#behindSince) };
  }
}
