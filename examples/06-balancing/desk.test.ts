import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testApp } from 'tandem/testing';
import service, { desk } from './desk.ts';

test('two at each desk, two in line, and who comes then is told to come back', async () => {
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  await using app = await testApp([service], { instances: { desk: 2 }, resources: { desk: { opened } } });
  const customers = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const served = Promise.allSettled(customers.map(customer => app.call(desk).serve({ customer }, { timeout: '2s' })));
  await app.clock.advance('500ms');
  open();
  await app.clock.advance('1s');
  const answers = await served;
  const [told] = answers.filter(answer => answer.status === 'rejected');
  assert.equal(told?.reason.code, 'OVERLOADED');
  const places = answers.flatMap(answer => (answer.status === 'fulfilled' ? answer.value.split(' at ')[1] : []));
  assert.equal(places.length, 6);
  assert.equal(new Set(places).size, 2, 'at both desks');
});
