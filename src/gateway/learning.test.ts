import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeRegistry, openTestGateway, stockDescriptor } from './fixture.test.ts';

const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"sku":"A"}' };
const path = `/call/${stockDescriptor.service}/get`;

test('a route that is not known yet waits while the gateway may not have heard of everybody', async () => {
  const registry = { ...fakeRegistry([]), learning: () => true };
  const gateway = await openTestGateway(() => ({ onHand: 3, reserved: 0 }), { registry, learnMs: 5000 });
  try {
    const answer = fetch(gateway.url + path, init);
    registry.join(stockDescriptor);
    assert.notEqual((await answer).status, 404);
  } finally {
    await gateway.close(0);
  }
});

test('a route waits while a newcomer is asked what it offers', async () => {
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
  const gateway = await openTestGateway(() => ({ onHand: 3, reserved: 0 }), { registry, learnMs: 5000 });
  try {
    const answer = await fetch(gateway.url + path, init);
    assert.notEqual(answer.status, 404);
    assert.ok(asks >= 3);
  } finally {
    await gateway.close(0);
  }
});

test('a gateway that hears nobody says that it cannot tell, not that a route does not exist', async () => {
  const registry = { ...fakeRegistry([]), learning: () => true };
  const gateway = await openTestGateway(() => null, { registry, learnMs: 30 });
  try {
    const answer = await fetch(gateway.url + path, init);
    assert.equal(answer.status, 503);
    assert.equal(((await answer.json()) as { code: string }).code, 'UNAVAILABLE');
    assert.ok(answer.headers.get('retry-after'));
  } finally {
    await gateway.close(0);
  }
});

test('while a service of the app was never heard of, an unknown route may be its own', async () => {
  const registry = fakeRegistry([]);
  const gateway = await openTestGateway(() => null, { registry, learnMs: 30, services: [stockDescriptor.service] });
  try {
    assert.equal((await fetch(gateway.url + path, init)).status, 503);
    registry.join(stockDescriptor);
    assert.equal((await fetch(`${gateway.url}/nowhere`)).status, 404);
  } finally {
    await gateway.close(0);
  }
});

test('a route that nobody has is not found, once the gateway knows who is there', async () => {
  const gateway = await openTestGateway(() => null, { learnMs: 5000 });
  try {
    assert.equal((await fetch(`${gateway.url}/nowhere`)).status, 404);
  } finally {
    await gateway.close(0);
  }
});
