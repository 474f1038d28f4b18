import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulateLink } from './simulate-link.ts';

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
