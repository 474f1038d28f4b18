/**
 * So many calls of one kind at once and no more, the rest in a short queue: one slow method cannot take the whole
 * instance with it, as the bulkheads of a ship hold the water. Full means OVERLOADED at once, with a hint when to come again.
 */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';

export interface BulkheadOptions {
  readonly clock: Clock;
  /** Calls that run at once. */
  readonly concurrencyMax: number;
  /** Calls that wait. Default: twice `concurrencyMax`. More only moves the wait from the caller to here. */
  readonly queuedMax?: number;
  /** For messages. */
  readonly what?: string;
}

export interface Bulkhead {
  /** Runs `work` when there is room. @throws OVERLOADED when the queue is full, or the deadline comes while it waits (not-done). */
  run<T>(work: () => Promise<T>, deadline: number): Promise<T>;
  readonly running: number;
  readonly queued: number;
}

export function openBulkhead(options: BulkheadOptions): Bulkhead {
  const { clock, concurrencyMax, queuedMax = concurrencyMax * 2, what = 'this method' } = options;
  const waiting = new Set<() => void>();
  let running = 0;

  const overloaded = (reason: string): TandemError =>
    new TandemError('OVERLOADED', `${what} ${reason}`, { details: { retryAfterMs: 100 } });
  const room = (deadline: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const enter = (): void => {
        timer.cancel();
        running++;
        resolve();
      };
      const timer = clock.after(deadline - clock.monotonic(), () => {
        waiting.delete(enter);
        reject(overloaded('had no room before the deadline'));
      });
      waiting.add(enter);
    });
  const leave = (): void => {
    running--;
    for (const enter of waiting) {
      waiting.delete(enter);
      enter();
      return;
    }
  };

  return {
    async run(work, deadline) {
      if (running < concurrencyMax && waiting.size === 0) running++;
      else if (waiting.size >= queuedMax) throw overloaded(`has ${running} calls running and ${waiting.size} waiting`);
      else await room(deadline);
      try {
        return await work();
      } finally {
        leave();
      }
    },
    get running() {
      return running;
    },
    get queued() {
      return waiting.size;
    },
  };
}
