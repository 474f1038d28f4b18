/**
 * Calls that wait until one of the instances that may have them has room: the first of those for whom it has, bounded in
 * number and time.
 */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';

interface Waiter<T> {
  /** Who may have its call. */
  readonly candidates: readonly T[];
  wake(): void;
}

/** `T`: whoever has room or not. */
export class Places<T> {
  readonly #clock: Clock;
  readonly #waiting = new Set<Waiter<T>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves when there may be room.
   * @throws OVERLOADED when `queueMax` wait already, DEADLINE_EXCEEDED, CANCELED: not done, all of them.
   */
  wait(
    service: string,
    candidates: readonly T[],
    queueMax: number,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (this.#waiting.size >= queueMax)
      return Promise.reject(
        new TandemError('OVERLOADED', `${queueMax} calls wait for an instance of '${service}' with room`, {
          details: { retryAfterMs: 50 },
        }),
      );
    return new Promise((resolve, reject) => {
      const end = (error?: TandemError): void => {
        this.#waiting.delete(waiter);
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
        if (error) reject(error);
        else resolve();
      };
      const waiter: Waiter<T> = { candidates, wake: () => end() };
      const onAbort = (): void => end(new TandemError('CANCELED', 'the caller gave up', { outcome: 'not-done' }));
      const timer = this.#clock.after(deadline - this.#clock.monotonic(), () =>
        end(
          new TandemError('DEADLINE_EXCEEDED', `no instance of '${service}' had room in time`, { outcome: 'not-done' }),
        ),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(waiter);
      if (signal?.aborted) onAbort();
    });
  }

  /** A call ended there. */
  next(target: T): void {
    for (const { candidates, wake } of this.#waiting) if (candidates.includes(target)) return void wake();
  }

  /** Everything may have changed. */
  all(): void {
    for (const waiter of [...this.#waiting]) waiter.wake();
  }
}
