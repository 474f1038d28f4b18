/**
 * Was anything lost, doubled or made up? Compares what clients were told about each attempt with what is there in the
 * end: accepted ones exactly once, refused ones not at all, those of unknown fate at most once, nothing else.
 */
import type { OperationOutcome } from './history.ts';

export interface Attempt {
  readonly id: string;
  readonly outcome: OperationOutcome;
}

export interface Audit {
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
  /** Present though the client was told that they were not done. */
  readonly resurrected: readonly string[];
  /** Present though no one asked for them. */
  readonly invented: readonly string[];
  readonly balances: boolean;
}

export function auditEffects(attempts: readonly Attempt[], effects: readonly string[]): Audit {
  const times = new Map<string, number>();
  for (const id of effects) times.set(id, (times.get(id) ?? 0) + 1);
  const lost: string[] = [];
  const resurrected: string[] = [];
  for (const { id, outcome } of attempts) {
    const count = times.get(id) ?? 0;
    if (outcome === 'ok' && count === 0) lost.push(id);
    if (outcome === 'fail' && count > 0) resurrected.push(id);
  }
  const asked = new Set(attempts.map(({ id }) => id));
  const invented = [...times.keys()].filter(id => !asked.has(id));
  const doubled = [...times].filter(([, count]) => count > 1).map(([id]) => id);
  const balances = lost.length + doubled.length + resurrected.length + invented.length === 0;
  return { lost, doubled, resurrected, invented, balances };
}
