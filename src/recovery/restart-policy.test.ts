import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { nextRestart, noRestarts, type RestartHistory, restartDefaults } from './restart-policy.ts';

const random = seededRandom(1);

test('gives up after the eighth young death in a row and says how many tries in how long', () => {
  let history: RestartHistory = noRestarts;
  for (let death = 1; death < 8; death++) {
    const next = nextRestart(restartDefaults, history, { nowMs: death * 1000, livedMs: 100 }, random);
    assert.equal(next.action.kind, 'restart');
    history = next.history;
  }
  const last = nextRestart(restartDefaults, history, { nowMs: 8000, livedMs: 100 }, random);
  assert.deepEqual(last.action, { kind: 'give-up', tries: 8, withinMs: 7000 });
});

test('a steady life is followed by a restart at once and clears the count', () => {
  const history = { youngDeaths: [1, 2, 3, 4, 5, 6, 7] };
  const next = nextRestart(restartDefaults, history, { nowMs: 8, livedMs: 5000 }, random);
  assert.deepEqual(next, { history: noRestarts, action: { kind: 'restart', delayMs: 0 } });
});

test('pauses double up to the maximum and are never below half', () => {
  let history: RestartHistory = noRestarts;
  for (let tries = 1; tries < 8; tries++) {
    const next = nextRestart(restartDefaults, history, { nowMs: tries, livedMs: 0 }, random);
    const full = Math.min(restartDefaults.pauseMsMax, restartDefaults.baseMs * 2 ** (tries - 1));
    assert(next.action.kind === 'restart' && next.action.delayMs >= full / 2 && next.action.delayMs <= full);
    history = next.history;
  }
});

test('young deaths of long ago are forgotten', () => {
  const history = { youngDeaths: [1, 2, 3, 4, 5, 6, 7] };
  const next = nextRestart(restartDefaults, history, { nowMs: 100_000, livedMs: 0 }, random);
  assert.equal(next.action.kind, 'restart');
  assert.deepEqual(next.history.youngDeaths, [100_000]);
});
