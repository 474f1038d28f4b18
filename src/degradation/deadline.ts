/** The wrapper that bounds a wait. Deadlines are absolute on the local monotonic clock; between processes the time left travels. */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';

/** The result of `work`, or DEADLINE_EXCEEDED (unknown: the work itself goes on) when the deadline comes first. */
export function beforeDeadline<T>(work: Promise<T>, deadline: number, clock: Clock, what: string): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = clock.after(deadline - clock.monotonic(), () =>
      reject(new TandemError('DEADLINE_EXCEEDED', `${what} did not end before its deadline`)),
    );
    work.then(
      value => {
        timer.cancel();
        resolve(value);
      },
      cause => {
        timer.cancel();
        reject(cause);
      },
    );
  });
}

/** The earlier of a call's own timeout and what is left of its caller's deadline. */
export function earlierDeadline(clock: Clock, timeoutMs: number, parent: number | undefined): number {
  const own = clock.monotonic() + timeoutMs;
  return parent === undefined || own < parent ? own : parent;
}
