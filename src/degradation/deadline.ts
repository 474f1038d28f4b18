/** The wrapper that bounds a wait. Deadlines are absolute on the local monotonic clock; between processes the time left travels. */
import { DeadlineSweep } from '../communication/deadline-sweep.ts';
import type { Clock } from '../core/clock.ts';
import type { TandemError } from '../core/errors.ts';

/** The earlier of a call's own timeout and what is left of its caller's deadline. */
export function earlierDeadline(clock: Clock, timeoutMs: number, parent: number | undefined): number {
  const own = clock.monotonic() + timeoutMs;
  return parent === undefined || own < parent ? own : parent;
}

/**
 * Bounds many waits at once: they share a timer, which nearly always finds that all have ended. What ends a wait is told once,
 * with what it ended with: there is no promise between the work and its answer. Work that is late goes on, its fate unknown.
 */
export class Deadlines {
  readonly #sweep: DeadlineSweep;
  readonly #waits = new Set<Wait>();

  constructor(clock: Clock) {
    this.#sweep = new DeadlineSweep(clock, nowMs => this.#expire(nowMs));
  }

  /** What `settle` makes of the result, or `fail` of the failure; at the deadline, of `late`'s error. Both may throw. */
  run<T, R>(
    work: Promise<T>,
    deadline: number,
    late: () => TandemError,
    settle: (value: T) => R | Promise<R>,
    fail: (cause: unknown) => R | Promise<R>,
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      const wait: Wait = {
        deadline,
        expire: () => {
          if (this.#waits.delete(wait)) end(fail, late());
        },
      };
      const end = <V>(make: (value: V) => R | Promise<R>, value: V): void => {
        try {
          resolve(make(value));
        } catch (cause) {
          reject(cause);
        }
      };
      this.#waits.add(wait);
      work.then(
        value => {
          if (this.#waits.delete(wait)) end(settle, value);
        },
        cause => {
          if (this.#waits.delete(wait)) end(fail, cause);
        },
      );
      this.#sweep.watch(deadline);
    });
  }

  #expire(nowMs: number): number {
    let earliest = Infinity;
    for (const wait of [...this.#waits]) {
      if (wait.deadline <= nowMs) wait.expire();
      else if (wait.deadline < earliest) earliest = wait.deadline;
    }
    return earliest;
  }
}

interface Wait {
  readonly deadline: number;
  readonly expire: () => void;
}
