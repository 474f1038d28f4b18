import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ninesOf, openAvailability } from './availability.ts';
import { openDeltas } from './deltas.ts';
import { openErrorGroups, shapeOf } from './error-groups.ts';
import { countsAsFailure } from './metric-names.ts';
import type { MetricPoint } from './metric-point.ts';
import { openMetricsStore } from './metrics-store.ts';

test('no requests prove nothing, and no failure proves no more than the count allows', () => {
  assert.equal(ninesOf(0, 0).share, undefined);
  const flawless = ninesOf(1000, 0);
  assert.deepEqual([flawless.share, flawless.atLeast], [1, true]);
  assert.ok(Math.abs(flawless.nines! - 3) < 1e-9);
  assert.ok(Math.abs(ninesOf(10_000, 1).nines! - 4) < 1e-9);
  assert.equal(ninesOf(10, 10).nines, 0);
});

test('the error budget is spent by failures and can be overspent', () => {
  assert.ok(Math.abs(ninesOf(10_000, 5, 0.999).budgetLeft! - 0.5) < 1e-9);
  assert.ok(ninesOf(10_000, 30, 0.999).budgetLeft! < 0);
});

test('what left the window counts no more', () => {
  const availability = openAvailability({ windowMs: 60_000, sliceMs: 10_000 });
  availability.count('orders', 0, 100, 50);
  availability.count('orders', 30_000, 100, 0);
  assert.equal(availability.read('orders', 30_000).failed, 50);
  assert.equal(availability.read('orders', 65_000).failed, 0);
  assert.equal(availability.read('orders', 65_000).requests, 100);
});

test('declared errors and callers’ mistakes are answers; system failures and refusals are not', () => {
  for (const code of ['ok', undefined, 'outOfStock', 'INVALID', 'NOT_FOUND', 'CANCELED', 'UNSUPPORTED'])
    assert.equal(countsAsFailure(code), false, code);
  for (const code of ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'INTERNAL', 'OVERLOADED'])
    assert.equal(countsAsFailure(code), true);
});

test('deltas: the first look is the base, a restart counts anew, gauges pass', () => {
  const deltas = openDeltas();
  const counter = (value: number): MetricPoint => ({ kind: 'counter', name: 'c', attributes: {}, value });
  const gauge: MetricPoint = { kind: 'gauge', name: 'g', attributes: {}, value: 4 };
  assert.deepEqual(deltas.take('a', [counter(10), gauge]), [gauge]);
  assert.deepEqual(deltas.take('a', [counter(13)]), [counter(3)]);
  assert.deepEqual(deltas.take('a', [counter(2)]), [counter(2)]);
});

test('the store keeps gaps as gaps, covers what a late look stands for, and forgets the oldest series', () => {
  const store = openMetricsStore({ steps: 10, seriesMax: 2 });
  store.record('a', 1000, 1);
  store.record('a', 4000, 4);
  assert.deepEqual(store.read('a', 5000, 6), [undefined, 1, undefined, undefined, 4, undefined]);
  store.record('a', 7000, 7, 2500);
  assert.deepEqual(store.read('a', 7000, 4), [4, 7, 7, 7]);
  store.record('a', 100_000, 9);
  store.record('a', 3000, 5);
  assert.deepEqual(store.read('a', 100_000, 3), [undefined, undefined, 9]);
  store.record('b', 0, 1);
  store.record('c', 0, 1);
  assert.deepEqual(store.read('a', 100_000, 1), [undefined]);
});

test('errors that differ only in numbers, ids and quotes are one group', () => {
  assert.equal(shapeOf("order 'a-1' of 17 failed"), shapeOf("order 'b' of 3 failed"));
  const groups = openErrorGroups(2);
  const record = (message: string, time: string) => ({ time, level: 'error' as const, message, fields: {} });
  groups.add('orders', 'orders-1', record('order 17 failed', 't1'));
  groups.add('orders', 'orders-2', record('order 18 failed', 't2'));
  assert.deepEqual(groups.list()[0], {
    key: groups.list()[0]!.key,
    service: 'orders',
    level: 'error',
    message: 'order 18 failed',
    code: undefined,
    count: 2,
    firstSeen: 't1',
    lastSeen: 't2',
    instances: ['orders-1', 'orders-2'],
  });
  groups.add('a', 'a', record('x', 't3'));
  groups.add('b', 'b', record('x', 't4'));
  assert.equal(groups.list().length, 2);
});
