import assert from 'node:assert/strict';
import { test } from 'node:test';
import { every, sleep } from '../core/clock.ts';
import { seededRandom } from '../core/random.ts';
import { virtualClock } from './virtual-clock.ts';

test('completing a promise that waits for no timer fails instead of hanging', async () => {
  const clock = virtualClock();
  await assert.rejects(clock.complete(new Promise(() => {})), /nothing is left to run/);
  const repeated = every(clock, 10, () => {});
  await assert.rejects(clock.complete(new Promise(() => {}), 1000), /not settled within 1000 ms/);
  repeated.cancel();
  assert.equal(clock.pending, 0);
});

test('two callers that move time at once are refused', async () => {
  const clock = virtualClock();
  const first = clock.advance(10);
  await assert.rejects(clock.advance(10), /at once/);
  await first;
});

test('work that defers without end is named', async () => {
  const clock = virtualClock();
  let stop = false;
  const again = (): void => {
    if (!stop) clock.defer(again);
  };
  again();
  await assert.rejects(clock.advance(1), /never settles/);
  stop = true;
});

test('timers run in order of time, then of making, each at its own time', async () => {
  const clock = virtualClock({ monotonicMs: 0 });
  const random = seededRandom(7);
  const seen: number[] = [];
  const due: number[] = [];
  for (let i = 0; i < 500; i++) {
    const delayMs = random.below(100);
    due.push(delayMs * 1000 + i);
    const timer = clock.after(delayMs, () => {
      assert.equal(clock.monotonic(), delayMs);
      seen.push(delayMs * 1000 + i);
    });
    if (i % 5 === 0) {
      timer.cancel();
      due.pop();
    }
  }
  assert.equal(clock.pending, 400);
  await clock.advance(100);
  assert.deepEqual(
    seen,
    due.sort((a, b) => a - b),
  );
  assert.equal(clock.pending, 0);
});

test('what one timer sets off is finished before the next one runs', async () => {
  const clock = virtualClock();
  const story: string[] = [];
  clock.after(10, async () => {
    story.push('first');
    for (let i = 0; i < 20; i++) await Promise.resolve();
    await new Promise<void>(resolve => clock.defer(resolve));
    await new Promise<void>(resolve => clock.defer(resolve));
    story.push('first ends');
  });
  clock.after(10, () => void story.push('second'));
  await clock.advance(10);
  assert.deepEqual(story, ['first', 'first ends', 'second']);
});

test('a sleeper inside advance sees the exact time and may sleep again', async () => {
  const clock = virtualClock({ monotonicMs: 0, wallMs: 5000 });
  const seen: number[] = [];
  const run = async (): Promise<void> => {
    for (let i = 0; i < 3; i++) {
      await sleep(clock, 100);
      seen.push(clock.monotonic(), clock.now());
    }
  };
  await clock.complete(run);
  assert.deepEqual(seen, [100, 5100, 200, 5200, 300, 5300]);
  await clock.advance(50);
  assert.equal(clock.monotonic(), 350);
});

test('a killed process does nothing more; a paused one does it late; a skewed one reads another wall time', async () => {
  const clock = virtualClock({ wallMs: 1_000_000 });
  const killed = clock.process();
  const paused = clock.process({ wallSkewMs: 700 });
  const story: string[] = [];
  killed.after(10, () => void story.push('killed timer'));
  killed.defer(() => void story.push('killed deferred'));
  killed.kill();
  killed.after(1, () => void story.push('posthumous'));
  paused.after(10, () => void story.push('paused timer'));
  paused.after(10, () => void story.push('cancelled while paused')).cancel();
  assert.equal(paused.now() - clock.now(), 700);
  paused.jumpWall(-200);
  assert.equal(paused.now() - clock.now(), 500);
  paused.pause();
  await clock.advance(100);
  assert.deepEqual(story, []);
  paused.resume();
  await clock.settle();
  assert.deepEqual(story, ['paused timer']);
});

test('auto jumps to the next timer when the process is quiet, and stands still while it is busy', async () => {
  const clock = virtualClock({ monotonicMs: 0 });
  let busy = true;
  const stop = clock.auto({ busy: () => busy });
  const slept = sleep(clock, 3_600_000);
  for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve));
  assert.equal(clock.monotonic(), 0);
  busy = false;
  await slept;
  assert.equal(clock.monotonic(), 3_600_000);
  stop();
});

test('runUntilIdle runs all there is', async () => {
  const clock = virtualClock();
  let count = 0;
  const chain = (): void => {
    if (++count < 100) clock.after(1000, chain);
  };
  chain();
  await clock.runUntilIdle();
  assert.equal(count, 100);
});
