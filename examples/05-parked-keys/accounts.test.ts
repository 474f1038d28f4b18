import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testApp } from 'tandem/testing';
import service, { accounts, booked } from './accounts.ts';

test('an account that cannot be booked waits with what comes behind it; others go on; a person decides', async () => {
  await using app = await testApp([service]);
  const book = (account: string, cents: number) => app.publish(booked, { account, cents });
  const balance = (account: string) => app.call(accounts).balance({ account });

  await book('ada', 100);
  await book('ada', -500);
  await book('ada', 7);
  await book('bob', 1);
  await app.settled();
  assert.equal(await balance('ada'), 100, 'the withdrawal failed, and what came behind it waits');
  assert.equal(await balance('bob'), 1);
  const [waiting] = await app.parked('accounts.book');
  assert.deepEqual(
    { key: waiting?.key, why: waiting?.error.message, events: waiting!.next - waiting!.first },
    { key: 'ada', why: 'ada lacks 400 cents', events: 2 },
  );

  // Redriven with the reason still there, it waits on, in the same place.
  assert.equal(await app.redrive('accounts.book'), 1);
  await app.settled();
  assert.equal(await balance('ada'), 100);

  // Discarded, the withdrawal is gone, and the deposit behind it is booked.
  assert.equal(await app.discard('accounts.book', 'ada'), true);
  await app.settled();
  assert.equal(await balance('ada'), 107);
  assert.deepEqual(await app.parked('accounts.book'), []);
  assert.deepEqual(await app.deadLetters('accounts.book'), [], 'its letter went with it');
  assert.equal(await app.discard('accounts.book', 'ada'), false);
});
