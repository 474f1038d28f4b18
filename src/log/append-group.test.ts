import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SendOptions } from '../core/channel.ts';
import { TandemError } from '../core/errors.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { type AppendForm, AppendGroup, type FateForm } from './append-group.ts';
import type { AppendResult } from './engine.ts';

const body = [new Uint8Array(8)];

/** A group whose engine answers each call after `answerMs`, or at the call's deadline says that nothing came. */
function grouping(answerMs: number) {
  const clock = virtualClock();
  const sent: { readonly logs: readonly string[]; readonly leftMs: number }[] = [];
  const group = new AppendGroup(clock, (forms: readonly AppendForm[], { deadline }: SendOptions) => {
    const leftMs = deadline - clock.monotonic();
    sent.push({ logs: forms.map(([log]) => log), leftMs });
    const answer = Promise.withResolvers<FateForm[]>();
    clock.after(Math.min(answerMs, leftMs), () => {
      if (answerMs <= leftMs) answer.resolve(forms.map(() => 1));
      else answer.reject(new TandemError('DEADLINE_EXCEEDED', 'no answer'));
    });
    return answer.promise;
  });
  /** Appends with this much time, and what became of it after how long. */
  const append = async (log: string, timeMs: number): Promise<[fate: string, afterMs: number]> => {
    const before = clock.monotonic();
    const fate = await group.append(log, 'any', body, { deadline: before + timeMs }).then(
      ({ kind }: AppendResult) => kind,
      ({ code, outcome }: TandemError) => `${code}, ${outcome}`,
    );
    return [fate, clock.monotonic() - before];
  };
  return { clock, sent, append };
}

test('an append whose deadline has passed is refused alone, as not done', async () => {
  const { clock, sent, append } = grouping(5);
  const fates = Promise.all([append('a', 4000), append('late', 0), append('later', -1), append('b', 4000)]);
  assert.deepEqual(await clock.complete(fates), [
    ['appended', 5],
    ['DEADLINE_EXCEEDED, not-done', 0],
    ['DEADLINE_EXCEEDED, not-done', 0],
    ['appended', 5],
  ]);
  assert.deepEqual(sent, [{ logs: ['a', 'b'], leftMs: 4000 }]);
});

test('when the deadlines of all have passed nothing is sent', async () => {
  const { clock, sent, append } = grouping(5);
  assert.deepEqual(await clock.complete(append('late', 0)), ['DEADLINE_EXCEEDED, not-done', 0]);
  assert.deepEqual(sent, []);
});

test('each append of a group waits until its own deadline, no less and no longer', async () => {
  const { clock, sent, append } = grouping(1000);
  const fates = Promise.all([append('a', 4000), append('b', 300), append('c', 100), append('d', 1500)]);
  assert.deepEqual(await clock.complete(fates), [
    ['appended', 1000],
    ['unknown', 300],
    ['unknown', 100],
    ['appended', 1000],
  ]);
  assert.deepEqual(sent, [{ logs: ['a', 'b', 'c', 'd'], leftMs: 4000 }], 'still one call');
});

test('an engine that never answers leaves each unknown at its deadline', async () => {
  const { clock, append } = grouping(Number.POSITIVE_INFINITY);
  const fates = Promise.all([append('a', 4000), append('b', 300), append('c', 300)]);
  assert.deepEqual(await clock.complete(fates), [
    ['unknown', 4000],
    ['unknown', 300],
    ['unknown', 300],
  ]);
});

test('the deadlines of one group do not reach into the next', async () => {
  const { clock, sent, append } = grouping(50);
  await clock.complete(append('a', 100));
  assert.deepEqual(await clock.complete(append('b', 4000)), ['appended', 50]);
  assert.deepEqual(
    sent.map(({ leftMs }) => leftMs),
    [100, 4000],
  );
});
