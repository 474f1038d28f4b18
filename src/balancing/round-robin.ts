/**
 * Each in turn. The first turn is random, so that many callers that start together do not all begin with the same
 * target. After a change in the candidates the turn goes on at the same index, which keeps the spread fair in the long run.
 */
import type { Picker, PickerOptions } from './picker.ts';

export function roundRobin<T>(options: Pick<PickerOptions<T>, 'random'>): Picker<T> {
  let turn = -1;
  return {
    pick(candidates) {
      turn = turn < 0 ? options.random.below(candidates.length) : turn + 1;
      if (turn >= candidates.length) turn = turn % candidates.length;
      return candidates[turn]!;
    },
  };
}
