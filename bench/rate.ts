/** Loops in flight: each does its work over and over; what they complete per second is counted after a warm-up. */
import { setImmediate } from 'node:timers/promises';
import { pause } from './beside.ts';

const warmUpMs = 1000;
const measuredMs = 2000;
const yieldEvery = 4096;

/** Operations per second with `load` loops in flight. */
export async function rate(load: number, work: (lane: number) => Promise<unknown>): Promise<number> {
  let count = 0;
  let ended = false;
  let failure: unknown;
  const lanes = Array.from({ length: load }, async (_, lane) => {
    while (!ended) {
      await work(lane);
      // Work that never leaves the process would keep the timers from firing.
      if (++count % yieldEvery === 0) await setImmediate();
    }
  });
  // A lane that fails ends the bench at its end, not the process at once.
  const all = Promise.all(lanes).catch(cause => {
    failure = cause;
  });
  await pause(warmUpMs);
  const from = count;
  const startedAt = performance.now();
  await pause(measuredMs);
  const perSecond = ((count - from) * 1000) / (performance.now() - startedAt);
  ended = true;
  await all;
  if (failure !== undefined) throw failure;
  return perSecond;
}

/** The value below which this share of them lies. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** The same sequence in every run: a small generator (mulberry32) instead of Math.random. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Ranks from 0 to `count - 1`, the low ones often (Gray et al., "Quickly Generating Billion-Record Synthetic Databases", 1994; YCSB's 0.99). */
export function zipfian(count: number, random: () => number, skew = 0.99): () => number {
  let zeta = 0;
  for (let n = 1; n <= count; n++) zeta += 1 / n ** skew;
  const alpha = 1 / (1 - skew);
  const eta = (1 - (2 / count) ** (1 - skew)) / (1 - (1 + 0.5 ** skew) / zeta);
  return () => {
    const at = random();
    if (at * zeta < 1) return 0;
    if (at * zeta < 1 + 0.5 ** skew) return 1;
    return Math.min(count - 1, Math.floor(count * (eta * at - eta + 1) ** alpha));
  };
}
