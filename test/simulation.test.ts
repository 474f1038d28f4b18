import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulateEngine } from './simulate-engine.ts';
import { simulateEvents } from './simulate-events.ts';
import { simulateParking, simulateReplay } from './simulate-groups.ts';
import { simulateLink } from './simulate-link.ts';
import { simulateSchedules } from './simulate-schedules.ts';

test('over a network that breaks, what a caller is told of its call is what was done (200 seeds)', async () => {
  const met = { ok: 0, fail: 0, unknown: 0 };
  for (let seed = 0; seed < 200; seed++) {
    const { audit, outcomes } = await simulateLink(seed);
    assert.ok(audit.balances, `npm run simulate -- link --from ${seed} --seeds 1\n${JSON.stringify(audit)}`);
    for (const outcome of ['ok', 'fail', 'unknown'] as const) met[outcome] += outcomes[outcome];
  }
  assert.ok(
    met.ok > 10_000 && met.fail > 1000 && met.unknown > 500,
    `the network was too kind: ${JSON.stringify(met)}`,
  );
});

test('the engine keeps what it acknowledged through kills, power cuts and failing syncs (150 seeds)', async () => {
  let acknowledged = 0;
  let unknown = 0;
  for (let seed = 0; seed < 150; seed++) {
    const again = `npm run simulate -- engine --from ${seed} --seeds 1`;
    const run = await simulateEngine(seed).catch(cause => {
      throw new Error(again, { cause });
    });
    assert.deepEqual(run.wrong, [], again);
    acknowledged += run.acknowledged;
    unknown += run.unknown;
  }
  assert.ok(acknowledged > 10_000 && unknown > 1000, `the disk was too kind: ${acknowledged}, ${unknown} unknown`);
});

test('through crashes, hand-overs and failing handlers each event takes effect once or is one dead letter (20 seeds)', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const again = `npm run simulate -- events --from ${seed} --seeds 1`;
    const { wrong } = await simulateEvents(seed).catch(cause => {
      throw new Error(again, { cause });
    });
    assert.deepEqual(wrong, [], again);
  }
});

test('keys that are parked and go on through crashes and hand-overs keep their order, each event once (20 seeds)', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const again = `npm run simulate -- parking --from ${seed} --seeds 1`;
    const wrong = await simulateParking(seed).catch(cause => {
      throw new Error(again, { cause });
    });
    assert.deepEqual(wrong, [], again);
  }
});

test('a replay amid crashes and hand-overs brings each event once more and in order, and live ones behind (20 seeds)', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const again = `npm run simulate -- replay --from ${seed} --seeds 1`;
    const wrong = await simulateReplay(seed).catch(cause => {
      throw new Error(again, { cause });
    });
    assert.deepEqual(wrong, [], again);
  }
});

test('each due time of a schedule takes effect once, in order, whatever dies (5 seeds)', async () => {
  for (let seed = 1; seed <= 5; seed++) {
    const again = `npm run simulate -- schedules --from ${seed} --seeds 1`;
    const wrong = await simulateSchedules(seed).catch(cause => {
      throw new Error(again, { cause });
    });
    assert.deepEqual(wrong, [], again);
  }
});
