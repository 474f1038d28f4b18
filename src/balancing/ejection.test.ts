import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ejection } from './ejection.ts';

function failFive(ejection: Ejection<string>, target: string, total: number, nowMs: number): boolean {
  let ejected = false;
  for (let i = 0; i < 5; i++) ejected = ejection.failed(target, total, nowMs) || ejected;
  return ejected;
}

test('five failures in a row eject, a success between them does not', () => {
  const ejection = new Ejection<string>();
  for (let i = 0; i < 4; i++) ejection.failed('a', 10, 0);
  ejection.succeeded('a');
  assert.equal(ejection.failed('a', 10, 0), false);
  assert.equal(failFive(ejection, 'b', 10, 0), true);
  assert.equal(ejection.isEjected('b', 29_999), true);
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
