/**
 * Read-modify-write of random rows at a steady rate, from another process, while something is done to the app: each write is
 * sent when it is due, whether those before it are answered or not, so that one that waits hides none behind it. Over
 * 50,000 rows of 1 KB in 64 partitions and three instances. Failures are writes that were answered with an error; `gapMs` is
 * the longest time between two answers.
 */
import { type BenchApp, withApp } from './app.ts';
import { retried } from './beside.ts';
import { randomFrom } from './rate.ts';
import type { Figures } from './run.ts';

const groups = 500;
const rowsOfGroup = 100;
const random = randomFrom(1);
export const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms));

async function load({ caller }: BenchApp): Promise<void> {
  await retried(() => caller.call('items', 'add', { key: 'first' }));
  const text = 'x'.repeat(1000);
  for (let group = 0; group < groups; group++) {
    const keys = Array.from({ length: rowsOfGroup }, (_, row) => `group${group}/${row}`);
    await caller.call('items', 'fill', { key: `group${group}`, keys, text });
  }
}

export const whileWriting =
  (during: (app: BenchApp) => Promise<unknown>) =>
  (perSecond: number): Promise<Figures> =>
    withApp(['items', 'items', 'items'], async app => {
      await load(app);
      const taken: number[] = [];
      const open = new Set<Promise<void>>();
      let failures = 0;
      let gapMs = 0;
      let isOver = false;
      const startedAt = performance.now();
      let answeredAt = startedAt;
      const changing = during(app).then(() => {
        isOver = true;
      });
      for (let sent = 0; !isOver; ) {
        const dueMs = ((performance.now() - startedAt) / 1000) * perSecond;
        for (; sent < dueMs; sent++) {
          const key = `group${Math.floor(random() * groups)}/${Math.floor(random() * rowsOfGroup)}`;
          const sentAt = performance.now();
          const call: Promise<void> = app.caller
            .call('items', 'add', { key })
            .then(
              () => {
                const now = performance.now();
                taken.push(now - sentAt);
                gapMs = Math.max(gapMs, now - answeredAt);
                answeredAt = now;
              },
              () => void failures++,
            )
            .finally(() => open.delete(call));
          open.add(call);
        }
        await pause(1);
      }
      const seconds = (performance.now() - startedAt) / 1000;
      await Promise.all([changing, ...open]);
      taken.sort((a, b) => a - b);
      const at = (share: number): number => taken[Math.min(taken.length - 1, Math.floor(taken.length * share))]!;
      return { p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999), maxMs: at(1), gapMs, failures, seconds };
    });

/** Nothing is done. */
export const calm: (perSecond: number) => Promise<Figures> = whileWriting(() => pause(8000));
