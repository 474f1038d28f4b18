/**
 * Picks per second of each strategy over 100 targets whose load changes all the time, and the bytes that a million picks leave
 * to the garbage collector (none, but for what the counting itself takes).
 */
import type { Balanced } from '../src/balancing/picker.ts';
import { openPicker } from '../src/balancing/strategy.ts';
import { type Strategy, strategies } from '../src/contract/balance.ts';
import { systemRandom } from '../src/core/random.ts';
import { randomFrom } from './rate.ts';

interface Target extends Balanced {
  inflight: number;
}

const targetCount = 100;
const picks = 2_000_000;

function picksPerSecond(strategy: Strategy): { readonly perSecond: number; readonly bytesPerPick: number } {
  const random = randomFrom(1);
  const targets = Array.from(
    { length: targetCount },
    (): Target => ({
      inflight: 0,
      weight: 1,
      dynamicWeight: 1,
      latencyMs: 1 + random() * 10,
      hash: Math.floor(random() * 2 ** 32),
    }),
  );
  const picker = openPicker<Target>(strategy, systemRandom);
  const open: Target[] = new Array(256).fill(targets[0]!);
  const run = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const picked = picker.pick(targets, Math.imul(i, 0x9e3779b9) >>> 0)!;
      picked.inflight++;
      // 256 calls under way: each pick ends an older one.
      const ended = open[i & 255]!;
      if (ended.inflight > 0) ended.inflight--;
      open[i & 255] = picked;
    }
  };
  run(200_000);
  const heap = process.memoryUsage().heapUsed;
  const startedAt = performance.now();
  run(picks);
  const ms = performance.now() - startedAt;
  return {
    perSecond: (picks * 1000) / ms,
    bytesPerPick: Math.max(0, process.memoryUsage().heapUsed - heap) / picks,
  };
}

export async function measure(say: (line: string) => void): Promise<{ ratios: object; raw: object }> {
  const raw: Record<string, number> = {};
  for (const strategy of strategies) {
    const { perSecond, bytesPerPick } = picksPerSecond(strategy);
    raw[strategy] = Math.round(perSecond);
    say(
      `${strategy.padEnd(24)} ${(perSecond / 1e6).toFixed(1).padStart(6)} M picks/s, ${bytesPerPick.toFixed(2)} B per pick`,
    );
  }
  return { ratios: {}, raw };
}
