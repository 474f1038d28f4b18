/**
 * Delivery ids are kept in the partitions where events were handled, until a floor says that all up to a position are
 * done (data core, rule 17). This decides when a floor is due where. What was touched travels in the cursor row: an
 * event that the stored cursor has passed was touched by this reader or is in the row it started from, and one beyond
 * it comes again, so no crash makes a partition keep ids for ever.
 */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';

export interface FloorsOptions {
  /** Raises the floor in one state partition. */
  readonly raise: (partition: number, number: number) => Promise<void>;
  /** From the cursor row that the reader began with. */
  readonly touched: readonly number[];
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Touched {
  /** Highest delivery number sent there. */
  last: number;
  /** Ids kept there since the last floor, about. */
  count: number;
  /** When a floor is due at the latest (monotonic ms). */
  dueAt: number;
}

/** A floor is a transaction of its own in each partition: rare enough to be cheap ... */
const intervalMs = 60_000;
/** ... and often enough that the ids it forgets fit one entry. */
const idsMax = 500;
const retryMs = 5000;

export class Floors {
  readonly #options: FloorsOptions;
  readonly #touched = new Map<number, Touched>();
  #raising = false;
  #closed = false;

  constructor(options: FloorsOptions) {
    this.#options = options;
    const dueAt = options.clock.monotonic() + intervalMs;
    for (const partition of options.touched) this.#touched.set(partition, { last: 0, count: 0, dueAt });
  }

  /** To be called before a delivery is sent, so that no cursor row misses it. */
  touch(partition: number, number: number): void {
    const known = this.#touched.get(partition);
    if (known) {
      known.last = Math.max(known.last, number);
      known.count++;
    } else {
      this.#touched.set(partition, { last: number, count: 1, dueAt: this.#options.clock.monotonic() + intervalMs });
    }
  }

  /** For the cursor row. */
  partitions(): readonly number[] {
    return [...this.#touched.keys()];
  }

  /** A cursor row with this position is durable: floors may rise to it. Never throws, never waits. */
  stored(position: number): void {
    if (this.#raising || this.#closed) return;
    const now = this.#options.clock.monotonic();
    const due = [...this.#touched].filter(([, { count, dueAt }]) => count >= idsMax || dueAt <= now);
    if (due.length === 0) return;
    this.#raising = true;
    void this.#raise(due, position).finally(() => {
      this.#raising = false;
    });
  }

  close(): void {
    this.#closed = true;
  }

  async #raise(due: readonly (readonly [number, Touched])[], position: number): Promise<void> {
    const { clock, logger, raise } = this.#options;
    for (const [partition, touched] of due) {
      if (this.#closed) return;
      const { count } = touched;
      try {
        await raise(partition, position);
        if (touched.last <= position) this.#touched.delete(partition);
        touched.count -= count;
        touched.dueAt = clock.monotonic() + intervalMs;
      } catch (cause) {
        touched.count = 0;
        touched.dueAt = clock.monotonic() + retryMs;
        logger.debug('a floor was not raised; it will be, later', {
          partition,
          message: TandemError.from(cause).message,
        });
      }
    }
  }
}
