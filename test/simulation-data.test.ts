/**
 * The data core in many short runs and a few long ones: see `simulate-data.ts`. A slow machine does fewer seeds, never
 * none: the rest, and a million more, are `npm run simulate`.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { simulateData } from './simulate-data.ts';
import { embeddedSide, modelSide } from './simulated-engines.ts';

interface Plan {
  readonly name: 'data' | 'whole' | 'short' | 'short-whole' | 'reshard' | 'reshard-whole' | 'reshard-twice';
  readonly engines: typeof modelSide;
  readonly calls: number;
  readonly seeds: number;
  /** Seeds that are done however long they take. */
  readonly seedsMin: number;
  readonly budgetMs: number;
  /** Of the partition count, meanwhile. */
  readonly doublings?: number;
}

async function simulate(
  t: TestContext,
  { name, engines, calls, seeds, seedsMin, budgetMs, doublings }: Plan,
): Promise<void> {
  const startedAt = performance.now();
  let accepted = 0;
  let faults = 0;
  let seed = 0;
  for (; seed < seeds && (seed < seedsMin || performance.now() - startedAt < budgetMs); seed++) {
    const again = `npm run simulate -- ${name} --from ${seed} --seeds 1`;
    const run = await simulateData(seed, {}, engines, calls, doublings).catch(cause => {
      throw new Error(again, { cause });
    });
    assert.deepEqual(run.wrong, [], `${again}\n${run.faults.join('\n')}`);
    accepted += run.accepted;
    faults += run.faults.length;
  }
  t.diagnostic(`${seed} seeds, ${accepted} writes, ${faults} faults`);
  assert.ok(accepted > seed * calls && faults > seed * 2, `too little happened: ${accepted} writes, ${faults} faults`);
}

test('under kills, cuts and lost answers the data core stays linearizable, atomic, exact and convergent (1,000 short seeds)', t =>
  simulate(t, { name: 'short', engines: modelSide, calls: 20, seeds: 1000, seedsMin: 100, budgetMs: 60_000 }));

test('so it does in longer lives (30 seeds)', t =>
  simulate(t, { name: 'data', engines: modelSide, calls: 80, seeds: 30, seedsMin: 5, budgetMs: 10_000 }));

test('so it does over a network that breaks, on an engine that is killed on a failing disk (150 short seeds)', t =>
  simulate(t, { name: 'short-whole', engines: embeddedSide, calls: 20, seeds: 150, seedsMin: 20, budgetMs: 20_000 }));

test('so it does while the partition count doubles (150 seeds)', t =>
  simulate(t, {
    ...{ name: 'reshard', engines: modelSide, calls: 40, doublings: 1 },
    ...{ seeds: 150, seedsMin: 20, budgetMs: 20_000 },
  }));

test('so it does while it doubles twice, or on an engine that is killed (40 seeds each)', async t => {
  const plan = { seeds: 40, seedsMin: 5, budgetMs: 10_000 };
  await simulate(t, { ...plan, name: 'reshard-twice', engines: modelSide, calls: 60, doublings: 2 });
  await simulate(t, { ...plan, name: 'reshard-whole', engines: embeddedSide, calls: 40, doublings: 1 });
});
