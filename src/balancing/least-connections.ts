/**
 * The target with the fewest calls under way for its weight: a slow target piles up open calls and so gets fewer new ones,
 * without anyone measuring it. The search begins at a random one, and among equals the first found wins.
 */
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';

export function leastConnections<T extends Balanced>(random: Random): Picker<T> {
  return {
    pick(candidates) {
      const { length } = candidates;
      if (length < 2) return candidates[0];
      let at = random.below(length);
      let best = candidates[at]!;
      let { weight, inflight } = best;
      for (let i = 1; i < length; i++) {
        if (++at === length) at = 0;
        const candidate = candidates[at]!;
        const open = candidate.inflight;
        const share = candidate.weight;
        // With the call that it would get: else weights would say nothing among idle targets.
        if (share === weight ? open >= inflight : (open + 1) * weight >= (inflight + 1) * share) continue;
        best = candidate;
        inflight = open;
        weight = share;
      }
      return best;
    },
  };
}
