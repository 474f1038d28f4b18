/** Those who wait until a position is applied, each with a deadline. Few at a time, so a list is enough. */
import type { Clock, Timer } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';

interface Waiter {
  readonly position: number;
  settle(error?: TandemError): void;
}

export class Waiters {
  readonly #clock: Clock;
  readonly #waiting = new Set<Waiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  wait(position: number, deadline: number, signal?: AbortSignal): Promise<void> {
    const left = deadline - this.#clock.monotonic();
    if (left <= 0) return Promise.reject(late(position));
    if (signal?.aborted) return Promise.reject(canceled());
    return new Promise((resolve, reject) => {
      let timer: Timer | undefined;
      const onAbort = (): void => waiter.settle(canceled());
      const waiter: Waiter = {
        position,
        settle: error => {
          this.#waiting.delete(waiter);
          timer?.cancel();
          signal?.removeEventListener('abort', onAbort);
          if (error) reject(error);
          else resolve();
        },
      };
      if (Number.isFinite(left)) timer = this.#clock.after(left, () => waiter.settle(late(position)));
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(waiter);
    });
  }

  advance(position: number): void {
    for (const waiter of this.#waiting) if (waiter.position <= position) waiter.settle();
  }

  failAll(error: TandemError): void {
    for (const waiter of this.#waiting) waiter.settle(error);
  }
}

/** The wait of one caller on something shared, which goes on without it. */
export function waitFor<T>(
  clock: Clock,
  shared: Promise<T>,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => end(() => reject(canceled()));
    const timer = Number.isFinite(deadline)
      ? clock.after(deadline - clock.monotonic(), () => end(() => reject(tooLate())))
      : undefined;
    const end = (settle: () => void): void => {
      timer?.cancel();
      signal?.removeEventListener('abort', onAbort);
      settle();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    shared.then(
      value => end(() => resolve(value)),
      error => end(() => reject(error)),
    );
  });
}

function tooLate(): TandemError {
  return new TandemError('DEADLINE_EXCEEDED', 'the log did not answer in time', { outcome: 'not-done' });
}

function late(position: number): TandemError {
  return new TandemError('DEADLINE_EXCEEDED', `the replica did not reach position ${position} in time`, {
    outcome: 'not-done',
  });
}

function canceled(): TandemError {
  return new TandemError('CANCELED', 'the caller gave up waiting', { outcome: 'not-done' });
}
