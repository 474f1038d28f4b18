import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzHttp } from './fuzz-http.ts';

test('two seconds of mutated HTTP: nothing ambiguous passes, and an honest client notices nothing', async () => {
  const { requests, reached, answers, honest } = await fuzzHttp(2 / 60, 11);
  assert.ok(requests > 50 && reached > 10 && answers > 20 && honest > 20);
});
