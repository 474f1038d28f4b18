import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cursor, mayReplace } from './cursor.ts';
import type { StoredEvent } from './event.ts';

const event = (source: string, number: number): StoredEvent => ({
  source,
  number,
  key: 'k',
  body: new Uint8Array(),
  at: 0,
  traceparent: undefined,
});
const fresh = (): Cursor => new Cursor({ position: 0, generation: 1, sources: {} });

test('the cursor passes nothing that is not done, whatever is done behind it', () => {
  const cursor = fresh();
  const [first, second, third] = [1, 2, 3].map(position => cursor.take(position, event('s', position))!);
  third!();
  second!();
  assert.equal(cursor.position, 0);
  assert.equal(cursor.outstanding, 3);
  first!();
  assert.equal(cursor.position, 3);
  assert.equal(cursor.outstanding, 0);
});

test('a number at or below the last taken of its source is a repeat, also while the first is under way', () => {
  const cursor = fresh();
  const done = cursor.take(1, event('s', 7))!;
  assert.equal(cursor.take(2, event('s', 7)), undefined);
  assert.equal(cursor.take(3, event('s', 5)), undefined);
  assert.equal(cursor.position, 0, 'a repeat is not done before what it repeats');
  done();
  assert.equal(cursor.position, 3);
  assert.equal(cursor.take(4, event('s', 7)), undefined);
  assert.notEqual(cursor.take(5, event('other', 7)), undefined);
});

test('the row holds the sources as of its position, so what comes again after it is not taken for a repeat', () => {
  const cursor = fresh();
  cursor.take(1, event('s', 1))!();
  cursor.take(2, event('s', 2));
  cursor.take(3, event('s', 3))!();
  cursor.take(4, event('s', 4));
  const row = cursor.row();
  assert.deepEqual(row, { position: 1, generation: 1, sources: { s: 1 }, done: [3] });
  const next = new Cursor(row);
  assert.notEqual(next.take(2, event('s', 2)), undefined);
  assert.equal(next.take(3, event('s', 3)), undefined);
  assert.notEqual(next.take(4, event('s', 4)), undefined);
});

test('remembered sources are bounded, and those seen last stay', () => {
  const cursor = fresh();
  for (let i = 1; i <= 5000; i++) cursor.take(i, event(`s${i}`, 1))!();
  const sources = Object.keys(cursor.row().sources);
  assert(sources.length <= 1024);
  assert(sources.includes('s5000'));
});

test('a late reader does not turn a stored cursor back, and a new generation replaces it', () => {
  const stored = { position: 9, generation: 1, sources: {} };
  assert.equal(mayReplace({ ...stored, position: 8 }, stored), false);
  assert.equal(mayReplace({ ...stored, position: 9 }, stored), true);
  assert.equal(mayReplace({ ...stored, position: 1, generation: 2 }, stored), true);
  assert.equal(mayReplace({ ...stored, position: 99, generation: 0 }, stored), false);
});

test('what was done beyond the cursor is stored with it, and not taken again', () => {
  const event = (number: number): StoredEvent => ({
    ...{ source: 's', number, key: 'k', body: new Uint8Array([1]), at: 0, traceparent: undefined },
  });
  const cursor = new Cursor({ position: 0, generation: 1, sources: {} });
  const done = [1, 2, 3, 4].map(n => cursor.take(n, event(n))!);
  done[0]!();
  done[2]!();
  const row = cursor.row();
  assert.deepEqual([row.position, row.done], [1, [3]]);
  const next = new Cursor(row);
  const two = next.take(2, event(2));
  assert(two);
  assert.equal(next.take(3, event(3)), undefined, 'done by the one before');
  const four = next.take(4, event(4));
  assert(four);
  two();
  assert.equal(next.position, 3);
  four();
  assert.deepEqual([next.position, next.row().done], [4, undefined]);
});
