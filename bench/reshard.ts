/**
 * What writes feel of a reshard: read-modify-write of random rows at a steady rate (the load, per second; each is sent when it
 * is due, whether those before it are answered or not) over 50,000 rows of 1 KB in 64 partitions and three instances, from
 * another process. `calm` is without a change, `reshard` while 64 partitions become 128. Failures are writes that were
 * answered with an error. `seconds` is how long the change took.
 */
import { beginResharding, readCatalog } from '../src/state/catalog.ts';
import { type BenchApp, withApp } from './app.ts';
import { retried } from './beside.ts';
import { randomFrom } from './rate.ts';
import type { Bench, Figures } from './run.ts';

const groups = 500;
const rowsOfGroup = 100;
const calmMs = 10_000;
const random = randomFrom(1);
const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms));

async function load({ caller }: BenchApp): Promise<void> {
  await retried(() => caller.call('items', 'add', { key: 'first' }));
  const text = 'x'.repeat(1000);
  for (let group = 0; group < groups; group++) {
    const keys = Array.from({ length: rowsOfGroup }, (_, row) => `group${group}/${row}`);
    await caller.call('items', 'fill', { key: `group${group}`, keys, text });
  }
}

const whileWriting =
  (during: (app: BenchApp) => Promise<unknown>) =>
  (perSecond: number): Promise<Figures> =>
    withApp(['items', 'items', 'items'], async app => {
      await load(app);
      const taken: number[] = [];
      const open = new Set<Promise<void>>();
      let failures = 0;
      let isOver = false;
      const startedAt = performance.now();
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
              () => void taken.push(performance.now() - sentAt),
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
      return { p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999), maxMs: at(1), failures, seconds };
    });

const calm = whileWriting(() => pause(calmMs));

const reshard = whileWriting(async ({ host, engine }) => {
  const { clock, random: chance } = host;
  const context = { service: 'items', engine, clock, random: chance, engineTimeoutMs: 5000 };
  const { to } = await beginResharding(context, undefined);
  for (const until = performance.now() + 300_000; (await readCatalog(context)).count !== to; await pause(50))
    if (performance.now() > until) throw new Error('resharding did not end');
});

export const bench: Bench = { ours: ['reshard'], rounds: 3, loads: [50], subjects: { calm, reshard } };
