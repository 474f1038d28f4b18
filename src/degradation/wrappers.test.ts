import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Priority } from '../core/channel.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { openBulkhead } from './bulkhead.ts';
import { openCircuitBreaker } from './circuit-breaker.ts';
import { Deadlines } from './deadline.ts';
import { withFallback } from './fallback.ts';
import { openRetryBudget } from './retry-budget.ts';

test('a breaker opens after failures in a row, lets one probe pass, and closes when it succeeds', async () => {
  const clock = virtualClock();
  const breaker = openCircuitBreaker({ clock });
  for (let i = 0; i < 4; i++) breaker.failed();
  assert.equal(breaker.state, 'closed');
  breaker.failed();
  assert.equal(breaker.state, 'open');
  assert.equal(breaker.allows(), false);
  await clock.advance(500);
  assert.equal(breaker.state, 'half-open');
  assert.equal(breaker.allows(), true);
  assert.equal(breaker.allows(), false, 'only one probe');
  breaker.failed();
  await clock.advance(500);
  assert.equal(breaker.state, 'open', 'twice as long after a failed probe');
  await clock.advance(500);
  assert.equal(breaker.allows(), true);
  breaker.succeeded();
  assert.equal(breaker.state, 'closed');
});

test('a late failure of a call that was sent before does not lengthen the opening', async () => {
  const clock = virtualClock();
  const breaker = openCircuitBreaker({ clock });
  for (let i = 0; i < 50; i++) breaker.failed();
  await clock.advance(500);
  assert.equal(breaker.state, 'half-open');
});

test('retries end at their budget and come back with time and calls', async () => {
  const clock = virtualClock();
  const budget = openRetryBudget({ clock });
  let spent = 0;
  while (budget.withdraw()) spent++;
  assert.equal(spent, 100);
  await clock.advance(1000);
  for (let i = 0; i < 10; i++) assert.equal(budget.withdraw(), true);
  assert.equal(budget.withdraw(), false);
  for (let i = 0; i < 5; i++) budget.deposit();
  assert.equal(budget.withdraw(), true);
  assert.equal(budget.withdraw(), false);
});

test('a bulkhead refuses what its queue cannot hold, and a place is used again after a failure', async () => {
  const clock = virtualClock();
  const bulkhead = openBulkhead({ clock, concurrencyMax: 1, queuedMax: 1 });
  const first = Promise.withResolvers<string>();
  const deadline = clock.monotonic() + 1000;
  const one = bulkhead.run(() => first.promise, deadline);
  const two = bulkhead.run(async () => 'two', deadline);
  await assert.rejects(
    bulkhead.run(async () => 'three', deadline),
    { code: 'OVERLOADED', outcome: 'not-done' },
  );
  first.reject(new Error('no'));
  await assert.rejects(one, /no/);
  assert.equal(await two, 'two');
  assert.deepEqual([bulkhead.running, bulkhead.queued], [0, 0]);
});

test('of those that wait in a bulkhead critical goes first, and pushes the least important out when it is full', async () => {
  const clock = virtualClock();
  const bulkhead = openBulkhead({ clock, concurrencyMax: 1, queuedMax: 3 });
  const deadline = clock.monotonic() + 1000;
  const first = Promise.withResolvers<void>();
  void bulkhead.run(() => first.promise, deadline);
  const told: string[] = [];
  const wait = (name: string, priority: Priority): Promise<unknown> =>
    bulkhead
      .run(async () => told.push(name), deadline, priority)
      .catch((error: TandemError) => told.push(`${name} ${error.code} ${error.outcome}`));
  const all = [wait('optional 1', 'optional'), wait('optional 2', 'optional'), wait('default', 'default')];
  all.push(wait('critical', 'critical'), wait('optional 3', 'optional'));
  first.resolve();
  await Promise.all(all);
  assert.deepEqual(told, [
    'optional 3 OVERLOADED not-done',
    'optional 2 OVERLOADED not-done',
    'critical',
    'default',
    'optional 1',
  ]);
  assert.deepEqual([bulkhead.running, bulkhead.queued], [0, 0]);
});

test('who waits in a bulkhead past its deadline is told that nothing was done', async () => {
  const clock = virtualClock();
  const bulkhead = openBulkhead({ clock, concurrencyMax: 1 });
  const never = Promise.withResolvers<void>();
  void bulkhead.run(() => never.promise, clock.monotonic() + 1000);
  const waiting = bulkhead.run(async () => 1, clock.monotonic() + 100);
  await assert.rejects(clock.complete(waiting), { code: 'OVERLOADED', outcome: 'not-done' });
  assert.equal(bulkhead.queued, 0);
});

test('work that outlives its deadline is answered for at that time and only once; what ends before it stays as it was', async () => {
  const clock = virtualClock();
  const deadlines = new Deadlines(clock);
  const late = (): TandemError => new TandemError('DEADLINE_EXCEEDED', 'it took too long');
  const told: string[] = [];
  const run = (name: string, work: Promise<unknown>, ms: number): Promise<unknown> =>
    deadlines.run(
      work,
      clock.monotonic() + ms,
      late,
      value => void told.push(`${name} ${value} at ${clock.monotonic() - 1000}`),
      cause => void told.push(`${name} ${(cause as TandemError).code} at ${clock.monotonic() - 1000}`),
    );
  const slow = Promise.withResolvers<string>();
  const all = [
    run('never', new Promise(() => {}), 50),
    run('slow', slow.promise, 200),
    run('failed', Promise.reject(new TandemError('CONFLICT', 'no')), 50),
    run('good', Promise.resolve('value'), 50),
    run('passed', new Promise(() => {}), -10),
  ];
  await clock.advance(300);
  slow.resolve('too late');
  await Promise.all(all);
  assert.deepEqual(told, [
    'failed CONFLICT at 0',
    'good value at 0',
    'passed DEADLINE_EXCEEDED at 0',
    'never DEADLINE_EXCEEDED at 50',
    'slow DEADLINE_EXCEEDED at 200',
  ]);
  assert.equal(clock.pending, 0);
  const thrown = deadlines.run(Promise.resolve(1), clock.monotonic() + 50, late, () => assert.fail('made so'), String);
  await assert.rejects(thrown, /made so/);
});

test('a fallback answers for the system, not for the contract and not for a wrong request', async () => {
  const down = (): Promise<never> => Promise.reject(new TandemError('UNAVAILABLE', 'down'));
  assert.deepEqual(await withFallback<string>(down, () => 'instead'), { value: 'instead', degraded: true });
  for (const answer of [new DeclaredError('gone', 410, undefined), new TandemError('INVALID', 'wrong')]) {
    await assert.rejects(
      withFallback(
        () => Promise.reject(answer),
        () => 'instead',
      ),
      answer,
    );
  }
});
