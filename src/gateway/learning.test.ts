import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeRegistry, openTestGateway, stockDescriptor } from './fixture.test.ts';

test('a gateway that has just started waits for a route that it has not heard of yet', async () => {
  const registry = fakeRegistry([]);
  const gateway = await openTestGateway(() => ({ onHand: 3, reserved: 0 }), { registry, learnMs: 5000 });
  try {
    const answer = fetch(`${gateway.url}/call/${stockDescriptor.service}/get`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"sku":"A"}',
    });
    registry.join(stockDescriptor);
    assert.notEqual((await answer).status, 404);
  } finally {
    await gateway.close(0);
  }
});

test('a route that nobody has is not found, once the gateway knows who is there', async () => {
  const gateway = await openTestGateway(() => null, { learnMs: 50 });
  try {
    assert.equal((await fetch(`${gateway.url}/nowhere`)).status, 404);
  } finally {
    await gateway.close(0);
  }
});
