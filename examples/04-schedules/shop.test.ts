import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testApp } from 'tandem/testing';
import service, { askOpinion, shop } from './shop.ts';

test('the report of the night is made once, in the night in which clocks are set too, though an instance dies', async () => {
  // At 01:00 UTC of that night the clocks of Berlin jump from 02:00 to 03:00: 02:30 never comes.
  await using app = await testApp([service], { instances: { shop: 2 }, startAt: '2026-03-29T00:58:00Z' });
  for (const orderId of ['a', 'b', 'c']) await app.call(shop).order({ orderId });
  await app.kill(service, 0);
  await app.clock.advance('3m');
  await app.settled();
  assert.deepEqual(await app.call(shop).reports({}), ['reports/2026-03-29T01:00:00.000Z: 3']);
});

test('an event for later comes when its time has come', async () => {
  await using app = await testApp([service]);
  await app.call(shop).order({ orderId: 'a' });
  await app.publish(askOpinion, { orderId: 'a' }, { delay: '1m' });
  await app.clock.advance('50s');
  assert.equal(await app.call(shop).asked({ orderId: 'a' }), false);
  await app.clock.advance('15s');
  await app.settled();
  assert.equal(await app.call(shop).asked({ orderId: 'a' }), true);
});
