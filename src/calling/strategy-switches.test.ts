import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Strategy } from '../contract/balance.ts';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { followSwitches, readSwitches, switchStrategy } from './strategy-switches.ts';

function rig(seed = 1, lostAnswerChance = 0) {
  const clock = virtualClock();
  const random = seededRandom(seed);
  const model = engineModel({ clock, random, lostAnswerChance });
  const engine = model.connect(clock);
  const follower = () => {
    const now: Record<string, Strategy | undefined> = {};
    const apply = (service: string, strategy: Strategy | undefined): void => {
      now[service] = strategy;
    };
    const following = followSwitches({ engine, clock, random, logger: silentLogger, apply });
    return { now, following };
  };
  const start = (service: string, strategy: Strategy | undefined): Promise<unknown> =>
    switchStrategy({ engine, clock, random }, service, strategy, clock.monotonic() + 60_000);
  const set = (service: string, strategy: Strategy | undefined): Promise<unknown> =>
    clock.complete(() => start(service, strategy));
  return { clock, model, engine, follower, start, set };
}

test('a switch reaches every process at once, and those that start later', async () => {
  const { clock, follower, set } = rig();
  const early = follower();
  await set('stock', 'ip-hash');
  await set('shop', 'dynamic');
  await clock.advance(20);
  assert.deepEqual(early.now, { stock: 'ip-hash', shop: 'dynamic' });
  const late = follower();
  await clock.advance(20);
  assert.deepEqual(late.now, { stock: 'ip-hash', shop: 'dynamic' });
  await set('stock', undefined);
  await clock.advance(20);
  assert.deepEqual([early.now.stock, late.now.stock], [undefined, undefined]);
  assert.deepEqual([early.now.shop, late.now.shop], ['dynamic', 'dynamic']);
  for (const { following } of [early, late]) following.close();
});

test('who missed the message sees the log a little later', async () => {
  const { clock, model, engine, follower, set } = rig();
  const deaf = follower();
  await clock.advance(20);
  const { publish } = engine.bus;
  engine.bus.publish = () => {};
  await set('stock', 'ip-hash');
  engine.bus.publish = publish;
  await clock.advance(5000);
  assert.deepEqual(deaf.now, {});
  await clock.advance(6000);
  assert.deepEqual(deaf.now, { stock: 'ip-hash' });
  model.stop();
  await clock.advance(30_000);
  assert.deepEqual(deaf.now, { stock: 'ip-hash' }, 'without an engine all stays as it was');
  deaf.following.close();
});

test('two who switch at once, and answers that are lost, undo nothing', async () => {
  for (let seed = 0; seed < 50; seed++) {
    const { clock, engine, start } = rig(seed, 0.3);
    await clock.complete(() => Promise.all([start('a', 'ip-hash'), start('b', 'dynamic'), start('c', 'round-robin')]));
    const { switches } = await clock.complete(() => readSwitches(engine.log, { deadline: clock.monotonic() + 1000 }));
    assert.deepEqual(switches, { a: 'ip-hash', b: 'dynamic', c: 'round-robin' }, `seed ${seed}`);
  }
});

test('an entry that is none, such as a barrier leaves, means that nothing is switched', async () => {
  const { clock, engine, set, follower } = rig();
  const options = { deadline: clock.monotonic() + 1000 };
  await clock.complete(() => engine.log.append('settings/strategies', 0, [new Uint8Array(0)], options));
  const { now, following } = follower();
  await clock.advance(20);
  assert.deepEqual(now, {});
  await set('stock', 'ip-hash');
  await clock.advance(20);
  assert.deepEqual(now, { stock: 'ip-hash' });
  following.close();
});
