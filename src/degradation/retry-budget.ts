/**
 * How many retries a caller may add to its load: a share of its calls plus a few per second (Finagle, Envoy: 20 % and
 * 10/s). When a service is in trouble everywhere, retries stop at that share instead of multiplying the trouble.
 */
import type { Clock } from '../core/clock.ts';
import { limits } from '../core/limits.ts';

export interface RetryBudgetOptions {
  readonly clock: Clock;
  readonly share?: number;
  readonly perSecond?: number;
  /** Seconds' worth of `perSecond` that may be saved up, and with which it begins. */
  readonly reserveSeconds?: number;
}

export interface RetryBudget {
  /** A first try was sent. */
  deposit(): void;
  /** Takes one retry out; false when there is none left. */
  withdraw(): boolean;
  readonly balance: number;
}

export function openRetryBudget(options: RetryBudgetOptions): RetryBudget {
  const {
    clock,
    share = limits.retryBudgetShare,
    perSecond = limits.retryBudgetPerSecond,
    reserveSeconds = 10,
  } = options;
  const earnedMax = 1000;
  const reserveMax = Math.max(1, perSecond * reserveSeconds);
  let reserve = reserveMax;
  let earned = 0;
  let at = clock.monotonic();

  const refill = (): void => {
    const now = clock.monotonic();
    reserve = Math.min(reserveMax, reserve + ((now - at) / 1000) * perSecond);
    at = now;
  };
  return {
    deposit() {
      if (earned < earnedMax) earned += share;
    },
    withdraw() {
      refill();
      if (earned >= 1) earned--;
      else if (reserve >= 1) reserve--;
      else return false;
      return true;
    },
    get balance() {
      refill();
      return Math.floor(earned) + Math.floor(reserve);
    },
  };
}
