/**
 * Of two targets drawn at random, the one with fewer calls under way for its weight (Mitzenmacher, "The Power of Two Choices
 * in Randomized Load Balancing", 2001): nearly as even as asking all, in constant time, and many callers with the same stale
 * picture do not rush to the same target.
 */
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';

export function powerOfTwoChoices<T extends Balanced>(
  random: Random,
  weighedBy: 'weight' | 'dynamicWeight' = 'weight',
): Picker<T> {
  return {
    pick(candidates) {
      if (candidates.length < 2) return candidates[0];
      const one = candidates[random.below(candidates.length)]!;
      const two = another(candidates, one, random);
      return (two.inflight + 1) * one[weighedBy] < (one.inflight + 1) * two[weighedBy] ? two : one;
    },
  };
}

/** Another than `first`, each with the same chance. There must be two. */
export function another<T>(candidates: readonly T[], first: T, random: Random): T {
  const drawn = candidates[random.below(candidates.length - 1)]!;
  // The last one stands in for the first, which must not be drawn again.
  return drawn === first ? candidates[candidates.length - 1]! : drawn;
}
