/**
 * Of two targets drawn at random, the one with fewer calls under way for its weight (Mitzenmacher, "The Power of Two Choices
 * in Randomized Load Balancing", 2001): nearly as even as asking all, in constant time, and many callers with the same stale
 * picture do not rush to the same target. Between two that are equally loaded, chance decides by their weights.
 */
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';

export function powerOfTwoChoices<T extends Balanced>(random: Random): Picker<T> {
  return {
    pick(candidates) {
      if (candidates.length < 2) return candidates[0];
      const one = candidates[random.below(candidates.length)]!;
      const two = another(candidates, one, random);
      const oneWeight = one.weight;
      const twoWeight = two.weight;
      const oneLoad = one.inflight / oneWeight;
      const twoLoad = two.inflight / twoWeight;
      if (oneLoad !== twoLoad) return oneLoad < twoLoad ? one : two;
      if (oneWeight === twoWeight) return one;
      return random.next() * (oneWeight + twoWeight) < oneWeight ? one : two;
    },
  };
}

/** Another than `first`, each with the same chance. There must be two. */
export function another<T>(candidates: readonly T[], first: T, random: Random): T {
  const drawn = candidates[random.below(candidates.length - 1)]!;
  // The last one stands in for the first, which must not be drawn again.
  return drawn === first ? candidates[candidates.length - 1]! : drawn;
}
