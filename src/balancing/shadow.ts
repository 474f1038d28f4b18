/**
 * What each strategy would have done: on a sample of real picks all of them are asked, and scored by how long the target that
 * each names is expected to take (its latency of late times the calls that would be under way). It is an estimate from the
 * load as it is, made by the strategy in force; a better score says that a strategy is worth a try, not what it would reach.
 */
import { type Strategy, strategies } from '../contract/balance.ts';
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';
import { openPicker } from './strategy.ts';

/** One of so many picks is looked at. */
const sampledOneOf = 64;
/** How much one sample moves the score. */
const weight = 0.02;

export class Shadow<T extends Balanced> {
  readonly #pickers: readonly (readonly [Strategy, Picker<T>])[];
  readonly #scores = new Map<Strategy, number>();
  #picks = 0;

  constructor(random: Random) {
    this.#pickers = strategies.map(strategy => [strategy, openPicker<T>(strategy, random)]);
  }

  picked(candidates: readonly T[], client: number | undefined): void {
    if (++this.#picks % sampledOneOf !== 0 || candidates.length < 2) return;
    for (const [strategy, picker] of this.#pickers) {
      const { latencyMs, inflight } = picker.pick(candidates, client)!;
      const expectedMs = latencyMs * (inflight + 1);
      const score = this.#scores.get(strategy);
      this.#scores.set(strategy, score === undefined ? expectedMs : score + weight * (expectedMs - score));
    }
  }

  /** In ms, the lower the better; NaN before the first sample. */
  score(strategy: Strategy): number {
    return this.#scores.get(strategy) ?? Number.NaN;
  }
}
