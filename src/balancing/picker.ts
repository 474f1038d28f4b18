/**
 * How one of several equal targets is chosen. A picker is pure bookkeeping: no clock, no I/O, and it never picks
 * outside of what it is given. What may be given (ready, not ejected, offers the method) is decided before it.
 */
import type { Random } from '../core/random.ts';

export interface Picker<T> {
  /** @param candidates Not empty. May change between calls; the same array again means that nothing changed. */
  pick(candidates: readonly T[]): T;
}

export interface PickerOptions<T> {
  /** Calls that this process has open at the target. */
  readonly inflight: (target: T) => number;
  readonly random: Random;
}
