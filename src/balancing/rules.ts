/** Rules that switch the strategy by what the instances of a service are like as a whole. Pure: time and figures are given. */
import type { BalanceRule, Figure, Strategy } from '../contract/balance.ts';

/** A switch stands for at least so long: else one that mends what it was made for would undo itself. */
const standsMs = 10_000;

export type Figures = Readonly<Record<Figure, number>>;

export interface Seen {
  readonly cpu: number;
  readonly loopDelayMs: number;
  readonly inflight: number;
  readonly errorShare: number;
  readonly latencyMs: number;
}

/** Of what all instances are like; zeros for none. */
export function figuresOf(seen: readonly Seen[]): Figures {
  const mean = (of: (each: Seen) => number): number =>
    seen.length === 0 ? 0 : seen.reduce((sum, each) => sum + of(each), 0) / seen.length;
  const most = (of: (each: Seen) => number): number => seen.reduce((max, each) => Math.max(max, of(each)), 0);
  const cpu = mean(({ cpu }) => cpu);
  const latencyMs = mean(({ latencyMs }) => latencyMs);
  return {
    cpu,
    cpuSpread: most(({ cpu }) => cpu) - cpu,
    loopDelayMs: mean(({ loopDelayMs }) => loopDelayMs),
    inflight: mean(({ inflight }) => inflight),
    errorShare: mean(({ errorShare }) => errorShare),
    latencySpread: latencyMs > 0 ? most(({ latencyMs }) => latencyMs) / latencyMs : 0,
  };
}

export class Switch {
  readonly #rules: readonly BalanceRule[];
  readonly #base: Strategy;
  #strategy: Strategy;
  #switchedAtMs = Number.NEGATIVE_INFINITY;

  constructor(rules: readonly BalanceRule[], base: Strategy) {
    this.#rules = rules;
    this.#base = base;
    this.#strategy = base;
  }

  /** The strategy from now on. */
  look(figures: Figures, nowMs: number): Strategy {
    if (nowMs - this.#switchedAtMs < standsMs) return this.#strategy;
    const holds = ({ when }: BalanceRule): boolean =>
      Object.entries(when).every(([figure, least]) => figures[figure as Figure] >= least);
    const wanted = this.#rules.find(holds)?.strategy ?? this.#base;
    if (wanted !== this.#strategy) {
      this.#strategy = wanted;
      this.#switchedAtMs = nowMs;
    }
    return this.#strategy;
  }
}
