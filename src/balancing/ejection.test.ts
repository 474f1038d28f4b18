import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ejection } from './ejection.ts';

function failFive(ejection: Ejection<string>, target: string, total: number, nowMs: number): boolean {
  let ejected = false;
  for (let i = 0; i < 5; i++) ejected = ejection.failed(target, total, nowMs) !== undefined || ejected;
  return ejected;
}

/** An interval of calls, each 5 ms, of which some fail. */
function interval(ejection: Ejection<string>, target: string, calls: number, failures: number, latencyMs = 5): void {
  for (let i = 0; i < calls; i++) {
    // Never five in a row.
    if (i % Math.floor(calls / failures) === 0) ejection.failed(target, 10, 1);
    else ejection.succeeded(target, latencyMs);
  }
}

test('five failures in a row eject, a success between them does not', () => {
  const ejection = new Ejection<string>();
  for (let i = 0; i < 4; i++) ejection.failed('a', 10, 0);
  ejection.succeeded('a', 1);
  assert.equal(ejection.failed('a', 10, 0), undefined);
  assert.equal(ejection.isAnyEjected(0), false);
  assert.equal(failFive(ejection, 'b', 10, 0), true);
  assert.equal(ejection.isEjected('b', 29_999), true);
  assert.equal(ejection.isAnyEjected(29_999), true);
  assert.equal(ejection.isEjected('b', 30_000), false);
});

test('a second ejection lasts twice as long', () => {
  const ejection = new Ejection<string>();
  failFive(ejection, 'a', 10, 0);
  failFive(ejection, 'a', 10, 40_000);
  assert.equal(ejection.isEjected('a', 99_000), true);
  assert.equal(ejection.isEjected('a', 100_001), false);
});

test('at most a tenth is ejected, but always one may be', () => {
  const ejection = new Ejection<string>();
  assert.equal(failFive(ejection, 'a', 5, 0), true);
  assert.equal(failFive(ejection, 'b', 5, 0), false);
  assert.equal(failFive(ejection, 'b', 20, 0), true);
});

test('a success rate far below the others ejects, once in an interval', () => {
  const ejection = new Ejection<string>();
  assert.deepEqual(ejection.look(10, 1), []);
  for (const target of 'abcdefgh') interval(ejection, target, 200, target === 'c' ? 60 : 2);
  assert.deepEqual(ejection.look(10, 9000), [], 'the interval is not over');
  assert.deepEqual(ejection.look(10, 10_001), [['c', 'success rate']]);
  assert.equal(ejection.isEjected('c', 10_002), true);
  assert.deepEqual(ejection.look(10, 20_002), [], 'each interval begins anew');
});

test('answers three times as slow as those of the others eject', () => {
  const ejection = new Ejection<string>();
  ejection.look(10, 1);
  for (const target of 'abcdef')
    interval(ejection, target, 150, 1, target === 'f' ? 40 : 10 + (target.charCodeAt(0) % 3));
  assert.deepEqual(ejection.look(10, 10_001), [['f', 'latency']]);
});

test('answers that say nothing about how fast a target is eject nobody', () => {
  const ejection = new Ejection<string>();
  ejection.look(10, 1);
  for (const target of 'abcdef')
    for (let i = 0; i < 200; i++) ejection.succeeded(target, target === 'f' && i < 150 ? undefined : 5);
  ejection.succeeded('f', 9000);
  assert.deepEqual(ejection.look(10, 10_001), []);
});

test('few calls, few targets, or all alike bad say nothing', () => {
  for (const [targets, calls, failures] of [
    ['abcd', 1000, 100],
    ['abcdefgh', 50, 10],
    ['abcdefgh', 500, 250],
  ] as const) {
    const ejection = new Ejection<string>();
    ejection.look(10, 1);
    for (const target of targets)
      interval(ejection, target, calls, target === 'a' && calls !== 500 ? calls / 4 : failures);
    assert.deepEqual(ejection.look(10, 10_001), [], targets);
  }
});
