import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testApp } from 'tandem/testing';
import service, { seats } from './seats.ts';

test('a hold keeps others away for a minute, is found by customer over all shows, and ends by itself', async () => {
  await using app = await testApp([service], { instances: { seats: 3 } });
  const calls = app.call(seats);
  for (const show of ['hamlet', 'faust', 'medea']) await calls.hold({ show, seat: '1A', customer: 'ada' });
  await calls.hold({ show: 'faust', seat: '1B', customer: 'bo' });

  const taken = await app.try(seats).hold({ show: 'faust', seat: '1A', customer: 'bo' });
  assert.equal(taken.ok ? 'held' : taken.error.code, 'taken');
  assert.deepEqual(await calls.ofShow({ show: 'faust' }), ['faust/1A', 'faust/1B']);
  assert.deepEqual(await calls.ofCustomer({ customer: 'ada' }), ['faust/1A', 'hamlet/1A', 'medea/1A']);

  await app.clock.advance('30s');
  await calls.hold({ show: 'medea', seat: '1A', customer: 'ada' });
  await app.clock.advance('31s');
  assert.deepEqual(await calls.ofCustomer({ customer: 'ada' }), ['medea/1A']);
  await calls.hold({ show: 'faust', seat: '1A', customer: 'bo' });
});
