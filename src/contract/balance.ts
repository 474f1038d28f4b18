/**
 * How the instances of a service are picked: one word, or a little more. The service says it where it is implemented; its
 * instances publish it, every caller goes by it, and `tandem balance` switches the strategy of a running app.
 */
import { type Duration, durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { didYouMean } from './did-you-mean.ts';

export const strategies = [
  'round-robin',
  'weighted-round-robin',
  'least-connections',
  'ip-hash',
  'least-response-time',
  'dynamic',
  'power-of-two-choices',
] as const;
export type Strategy = (typeof strategies)[number];
export const defaultStrategy: Strategy = 'least-connections';

/** What a rule may look at, over all instances of the service: means, and how far the worst is above the mean. */
export const figures = ['cpu', 'cpuSpread', 'loopDelayMs', 'inflight', 'errorShare', 'latencySpread'] as const;
export type Figure = (typeof figures)[number];

export interface BalanceRule {
  /** All that is named must be at least so high: `{ cpu: 0.8 }` (share of a core), `{ latencySpread: 3 }` (slowest / mean). */
  readonly when: { readonly [F in Figure]?: number };
  readonly strategy: Strategy;
}

export interface Balance {
  /** Default `least-connections`. */
  readonly strategy?: Strategy;
  /** The first whose condition holds decides instead, looked at once a second; a switch stands for at least ten seconds. */
  readonly rules?: readonly BalanceRule[];
  /** Calls that one caller may have open at one instance; beyond it calls wait for a place. Not for writes of a key, which the queue of their writer bounds. Default: no limit. */
  readonly inflightMax?: number;
  /** Calls of one caller that may wait for a place; beyond it OVERLOADED. Default 1000. */
  readonly queueMax?: number;
  /** A new instance's share grows from a tenth to the whole over this time, while its code warms up. Default: at once. */
  readonly slowStart?: Duration;
  /** `near` (default): instances in the caller's own zone, as long as enough of them are well. `any`: all alike. */
  readonly zones?: 'near' | 'any';
}

/** As published: every default decided. */
export interface BalanceForm {
  readonly strategy: Strategy;
  readonly rules: readonly BalanceRule[];
  readonly inflightMax: number | undefined;
  readonly queueMax: number;
  readonly slowStartMs: number;
  readonly zones: 'near' | 'any';
}

export const queueMaxDefault = 1000;

/** @throws INVALID for what no caller could follow. */
export function balanceForm(service: string, given: Strategy | Balance = {}): BalanceForm {
  const balance = typeof given === 'string' ? { strategy: given } : given;
  const wrong = (message: string): never => {
    throw new TandemError('INVALID', `service '${service}': balance: ${message}`);
  };
  const known = ['strategy', 'rules', 'inflightMax', 'queueMax', 'slowStart', 'zones'];
  for (const key of Object.keys(balance))
    if (!known.includes(key)) wrong(`there is no '${key}'; known: ${known.join(', ')}`);
  const { strategy = defaultStrategy, rules = [], inflightMax, queueMax = queueMaxDefault, zones = 'near' } = balance;
  checkStrategy(strategy, wrong);
  for (const { when, strategy: other } of rules) {
    checkStrategy(other, wrong);
    const named = Object.entries(when);
    if (named.length === 0) wrong('a rule needs a condition, such as { when: { cpu: 0.8 }, … }');
    for (const [figure, least] of named) {
      if (!figures.includes(figure as Figure)) wrong(`rules know no '${figure}'; known: ${figures.join(', ')}`);
      if (typeof least !== 'number' || !(least >= 0)) wrong(`the rule's ${figure} must be a number from 0 on`);
    }
  }
  if (inflightMax !== undefined && !(Number.isInteger(inflightMax) && inflightMax > 0))
    wrong('inflightMax is a whole number above 0');
  if (!(Number.isInteger(queueMax) && queueMax >= 0)) wrong('queueMax is a whole number from 0 on');
  if (zones !== 'near' && zones !== 'any') wrong(`zones: '${String(zones)}' is neither near nor any`);
  const slowStartMs = balance.slowStart === undefined ? 0 : durationMs(balance.slowStart);
  return { strategy, rules, inflightMax, queueMax, slowStartMs, zones };
}

export function isStrategy(text: string): text is Strategy {
  return (strategies as readonly string[]).includes(text);
}

/** @throws through `wrong`, with what was probably meant. */
export function checkStrategy(text: string, wrong: (message: string) => never): void {
  if (isStrategy(text)) return;
  const near = didYouMean(text, strategies);
  wrong(
    `there is no strategy '${text}'${near.length > 0 ? `; did you mean ${near.join(' or ')}?` : ''}; known: ${strategies.join(', ')}`,
  );
}
