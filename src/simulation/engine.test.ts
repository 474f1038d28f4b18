import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { auditEffects } from './accounting.ts';
import { engineModel } from './engine.ts';
import type { OperationOutcome } from './history.ts';
import { virtualClock } from './virtual-clock.ts';

test('racing writers that resolve the unknown lose and double nothing, and one follower sees all in order', async () => {
  let landedUnknown = 0;
  for (let seed = 0; seed < 50; seed++) {
    const clock = virtualClock();
    const random = seededRandom(seed);
    const model = engineModel({ clock, random, lostAnswerChance: 0.1 });
    const attempts: { id: string; outcome: OperationOutcome }[] = [];
    const writer = async (name: string): Promise<void> => {
      const { log } = model.connect(clock.process());
      for (let n = 0; n < 20; n++) {
        const id = `${name}${n}`;
        const deadline = clock.monotonic() + 100;
        const expected = await log.barrier('a', { deadline });
        const result = await log.append('a', expected, [Buffer.from(id)], { deadline });
        const outcome = result.kind === 'appended' ? 'ok' : result.kind === 'conflict' ? 'fail' : 'unknown';
        attempts.push({ id, outcome });
      }
    };
    const followed: string[] = [];
    const stop = new AbortController();
    const follow = async (): Promise<void> => {
      for await (const batch of model.connect(clock.process()).log.follow('a', 1, stop.signal)) {
        for (const { position, body } of batch) {
          assert.equal(position, followed.length + 1);
          followed.push(Buffer.from(body).toString());
        }
      }
    };
    const following = follow();
    await clock.complete(() => Promise.all(['x', 'y', 'z'].map(writer)));
    await clock.advance(5000);
    stop.abort();
    await clock.complete(following);
    assert.ok(auditEffects(attempts, followed).balances, `seed ${seed}`);
    landedUnknown += model.landedUnknown;
  }
  assert.ok(landedUnknown > 50, `only ${landedUnknown} unknown appends landed`);
});

test('while it is stopped nothing is answered but the deadline, and the bus says that it is cut off', async () => {
  const clock = virtualClock();
  const model = engineModel({ clock, random: seededRandom(1) });
  const engine = model.connect(clock.process());
  const connected: boolean[] = [];
  engine.bus.onConnection(now => void connected.push(now));
  model.stop();
  const deadline = clock.monotonic() + 500;
  await assert.rejects(clock.complete(engine.log.barrier('a', { deadline })), { code: 'UNAVAILABLE' });
  const result = await clock.complete(engine.log.append('a', 0, [Buffer.from('x')], { deadline }));
  assert.equal(result.kind, 'unknown');
  model.start();
  assert.equal(await clock.complete(engine.log.barrier('a', { deadline: clock.monotonic() + 500 })), 0);
  assert.deepEqual(connected, [false, true]);
});
