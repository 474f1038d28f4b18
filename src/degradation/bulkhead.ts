/**
 * So many calls of one kind at once and no more, the rest in a short queue: one slow method cannot take the whole
 * instance with it, as the bulkheads of a ship hold the water. Full means OVERLOADED at once, with a hint when to come again.
 * Of those that wait the most important goes first, and pushes the least important out when there is no room to wait.
 */
import type { Priority } from '../core/channel.ts';
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
  run<T>(work: () => Promise<T>, deadline: number, priority?: Priority): Promise<T>;
  readonly running: number;
  readonly queued: number;
}

interface Waiter {
  enter(): void;
  refuse(error: TandemError): void;
}

/** Most important first. */
const order = ['critical', 'default', 'optional'] as const;

export function openBulkhead(options: BulkheadOptions): Bulkhead {
  const { clock, concurrencyMax, queuedMax = concurrencyMax * 2, what = 'this method' } = options;
  const waiting: Readonly<Record<Priority, Set<Waiter>>> = {
    critical: new Set(),
    default: new Set(),
    optional: new Set(),
  };
  let running = 0;
  let queued = 0;

  const overloaded = (reason: string): TandemError =>
    new TandemError('OVERLOADED', `${what} ${reason}`, { details: { retryAfterMs: 100 } });
  const full = (): TandemError => overloaded(`has ${running} calls running and ${queued} waiting`);
  /** The newest of the least important that waits, if it is less important than `priority`. */
  const lesser = (priority: Priority): Waiter | undefined => {
    for (const each of order.toReversed()) {
      if (each === priority) return undefined;
      const last = [...waiting[each]].at(-1);
      if (last) return last;
    }
    return undefined;
  };
  const room = (deadline: number, priority: Priority): Promise<void> =>
    new Promise((resolve, reject) => {
      const left = (): void => {
        timer.cancel();
        queued--;
        waiting[priority].delete(waiter);
      };
      const waiter: Waiter = {
        enter() {
          left();
          running++;
          resolve();
        },
        refuse(error) {
          left();
          reject(error);
        },
      };
      const timer = clock.after(deadline - clock.monotonic(), () =>
        waiter.refuse(overloaded('had no room before the deadline')),
      );
      queued++;
      waiting[priority].add(waiter);
    });
  const leave = (): void => {
    running--;
    for (const priority of order) {
      const [first] = waiting[priority];
      if (!first) continue;
      first.enter();
      return;
    }
  };

  return {
    async run(work, deadline, priority = 'default') {
      if (running < concurrencyMax && queued === 0) running++;
      else {
        if (queued >= queuedMax) {
          const pushed = lesser(priority);
          if (!pushed) throw full();
          pushed.refuse(full());
        }
        await room(deadline, priority);
      }
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
      return queued;
    },
  };
}
