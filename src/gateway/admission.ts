/**
 * How much a gateway takes on at once. Bounded, and shed by priority: `optional` work is turned away first, so that there is room for the
 * rest, and `critical` work last. A request that waits is worse than one that is refused at once: its client waits for both.
 */
import type { Priority } from '../core/channel.ts';
import { TandemError } from '../core/errors.ts';

/** Shares of the limit that each priority may fill. */
const shares: Readonly<Record<Priority, number>> = { optional: 0.7, default: 0.9, critical: 1 };
const retryAfterMs = 1000;

export class Admission {
  readonly #bounds: Readonly<Record<Priority, number>>;
  #inflight = 0;

  constructor(inflightMax: number) {
    const bound = (priority: Priority): number => Math.max(1, Math.floor(inflightMax * shares[priority]));
    this.#bounds = { optional: bound('optional'), default: bound('default'), critical: bound('critical') };
  }

  get inflight(): number {
    return this.#inflight;
  }

  /** Each enter that did not throw needs one leave. @throws OVERLOADED. */
  enter(priority: Priority): void {
    if (this.#inflight >= this.#bounds[priority]) {
      throw new TandemError(
        'OVERLOADED',
        `the gateway has ${this.#inflight} requests under way, its limit for '${priority}'`,
        {
          details: { retryAfterMs },
        },
      );
    }
    this.#inflight++;
  }

  leave(): void {
    this.#inflight--;
  }
}
