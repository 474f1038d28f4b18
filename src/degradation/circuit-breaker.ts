/**
 * Stops sending to a target that fails again and again, so that callers fail at once instead of waiting, and the target
 * can breathe (Nygard, "Release It!"). Closed: all pass. Open: none pass for a while. Half-open: one probe passes; its
 * success closes the breaker, its failure opens it again for twice as long, up to a bound.
 */
import type { Clock } from '../core/clock.ts';

export interface CircuitBreakerOptions {
  readonly clock: Clock;
  /** Failures in a row that open it. Default 5. */
  readonly failuresInRow?: number;
  /** First time that it stays open, ms. Short, because a restart takes about as long. Default 500. */
  readonly openMs?: number;
  readonly openMsMax?: number;
}

export type BreakerState = 'closed' | 'open' | 'half-open';

export interface CircuitBreaker {
  /** Whether a call may be sent now; in half-open the one who is told yes is the probe and must report. */
  allows(): boolean;
  /** As `allows`, but without becoming the probe. */
  wouldAllow(): boolean;
  succeeded(): void;
  failed(): void;
  /** The probe ended without a verdict (cancelled). */
  released(): void;
  readonly state: BreakerState;
}

export function openCircuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  const { clock, failuresInRow = 5, openMs = 500, openMsMax = 8000 } = options;
  let failures = 0;
  let openings = 0;
  let untilMs = 0;
  let probing = false;

  const state = (): BreakerState => {
    if (openings === 0) return 'closed';
    return clock.monotonic() < untilMs ? 'open' : 'half-open';
  };
  const wouldAllow = (): boolean => {
    if (openings === 0) return true;
    return state() === 'half-open' && !probing;
  };
  return {
    wouldAllow,
    allows() {
      if (openings === 0) return true;
      if (!wouldAllow()) return false;
      probing = true;
      return true;
    },
    succeeded() {
      failures = 0;
      openings = 0;
      probing = false;
    },
    failed() {
      failures++;
      const wasProbe = probing;
      probing = false;
      if (!wasProbe && (openings > 0 || failures < failuresInRow)) return;
      untilMs = clock.monotonic() + Math.min(openMsMax, openMs * 2 ** Math.min(openings, 20));
      openings++;
    },
    released() {
      probing = false;
    },
    get state() {
      return state();
    },
  };
}
