/** Durations as people write them: `'250ms'`, `'5s'`, `'2m'`, `'1h'`, `'7d'`; a number means milliseconds. */
import { TandemError } from './errors.ts';

export type Duration = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @throws INVALID when the text is not a duration. */
export function durationMs(value: string | number): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(String(value));
  if (!match) {
    throw new TandemError('INVALID', `'${value}' is not a duration; write for example 250ms, 5s, 2m, 1h or 7d`);
  }
  return Number(match[1]) * (unitMs[match[2]!] ?? 1);
}
