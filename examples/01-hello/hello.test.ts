import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testApp } from 'tandem/testing';
import service, { hello } from './hello.ts';

test('greets by name', async () => {
  await using app = await testApp([service]);
  assert.equal(await app.call(hello).greet({ name: 'Ada' }), 'Hello, Ada!');
});
