import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../core/clock.ts';
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

test('a gateway of any age waits for a route while a newcomer is asked what it offers', async () => {
  const descriptors: (typeof stockDescriptor)[] = [];
  let asks = 0;
  const registry = {
    ...fakeRegistry(descriptors),
    // The answer comes while the gateway looks for the third time.
    learning() {
      if (++asks === 3) descriptors.push(stockDescriptor);
      return asks < 3;
    },
    get version() {
      return descriptors.length + 1;
    },
  };
  let age = 0;
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + age };
  const gateway = await openTestGateway(() => ({ onHand: 3, reserved: 0 }), { registry, clock, learnMs: 5000 });
  age = 60_000;
  try {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"sku":"A"}' };
    const answer = await fetch(`${gateway.url}/call/${stockDescriptor.service}/get`, init);
    assert.notEqual(answer.status, 404);
    assert.ok(asks >= 3);
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
