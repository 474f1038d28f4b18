/**
 * When a process that ended is started again: at once after a steady life, with growing pauses while it keeps dying
 * young, and only now and then when it died young too often: then a person must look, and is told what was tried; but
 * what was missing (room on a disk, a database) may come back while nobody looks.
 * The intensity limit is that of Erlang/OTP supervisors; only young deaths count, so that a process which is killed now
 * and then (chaos, the OOM killer) is restarted for ever. Pure: the caller gives time and chance.
 */
import type { Random } from '../core/random.ts';

export interface RestartPolicy {
  /** Pause before the second restart in a row; doubles with each further one. */
  readonly baseMs: number;
  readonly pauseMsMax: number;
  /** A life at least this long is steady: the count starts anew. Longer than any start, shorter than people wait. */
  readonly steadyMs: number;
  /** Young deaths within `periodMs` before it gives up. The pauses must fit: 8 tries take about 15 s of pauses. */
  readonly youngDeathsMax: number;
  readonly periodMs: number;
  /** Between two tries after it gave up: cheap for the machine, soon enough for who mended the cause. */
  readonly slowMs: number;
}

export const restartDefaults: RestartPolicy = {
  baseMs: 100,
  pauseMsMax: 5000,
  steadyMs: 5000,
  youngDeathsMax: 8,
  periodMs: 60_000,
  slowMs: 30_000,
};

export interface RestartHistory {
  /** When it died young, oldest first (monotonic ms); at most `youngDeathsMax`. */
  readonly youngDeaths: readonly number[];
}

export const noRestarts: RestartHistory = { youngDeaths: [] };

export type RestartAction =
  | { readonly kind: 'restart'; readonly delayMs: number }
  | { readonly kind: 'give-up'; readonly tries: number; readonly withinMs: number };

export function nextRestart(
  policy: RestartPolicy,
  history: RestartHistory,
  death: { readonly nowMs: number; readonly livedMs: number },
  random: Random,
): { readonly history: RestartHistory; readonly action: RestartAction } {
  if (death.livedMs >= policy.steadyMs) return { history: noRestarts, action: { kind: 'restart', delayMs: 0 } };
  const recent = history.youngDeaths.filter(at => death.nowMs - at <= policy.periodMs);
  const youngDeaths = [...recent, death.nowMs];
  const tries = youngDeaths.length;
  if (tries >= policy.youngDeathsMax) {
    return {
      history: { youngDeaths },
      action: { kind: 'give-up', tries, withinMs: death.nowMs - youngDeaths[0]! },
    };
  }
  return { history: { youngDeaths }, action: { kind: 'restart', delayMs: pauseMs(policy, tries, random) } };
}

/** Half fixed, half chance ("equal jitter"): never zero, so that a crash loop cannot spin, and never in step with its twins. */
function pauseMs(policy: RestartPolicy, tries: number, random: Random): number {
  const full = Math.min(policy.pauseMsMax, policy.baseMs * 2 ** Math.min(tries - 1, 30));
  return full / 2 + (random.next() * full) / 2;
}
