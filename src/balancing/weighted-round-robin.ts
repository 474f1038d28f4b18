/**
 * Smooth weighted round robin (nginx, Sysoev 2012): each pick gives every target its weight, takes the richest and lets it
 * pay the sum of all weights. Shares are those of the weights over every stretch, and a heavy target's turns are spread out
 * (a b a c a) instead of bunched (a a a b c). Targets begin with a random part of their weight, so that many callers that
 * start together do not all begin with the same one. A changed weight counts from the next round on.
 */
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';

export function weightedRoundRobin<T extends Balanced>(random: Random): Picker<T> {
  const turns = new WeakMap<readonly T[], Turns>();
  let lastCandidates: readonly T[] | undefined;
  let last: Turns | undefined;
  return {
    pick(candidates) {
      if (candidates.length < 2) return candidates[0];
      if (candidates !== lastCandidates || !last) {
        lastCandidates = candidates;
        last = turns.get(candidates);
        if (!last) {
          last = new Turns(candidates, random);
          turns.set(candidates, last);
        }
      }
      return candidates[last.next(candidates)];
    },
  };
}

/** Those of one set of candidates, by index. */
class Turns {
  readonly #weights: Float64Array;
  /** What each has saved up. */
  readonly #credits: Float64Array;
  #sum = 0;
  #roundEndsIn = 0;

  constructor(candidates: readonly Balanced[], random: Random) {
    this.#weights = new Float64Array(candidates.length);
    this.#credits = Float64Array.from(candidates, candidate => (random.next() - 0.5) * candidate.weight);
  }

  next(candidates: readonly Balanced[]): number {
    if (this.#roundEndsIn-- === 0) this.#weigh(candidates);
    const credits = this.#credits;
    const weights = this.#weights;
    let best = 0;
    let most = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < credits.length; i++) {
      const credit = credits[i]! + weights[i]!;
      credits[i] = credit;
      if (credit > most) {
        most = credit;
        best = i;
      }
    }
    credits[best]! -= this.#sum;
    return best;
  }

  #weigh(candidates: readonly Balanced[]): void {
    this.#sum = 0;
    for (let i = 0; i < candidates.length; i++) {
      const { weight } = candidates[i]!;
      this.#weights[i] = weight;
      this.#sum += weight;
    }
    this.#roundEndsIn = candidates.length - 1;
  }
}
