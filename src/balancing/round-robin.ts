/**
 * Each in turn. The first turn is random, so that many callers that start together do not all begin with the same target.
 * Turns are counted over all sets of candidates, so that who picks now from all and now from a part is fair to both.
 */
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';

export function roundRobin<T extends Balanced>(random: Random): Picker<T> {
  let turn = random.below(0x1_0000_0000);
  return {
    pick(candidates) {
      if (candidates.length < 2) return candidates[0];
      turn = (turn + 1) >>> 0;
      return candidates[turn % candidates.length];
    },
  };
}
