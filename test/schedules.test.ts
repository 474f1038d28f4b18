/** Schedules in a few runs under crashes; `npm run simulate -- schedules` does more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulateSchedules } from './simulate-schedules.ts';

for (let seed = 1; seed <= 5; seed++) {
  test(`each due time takes effect once, whatever dies: seed ${seed}`, async () => {
    assert.deepEqual(await simulateSchedules(seed), []);
  });
}
