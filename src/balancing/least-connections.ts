/**
 * The target with the fewest calls under way, ties broken at random: a slow target piles up open calls and so gets
 * fewer new ones, without anyone measuring it. Ties are drawn in one pass (reservoir sampling, Vitter 1985).
 */
import type { Picker, PickerOptions } from './picker.ts';

export function leastConnections<T>(options: PickerOptions<T>): Picker<T> {
  const { inflight, random } = options;
  return {
    pick(candidates) {
      let best = candidates[0]!;
      let fewest = inflight(best);
      let ties = 1;
      for (let i = 1; i < candidates.length; i++) {
        const candidate = candidates[i]!;
        const open = inflight(candidate);
        if (open > fewest) continue;
        if (open < fewest) {
          best = candidate;
          fewest = open;
          ties = 1;
        } else {
          ties++;
          if (random.below(ties) === 0) best = candidate;
        }
      }
      return best;
    },
  };
}
