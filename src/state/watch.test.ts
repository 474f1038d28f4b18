import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { Bell } from './watch.ts';

test('waiting on a signal that lives long leaves nothing behind on it', async () => {
  const bell = new Bell();
  const { signal } = new AbortController();
  for (let round = 0; round < 3; round++) {
    const waited = bell.wait(signal);
    bell.ring();
    await waited;
  }
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});

test('an abort ends the wait', async () => {
  const stopping = new AbortController();
  const waited = new Bell().wait(stopping.signal);
  stopping.abort();
  await waited;
});
