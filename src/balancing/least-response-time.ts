/**
 * Of two targets drawn at random, the one whose answer is expected sooner: its latency of late (a peak-sensitive average, see
 * `peak-ewma.ts`) times the calls that would be under way there (Finagle's Peak EWMA). Two and not all: the fastest of all
 * would be flooded by every caller at once before anyone measured that. An unmeasured target is tried by one call at a time.
 */
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';
import { another } from './power-of-two-choices.ts';

/** What an unmeasured target with a call under way is taken for, in ms: worse than any that is known. */
const unknownMs = 1e9;

export function leastResponseTime<T extends Balanced>(random: Random): Picker<T> {
  return {
    pick(candidates) {
      if (candidates.length < 2) return candidates[0];
      const one = candidates[random.below(candidates.length)]!;
      const two = another(candidates, one, random);
      return expected(two) < expected(one) ? two : one;
    },
  };
}

/** In ms. */
function expected({ inflight, latencyMs, weight }: Balanced): number {
  if (latencyMs === 0 && inflight > 0) return unknownMs + inflight;
  return (latencyMs * (inflight + 1)) / weight;
}
