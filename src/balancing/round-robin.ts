/**
 * Each in turn. The first turn is random, so that many callers that start together do not all begin with the same
 * target. After a change in the candidates the turn goes on at the same index, which keeps the spread fair in the long run.
 */
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';

export function roundRobin<T extends Balanced>(random: Random): Picker<T> {
  let turn = -1;
  return {
    pick(candidates) {
      if (candidates.length === 0) return undefined;
      turn = turn < 0 ? random.below(candidates.length) : turn + 1;
      if (turn >= candidates.length) turn = turn % candidates.length;
      return candidates[turn];
    },
  };
}
